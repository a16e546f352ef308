"""Which question draws next, where many questions share one budget."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from reasoner.controller.odds import best_gain
from reasoner.errors import require, require_choice

START = 0.02
"""The price at which a stream begins: less than what a second sample is worth, with an average trust as well. Chosen
together with the default `eta` by simulation; see docs/log.md."""
LEAST = 0.001
"""What a stream's price never falls below. At 0 a question draws until nothing can overtake its leader, 21 of 40
samples where all agree, and later ones miss what that cost."""
DRIFT = 1.05
"""How far the mean cost of a draw may move, as a factor, before all bids are valued anew."""
SLACK = 64
"""How many outdated bids a heap may hold beside one for each bid that counts."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """How one budget is divided among many questions.

    "batch" gives each draw to the question where it is worth most, whichever that is. "stream" answers questions in
    their order and lets a price rise and fall so that the budget lasts to the last of them. `price` is the least gain
    in the chance of a right answer that a draw of mean cost must bring, 0 or more; in a stream it is what the price
    never falls below, nor below 0.001. `wave` is the most draws of one question before its results are looked at,
    `abreast` how many questions may be under way at once, `eta` the step of a stream's price.
    """

    mode: Literal["batch", "stream"] = "batch"
    price: float = 0.0
    wave: int = 4
    abreast: int = 64
    eta: float = 0.0002

    def __post_init__(self) -> None:
        require_choice(self.mode, "mode", ("batch", "stream"))
        require(self.price, "price", at_least=0, at_most=1)
        require(self.wave, "wave", at_least=1)
        require(self.abreast, "abreast", at_least=1)
        require(self.eta, "eta", above=0, at_most=1)


class State(NamedTuple):
    """Where one question stands.

    `lead` and `second` are the votes of the leader and of the runner-up, `samples` how many were looked at and `votes`
    how many of these had an answer; `rest` is how many may still be drawn. `draws` sequences were drawn for `spent`, in
    the budget's unit.
    """

    lead: int
    second: int
    samples: int
    votes: int
    rest: int
    spent: float
    draws: int


class Bid(NamedTuple):
    """What a question offers: the gain in the chance of a right answer per draw of mean cost, and its next wave."""

    place: int
    worth: float
    draws: int


_Entry = tuple[float, int, int]
"""A bid as the heap sorts it: minus its worth, its place, its draws."""


class Market:
    """The bids of all questions, best first (knowledge gradient: Frazier 2008; per token, over many questions).

    A question's worth is the best rate at which more votes raise the chance that its leader is the mode, times how
    often its samples vote for one of its first two answers, times `trust` (the chance that one of these is right; as
    often as samples vote for them where not given, and where nothing voted), over what its draws cost in draws of mean
    cost. What it costs is its own mean, drawn towards the mean of all as if it had two more draws of that. A question
    without a sample is worth more than any other, so that each draws once before any draws at length. Equal bids are
    taken by place.

    A wave is half as long as the votes by which the worth was reached: the first half often says that the rest is not
    needed.

    The mean of all moves with every draw. Bids are valued by one common mean, and all anew once the true one is 5 %
    away: a worth is never further off than that, and the work is O(log n) a bid, counting what is done anew.
    """

    def __init__(self, allocation: Allocation, questions: int, trust: Callable[[State], float] | None = None) -> None:
        self._allocation, self._trust = allocation, trust
        self._open = questions
        self._price = max(START, allocation.price) if allocation.mode == "stream" else allocation.price
        self._states: dict[int, State] = {}
        self._bids: dict[int, _Entry] = {}
        self._heap: list[_Entry] = []
        self._closed: set[int] = set()
        self._spent, self._draws, self._held = 0.0, 0, 0.0
        self._unit = 0.0

    @property
    def price(self) -> float:
        """The gain for each draw of mean cost at which a draw is no longer worth it."""
        return max(self._price, self._allocation.price, LEAST if self._allocation.mode == "stream" else 0.0)

    @property
    def mean(self) -> float:
        """The mean cost of a draw over all that was told; 0 before the first."""
        return self._spent / self._draws if self._draws else 0.0

    def tell(self, place: int, state: State) -> None:
        """Take a new state of a question: its older bid is replaced, or dropped where nothing may be drawn.

        A question that is over is not heard any more.
        """
        if place in self._closed:
            return
        before = self._states.get(place)
        self._states[place] = state
        self._draws += state.draws - (before.draws if before else 0)
        more = state.spent - (before.spent if before else 0.0)
        self._spent += more
        self._held += more
        if not self._unit <= self.mean * DRIFT <= self._unit * DRIFT**2:
            self._unit = self.mean
            self._anew()
        if state.rest < 1:
            self._bids.pop(place, None)
            return
        self._bids[place] = entry = self._entry(place, state)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._bids) + SLACK:
            self._heap = list(self._bids.values())
            heapq.heapify(self._heap)

    def peek(self) -> Bid | None:
        """The best bid; None where there is none."""
        heap = self._heap
        while heap and self._bids.get(heap[0][1]) is not heap[0]:
            heapq.heappop(heap)
        return Bid(heap[0][1], -heap[0][0], heap[0][2]) if heap else None

    def take(self) -> Bid | None:
        """Remove and return the best bid; None where there is none. It may be below the price."""
        if bid := self.peek():
            heapq.heappop(self._heap)
            del self._bids[bid.place]
        return bid

    def close(self, place: int, spent: float, left: float) -> None:
        """A question is over: drop its bid; in a stream the price follows what it `spent` and what is `left` for all.

        Both are in the budget's unit. A question's share is what is left and what the open questions have spent, over
        their number.
        """
        if place in self._closed:
            return
        self._closed.add(place)
        self._bids.pop(place, None)
        state = self._states.pop(place, None)
        self._held -= state.spent if state else 0.0
        if self._allocation.mode == "stream" and self.mean > 0:
            share = (left + spent + self._held) / max(self._open, 1)
            self._price = follow(
                self._price, eta=self._allocation.eta, spend=spent / self.mean, share=share / self.mean
            )
        self._open -= 1

    def _anew(self) -> None:
        self._bids = {place: self._entry(place, self._states[place]) for place in self._bids}
        self._heap = list(self._bids.values())
        heapq.heapify(self._heap)

    def _entry(self, place: int, state: State) -> _Entry:
        gain = best_gain(state.lead, state.second, state.rest)
        # A sample for another answer, or without one, is paid and tells nothing of the two.
        useful = (state.lead + state.second + 1) / (state.samples + 1)
        trust = self._trust(state) if self._trust and state.votes else useful
        dear = (state.spent + 2 * self._unit) / (state.draws + 2) / self._unit if self._unit else 1.0
        worth = trust * useful * gain.rate / dear
        return -worth, place, max(1, min(gain.draws // 2, self._allocation.wave, state.rest))


def follow(price: float, *, eta: float, spend: float, share: float) -> float:
    """The price after a question that spent `spend` where its share was `share`: a step of dual descent, 0 or more."""
    return max(0.0, price + eta * (spend - share))
