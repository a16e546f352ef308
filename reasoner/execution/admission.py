"""What an operation waits for before it starts: room in the ledger, room in the KV cache, and its turn."""

import asyncio
import heapq
import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from reasoner.answers.questions import Question
from reasoner.budget import MIN_USEFUL_TOKENS, NO_COST, Cost, Ledger, Reservation
from reasoner.engine import Engine, ReplicatedEngine
from reasoner.errors import BudgetExhausted
from reasoner.execution.gate import Gate, Room
from reasoner.execution.launching import STARTS
from reasoner.execution.scheduler import Shares

if TYPE_CHECKING:
    from reasoner.execution.kv_limiter import KvCacheLimiter


KV_SHARE: Final = 0.9
"""The part of the KV cache that may be in flight; beyond it the engine preempts and recomputes."""


class NoDeadline(nullcontext[None]):
    """A timeout that never comes."""

    def expired(self) -> bool:
        """False."""
        return False


@dataclass(slots=True, eq=False)
class LedgerClaim:
    """What asks the ledgers for room: for up to `max_tokens` tokens."""

    max_tokens: int
    granted: int = field(default=0, init=False)
    """The tokens that the ledgers have room for."""
    reservation: Reservation = field(init=False)
    actual: Cost = field(default=NO_COST, init=False)
    """What it has cost."""

    def price(self, _tokens: int) -> Cost:
        """The most that it costs with this number of tokens."""
        return NO_COST


class Admission(Room[LedgerClaim]):
    """The ledgers of a question: its own, and those above it, which it shares.

    An operation that does not fit in its worst case waits while work in flight may settle for less than it reserved.
    Then it is clamped to what is free, or refused where too little is left to be useful.
    """

    def __init__(self, ledger: Ledger, shares: Shares | None = None) -> None:
        self.ledger = ledger
        self.queues = ledger.lineage
        self._shares = shares
        self.timed = ledger.remaining_seconds() < math.inf
        """Whether there is a deadline."""

    def short(self, ask: LedgerClaim) -> Ledger | None:
        """The ledger that is short for now; None where there is room for the tokens that it is `granted`.

        Raises:
            BudgetExhausted: less than the useful minimum fits, and no work in flight can change that.
        """
        ledger, price = self.ledger, ask.price
        max_tokens = ledger.within_sequential(price, ask.max_tokens)
        if self._shares:
            self._shares.take(price(min(max_tokens, MIN_USEFUL_TOKENS)))
            self._shares = None
        worst = price(max_tokens)
        short = ledger.shortfall(worst)
        if short and not short.may_ease:
            short = ledger.shortfall(price(min(max_tokens, MIN_USEFUL_TOKENS)))
            if short is None:
                max_tokens = ledger.fit(price, max_tokens=max_tokens)
                worst = price(max_tokens)
        if short is None:
            ask.granted, ask.reservation, ask.actual = (
                max_tokens,
                Reservation(worst),
                NO_COST,
            )
            return None
        if short.may_ease:
            return short.ledger
        raise short.refusal

    def take(self, ask: LedgerClaim) -> None:
        """Reserve its worst case."""
        self.ledger.hold(ask.reservation)

    def give(self, ask: LedgerClaim) -> None:
        """Book its actual cost. Raises as `Ledger.settle`."""
        self.ledger.settle(ask.reservation, ask.actual)

    def deadline(self) -> "asyncio.Timeout | NoDeadline":
        """A timeout at the nearest deadline."""
        return (
            asyncio.timeout(self.ledger.remaining_seconds())
            if self.timed
            else NoDeadline()
        )

    def too_late(self) -> BudgetExhausted:
        """The refusal to raise when the nearest deadline passed."""
        limit = round(self.ledger.remaining_seconds() + self.ledger.elapsed, 3)
        return BudgetExhausted("seconds", needed=0, free=0, limit=limit)

    def close(self) -> None:
        """No more operations follow: the question needs no share."""
        if self._shares:
            self._shares.take()


class Turns:
    """Lets `STARTS` questions and requests start in each turn of the event loop.

    So whatever else it serves has its turn too. The lowest rank comes first, and of one rank those that came first.
    """

    def __init__(self) -> None:
        self._left = STARTS
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._number = 0

    def take(self) -> bool:
        """Whether this turn has room, which is then taken."""
        if self._left == STARTS:
            asyncio.get_running_loop().call_soon(self._next)
        if not self._left:
            return False
        self._left -= 1
        return True

    async def wait(self, rank: int) -> None:
        """Wait for a turn with room, and take it."""
        if self.take():
            return
        self._number += 1
        entered = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, self._number, entered))
        await entered

    def _next(self) -> None:
        self._left = STARTS
        while self._left and self._waiting:
            entered = heapq.heappop(self._waiting)[-1]
            if not entered.done():
                entered.set_result(None)
                self._left -= 1
        if self._left < STARTS:
            asyncio.get_running_loop().call_soon(self._next)


class EngineLimits:
    """What the questions on one engine share: the gate, the turns of the event loop, and the KV caches.

    There is a limiter for each replica of the engine, and none where it limits itself.
    """

    def __init__(self, kv_limiters: "tuple[KvCacheLimiter, ...]" = ()) -> None:
        self.kv_limiters = kv_limiters
        self.gate = Gate()
        self.turns = Turns()

    @classmethod
    def of(cls, engine: Engine) -> Self:
        """The limits of a started engine."""
        if not engine.capacity:
            return cls()
        # NumPy takes a tenth of a second to import.
        from reasoner.execution.kv_limiter import KvCacheLimiter

        replicas = engine.replicas if isinstance(engine, ReplicatedEngine) else 1
        return cls(
            tuple(
                KvCacheLimiter(int(engine.capacity * KV_SHARE)) for _ in range(replicas)
            )
        )

    def kv_limiter(self, engine: Engine, question: Question) -> "KvCacheLimiter | None":
        """The limiter of the replica that serves this question."""
        if len(self.kv_limiters) > 1 and isinstance(engine, ReplicatedEngine):
            return self.kv_limiters[engine.replica_of(question.id)]
        return self.kv_limiters[0] if self.kv_limiters else None

    @property
    def crowded(self) -> bool:
        """Whether enough sequences wait before every KV cache to keep it full for a while."""
        queues = self.gate.queues
        return bool(self.kv_limiters) and all(
            len(queues.get(limiter, ())) > limiter.backlog
            for limiter in self.kv_limiters
        )
