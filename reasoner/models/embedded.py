"""The embedded default model: SmolLM2-135M-Instruct (Apache-2.0), converted once from the weights in a package."""

import errno
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from reasoner.errors import EngineUnavailable
from reasoner.models.cache import CachedModel, cache_home
from reasoner.models.weights import GGUF_SHA256, weights_file
from reasoner.system.machine import install_vllm, missing
from reasoner.types import Notify

EMBEDDED = "embedded"
"""Its name on the command line."""

EMBEDDED_NAME = "SmolLM2-135M-Instruct"
"""Its name for people and traces."""

_VERSION = "v1"
_MEGABYTES = 500
_LONGEST_REASON = 300


def embedded_path(notify: Notify) -> Path:
    """The folder of the embedded model, verified; it is fetched and built first if it is missing or damaged.

    Verification reads 273 MB, so call it from a thread where that matters.

    Raises:
        EngineUnavailable: it cannot be fetched or built; the message says what to do.
    """
    folder = cache_home() / "models" / f"smollm2-135m-instruct-{GGUF_SHA256[:12]}-{_VERSION}"
    fill = partial(_fill, notify)
    return CachedModel(folder, gguf_sha256=GGUF_SHA256, megabytes=_MEGABYTES, fill=fill).ready(notify)


def _fill(notify: Notify, folder: Path) -> None:
    if absent := missing("torch", "transformers", "gguf", "accelerate"):
        raise EngineUnavailable(
            f"the embedded model cannot be converted without {', '.join(absent)}: run `{install_vllm()}`, or pass "
            "--model PATH_OR_ID"
        )
    weights = weights_file(notify)
    notify("converting the weights, which takes some 20 s")
    _run("reasoner.models.convert", str(weights), str(folder))


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
