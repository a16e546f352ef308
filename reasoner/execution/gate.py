"""The gate: work enters all the rooms that it needs at once, or waits and holds none of them."""

import asyncio
import heapq
import math
from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reasoner.engine import silent

A = TypeVar("A")


class Room(Generic[A]):
    """Room for a limited number of those that ask: a question's ledgers, a KV cache."""

    queues: tuple[Hashable, ...]
    """The names of the queues in which those wait that it is short for."""

    def rank(self, _ask: A) -> int:
        """The lowest waits first; of one rank, those that came first."""
        return 0

    @abstractmethod
    def short(self, ask: A) -> Hashable | None:
        """The queue to wait in; None where there is room. It may raise, which refuses the one that asks."""

    @abstractmethod
    def take(self, ask: A) -> None:
        """Hold what one needs that this room was not short for."""

    def give(self, ask: A) -> None:
        """Take back what one has held."""


Rooms = tuple[Room[Any], ...]
Blocked = tuple[Room[Any], Hashable]
"""The first room that is short, and the queue of those that wait for it."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One that waits."""

    number: int
    ask: Any
    rooms: Rooms
    entered: "asyncio.Future[None]"
    queues: list[Hashable]
    """Those in which it has waited; it is in the last one."""


Waiting = tuple[int, int, Ticket]
"""Its rank, its number and its ticket."""


class Gate:
    """Where work waits for rooms.

    Whoever asks enters all its rooms at once, or waits in the queue of the first that is short. There the first come is
    the first served, whichever question it is of, and nobody overtakes one that waits, however little it needs. When
    that room is there and another one is short, it moves to the queue of that one.
    """

    def __init__(self) -> None:
        self.queues: dict[Hashable, list[Waiting]] = {}
        """What waits, in heaps by rank and number."""
        self.on_room: Callable[[], None] = silent
        """Called when fewer wait, so that another question may be opened."""
        self._number = 0

    def enter(self, ask: Any, rooms: Rooms, number: float = math.inf) -> Blocked | None:
        """Enter all rooms; None is entered where one is short, or others wait for it who came before this `number`.

        A room may raise, which is a refusal.
        """
        queues = self.queues
        for room in rooms:
            if queues:
                for name in room.queues:
                    if name in queues and queues[name][0][:2] < (
                        room.rank(ask),
                        number,
                    ):
                        return room, name
            short = room.short(ask)
            if short is not None:
                return room, short
        for room in rooms:
            room.take(ask)
        return None

    async def wait(
        self, ask: Any, rooms: Rooms, blocked: Blocked
    ) -> Sequence[Hashable]:
        """Enter where it was `blocked`, once there is room; the queues in which it has waited. Raises as `enter`."""
        self._number += 1
        ticket = Ticket(
            self._number, ask, rooms, asyncio.get_running_loop().create_future(), []
        )
        self._queue(ticket, *blocked)
        try:
            await ticket.entered
        except asyncio.CancelledError:
            if ticket.entered.cancelled():
                self.advance(ticket.queues[-1])
            elif not ticket.entered.exception():
                self.leave(ask, rooms)
            raise
        return ticket.queues

    def leave(self, ask: Any, rooms: Rooms) -> None:
        """Give back all the rooms, and let those enter that wait for them. Raises what the first that fails raises."""
        failure: Exception | None = None
        for room in reversed(rooms):
            try:
                room.give(ask)
            except Exception as error:
                failure = failure or error
        if self.queues:
            for room in rooms:
                self.advance(*room.queues)
        if failure:
            raise failure

    def advance(self, *names: Hashable) -> None:
        """Let all enter that have waited longest in these queues and find room."""
        for name in names:
            if name in self.queues:
                self._advance(name, self.queues[name])

    def _advance(self, name: Hashable, queue: list[Waiting]) -> None:
        first = queue[0]
        while queue:
            ticket, blocked = queue[0][-1], None
            # One that was cancelled may not have run yet when others leave: it is skipped.
            if not ticket.entered.done():
                try:
                    blocked = self.enter(ticket.ask, ticket.rooms, ticket.number)
                except Exception as refusal:
                    ticket.entered.set_exception(refusal)
                else:
                    if blocked is None:
                        ticket.entered.set_result(None)
                    elif blocked[1] is name:
                        break
            heapq.heappop(queue)
            if blocked:
                self._queue(ticket, *blocked)
        if not queue:
            del self.queues[name]
        if not queue or queue[0] is not first:
            self.on_room()

    def _queue(self, ticket: Ticket, room: Room[Any], name: Hashable) -> None:
        heapq.heappush(
            self.queues.setdefault(name, []),
            (room.rank(ticket.ask), ticket.number, ticket),
        )
        ticket.queues.append(name)
