"""How tests wait: for other threads and processes until these surely hang, and for time without letting it pass."""

import asyncio
import selectors
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import pytest

from reasoner.budget import Ledger

PATIENCE = 600
"""Seconds after which a wait is a hang and fails its test: no machine is so slow, and pytest's own limit is higher."""


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until another thread or process has made it true."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def until(true: Callable[[], bool]) -> None:
    """As `wait_until`, while the event loop runs."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - other threads and processes set no event
            await asyncio.sleep(0.01)


def gone(process: psutil.Process) -> bool:
    """Whether it has ended, even if nobody has read its status."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_end(processes: Iterable[psutil.Process]) -> None:
    """Wait until all of them have ended."""
    for process in processes:
        wait_until(lambda process=process: gone(process))  # type: ignore[misc]


@dataclass(slots=True)
class _Clock:
    """The time of the loops of a test."""

    may_pass: Callable[[], bool]
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class _Idle(selectors.DefaultSelector):
    """Where a loop would wait for a timer, moves the clock there instead."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        may_pass = self._clock.may_pass()
        ready = super().select(timeout and (0 if may_pass else 0.01))
        if timeout and may_pass and not ready:
            self._clock.now += timeout
        return ready


@contextmanager
def idle_time(may_pass: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Time for `asyncio.run` and budgets that passes, at once, only while every task waits: no machine is too slow.

    `may_pass` says whether tasks wait for time alone, and no longer for another thread.
    """
    clock, defaults = _Clock(may_pass), Ledger.__init__.__kwdefaults__
    assert defaults
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(defaults, "clock", clock)
        patch.setattr(time, "monotonic", clock)
        patch.setattr(
            asyncio.events,
            "new_event_loop",
            lambda: asyncio.SelectorEventLoop(_Idle(clock)),
        )
        yield
