"""Which ways to spend are worth their cost, and one mean budget divided over kinds of questions."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

from reasoner.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Point(Generic[T]):
    """What one way to spend costs a question and is worth, on average; both finite."""

    cost: float
    value: float
    of: T

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cost) and math.isfinite(self.value)):
            raise ValueError(f"a cost and a value are finite, not {self.cost} and {self.value}")


@dataclass(frozen=True, slots=True)
class Mix(Generic[T]):
    """What questions of one kind get: `base`, or for a `share` of them, by lot, the next dearer one."""

    base: Point[T]
    next: Point[T] | None = None
    share: float = 0.0

    @property
    def cost(self) -> float:
        """A question, on average."""
        return self.base.cost + self.share * (self.next.cost - self.base.cost if self.next else 0)

    @property
    def value(self) -> float:
        """A question, on average."""
        return self.base.value + self.share * (self.next.value - self.base.value if self.next else 0)

    def draw(self, lot: float) -> T:
        """What the question with this lot gets; lots are uniform in [0, 1), such as a hash of the question."""
        return self.next.of if self.next and lot < self.share else self.base.of


def hull(points: Iterable[Point[T]]) -> tuple[Point[T], ...]:
    """The upper concave hull: costs and values ascend, and each further unit of cost brings strictly less.

    What costs no less than another and is worth no more is left out, the earlier of two equal ones stays. At least one.
    """
    kept: list[Point[T]] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.value)):
        if kept and point.value <= kept[-1].value:
            continue
        while len(kept) > 1 and _slope(kept[-2], kept[-1]) <= _slope(kept[-1], point):
            kept.pop()
        kept.append(point)
    if not kept:
        raise ValueError("a hull needs a point")
    return tuple(kept)


def fill(bins: Sequence[tuple[float, Sequence[Point[T]]]], budget: float) -> tuple[Mix[T], ...]:
    """The best use of a mean `budget` a question over bins of (weight, ways to spend): one mix a bin.

    Weights are the shares of questions, or proportional to them. The multiple-choice knapsack, relaxed: the steps of
    all hulls are taken from the steepest on, and the last in part, so one bin at most is really mixed.

    Raises:
        UsageError: the budget is below the cheapest way in each bin.
    """
    total = math.fsum(weight for weight, _ in bins)
    if any(weight < 0 for weight, _ in bins) or not 0 < total < math.inf:
        raise ValueError(f"weights are 0 or more and not all 0, not {[weight for weight, _ in bins]}")
    hulls = [hull(points) for _, points in bins]
    shares = [weight / total for weight, _ in bins]
    mixes = [Mix(vertices[0]) for vertices in hulls]
    least = math.fsum(share * mix.base.cost for share, mix in zip(shares, mixes, strict=True))
    # What rounding took from a budget that is just enough is not missed.
    if not budget >= least - 1e-12 * abs(least):
        raise UsageError(
            f"a mean budget of {budget:g} is too small: the cheapest of each bin costs {least:g} on average"
        )
    left = max(0.0, budget - least)
    steps = [(-_slope(*step), place, step) for place, vertices in enumerate(hulls) for step in pairwise(vertices)]
    for _, place, (low, high) in sorted(steps, key=lambda step: step[:2]):
        cost = shares[place] * (high.cost - low.cost)
        if cost > left:
            mixes[place] = Mix(low, high, left / cost) if left else Mix(low)
            break
        mixes[place] = Mix(high)
        left -= cost
    return tuple(mixes)


def _slope(low: Point[T], high: Point[T]) -> float:
    return (high.value - low.value) / (high.cost - low.cost)
