"""A pool of worker processes: a function ends at its time limit, whatever it is doing, and the pool serves on."""

import asyncio
import math
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, ClassVar, Literal, TypeAlias, TypeVarTuple
from weakref import WeakKeyDictionary

from reasoner.errors import UsageError
from reasoner.system.child_processes import end_when_closed
from reasoner.system.foreign import described

Ts = TypeVarTuple("Ts")

MAX_TASKS = 500
"""Tasks after which a worker is replaced, so that what foreign code leaks stays bounded."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a function returned; `seconds` is its processor time."""

    value: Any
    seconds: float = field(default=0.0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A function that did not return: it was stopped at its time limit, raised, or ended its worker."""

    kind: Literal["timeout", "crash"]
    why: str
    seconds: float = field(default=0.0, compare=False, repr=False)


Outcome: TypeAlias = JobResult | FailedCall


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
    # An executor for each worker: one that dies breaks no other's call.
    _idle: list[ProcessPoolExecutor] = field(
        default_factory=list, init=False, repr=False
    )
    _busy: set[ProcessPoolExecutor] = field(default_factory=set, init=False, repr=False)
    _turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    async def call(
        self,
        function: Callable[[*Ts], object],
        *args: *Ts,
        seconds: float,
        cpu_seconds: float = 0.0,
    ) -> Outcome:
        """The outcome of `function(*args)` in a worker; the limit counts from its start there, not from this call.

        `cpu_seconds` also limits its processor time; 0 is no limit. Cancelling the awaiting task kills the function. If
        the function raises, or returns what cannot be pickled, the outcome is a crash.

        Raises:
            UsageError: a worker cannot import the function.
        """
        name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
        if function.__module__ == "__main__" or "<" in name:
            raise UsageError(
                f"{name} cannot run in another process: define it at the top of a module that is imported"
            )
        async with self._turns.setdefault(
            asyncio.get_running_loop(), asyncio.Semaphore(self.workers)
        ):
            worker = self._take()
            try:
                outcome: Outcome = await asyncio.wrap_future(
                    worker.submit(_limited, function, args, seconds, cpu_seconds)
                )
            except BaseException as error:
                _kill(worker)
                if not isinstance(error, Exception):
                    raise
                return FailedCall("crash", described(error))
            finally:
                self._busy.discard(worker)
            self._idle.append(worker)
            return outcome

    async def warm(self) -> None:
        """Start the workers and wait until they can serve."""
        await asyncio.gather(
            *(self.call(os.getpid, seconds=60.0) for _ in range(self.workers))
        )

    async def close(self) -> None:
        """Kill the workers; a call that still runs is a crash. A later call starts new ones."""
        for worker in (*self._idle, *self._busy):
            _kill(worker)
        self._idle.clear()

    def _take(self) -> ProcessPoolExecutor:
        """A worker that lives, idle until now or new."""
        while self._idle:
            worker = self._idle.pop()
            if all(process.is_alive() for process in _processes(worker)):
                break
        else:
            worker = ProcessPoolExecutor(
                1,
                _Spawn(),
                _begin,
                (self.memory_mib, self.prepare),
                max_tasks_per_child=MAX_TASKS,
            )
        self._busy.add(worker)
        return worker


def _processes(worker: ProcessPoolExecutor) -> list[Any]:
    return list((worker._processes or {}).values())


def _kill(worker: ProcessPoolExecutor) -> None:
    for process in _processes(worker):
        process.kill()
    worker.shutdown(wait=False)


class _Process(SpawnProcess):
    """A process that does not import the main script, and leaves Ctrl-C to its parent."""

    _starting: ClassVar = threading.Lock()

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802
        with _Process._starting:
            main = sys.modules["__main__"]
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return SpawnProcess._Popen(process_obj)
            finally:
                sys.modules["__main__"] = main
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Spawn(SpawnContext):
    Process = _Process


# What runs in a worker.


class _LateError(BaseException):
    """The function has spent its time. No `except Exception` of foreign code catches it."""


def _raise_late(number: int, _frame: object) -> None:
    raise _LateError(number)


def _begin(memory_mib: int, prepare: Callable[[], object] | None) -> None:
    """Set the limits, and prepare."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    parent = multiprocessing.parent_process()
    assert parent is not None
    end_when_closed(parent.sentinel)
    _limit(resource.RLIMIT_AS, memory_mib << 20)
    _limit(resource.RLIMIT_CORE, 0)
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _raise_late)
    if prepare is not None:
        prepare()


def _limit(kind: int, wanted: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(
        kind, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
    )


def _limited(
    function: Callable[..., object],
    args: tuple[object, ...],
    seconds: float,
    cpu_seconds: float,
) -> Outcome:
    """The outcome of a call within its limits."""
    began = time.process_time()
    # The kernel ends a worker that checks no signal, as some C functions do.
    _limit(resource.RLIMIT_CPU, math.ceil(began + (cpu_seconds or seconds)) + 2)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        return JobResult(function(*args), time.process_time() - began)
    except _LateError as late:
        why = (
            f"it took over {cpu_seconds:.3g} s of processor time"
            if late.args == (signal.SIGPROF,)
            else f"it was stopped after {seconds:g} s"
        )
        return FailedCall("timeout", why, time.process_time() - began)
    except BaseException as error:
        return FailedCall("crash", described(error), time.process_time() - began)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
