"""The Ray cluster that this process uses: one that exists already, or one of its own on this machine."""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from reasoner.engines.ray import keeper
from reasoner.engines.vllm.build import first_line
from reasoner.errors import EngineUnavailable, MissingExtra
from reasoner.system.machine import install_command, missing

_SILENT: Final[Mapping[str, Any]] = {
    "log_to_driver": False,
    "logging_level": logging.CRITICAL,
}


@dataclass(slots=True)
class _Shared:
    """How many use Ray in this process, which has one cluster, and what ends a cluster of our own."""

    users: int = 0
    end: Callable[[], None] | None = None


_SHARED: Final = _Shared()
_LOCK: Final = threading.Lock()


def join(address: str) -> None:
    """Connect to the cluster of this machine where `address` is "auto"; start one where it is empty. Blocks.

    If this process is connected already, that cluster is used.

    Raises:
        MissingExtra: Ray is not installed.
        EngineUnavailable: no cluster answers at the address, or none can be started.
    """
    if missing("ray"):
        raise MissingExtra(f"the engine ray needs ray: run `{install_command('ray')}`")
    with _LOCK:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray warns that a later version hides no GPUs from an actor without any.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        if not ray.is_initialized():
            _SHARED.users, _SHARED.end = 0, None
            try:
                if address:
                    ray.init(address=address, **_SILENT)
                else:
                    _SHARED.end = _own_cluster()
            except (Exception, SystemExit) as error:
                with suppress(Exception):
                    ray.shutdown()
                if not address:
                    raise EngineUnavailable(
                        f"Ray could not be started on this machine: {first_line(error)}"
                    ) from error
                raise EngineUnavailable(
                    f"no Ray cluster answers for address={address} ({first_line(error)}): start one with "
                    "`ray start --head`, set RAY_AUTH_MODE=token if it has a token, or omit address to use this machine"
                ) from error
        _SHARED.users += 1


def is_own() -> bool:
    """Whether the cluster was started by this process."""
    return _SHARED.end is not None


def leave() -> None:
    """The counterpart of `join`: the last user ends a cluster of our own. Blocks."""
    with _LOCK:
        _SHARED.users -= 1
        if not _SHARED.users and _SHARED.end:
            _SHARED.end()
            _SHARED.end = None


def _own_cluster() -> Callable[[], None]:
    """Start Ray on this machine; returns what ends it.

    A thread of its own starts it and stays, because the kernel ends Ray's processes when that thread ends.
    """
    started: Future[None] = Future()
    over = threading.Event()
    # The path of a socket in it has at most 107 bytes.
    folder = tempfile.mkdtemp(
        prefix="ray-",
        dir=None if len(tempfile.gettempdir()) < 30 else "/tmp",  # noqa: S108 the folder in it is private
    )

    def hold() -> None:
        try:
            ray.init(
                address="local",
                # Ray keeps an idle process for each core.
                num_cpus=1,
                include_dashboard=False,
                # Shared memory of a cluster of our own; only messages of more than 100 kB pass through it
                object_store_memory=128 * 2**20,
                _temp_dir=folder,
                **_SILENT,
            )
        except BaseException as error:
            started.set_exception(error)
        else:
            started.set_result(None)
            over.wait()
        with suppress(Exception):
            ray.shutdown()

    import ray

    thread = threading.Thread(target=hold, name="ray", daemon=True)
    thread.start()
    try:
        started.result()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    process = _keeper(folder)

    def end() -> None:
        over.set()
        thread.join()
        process.communicate()

    return end


def _keeper(folder: str) -> "subprocess.Popen[bytes]":
    """The process that removes what is left of the cluster when this process has ended, or closes its input."""
    import psutil  # Ray brings it.

    below = {
        str(process.pid)
        for process in psutil.Process().children(recursive=True)
        if "Agent" in process.name()
    }
    command = [
        sys.executable,
        "-I",
        "-S",
        keeper.__file__,
        folder,
        *(f"{pid}={keeper.began(pid)}" for pid in below),
    ]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 Python itself


def gpus() -> float:
    """The GPUs of the whole cluster."""
    import ray

    return float(ray.cluster_resources().get("GPU", 0))
