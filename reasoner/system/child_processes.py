"""Processes that end when their parent ends, for whatever reason, and threads that nothing waits for.

As a program, `python child_processes.py COMMAND...`, this file becomes a command that ends with its parent.
"""

import asyncio
import ctypes
import fcntl
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from multiprocessing.process import AuthenticationString  # type: ignore[attr-defined]
from typing import TypeVar

T = TypeVar("T")

PR_SET_PDEATHSIG = 1


@cache
def end_with(parent: int) -> None:
    """End this process within half a second of the end of its parent, which has this process id.

    A thread watches the parent's id. `PR_SET_PDEATHSIG` would not do: it fires when the *thread* that forked ends.
    """
    threading.Thread(
        target=_watch, args=(parent,), name="parent-watch", daemon=True
    ).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        # Time between two checks that the parent still runs
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)


def end_when_closed(pipe: int) -> None:
    """Have the kernel end this process when the other end of this pipe is closed, even inside a C function.

    The kernel then sends SIGIO, which ends a process. Only Linux does; elsewhere this changes nothing.
    """
    if not hasattr(os, "O_ASYNC"):
        return
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    # It may have been closed before.
    if select.select([pipe], [], [], 0)[0]:
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def children_end_with_us() -> Iterator[None]:
    """Make all processes that multiprocessing spawns meanwhile, and their descendants, `end_with` their parents.

    The watch starts before a process imports the code that it runs, which takes vLLM many seconds.
    """
    # multiprocessing has no public hook for this. A new process unpickles the key first.
    settings = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    key = settings["authkey"]
    settings["authkey"] = _WatchingKey(key)
    try:
        yield
    finally:
        settings["authkey"] = key


class _WatchingKey(AuthenticationString):  # type: ignore[misc]
    """multiprocessing's key between processes, which begins the watch in each process that receives it."""

    def __reduce__(
        self,
    ) -> tuple[Callable[[bytes, int], "_WatchingKey"], tuple[bytes, int]]:
        super().__reduce__()  # refuses to be pickled for anything but a new process
        return _received, (bytes(self), os.getpid())


def _received(key: bytes, parent: int) -> _WatchingKey:
    end_with(parent)
    return _WatchingKey(key)


async def in_daemon(work: Callable[[], T]) -> T:
    """Run `work` in a daemon thread: an interrupt does not wait for it, unlike for the loop's own executor."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    done.set_running_or_notify_cancel()
    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)


if __name__ == "__main__":
    if sys.platform == "linux":
        # Unlike a watching thread, it outlives `exec`. It fires when the thread that started this process ends, so that
        # thread has to wait for it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 # the caller chose it
