"""Limits on requests, with fewer calls than asyncio's own: how many are in flight, and how long each may take."""

import asyncio
from collections import deque
from dataclasses import dataclass
from types import TracebackType

from reasoner.errors import RequestLost


class Slots:
    """How many requests may be in flight at once, first come, first served."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a slot, which is to be given back."""
        if self._free:
            self._free -= 1
            return
        ticket = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if not ticket.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Give a slot back: to who has waited longest."""
        while self._waiting:
            ticket = self._waiting.popleft()
            if not ticket.done():
                ticket.set_result(None)
                return
        self._free += 1


class Deadlines(dict["Within", float]):
    """The blocks of an event loop that are open, and when each must have ended. One timer serves all of them."""

    _timer: asyncio.TimerHandle | None = None

    def add(self, block: "Within", loop: asyncio.AbstractEventLoop) -> None:
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
class Within:
    """A block in a task that ends within so many seconds, or with `RequestLost`; `where` is the server's address."""

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
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.deadlines.pop(self, None)
        if self._task and self._late and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise RequestLost(
                f"{self.where} did not finish a reply within {self.seconds:g} s: set deadline"
            ) from failure
