"""What an operation waits for before it starts: room in the ledger, room in the KV cache, and its turn."""

import asyncio
import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from reasoner.answers.questions import Question
from reasoner.budget import MIN_USEFUL_TOKENS, NO_COST, Cost, Ledger, Reservation
from reasoner.engine import Engine, ReplicatedEngine
from reasoner.errors import BudgetExhausted
from reasoner.execution.gate import Gate, Room
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


STARTS: Final = 16
"""Requests that start in one turn: all work of a thousand at once would hold the loop for a second."""
TOGETHER: Final = 64
"""Requests of one question that start in one turn beyond that: engines join what comes together."""


class LoopTurn(Room[object]):
    """Lets `STARTS` questions and requests begin in each turn of the event loop.

    What else the loop serves has its turn in between, however many samples are asked for at once. Requests of one
    question that come together begin together.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate, self.queues = gate, (self,)
        self._left = STARTS
        self._last: object = None
        self._counting = self._refused = False

    def open(self, *, whole_turn: bool = False) -> bool:
        """Whether a question may be opened in this turn; it counts, or is all that begins in this turn."""
        if self in self._gate.queues or self._left < 1:
            self._refused = True
            return False
        self.take(self)
        if whole_turn:
            self._left = 0
        return True

    def short(self, asker: object) -> "LoopTurn | None":
        """None where this turn has room for a request of this question."""
        return (
            None
            if self._left > 0 or (asker is self._last and self._left > -TOGETHER)
            else self
        )

    def take(self, asker: object) -> None:
        """Count it."""
        self._left -= 1
        self._last = asker
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """Count from the start, and let those begin that have waited longest."""
        self._counting, self._left, self._last = False, STARTS, None
        self._gate.advance(self)
        if self._refused:
            self._refused = False
            self._gate.on_room()


class EngineLimits:
    """What the questions on one engine share: the gate, the turn of the event loop, and the KV caches.

    There is a limiter for each replica of the engine, and none where it limits itself.
    """

    def __init__(self, kv_limiters: "tuple[KvCacheLimiter, ...]" = ()) -> None:
        self.kv_limiters = kv_limiters
        self.gate = Gate()
        self.turn = LoopTurn(self.gate)

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
