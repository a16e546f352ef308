"""Limits on the time of requests. One timer serves all: asyncio's own limits make one for each."""

import asyncio
from dataclasses import dataclass

from reasoner.errors import RequestLost


class Deadlines(dict["TimeLimit", float]):
    """The blocks of an event loop that are open, and when each must have ended."""

    _timer: asyncio.TimerHandle | None = None

    def add(self, block: "TimeLimit", loop: asyncio.AbstractEventLoop) -> None:
        """A block begins: it is cut off when its seconds have passed."""
        self[block] = due = loop.time() + block.seconds
        if self._timer is None or due < self._timer.when():
            self._wait(due, loop)

    def _wait(self, due: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = loop.call_at(due, self._look, due, loop)

    def _look(self, due: float, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for block in [block for block, end in self.items() if end <= due]:
            del self[block]
            block.cut()
        if self:
            self._wait(min(self.values()), loop)


@dataclass(slots=True, eq=False)
class TimeLimit:
    """A block in a task that ends within this many seconds, or with `RequestLost`; `where` is the server's address."""

    deadlines: Deadlines
    where: str
    seconds: float
    _task: "asyncio.Task[object] | None" = None
    _before: int = 0
    _late: bool = False

    def cut(self) -> None:
        """End it: its time has passed."""
        assert self._task
        self._late = True
        self._task.cancel()

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task()
        assert task
        self._before = task.cancelling()
        self.deadlines.add(self, task.get_loop())

    def __exit__(
        self, kind: object, failure: BaseException | None, _traceback: object
    ) -> None:
        self.deadlines.pop(self, None)
        if (
            self._task
            and self._late
            and self._task.uncancel() <= self._before
            and kind is asyncio.CancelledError
        ):
            late = f"{self.where} did not finish a reply within {self.seconds:g} s: set deadline"
            raise RequestLost(late) from failure
