"""A room of the gate: what does not fit waits, and what has waited longest at the best rank enters first."""

import asyncio
import heapq
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from reasoner.engine import silent

A = TypeVar("A")
P = TypeVar("P")


class Room(Generic[A, P]):
    """Room for a limited number of those that ask; each that enters has a place, which it gives back in its own way.

    Those that wait enter by rank, the lowest first, and of one rank first come, first served. Nobody overtakes one that
    waits, however little it needs. Whoever makes room calls `advance`.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, A, asyncio.Future[P]]] = []
        """What waits, as a heap: its rank, its number, what it asks for, and its ticket."""
        self.on_room: Callable[[], None] = silent
        """Called when another question may be opened, as far as this room is concerned."""
        self._number = 0

    @abstractmethod
    def take(self, ask: A) -> P | None:
        """A place; None where there is none yet. It may raise, which refuses the one that asks."""

    @abstractmethod
    def give(self, ask: A, entry: P) -> None:
        """Take back the place of one that was cancelled before it learned that it has one."""

    def now(self, ask: A) -> P | None:
        """A place that is there at once, and that nobody waits for."""
        return None if self.waiting else self.take(ask)

    async def wait(self, ask: A, rank: int = 0) -> P:
        """A place, once there is one."""
        ticket: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self.waiting, (rank, self._number, ask, ticket))
        if self.waiting[0][-1] is ticket:
            self.advance()
        try:
            return await ticket  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            if ticket.cancelled():
                self.advance()
            elif not ticket.exception():
                self.give(ask, ticket.result())
            raise

    def advance(self) -> None:
        """Let enter all that fit, in their order."""
        while self.waiting:
            _, _, ask, ticket = self.waiting[0]
            # One that was cancelled may not have run yet when others leave: it is skipped.
            if not ticket.done():
                try:
                    entry = self.take(ask)
                except Exception as refusal:
                    ticket.set_exception(refusal)
                else:
                    if entry is None:
                        return
                    ticket.set_result(entry)
            heapq.heappop(self.waiting)
