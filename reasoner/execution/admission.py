"""What an operation waits for before it starts: room in the ledger, room in the KV cache, and its turn."""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from reasoner.answers.questions import Question
from reasoner.budget import MIN_USEFUL_TOKENS, NO_COST, SUMMED, Budget, Cost, Ledger, Reservation
from reasoner.engine import Engine, Replicated, silent
from reasoner.errors import BudgetExhausted
from reasoner.execution.gate import Room

if TYPE_CHECKING:
    from reasoner.execution.kv_limiter import KvCacheLimiter


KV_SHARE: Final = 0.9
"""The part of the KV cache that may be in flight; beyond it the engine preempts and recomputes."""


class Shares:
    """Room in the run's budget for the `questions` that have drawn nothing yet, so that none is starved.

    Of what is left, each has an equal share. Half of it is kept until its first operation, as most samples are shorter
    than they may be; the other half until it is one of the next `window`. What is kept for all is one number. Where the
    budget is too small for all, the first questions have theirs.
    """

    def __init__(self, run: Ledger, questions: int, window: int) -> None:
        self._run, self._questions, self._window = run, questions, window
        bounded = [unit for unit in SUMMED if getattr(run.budget, unit) is not None]
        amounts: dict[str, Any] = {unit: max(0, run.free(unit)) for unit in bounded}
        self._half = Budget(**amounts).divided(2 * questions)
        parts = [(getattr(self._half, unit), amount) for unit, amount in amounts.items()]
        self._kept = min((int(amount // half) for half, amount in parts if half), default=0)
        """How many halves are kept."""
        self._keep()

    def _keep(self, fewer: int = 0) -> None:
        wanted = self._questions + max(0, self._questions - self._window)
        self._kept = max(0, min(self._kept - fewer, wanted))
        self._run.keep(self._half, self._kept)

    def take(self, least: Cost | None = None) -> None:
        """Free the share of a question that draws for the first time, and more where its `least` does not fit."""
        self._questions = max(0, self._questions - 1)
        self._keep()
        while least and self._kept and self._run.shortfall(least):
            self._keep(fewer=1)

    def end_of_input(self) -> None:
        """No more questions will draw: nothing is kept."""
        self._questions = 0
        self._keep()


class NoDeadline(nullcontext[None]):
    """A timeout that never comes."""

    def expired(self) -> bool:
        """False."""
        return False


NO_DEADLINE: Final = NoDeadline()


class Request(NamedTuple):
    """What an operation asks a ledger for: the `price` of a number of tokens, up to the most that it wants."""

    admission: "Admission"
    price: Callable[[int], Cost]
    max_tokens: int


Admitted = tuple[Reservation, int]
"""A reservation, and the number of tokens that it is for."""


class LedgerRoom(Room[Request, "Admitted | Ledger"]):
    """What waits because a ledger is short. One that another ledger of its question cannot admit moves there."""

    def __init__(self, ledger: Ledger) -> None:
        Room.__init__(self)
        self._ledger = ledger

    def take(self, ask: Request) -> "Admitted | Ledger | None":
        """A reservation, or another ledger that is short."""
        admitted = ask.admission.reserve(ask.price, ask.max_tokens)
        return None if admitted is self._ledger else admitted

    def give(self, ask: Request, entry: "Admitted | Ledger") -> None:
        """Release the reservation, which has cost nothing."""
        if not isinstance(entry, Ledger):
            ask.admission.settle(entry[0], NO_COST)


LedgerRooms = dict[Ledger, LedgerRoom]
"""The rooms of the ledgers that are short."""


class Admission:
    """Turns a question's operations into reservations, first come, first served among all questions.

    An operation that does not fit in its worst case waits while work in flight may settle for less than it reserved.
    Then it is clamped to what is free, or refused where too little is left to be useful.
    """

    def __init__(self, ledger: Ledger, rooms: LedgerRooms, shares: Shares | None = None) -> None:
        self.ledger = ledger
        self._rooms, self._shares = rooms, shares
        self.waiting = 0
        """Operations of the question that wait for room."""
        self.on_wait: Callable[[], None] = silent
        """Called when one begins to wait."""

    async def admit(self, price: Callable[[int], Cost], *, max_tokens: int) -> Admitted:
        """A reservation for up to `max_tokens` tokens, and how many were granted.

        Raises:
            BudgetExhausted: less than the useful minimum fits, and no work in flight can change that.
        """
        max_tokens, rank = self.ledger.within_sequential(price, max_tokens), 0
        admitted = (self._rooms and self._behind()) or self.reserve(price, max_tokens)
        while isinstance(admitted, Ledger):
            room = self._rooms.setdefault(admitted, LedgerRoom(admitted))
            with self.waits():
                admitted = await room.wait(Request(self, price, max_tokens), rank)
            # One that moves has waited longer than those that are there.
            rank -= 1
        return admitted

    @contextmanager
    def waits(self) -> Iterator[None]:
        """A block that waits for room which running work may hold."""
        self.waiting += 1
        self.on_wait()
        try:
            yield
        finally:
            self.waiting -= 1

    def settle(self, reservation: Reservation, actual: Cost) -> None:
        """Book the actual cost of an operation, and wake the next in the queue."""
        try:
            self.ledger.settle(reservation, actual)
        finally:
            self._advance()

    def deadline(self) -> "asyncio.Timeout | NoDeadline":
        """A timeout at the nearest deadline."""
        left = self.ledger.remaining_seconds()
        return NO_DEADLINE if left == math.inf else asyncio.timeout(left)

    def too_late(self) -> BudgetExhausted:
        """The refusal to raise when the nearest deadline passed."""
        limit = round(self.ledger.remaining_seconds() + self.ledger.elapsed, 3)
        return BudgetExhausted("seconds", needed=0, free=0, limit=limit)

    def close(self) -> None:
        """No more operations follow: the question needs no share."""
        if self._shares:
            self._shares.take()
            self._advance()

    def _behind(self) -> Ledger | None:
        """The first of the question's ledgers for which others wait."""
        return next((ledger for ledger in self.ledger.lineage() if ledger in self._rooms), None)

    def reserve(self, price: Callable[[int], Cost], max_tokens: int) -> "Admitted | Ledger":
        """A reservation and the tokens that it is for, or the ledger that is short for now.

        Raises:
            BudgetExhausted: as `admit`.
        """
        least = min(max_tokens, MIN_USEFUL_TOKENS)
        if self._shares:
            self._shares.take(price(least))
            self._shares = None
        worst = price(max_tokens)
        short = self.ledger.shortfall(worst)
        if short and not short.may_ease and (short := self.ledger.shortfall(price(least))) is None:
            max_tokens = self.ledger.fit(price, max_tokens=max_tokens)
            worst = price(max_tokens)
        if short is None:
            return self.ledger.hold(worst), max_tokens
        if short.may_ease:
            return short.ledger
        raise short.refusal

    def _advance(self) -> None:
        """Let those enter that wait for this question's ledgers."""
        if self._rooms:
            for ledger in self.ledger.lineage():
                if room := self._rooms.get(ledger):
                    room.advance()
                    if not room.waiting:
                        del self._rooms[ledger]


STARTS: Final = 16
"""Requests that start in one turn: all work of a thousand at once would hold the loop for a second."""
TOGETHER: Final = 64
"""Requests of one question that start in one turn beyond that: engines join what comes together."""


class Pace(Room[object, bool]):
    """Lets `STARTS` questions and requests begin in each turn of the event loop.

    What else the loop serves has its turn in between, however many samples are asked for at once. Requests of one
    question that come together begin together.
    """

    def __init__(self) -> None:
        Room.__init__(self)
        self._left = STARTS
        self._last: object = None
        self._counting = self._refused = False

    def open(self, *, whole_turn: bool = False) -> bool:
        """Whether a question may be opened in this turn; it counts, or is all that begins in this turn."""
        if self.waiting or self._left < 1:
            self._refused = True
            return False
        self._begun(self, self._left if whole_turn else 1)
        return True

    def take(self, asker: object) -> bool | None:
        """True where this turn has room for a request of this question."""
        if self._left > 0 or (asker is self._last and self._left > -TOGETHER):
            self._begun(asker)
            return True
        return None

    def give(self, _asker: object, _entry: bool) -> None:
        """The turn has passed."""

    def _begun(self, asker: object, count: int = 1) -> None:
        self._left -= count
        self._last = asker
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Count from the start, and let those begin that have waited longest."""
        self._counting, self._left, self._last = False, STARTS, None
        self.advance()
        if self._refused:
            self._refused = False
            self.on_room()


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the questions on one engine wait for: room in a KV cache and in the ledgers above them, and their turn."""

    kv_limiters: "tuple[KvCacheLimiter, ...]"
    """One for each replica of the engine; none where it limits itself."""
    rooms: LedgerRooms = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)

    @classmethod
    def of(cls, engine: Engine) -> Self:
        """The limits of a started engine."""
        if not engine.capacity:
            return cls(())
        # NumPy takes a tenth of a second to import.
        from reasoner.execution.kv_limiter import KvCacheLimiter

        replicas = engine.replicas if isinstance(engine, Replicated) else 1
        return cls(tuple(KvCacheLimiter(int(engine.capacity * KV_SHARE)) for _ in range(replicas)))

    def kv_limiter(self, engine: Engine, question: Question) -> "KvCacheLimiter | None":
        """The limiter of the replica that serves this question."""
        if len(self.kv_limiters) > 1 and isinstance(engine, Replicated):
            return self.kv_limiters[engine.replica_of(question.id)]
        return self.kv_limiters[0] if self.kv_limiters else None

    @property
    def crowded(self) -> bool:
        """Whether enough sequences wait before every KV cache to keep it full for a while."""
        return bool(self.kv_limiters) and all(limiter.crowded for limiter in self.kv_limiters)
