"""Whose turn it is to draw: under one budget, the question whose next samples are worth most."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reasoner.budget import Budget, Ledger
from reasoner.controller.allocation import Allocation, Market, State
from reasoner.errors import BudgetExhausted
from reasoner.types import Standing

FAR = 64
"""How many samples beyond the leader's votes may still come where nobody says: enough for any to be overtaken."""
IN_FLIGHT = 1 / 8
"""The part of what is left of the budget that may be in flight beyond the first samples: what comes back redirects the
rest."""


class Turns:
    """The order in which the questions of one run draw; pure bookkeeping on the event loop, it waits for nothing.

    Questions come one after the other, so many in all, and each first draws once; `opened` is called when one does.
    Then the market says whose wave is next, a question's own when all of its last one is back and its plan waits. What
    is not worth its price is refused, as the ledger would.
    """

    def __init__(self, allocation: Allocation, run: Ledger, questions: int, opened: Callable[[], None]) -> None:
        self.allocation = allocation
        self._opened = opened
        self._to_come = questions
        self._begun = 0
        self.market = Market(allocation, questions)
        self._run = run
        self._unit, self._limit = _measured(run.budget)
        self._turns: dict[int, Turn] = {}
        self._unopened: deque[Turn] = deque()
        self._open = 0
        self._flying = 0

    def turn(self, place: int, ledger: Ledger) -> "Turn":
        """The turn of the question at a place, which spends from `ledger`."""
        made = self._turns[place] = Turn(place, ledger, self)
        self._to_come -= 1
        self._begun += 1
        return made

    @property
    def ahead(self) -> bool:
        """Whether as many questions wait for their first draw as may be under way at once."""
        return self._begun >= self.allocation.abreast

    def asked(self, turn: "Turn") -> None:
        """A question has an operation that waits."""
        if not turn.queued:
            turn.queued = True
            self._unopened.append(turn)
        self.advance()

    def advance(self) -> None:
        """Let draw who may."""
        while self._unopened and self._may_open():
            turn = self._unopened.popleft()
            if turn.waiting:
                self._open += 1
                self._begun -= 1
                turn.opened = True
                self._flying += turn.release(1)
                self._opened()
        if self._to_come and self.allocation.mode == "batch":
            return
        while (bid := self.market.peek()) is not None:
            turn = self._turns[bid.place]
            price = self.market.price
            if bid.worth < price:
                self.market.take()
                turn.refuse(BudgetExhausted("price", needed=price, free=bid.worth, limit=price))
            elif self._fits(draws := min(bid.draws, self._longest)):
                self.market.take()
                self._flying += turn.release(draws)
            else:
                return

    @property
    def _longest(self) -> int:
        """The longest wave: what keeps `abreast` draws in flight and no more, as short ones decide better."""
        return max(1, self.allocation.abreast // max(1, self._open))

    @property
    def _left(self) -> float:
        return self._limit - self.measured(self._run)

    def _may_open(self) -> bool:
        busy = self._open if self.allocation.mode == "stream" else self._flying
        return busy < self.allocation.abreast

    def _fits(self, draws: int) -> bool:
        if not self._flying:
            return True
        if self._flying >= self.allocation.abreast:
            return False
        return (self._flying + draws) * self.market.mean <= self._left * IN_FLIGHT

    def measured(self, ledger: Ledger) -> float:
        """What was spent there, in the unit in which questions compete."""
        return self._run.measure(self._unit, ledger.settled)

    def came_back(self) -> None:
        """An operation that had its turn has ended."""
        self._flying -= 1
        self.advance()

    def tell(self, turn: "Turn") -> None:
        """A question waits for its next wave."""
        state = turn.state()
        if state.lead - state.second > state.rest:
            turn.refuse(BudgetExhausted("price", needed=self.market.price, free=0, limit=self.market.price))
        else:
            self.market.tell(turn.place, state)
            self.advance()

    def over(self, turn: "Turn") -> None:
        """A question draws no more."""
        if turn.opened:
            self._open -= 1
            # What its last wave cost counts towards the mean.
            self.market.tell(turn.place, turn.state())
        else:
            self._begun -= 1
        del self._turns[turn.place]
        self.market.close(turn.place, self.measured(turn.ledger), self._left)
        self.advance()


@dataclass(slots=True, eq=False)
class Turn:
    """One question's place in the order, and what it waits with."""

    place: int
    ledger: Ledger
    turns: Turns = field(repr=False)
    queued: bool = False
    opened: bool = False
    waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)
    _under_way: int = 0
    _idle: bool = False
    _held_up: bool = False
    _standing: Standing = field(default_factory=Standing)

    async def take(self) -> None:
        """Wait until an operation may start; what is taken is given back by `gave`.

        Raises:
            BudgetExhausted: it is not worth its price.
        """
        ticket = asyncio.get_running_loop().create_future()
        self.waiting.append(ticket)
        self.turns.asked(self)
        self._look()
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket in self.waiting:
                self.waiting.remove(ticket)
            elif not ticket.cancelled() and ticket.exception() is None:
                self.gave()
            raise

    def gave(self) -> None:
        """The operation has ended: its plan will hear of it, unless it waits for another one alone."""
        self._under_way -= 1
        self._idle = self._held_up
        self.turns.came_back()
        self._look()

    def waits(self) -> None:
        """The plan waits for whatever comes first and can do nothing by itself."""
        self._idle = True
        self._look()

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Meanwhile the plan waits for one operation, whatever else comes."""
        self._idle = self._held_up = True
        try:
            yield
        finally:
            self._idle = self._held_up = False

    def told(self, standing: Standing) -> None:
        """The plan proposed its best answer so far."""
        self._standing = standing

    def over(self) -> None:
        """The question is closed."""
        self.waiting.clear()
        self.turns.over(self)

    def _look(self) -> None:
        if self.opened and self.waiting and self._idle and not self._under_way:
            self.turns.tell(self)

    def state(self) -> State:
        """Where the question stands, for the market."""
        standing = self._standing
        cast, total = standing.cast, sum(vote.weight for vote in standing.votes) + standing.tail.weight
        # Where votes are weighted, each class is taken to have the votes that its weight is worth, and no lead is safe.
        weighted = total > 0 and any(vote.weight != vote.count for vote in standing.votes)
        counts = [round(cast * vote.weight / total) if weighted else vote.count for vote in standing.votes]
        lead, second = (*sorted(counts, reverse=True), 0, 0)[:2]
        known = standing.most and not weighted
        return State(
            lead=lead,
            second=second,
            samples=standing.samples,
            votes=cast,
            rest=max(len(self.waiting), standing.most - standing.samples) if known else FAR + lead,
            spent=self.turns.measured(self.ledger),
            draws=self.ledger.settled.samples,
        )

    def release(self, draws: int) -> int:
        """Start so many of the operations that wait; how many there were."""
        started = 0
        while self.waiting and started < draws:
            ticket = self.waiting.popleft()
            if not ticket.cancelled():
                ticket.set_result(None)
                started += 1
        self._under_way += started
        return started

    def refuse(self, refusal: BudgetExhausted) -> None:
        """End all operations that wait."""
        while self.waiting:
            ticket = self.waiting.popleft()
            if not ticket.cancelled():
                ticket.set_exception(refusal)


def _measured(budget: Budget) -> tuple[str, float]:
    """The unit in which questions compete, and how much of it there is: what is bounded first, else tokens."""
    for unit in ("tokens", "usd", "flops", "generated", "samples"):
        limit = getattr(budget, unit)
        if limit is not None:
            return unit, limit
    return "tokens", float("inf")
