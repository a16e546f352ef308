"""Which question draws next, where many questions share one budget."""

import heapq
from dataclasses import dataclass
from typing import NamedTuple

from reasoner.errors import require
from reasoner.stopping.vote_posteriors import best_gain

PRICE = 0.001
"""The price at which a budget is divided where none is given: what no question can use for that gain is returned."""
DRIFT = 1.05
"""How far the mean cost of a draw may move, as a factor, before all bids are valued again."""
SLACK = 64
"""How many outdated bids a heap may hold, in addition to as many as there are current ones."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """How one budget is divided among many questions: each draw goes to the question where it has the highest value.

    `price` is the least gain in the chance of a right answer that a draw of mean cost must bring, 0 to 1. `wave` is the
    most draws of one question before its results are looked at, `abreast` how many draws may be in flight at once.
    """

    price: float = 0.0
    wave: int = 4
    abreast: int = 64

    def __post_init__(self) -> None:
        require(self.price, "price", at_least=0, at_most=1)
        require(self.wave, "wave", at_least=1)
        require(self.abreast, "abreast", at_least=1)


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
    """The next wave of the question with this index; `value` is its gain in the chance of a right answer per draw."""

    question: int
    value: float
    draws: int


_Entry = tuple[float, int, int]
"""A bid as the heap sorts it: minus its value, the question's index, its draws."""


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
        self._bids: dict[int, _Entry] = {}
        self._heap: list[_Entry] = []
        self._closed = bytearray()
        """1 at the index of each question that is closed: there may be millions."""
        self._spent, self._draws = 0.0, 0
        self._unit = 0.0

    @property
    def mean(self) -> float:
        """The mean cost of a draw over all reported states; 0 before the first draw."""
        return self._spent / self._draws if self._draws else 0.0

    def update(self, index: int, state: QuestionState) -> None:
        """Take a new state of a question: it replaces the older bid, or drops it where nothing more may be drawn.

        A closed question is ignored.
        """
        if index < len(self._closed) and self._closed[index]:
            return
        before = self._states.get(index)
        self._states[index] = state
        self._draws += state.draws - (before.draws if before else 0)
        self._spent += state.spent - (before.spent if before else 0.0)
        if not self._unit <= self.mean * DRIFT <= self._unit * DRIFT**2:
            self._unit = self.mean
            self._bids = {other: self._entry(other) for other in self._bids}
            self._rebuild()
        if state.remaining < 1:
            self._bids.pop(index, None)
            return
        self._bids[index] = entry = self._entry(index)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._bids) + SLACK:
            self._rebuild()

    def peek(self) -> Bid | None:
        """The best bid, which may be below the price; None where there is none."""
        heap = self._heap
        while heap and self._bids.get(heap[0][1]) is not heap[0]:
            heapq.heappop(heap)
        return Bid(heap[0][1], -heap[0][0], heap[0][2]) if heap else None

    def pop(self) -> Bid | None:
        """Remove and return the best bid; None where there is none."""
        if bid := self.peek():
            heapq.heappop(self._heap)
            del self._bids[bid.question]
        return bid

    def pop_worst(self) -> Bid:
        """Remove and return the worst bid; of equal ones that of the last question. There must be one."""
        value, index, draws = max(self._bids.values())
        del self._bids[index]
        return Bid(index, -value, draws)

    def close(self, index: int) -> None:
        """Drop the bid of a finished question; what it cost stays in the mean."""
        self._closed.extend(bytes(max(0, index + 1 - len(self._closed))))
        self._closed[index] = 1
        self._bids.pop(index, None)
        self._states.pop(index, None)

    def _rebuild(self) -> None:
        self._heap = list(self._bids.values())
        heapq.heapify(self._heap)

    def _entry(self, index: int) -> _Entry:
        state = self._states[index]
        gain = best_gain(state.lead, state.second, state.remaining)
        # A sample for another answer, or without one, costs as much and says nothing about the two.
        useful = (state.lead + state.second + 1) / (state.samples + 1)
        relative = (state.spent + 2 * self._unit) / (state.draws + 2) / self._unit if self._unit else 1.0
        value = useful**2 * gain.rate / relative
        return -value, index, max(1, min(gain.draws // 2, self._allocation.wave, state.remaining))
