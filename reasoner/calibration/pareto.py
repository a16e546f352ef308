"""Which arms are worth their cost, and one mean budget divided over bins of questions."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from reasoner.errors import UsageError

T = TypeVar("T")
ROUNDING = 1e-12
"""The relative shortfall of a budget that is forgiven as rounding."""


@dataclass(frozen=True, slots=True)
class Point(Generic[T]):
    """The mean cost and value per question of one arm; both finite."""

    cost: float
    value: float
    of: T

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cost) and math.isfinite(self.value)):
            raise ValueError(f"cost and value must be finite (got {self.cost} and {self.value})")


@dataclass(frozen=True, slots=True)
class Mix(Generic[T]):
    """The arms of one bin: `next`, the next more expensive one, for a `share` of its questions; `base` for the rest."""

    base: Point[T]
    next: Point[T] | None = None
    share: float = 0.0


class Step(NamedTuple, Generic[T]):
    """From one point of a bin's hull to the next: its cost and gain per question of all bins."""

    bin: int
    low: Point[T]
    high: Point[T]
    cost: float
    gain: float


def hull(points: Iterable[Point[T]]) -> tuple[Point[T], ...]:
    """The upper concave hull: costs and values ascend, and each further unit of cost brings strictly less.

    A point is left out if another costs no more and has no less value; the first of two equal ones is kept.
    """
    vertices: list[Point[T]] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.value)):
        if vertices and point.value <= vertices[-1].value:
            continue
        while len(vertices) > 1 and _slope(vertices[-2], vertices[-1]) <= _slope(vertices[-1], point):
            vertices.pop()
        vertices.append(point)
    if not vertices:
        raise ValueError("a hull needs at least one point")
    return tuple(vertices)


def steps(hulls: Sequence[Sequence[Point[T]]], shares: Sequence[float]) -> list[Step[T]]:
    """The steps of all hulls, steepest first: the multiple-choice knapsack, relaxed. `shares` sum to 1."""
    unsorted = [
        Step(index, low, high, share * (high.cost - low.cost), share * (high.value - low.value))
        for index, (share, vertices) in enumerate(zip(shares, hulls, strict=True))
        for low, high in pairwise(vertices)
    ]
    return sorted(unsorted, key=lambda step: (-_slope(step.low, step.high), step.bin))


def fill(bins: Sequence[tuple[float, Sequence[Point[T]]]], budget: float) -> tuple[Mix[T], ...]:
    """The best use of a mean `budget` per question over bins of (weight, points): one mix per bin.

    Weights are proportional to the number of questions. The last step fits in part, so at most one bin is really mixed.

    Raises:
        UsageError: the budget is below the cheapest point of each bin.
    """
    total = math.fsum(weight for weight, _ in bins)
    if any(weight < 0 for weight, _ in bins) or not 0 < total < math.inf:
        raise ValueError(f"weights must be 0 or more and not all 0 (got {[weight for weight, _ in bins]})")
    hulls = [hull(points) for _, points in bins]
    shares = [weight / total for weight, _ in bins]
    mixes = [Mix(vertices[0]) for vertices in hulls]
    minimum = math.fsum(share * mix.base.cost for share, mix in zip(shares, mixes, strict=True))
    if not budget >= minimum - ROUNDING * abs(minimum):
        raise UsageError(
            f"a mean budget of {budget:g} is too small: the cheapest arms of all bins cost {minimum:g} on average"
        )
    left = max(0.0, budget - minimum)
    for step in steps(hulls, shares):
        if step.cost > left:
            mixes[step.bin] = Mix(step.low, step.high, left / step.cost) if left else Mix(step.low)
            break
        mixes[step.bin] = Mix(step.high)
        left -= step.cost
    return tuple(mixes)


def _slope(low: Point[T], high: Point[T]) -> float:
    return (high.value - low.value) / (high.cost - low.cost)
