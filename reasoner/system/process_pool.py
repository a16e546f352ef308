"""A pool of worker processes that can be killed: a function ends at its time limit, whatever it is doing.

Each worker runs this module as a program, with its own socket as standard output, which carries one line per message.
Standard input is a pipe that carries nothing and closes when the parent ends. Requests are pickled. Replies are JSON,
because a worker has handled text that a model wrote.
"""

import asyncio
import base64
import json
import logging
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVarTuple
from weakref import WeakKeyDictionary

from reasoner.errors import UsageError
from reasoner.system.child_processes import end_when_closed
from reasoner.system.files import parse_json
from reasoner.system.foreign import described

Ts = TypeVarTuple("Ts")

MAX_TASKS = 500
"""Tasks after which a worker is replaced, so that what foreign code leaks stays bounded."""
START_SECONDS = 60.0
"""Time for a worker to start and run `prepare`, and to import the function of a task."""
READY = "{}"
"""Sent when the worker has started, and when it has imported the function of a task."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a function returned, read from JSON: tuples became lists. `seconds` is its processor time."""

    value: Any
    seconds: float = field(default=0.0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A function that did not return: it was killed at its time limit, raised, or ended its worker."""

    kind: Literal["timeout", "crash"]
    why: str
    seconds: float = field(default=0.0, compare=False, repr=False)


Outcome: TypeAlias = JobResult | FailedCall
CLOSED: Final = FailedCall("crash", "the pool was closed")


@dataclass(slots=True, eq=False)
class ProcessPool:
    """Processes that each run one function at a time, within limits of time and memory.

    Workers start with the first calls. They never import the parent's main script, so a script needs no
    `if __name__ == "__main__"`. `prepare` runs in each worker before its first task and counts towards no time limit.
    Event loops in several threads may share a pool.
    """

    workers: int = 2
    memory_mib: int = 4096
    prepare: Callable[[], object] | None = None
    _idle: "deque[_Worker]" = field(default_factory=deque, init=False, repr=False)
    _all: "set[_Worker]" = field(default_factory=set, init=False, repr=False)
    _turns: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )
    _closings: int = field(default=0, init=False, repr=False)

    async def call(
        self,
        function: Callable[[*Ts], object],
        *args: *Ts,
        seconds: float,
        cpu_seconds: float = 0.0,
    ) -> Outcome:
        """The outcome of `function(*args)` in a worker; the limit counts from its start there, not from this call.

        `cpu_seconds` also limits its processor time; 0 is no limit. Cancelling the awaiting task kills the function. If
        the function raises, or returns what JSON cannot hold, the outcome is a crash.

        Raises:
            UsageError: a worker cannot import the function.
        """
        name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
        if function.__module__ == "__main__" or "<" in name:
            raise UsageError(
                f"{name} cannot run in another process: define it at the top of a module that is imported"
            )
        request = _line(function, args, seconds, cpu_seconds)
        closings = self._closings
        async with self._turns.setdefault(
            asyncio.get_running_loop(), asyncio.Semaphore(self.workers)
        ):
            if self._closings > closings:
                return CLOSED
            worker = self._take()
            try:
                outcome = await worker.run(request, seconds, cpu_seconds)
            finally:
                self._give_back(worker, closed=self._closings > closings)
            return CLOSED if self._closings > closings else outcome

    async def warm(self) -> None:
        """Start the workers and wait until they can serve."""
        await asyncio.gather(
            *(self.call(os.getpid, seconds=START_SECONDS) for _ in range(self.workers))
        )

    async def close(self) -> None:
        """Kill the workers; a call that still runs is a crash. A later call starts new ones."""
        self._closings += 1
        await asyncio.to_thread(self._kill)

    def _kill(self) -> None:
        for worker in tuple(self._all):
            # The call that uses it closes its socket.
            worker.process.kill()
            worker.process.wait()
        while self._idle:
            self._discard(self._idle.pop())

    def _take(self) -> "_Worker":
        with suppress(IndexError):  # event loops in other threads take idle workers too
            worker = self._idle.popleft()
            if worker.usable:
                return worker
            self._discard(worker)
        worker = _Worker(_line(self.memory_mib, self.prepare))
        self._all.add(worker)
        return worker

    def _discard(self, worker: "_Worker") -> None:
        self._all.discard(worker)
        worker.close()

    def _give_back(self, worker: "_Worker", *, closed: bool) -> None:
        """Keep a worker for the next call, if there is one for it."""
        if not closed and len(self._idle) < self.workers and worker.usable:
            self._idle.append(worker)
        else:
            self._discard(worker)


class _Worker:
    """A child process. Its standard output is our socket; it ends when its standard input, a pipe of ours, closes."""

    def __init__(self, setup: bytes) -> None:
        self._ready = False
        self._tasks_left = MAX_TASKS
        self._received = b""
        self._socket, childs = socket.socketpair()
        path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
        with childs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "reasoner.system.process_pool"],
                stdin=subprocess.PIPE,
                stdout=childs.fileno(),
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                # Ctrl-C is for the parent alone.
                start_new_session=True,
            )
        self._socket.sendall(setup)
        self._socket.setblocking(False)

    @property
    def usable(self) -> bool:
        """Whether it may run another task."""
        return self._tasks_left > 0 and self.process.poll() is None

    async def run(self, request: bytes, seconds: float, cpu_seconds: float) -> Outcome:
        """The outcome of a request. Only a valid reply leaves the worker usable."""
        limit, left, self._tasks_left = START_SECONDS, self._tasks_left - 1, 0
        try:
            if not self._ready:
                await self._receive(limit)
                self._ready = True
            async with asyncio.timeout(limit):
                await asyncio.get_running_loop().sock_sendall(self._socket, request)
            # An empty reply says that the function is imported and starts.
            if not (reply := parse_json(await self._receive(limit))):
                limit = seconds
                reply = parse_json(await self._receive(limit))
            used = float(reply["seconds"])
            failed = "error" in reply
            outcome = (
                FailedCall("crash", str(reply["error"]), used)
                if failed
                else JobResult(reply["value"], used)
            )
            self._tasks_left = left
        except TimeoutError:
            outcome = FailedCall(
                "timeout", f"it was killed after {limit:g} s", cpu_seconds
            )
        except OSError:
            self.process.kill()
            if not self._ready:
                return FailedCall("crash", "its worker could not be started")
            code = await asyncio.to_thread(self.process.wait)
            outcome = FailedCall(
                "crash", f"its worker ended with exit code {code}", cpu_seconds
            )
            if code == -signal.SIGPROF:
                outcome = FailedCall(
                    "timeout",
                    f"it took over {cpu_seconds:.3g} s of processor time",
                    cpu_seconds,
                )
        except (ValueError, TypeError, KeyError):
            outcome = FailedCall("crash", "its worker sent no valid reply", cpu_seconds)
        return outcome

    async def _receive(self, seconds: float) -> bytes:
        """The next line from the process.

        Raises:
            TimeoutError: it did not come in time.
            OSError: the process ended.
        """
        async with asyncio.timeout(seconds):
            while b"\n" not in self._received:
                received = await asyncio.get_running_loop().sock_recv(
                    self._socket, 1 << 16
                )
                if not received:
                    raise ConnectionResetError
                self._received += received
        line, _, self._received = self._received.partition(b"\n")
        return line

    def close(self) -> None:
        """Kill the process, and free what belongs to it."""
        self.process.kill()
        self._socket.close()
        if self.process.stdin is not None:
            self.process.stdin.close()
        # Its memory may take a while to free.
        threading.Thread(target=self.process.wait, daemon=True).start()


def _line(*values: object) -> bytes:
    return base64.b64encode(pickle.dumps(values)) + b"\n"


# What runs in a worker.


def main() -> None:
    """Set the limits, prepare, and serve until the socket closes."""
    parent, channel = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    end_when_closed(parent)
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    logging.disable()
    with (
        os.fdopen(channel, "rb") as requests,
        os.fdopen(os.dup(channel), "wb") as replies,
    ):

        def send(message: str) -> None:
            replies.write(message.encode() + b"\n")
            replies.flush()

        memory_mib, prepare = _unpickled(requests.readline())
        _limit(resource.RLIMIT_AS, memory_mib << 20)
        _limit(resource.RLIMIT_CORE, 0)
        if prepare is not None:
            prepare()
        send(READY)
        for line in requests:
            send(_reply(line, send))


def _limit(kind: int, wanted: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(
        kind, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
    )


def _reply(request: bytes, send: Callable[[str], None]) -> str:
    began = time.process_time()

    def message(**fields: object) -> str:
        return json.dumps({**fields, "seconds": time.process_time() - began})

    try:
        # Imports the function, which counts towards no limit.
        function, args, seconds, cpu_seconds = _unpickled(request)
        send(READY)
        # The kernel ends a worker at its limits, even inside a C function and if its parent is gone.
        # Seconds past its time limit after which a worker ends itself, in case its parent is gone
        signal.setitimer(signal.ITIMER_REAL, seconds + 2.0)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        began = time.process_time()
        return message(value=function(*args))
    except BaseException as error:
        return message(error=described(error))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _unpickled(line: bytes) -> Any:
    return pickle.loads(base64.b64decode(line))  # noqa: S301 written by the parent


if __name__ == "__main__":
    main()
