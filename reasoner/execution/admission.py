"""What an operation waits for before it starts: room in the ledger, room in the KV cache, and its turn."""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from reasoner.answers.questions import Question
from reasoner.budget import MIN_USEFUL_TOKENS, SUMMED, Budget, Cost, Ledger, Reservation
from reasoner.engine import Engine, Replicated, silent
from reasoner.errors import BudgetExhausted

if TYPE_CHECKING:
    from reasoner.execution.kv_limiter import KvCacheLimiter


LedgerQueues = defaultdict[Ledger, deque[asyncio.Future[None]]]
"""The queues of one run, one in front of each ledger that is short."""
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


class Admission:
    """Turns a question's operations into reservations, first come, first served.

    An operation that does not fit in its worst case waits while work in flight may settle for less than it reserved.
    Then it is clamped to what is free, or refused where too little is left to be useful.
    """

    def __init__(self, ledger: Ledger, queues: LedgerQueues, shares: Shares | None = None) -> None:
        self.ledger = ledger
        self._queues, self._shares = queues, shares
        self.waiting = 0
        """Operations of the question that wait for room."""
        self.on_wait: Callable[[], None] = silent
        """Called when one begins to wait."""
        self._lock, self._behind = asyncio.Lock(), 0

    async def admit(self, price: Callable[[int], Cost], *, max_tokens: int) -> tuple[Reservation, int]:
        """A reservation for up to `max_tokens` tokens, and how many were granted.

        Raises:
            BudgetExhausted: less than the useful minimum fits, and no work in flight can change that.
        """
        max_tokens = self.ledger.within_sequential(price, max_tokens)
        if not self._behind and isinstance(admitted := self._try(price, max_tokens), tuple):
            return admitted
        self._behind += 1
        try:
            async with self._lock:
                waited = False
                try:
                    # The price may change while it waits.
                    while not isinstance(admitted := self._try(price, max_tokens, waited=waited), tuple):
                        with self.waits():
                            await self._wait(admitted, front=waited)
                        waited = True
                    return admitted
                finally:
                    if waited:
                        self._wake()
        finally:
            self._behind -= 1

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
            self._wake()

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
            self._wake()

    def _try(
        self, price: Callable[[int], Cost], max_tokens: int, *, waited: bool = False
    ) -> tuple[Reservation, int] | Ledger:
        """A reservation and the tokens it is for, or the ledger with the queue in which the operation must wait."""
        if not waited and self._queues:
            for ledger in self.ledger.lineage():
                if self._queues.get(ledger):
                    return ledger
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


STARTS: Final = 16
"""Requests that start in one turn: all work of a thousand at once would hold the loop for a second."""
TOGETHER: Final = 64
"""Requests of one question that start in one turn beyond that: engines join what comes together."""


class Pace:
    """Lets `STARTS` questions and requests begin in each turn of the event loop, first come, first served.

    What else the loop serves has its turn in between, however many samples are asked for at once. Requests of one
    question that come together begin together.
    """

    def __init__(self) -> None:
        self.on_turn: Callable[[], None] | None = None
        """Called in the turn after one in which `take` returned False."""
        self._left = STARTS
        self._last: object = None
        self._waiting: deque[tuple[object, asyncio.Future[None]]] = deque()
        self._counting = self._refused = False

    def take(self, *, whole_turn: bool = False) -> bool:
        """Whether something else may begin in this turn, which then counts, or is all that begins in this turn."""
        if self._waiting or self._left < 1:
            self._refused = True
            return False
        self._begun(self, self._left if whole_turn else 1)
        return True

    def begin(self, asker: object) -> "asyncio.Future[None] | None":
        """What another request waits for before it begins; None where this turn has room."""
        if not self._waiting and self._may_begin(asker):
            self._begun(asker)
            return None
        ticket = asyncio.get_running_loop().create_future()
        self._waiting.append((asker, ticket))
        return ticket

    def _may_begin(self, asker: object) -> bool:
        return self._left > 0 or (asker is self._last and self._left > -TOGETHER)

    def _begun(self, asker: object, count: int = 1) -> None:
        self._left -= count
        self._last = asker
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Count from the start, and let those begin that have waited longest."""
        self._counting, self._left, self._last = False, STARTS, None
        while self._waiting and self._may_begin(self._waiting[0][0]):
            asker, ticket = self._waiting.popleft()
            if not ticket.done():
                ticket.set_result(None)
                self._begun(asker)
        if self._refused and self.on_turn:
            self._refused = False
            self.on_turn()


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the questions on one engine wait for: room in a KV cache and in the ledgers above them, and their turn."""

    kv_limiters: "tuple[KvCacheLimiter, ...]"
    """One for each replica of the engine; none where it limits itself."""
    queues: LedgerQueues = field(default_factory=lambda: defaultdict(deque))
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
