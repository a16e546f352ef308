"""The queue in front of the ledger: which operation may start next."""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from reasoner.budget import MIN_USEFUL_TOKENS, Cost, Ledger, Reservation, Shortfall
from reasoner.errors import BudgetExhausted

LedgerQueues = defaultdict[Ledger, deque[asyncio.Future[None]]]


def new_queues() -> LedgerQueues:
    """The queues of one run, one in front of each ledger that is short."""
    return defaultdict(deque)


@dataclass(slots=True)
class Floor:
    """Room in a ledger, held for one question until its first operation, so that no question is starved."""

    ledger: Ledger
    worst: Cost
    _held: Reservation | None = None

    def __post_init__(self) -> None:
        self._held = self.ledger.hold(self.worst)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """A block in which the room is free; it must not await."""
        if self._held is None:
            yield
            return
        self.drop()
        yield
        self._held = self.ledger.hold(self.worst)

    def drop(self) -> None:
        """Free the room for good."""
        if self._held:
            self.ledger.release(self._held)
            self._held = None


class Admission:
    """Turns a question's operations into reservations, first come, first served.

    An operation whose worst case does not fit waits while work in flight may still settle for less than it reserved.
    Then it is clamped to what is free, or refused where too little is left to be useful. A `floor` is room for the
    first operation.
    """

    def __init__(self, ledger: Ledger, queues: LedgerQueues) -> None:
        self.ledger = ledger
        self.floor: Floor | None = None
        self._queues = queues
        self._lock = asyncio.Lock()

    async def admit(self, price: Callable[[int], Cost], *, max_tokens: int) -> tuple[Reservation, int]:
        """A reservation for up to `max_tokens` tokens, and how many were granted.

        Raises:
            BudgetExhausted: less than the useful minimum fits, and no work in flight can change that.
        """
        async with self._lock:
            waited = False
            try:
                while (ledger := self._obstacle(price, max_tokens, waited)) is not None:
                    await self._wait(ledger, front=waited)
                    waited = True
                self._drop_floor()
                granted = self.ledger.fit(price, max_tokens=max_tokens)
                return self.ledger.reserve(price(granted)), granted
            finally:
                if waited:
                    self._wake()

    def settle(self, reservation: Reservation, actual: Cost) -> None:
        """Book the actual cost of an operation, and wake the next in the queue."""
        try:
            self.ledger.settle(reservation, actual)
        finally:
            self._wake()

    def deadline(self) -> asyncio.Timeout:
        """A timeout at the nearest deadline."""
        left = self.ledger.remaining_seconds()
        return asyncio.timeout(None if left == math.inf else left)

    def too_late(self) -> BudgetExhausted:
        """The refusal to raise when the nearest deadline passed."""
        limit = round(self.ledger.remaining_seconds() + self.ledger.elapsed, 3)
        return BudgetExhausted("seconds", needed=0, free=0, limit=limit)

    def close(self) -> None:
        """No more operations follow: free the floor."""
        if self.floor:
            self._drop_floor()
            self._wake()

    def _drop_floor(self) -> None:
        if self.floor:
            self.floor.drop()
            self.floor = None

    def _obstacle(self, price: Callable[[int], Cost], max_tokens: int, waited: bool) -> Ledger | None:
        """The ledger in whose queue an operation must wait; None if it can be decided now."""
        with self.floor.lifted() if self.floor else nullcontext():
            if not waited and self._queues:
                for ledger in self.ledger.lineage():
                    if self._queues.get(ledger):
                        return ledger
            short: Shortfall | None = self.ledger.shortfall(price(max_tokens))
            if short and not short.may_ease:
                short = self.ledger.shortfall(price(min(max_tokens, MIN_USEFUL_TOKENS)))
            return short.ledger if short and short.may_ease else None

    async def _wait(self, ledger: Ledger, *, front: bool) -> None:
        queue = self._queues[ledger]
        ticket = asyncio.get_running_loop().create_future()
        queue.insert(0 if front else len(queue), ticket)
        try:
            try:
                await ticket
            finally:
                queue.remove(ticket)
                if not queue:
                    del self._queues[ledger]
        except asyncio.CancelledError:
            self._wake()
            raise

    def _wake(self) -> None:
        if not self._queues:
            return
        for ledger in self.ledger.lineage():
            queue = self._queues.get(ledger)
            if queue and not queue[0].done():
                queue[0].set_result(None)
