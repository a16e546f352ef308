"""Worker processes that can be killed: what runs in one ends at its time limit, whatever it is doing."""

import asyncio
import logging
import os
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import popen_spawn_posix, resource_tracker, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, TypeVarTuple
from weakref import WeakSet

from reasoner.errors import UsageError
from reasoner.orphans import end_with_parent_at_once

if TYPE_CHECKING:
    # Imported where the first worker starts: most runs start none.
    from pebble import ProcessPool

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_TASKS = 500
"""Tasks after which a worker is replaced, so that what foreign code leaks stays bounded."""
GRACE = 2.0
"""Seconds past its limit after which a worker ends itself, should the process that watches it be gone."""
TICK = 1.0
"""Seconds after which a caller looks whether the pool that it waits for is still there."""
STALL = 60.0
"""Seconds beyond the limit of a task in which some task must end, or the pool is taken for stuck.

That happens when a worker is shot from outside while it holds the lock of Pebble's pipe.
"""


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """What a function returned."""

    value: T


@dataclass(frozen=True, slots=True)
class Failed:
    """A function that did not return: it was killed at its time limit, or it raised or took its worker down."""

    kind: Literal["timeout", "crash"]
    why: str


Outcome: TypeAlias = Finished[T] | Failed


@dataclass(slots=True)
class KillablePool:
    """Processes that run functions one at a time each, within limits of time and memory.

    Workers start with the first call. They are spawned, as the parent may hold CUDA and threads, and they never import
    the parent's main script, so a script needs no `if __name__ == "__main__"`. `prepare` runs in each worker
    before its first task and counts towards no time limit.
    """

    workers: int = 2
    memory_mib: int = 4096
    prepare: Callable[[], object] | None = None
    _pool: "ProcessPool | None" = field(default=None, init=False, repr=False)
    _moved: float = field(default=0.0, init=False, repr=False)
    _waited: "dict[Future[Any], ProcessPool]" = field(default_factory=dict, init=False, repr=False)
    _closed: "WeakSet[ProcessPool]" = field(default_factory=WeakSet, init=False, repr=False)

    async def call(self, function: Callable[[*Ts], T], *args: *Ts, seconds: float) -> Outcome[T]:
        """What `function(*args)` comes to in a worker; the limit counts from its start there, not from this call.

        Cancelling the awaiting task kills the function. What the function raises is a crash.

        Raises:
            UsageError: a worker could not import the function.
        """
        name = f"{function.__module__}.{function.__qualname__}"
        if function.__module__ == "__main__" or "<" in name:
            raise UsageError(f"{name} cannot run in another process: define it at the top of a module that is imported")
        for _ in range(2):
            pool = self._pool = self._pool or self._started()
            outcome = await self._call(pool, function, args, seconds)
            if outcome is not None:
                return outcome
            # Pebble gives a whole pool up when an idle worker dies; a new one is as good.
            if self._pool is pool:
                self._pool = None
                await self._end(pool)
        return Failed("crash", "its worker could not be started")

    def _started(self) -> "ProcessPool":
        from pebble import ProcessPool

        self._moved = time.monotonic()
        return ProcessPool(self.workers, MAX_TASKS, _limit, (self.memory_mib, self.prepare), _Spawn())

    async def _call(
        self, pool: "ProcessPool", function: Callable[[*Ts], T], args: tuple[*Ts], seconds: float
    ) -> Outcome[T] | None:
        """The outcome, or None where the pool itself broke."""
        from pebble import ProcessExpired

        try:
            future = pool.schedule(_run, (function, args, seconds), timeout=seconds)
        except RuntimeError:
            return None
        self._waited[future] = pool
        waiting = asyncio.wrap_future(future)
        try:
            while not (await asyncio.wait({waiting}, timeout=TICK))[0]:
                stalled = time.monotonic() - self._moved > seconds + STALL
                if self._pool is pool and (stalled or not pool.active):
                    self._pool = None
                    await self._end(pool)
            return waiting.result()
        except TimeoutError:
            return Failed("timeout", f"it was killed after {seconds:g} s")
        except ProcessExpired as error:
            return Failed("crash", f"its worker ended with exit code {error.exitcode}")
        except BrokenProcessPool:
            return Failed("crash", "the pool was closed") if pool in self._closed else None
        except Exception as error:
            return Failed("crash", _told(error))
        finally:
            waiting.cancel()
            del self._waited[future]
            self._moved = time.monotonic()

    async def warm(self) -> None:
        """Start the workers and wait until they can serve."""
        await asyncio.gather(*(self.call(os.getpid, seconds=60) for _ in range(self.workers)))

    async def close(self) -> None:
        """Kill the workers; what still runs is a crash. A later call starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            self._closed.add(pool)
            await self._end(pool)

    async def _end(self, pool: "ProcessPool") -> None:
        pool.stop()  # type: ignore[no-untyped-call]
        await asyncio.to_thread(pool.join)
        for future in [future for future, at in self._waited.items() if at is pool and not future.done()]:
            # Pebble leaves these pending for ever.
            future.set_exception(BrokenProcessPool())


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _run(function: Callable[[*Ts], T], args: tuple[*Ts], seconds: float) -> Outcome[T]:
    """Runs in the worker."""
    # The kernel ends a worker whose parent is gone, even inside a C function that never looks at signals.
    signal.setitimer(signal.ITIMER_REAL, seconds + GRACE)
    try:
        return Finished(function(*args))
    except BaseException as error:
        return Failed("crash", _told(error))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit(memory_mib: int, prepare: Callable[[], object] | None) -> None:
    """Runs in the worker as it starts: it is bounded in memory, silent, and ends at once when told to or orphaned."""
    end_with_parent_at_once()
    for limit, wanted in ((resource.RLIMIT_AS, memory_mib << 20), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    logging.disable()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    if prepare is not None:
        prepare()


def _without_main(name: str) -> dict[str, Any]:
    data = spawn.get_preparation_data(name)
    return {key: value for key, value in data.items() if not key.startswith("init_main")}


class _Popen(popen_spawn_posix.Popen):
    """Spawns as the standard library does, but does not tell the child to import the parent's main script."""

    # The same code under other names: a patch of the shared module would change what other threads spawn meanwhile.
    _launch = FunctionType(
        popen_spawn_posix.Popen._launch.__code__,  # type: ignore[attr-defined]
        {
            **vars(popen_spawn_posix),
            "spawn": SimpleNamespace(**{**vars(spawn), "get_preparation_data": _without_main}),
        },
    )


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process: BaseProcess) -> popen_spawn_posix.Popen:  # noqa: N802 - multiprocessing's name for it
        # Born with Ctrl-C blocked, so that it prints no traceback while it still starts. The tracker is started
        # before, as that unblocks.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return _Popen(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Spawn(SpawnContext):
    Process = _Process
