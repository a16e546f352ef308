"""Draws under one budget: the question with the most valuable next samples draws next."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reasoner.budget import SUMMED, Budget, Cost, Ledger
from reasoner.errors import BudgetExhausted
from reasoner.specs import CheckedOptions, Count, Share
from reasoner.stopping.vote_posteriors import best_gain
from reasoner.types import VoteState

DRIFT = 1.05
"""How far the mean cost of a draw may move, as a factor, before all bids are valued again."""


@dataclass(frozen=True, slots=True)
class Allocation(CheckedOptions):
    """How one budget is divided among many questions: each draw goes to the question where it has the highest value.

    `price` is the least gain in the chance of a right answer that a draw of mean cost must bring, 0 to 1. At 0 only a
    lead that the remaining samples cannot bring to a tie ends a question, so a budget that pays for all samples gives
    the vote of all. `wave` is the most draws of one question before its results are looked at, `abreast` how many draws
    may be in flight at once.
    """

    price: Share = 0.0
    wave: Count = 4
    abreast: Count = 64


class QuestionState(NamedTuple):
    """The vote of one question and what it cost.

    `lead` and `second` are the votes of the leader and of the runner-up, `samples` how many were looked at; `remaining`
    is how many may still be drawn. `draws` sequences were drawn for `spent`, in the budget's unit.
    """

    lead: int
    second: int
    samples: int
    remaining: int
    spent: float
    draws: int


class Bid(NamedTuple):
    """The next wave of the question with this index; bids are sorted by minus their value, best first."""

    loss: float
    question: int
    draws: int

    @property
    def value(self) -> float:
        """The gain in the chance of a right answer per draw."""
        return -self.loss


class BidQueue:
    """The bids of all questions, best first (knowledge gradient: Frazier 2008; per token, over many questions).

    The value of a question is the best rate at which more votes raise the chance that its leader is the mode, times the
    squared share of its samples that vote for one of its first two answers, divided by the cost of its draws in draws
    of mean cost. That cost is its own mean, shrunk towards the mean of all by two draws. A question without a sample
    has the highest value, so that each draws once before any draws many times. Equal bids are taken by index.

    A wave is half as long as the votes that give the best rate: the first half often shows that the rest is not needed.

    The mean cost of all moves with every draw. Bids are valued by one common mean, and all again once the true one is
    5 % away, so no value is further off than that, and the work is O(log n) per bid, amortised.
    """

    def __init__(self, allocation: Allocation) -> None:
        self._allocation = allocation
        self._states: dict[int, QuestionState] = {}
        self._bids: dict[int, Bid] = {}
        self._heap: list[Bid] = []
        self._spent, self._draws = 0.0, 0
        self._unit = 0.0

    @property
    def mean(self) -> float:
        """The mean cost of a draw over all reported states; 0 before the first draw."""
        return self._spent / self._draws if self._draws else 0.0

    def update(self, index: int, state: QuestionState) -> None:
        """Take a new state of a question: it replaces the older bid, or drops it where nothing more may be drawn."""
        before = self._states.get(index)
        self._states[index] = state
        self._draws += state.draws - (before.draws if before else 0)
        self._spent += state.spent - (before.spent if before else 0.0)
        if not self._unit <= self.mean * DRIFT <= self._unit * DRIFT**2:
            self._unit = self.mean
            self._bids = {other: self._bid(other) for other in self._bids}
            self._rebuild()
        if state.remaining < 1:
            self._bids.pop(index, None)
            return
        self._bids[index] = bid = self._bid(index)
        heapq.heappush(self._heap, bid)
        # How many outdated bids a heap may hold, in addition to as many as there are current ones
        if len(self._heap) > 2 * len(self._bids) + 64:
            self._rebuild()

    def peek(self) -> Bid | None:
        """The best bid, which may be below the price; None where there is none."""
        while (
            self._heap and self._bids.get(self._heap[0].question) is not self._heap[0]
        ):
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def pop(self) -> Bid | None:
        """Remove and return the best bid; None where there is none."""
        if bid := self.peek():
            heapq.heappop(self._heap)
            del self._bids[bid.question]
        return bid

    def pop_worst(self) -> Bid:
        """Remove and return the worst bid; of equal ones the last question's. There must be one."""
        worst = max(self._bids.values())
        del self._bids[worst.question]
        return worst

    def close(self, index: int) -> None:
        """Drop the bid of a finished question; what it cost stays in the mean."""
        self._bids.pop(index, None)
        self._states.pop(index, None)

    def _rebuild(self) -> None:
        # A sorted list is a heap.
        self._heap = sorted(self._bids.values())

    def _bid(self, index: int) -> Bid:
        state = self._states[index]
        gain = best_gain(state.lead, state.second, state.remaining)
        # A sample for another answer, or without one, costs as much and says nothing about the two.
        useful = (state.lead + state.second + 1) / (state.samples + 1)
        relative = (
            (state.spent + 2 * self._unit) / (state.draws + 2) / self._unit
            if self._unit
            else 1.0
        )
        value = useful**2 * gain.rate / relative
        return Bid(
            -value,
            index,
            max(1, min(gain.draws // 2, self._allocation.wave, state.remaining)),
        )


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
        parts = [
            (getattr(self._half, unit), amount) for unit, amount in amounts.items()
        ]
        self._kept = min(
            (int(amount // half) for half, amount in parts if half), default=0
        )
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


class Scheduler:
    """The order in which the questions of one run draw. Bookkeeping on the event loop; it never waits.

    Questions are opened one after the other and each draws once first; then `on_room` looks whether another one may be
    opened. At most `window` are open at once. `questions` is how many will be opened in all, 0 if that is unknown, and
    `new` how many of them have no history. Once all are opened, or the window is full, the question with the best bid
    draws its next wave. A question bids when its last wave has ended and its plan waits. A bid below the price is
    refused, as the ledger would refuse it. While more questions are to come, those of the window spend no more than the
    equal shares of all that were opened; where that does not pay for a draw, the worst bid is refused, so that the next
    question is opened.
    """

    def __init__(
        self,
        allocation: Allocation,
        run: Ledger,
        questions: int,
        on_room: Callable[[], None],
        *,
        window: int,
        new: int,
    ) -> None:
        self.allocation = allocation
        self._on_room = on_room
        self._unopened = questions
        self._window = window
        self.shares = Shares(run, new, window) if new and str(run.budget) else None
        self._bids = BidQueue(allocation)
        self._run = run
        self._unit, self._limit = competing_unit(run.budget)
        self._share = max(0.0, self._limit - self.measured(run)) / max(1, questions)
        self._scheduled: dict[int, ScheduledQuestion] = {}
        self._first_draws: deque[ScheduledQuestion] = deque()
        self._undrawn = 0
        self._drawing = 0
        self.in_flight = 0
        """Draws that were started and have not ended."""
        self._advancing = False
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
        return (
            self._undrawn >= self.allocation.abreast
            or len(self._scheduled) >= self._window
        )

    def end_of_input(self) -> None:
        """No more questions will be opened."""
        self._unopened = 0
        if self.shares:
            self.shares.end_of_input()
        self.advance()

    def enqueue(self, scheduled: "ScheduledQuestion") -> None:
        """A question has an operation that waits."""
        if not scheduled.queued:
            scheduled.queued = True
            self._first_draws.append(scheduled)
        self.advance()

    def advance(self) -> None:
        """Start every draw that may start, once all that came back in this turn of the event loop has bid."""
        if not self._advancing:
            self._advancing = True
            asyncio.get_running_loop().call_soon(self._advance)

    def _advance(self) -> None:
        self._advancing = False
        while self._first_draws and self.in_flight < self.allocation.abreast:
            scheduled = self._first_draws.popleft()
            if scheduled.waiting:
                self._drawing += 1
                self._undrawn -= 1
                scheduled.opened = True
                self.in_flight += scheduled.release(1)
                self._on_room()
        if self._unopened and len(self._scheduled) < self._window:
            return
        price = self.allocation.price
        # Short waves decide better, so a wave is as long as it takes to keep `abreast` draws in flight.
        longest = max(1, self.allocation.abreast // max(1, self._drawing))
        while (bid := self._bids.peek()) is not None:
            scheduled, draws = self._scheduled[bid.question], min(bid.draws, longest)
            if bid.value < price:
                self._bids.pop()
                scheduled.refuse(
                    BudgetExhausted("price", needed=price, free=bid.value, limit=price)
                )
            elif draws := self._affordable(draws):
                self._bids.pop()
                self.in_flight += scheduled.release(draws)
            else:
                return

    def _affordable(self, draws: int) -> int:
        """How many of these draws may start now: while questions are to come, none is paid from their shares."""
        if not self._fits(draws):
            return 0
        mean = self._bids.mean
        if not self._unopened or not mean:
            return draws
        room = (
            self._limit
            - self._share * self._unopened
            - self.measured(self._run)
            - self.in_flight * mean
        )
        if room < mean:
            if self._ending is None:
                self._ending = self._scheduled[self._bids.pop_worst().question]
                self._ending.refuse(
                    BudgetExhausted(
                        self._unit, needed=mean, free=max(0, room), limit=self._limit
                    )
                )
            return 0
        return min(draws, int(min(room / mean, draws)))

    def _fits(self, draws: int) -> bool:
        if not self.in_flight:
            return True
        if self.in_flight >= self.allocation.abreast:
            return False
        left = self._limit - self.measured(self._run)
        # The part of the remaining budget that may be in flight beyond first samples, so that results
        # redirect the rest
        return (self.in_flight + draws) * self._bids.mean <= left / 8

    def measured(self, ledger: Ledger) -> float:
        """What a ledger has spent, in the unit in which questions compete."""
        return self._run.measure(self._unit, ledger.settled)

    def enter_bid(self, scheduled: "ScheduledQuestion") -> None:
        """Enter the bid of a question that waits for its next wave, or refuse it if its lead is safe."""
        if scheduled is self._ending:
            self._ending = None
        state = scheduled.state()
        if state.lead - state.second > state.remaining:
            scheduled.refuse(
                BudgetExhausted("price", needed=0, free=0, limit=self.allocation.price)
            )
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
    vote_state: VoteState = field(default_factory=VoteState)
    """The vote behind the latest proposal."""

    async def start(self) -> None:
        """Wait until the scheduler starts the next operation, which then is `over`.

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
                self.over()
            raise

    def over(self) -> None:
        """An operation has ended: the plan continues, unless it waits for one other operation."""
        self._in_flight -= 1
        self._idle = self._blocking
        self.scheduler.in_flight -= 1
        self.scheduler.advance()
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

    def close(self) -> None:
        """The question is closed."""
        self.waiting.clear()
        self.scheduler.close(self)

    def _bid_if_idle(self) -> None:
        if self.opened and self.waiting and self._idle and not self._in_flight:
            self.scheduler.enter_bid(self)

    def state(self) -> QuestionState:
        """The vote of the question and what it cost, for its bid."""
        vote_state = self.vote_state
        cast, total = (
            vote_state.cast,
            sum(vote.weight for vote in vote_state.votes) + vote_state.tail.weight,
        )
        # In a weighted vote each class counts as many votes as its share of the weight, and no lead is safe.
        weighted = total > 0 and any(
            vote.weight != vote.count for vote in vote_state.votes
        )
        counts = [
            round(cast * vote.weight / total) if weighted else vote.count
            for vote in vote_state.votes
        ]
        lead, second = (*sorted(counts, reverse=True), 0, 0)[:2]
        known = vote_state.max_samples and not weighted
        return QuestionState(
            lead=lead,
            second=second,
            samples=vote_state.samples,
            remaining=max(
                len(self.waiting), vote_state.max_samples - vote_state.samples
            )
            if known
            # Samples beyond the leader's votes that may be left if their number is unknown: enough to
            # overtake any leader
            else 64 + lead,
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
    for unit in SUMMED:
        limit = getattr(budget, unit)
        if limit is not None:
            return unit, limit
    return "tokens", float("inf")
