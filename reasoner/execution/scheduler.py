"""Scheduling of draws under one budget: the question whose next samples have the highest value draws next."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from reasoner.budget import Budget, Ledger
from reasoner.errors import BudgetExhausted
from reasoner.execution.allocation import Allocation, BidQueue, QuestionState
from reasoner.types import VoteState

UNKNOWN_REMAINING = 64
"""Samples beyond the leader's votes that may be left if their number is unknown: enough to overtake any leader."""
IN_FLIGHT = 1 / 8
"""The part of the remaining budget that may be in flight beyond first samples, so that results redirect the rest."""


class Scheduler:
    """The order in which the questions of one run draw. Bookkeeping on the event loop; it never waits.

    Questions are opened one after the other and each draws once first; `on_first_draw` is called when one does. At most
    `window` are open at once. `questions` is how many will be opened in all, 0 if that is unknown. Once all are opened,
    or the window is full, the question with the best bid draws its next wave. A question bids when its last wave has
    ended and its plan waits. A bid below the price is refused, as the ledger would refuse it. While more questions are
    to come, those of the window spend no more than the equal shares of all that were opened; where that does not pay
    for a draw, the worst bid is refused, so that the next question is opened.
    """

    def __init__(
        self,
        allocation: Allocation,
        run: Ledger,
        questions: int,
        on_first_draw: Callable[[], None],
        *,
        window: int | None = None,
    ) -> None:
        self.allocation = allocation
        self._on_first_draw = on_first_draw
        self._unopened = questions
        self._window = questions if window is None else window
        self._bids = BidQueue(allocation)
        self._run = run
        self._unit, self._limit = competing_unit(run.budget)
        self._share = max(0.0, self._limit - self.measured(run)) / max(1, questions)
        self._scheduled: dict[int, ScheduledQuestion] = {}
        self._first_draws: deque[ScheduledQuestion] = deque()
        self._undrawn = 0
        self._drawing = 0
        self._in_flight = 0
        self._ending: ScheduledQuestion | None = None
        """The question that was refused a draw so that it ends and the next one is opened."""

    def add(self, index: int, ledger: Ledger) -> "ScheduledQuestion":
        """Add the question at `index`, which spends from `ledger`."""
        scheduled = self._scheduled[index] = ScheduledQuestion(index, ledger, self)
        self._unopened = max(0, self._unopened - 1)
        self._undrawn += 1
        self._ending = None
        return scheduled

    @property
    def full(self) -> bool:
        """Whether the window is full, or as many questions wait for their first draw as draws may be in flight."""
        return self._undrawn >= self.allocation.abreast or len(self._scheduled) >= self._window

    def end_of_input(self) -> None:
        """No more questions will be opened."""
        self._unopened = 0
        self.advance()

    def enqueue(self, scheduled: "ScheduledQuestion") -> None:
        """A question has an operation that waits."""
        if not scheduled.queued:
            scheduled.queued = True
            self._first_draws.append(scheduled)
        self.advance()

    def advance(self) -> None:
        """Start every draw that may start now."""
        while self._first_draws and self._in_flight < self.allocation.abreast:
            scheduled = self._first_draws.popleft()
            if scheduled.waiting:
                self._drawing += 1
                self._undrawn -= 1
                scheduled.opened = True
                self._in_flight += scheduled.release(1)
                self._on_first_draw()
        if self._unopened and len(self._scheduled) < self._window:
            return
        price = self.allocation.price
        # Short waves decide better, so a wave is as long as it takes to keep `abreast` draws in flight.
        longest = max(1, self.allocation.abreast // max(1, self._drawing))
        while (bid := self._bids.peek()) is not None:
            scheduled, draws = self._scheduled[bid.question], min(bid.draws, longest)
            if bid.value < price:
                self._bids.pop()
                scheduled.refuse(BudgetExhausted("price", needed=price, free=bid.value, limit=price))
            elif draws := self._affordable(draws):
                self._bids.pop()
                self._in_flight += scheduled.release(draws)
            else:
                return

    def _affordable(self, draws: int) -> int:
        """How many of these draws may start now: while questions are to come, none is paid from their shares."""
        if not self._fits(draws):
            return 0
        mean = self._bids.mean
        if not self._unopened or not mean:
            return draws
        room = self._limit - self._share * self._unopened - self.measured(self._run) - self._in_flight * mean
        if room < mean:
            if self._ending is None:
                self._ending = self._scheduled[self._bids.pop_worst().question]
                self._ending.refuse(BudgetExhausted(self._unit, needed=mean, free=max(0, room), limit=self._limit))
            return 0
        return min(draws, int(min(room / mean, draws)))

    def _fits(self, draws: int) -> bool:
        if not self._in_flight:
            return True
        if self._in_flight >= self.allocation.abreast:
            return False
        left = self._limit - self.measured(self._run)
        return (self._in_flight + draws) * self._bids.mean <= left * IN_FLIGHT

    def measured(self, ledger: Ledger) -> float:
        """What a ledger has spent, in the unit in which questions compete."""
        return self._run.measure(self._unit, ledger.settled)

    def draw_ended(self) -> None:
        """An operation that was started has ended."""
        self._in_flight -= 1
        self.advance()

    def enter_bid(self, scheduled: "ScheduledQuestion") -> None:
        """Enter the bid of a question that waits for its next wave, or refuse it if its lead is safe."""
        if scheduled is self._ending:
            self._ending = None
        state = scheduled.state()
        if state.lead - state.second > state.remaining:
            price = self.allocation.price
            scheduled.refuse(BudgetExhausted("price", needed=price, free=0, limit=price))
        else:
            self._bids.update(scheduled.index, state)
            self.advance()

    def close(self, scheduled: "ScheduledQuestion") -> None:
        """A question draws no more."""
        if scheduled.opened:
            self._drawing -= 1
            # What its last wave cost counts towards the mean.
            self._bids.update(scheduled.index, scheduled.state())
        else:
            self._undrawn -= 1
        del self._scheduled[scheduled.index]
        self._bids.close(scheduled.index)
        self.advance()


@dataclass(slots=True, eq=False)
class ScheduledQuestion:
    """One question in the order of draws, and its operations that wait."""

    index: int
    ledger: Ledger
    scheduler: Scheduler = field(repr=False)
    queued: bool = False
    opened: bool = False
    waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)
    _in_flight: int = 0
    _idle: bool = False
    _blocking: bool = False
    _vote_state: VoteState = field(default_factory=VoteState)

    @asynccontextmanager
    async def draw(self) -> AsyncIterator[None]:
        """A block in which an operation runs; it begins when the scheduler starts it.

        Raises:
            BudgetExhausted: its value is below the price.
        """
        ticket = asyncio.get_running_loop().create_future()
        self.waiting.append(ticket)
        self.scheduler.enqueue(self)
        self._bid_if_idle()
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket in self.waiting:
                self.waiting.remove(ticket)
            elif not ticket.cancelled() and ticket.exception() is None:
                self._done()
            raise
        try:
            yield
        finally:
            self._done()

    def _done(self) -> None:
        """The operation has ended: the plan continues, unless it waits for one other operation."""
        self._in_flight -= 1
        self._idle = self._blocking
        self.scheduler.draw_ended()
        self._bid_if_idle()

    def idle(self) -> None:
        """The plan waits for the next result of any operation."""
        self._idle = True
        self._bid_if_idle()

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """A block in which the plan waits for one operation, also while others end."""
        self._idle = self._blocking = True
        try:
            yield
        finally:
            self._idle = self._blocking = False

    def update(self, vote_state: VoteState) -> None:
        """The plan proposed its best answer so far."""
        self._vote_state = vote_state

    def close(self) -> None:
        """The question is closed."""
        self.waiting.clear()
        self.scheduler.close(self)

    def _bid_if_idle(self) -> None:
        if self.opened and self.waiting and self._idle and not self._in_flight:
            self.scheduler.enter_bid(self)

    def state(self) -> QuestionState:
        """The vote of the question and what it cost, for its bid."""
        vote_state = self._vote_state
        cast, total = vote_state.cast, sum(vote.weight for vote in vote_state.votes) + vote_state.tail.weight
        # In a weighted vote each class counts as many votes as its share of the weight, and no lead is safe.
        weighted = total > 0 and any(vote.weight != vote.count for vote in vote_state.votes)
        counts = [round(cast * vote.weight / total) if weighted else vote.count for vote in vote_state.votes]
        lead, second = (*sorted(counts, reverse=True), 0, 0)[:2]
        known = vote_state.max_samples and not weighted
        return QuestionState(
            lead=lead,
            second=second,
            samples=vote_state.samples,
            remaining=max(len(self.waiting), vote_state.max_samples - vote_state.samples)
            if known
            else UNKNOWN_REMAINING + lead,
            spent=self.scheduler.measured(self.ledger),
            draws=self.ledger.settled.samples,
        )

    def release(self, draws: int) -> int:
        """Start up to `draws` of the operations that wait; returns how many were started."""
        started = 0
        while self.waiting and started < draws:
            ticket = self.waiting.popleft()
            if not ticket.cancelled():
                ticket.set_result(None)
                started += 1
        self._in_flight += started
        return started

    def refuse(self, refusal: BudgetExhausted) -> None:
        """End all operations that wait."""
        while self.waiting:
            ticket = self.waiting.popleft()
            if not ticket.cancelled():
                ticket.set_exception(refusal)


def competing_unit(budget: Budget) -> tuple[str, float]:
    """The unit in which questions compete and how much of it there is: the first bounded one, or tokens."""
    for unit in ("tokens", "usd", "flops", "generated", "samples"):
        limit = getattr(budget, unit)
        if limit is not None:
            return unit, limit
    return "tokens", float("inf")
