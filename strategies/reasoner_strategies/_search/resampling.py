"""Resampling of weighted particles, as pure functions of the weights and of random numbers that are given."""

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

EPSILON = 1e-6
"""Ratings are clipped to this distance from 0 and 1, where their odds would be none."""


class Resampling(NamedTuple):
    """One step of it: the effective sample size, how many different ones were drawn, and which, by place."""

    ess: float
    ancestors: int
    indices: tuple[int, ...]


def logit(value: float) -> float:
    """The logarithm of the odds of a rating."""
    clipped = min(max(value, EPSILON), 1 - EPSILON)
    return math.log(clipped) - math.log1p(-clipped)


def log_mean(logs: Sequence[float]) -> float:
    """The logarithm of the mean weight, of at least one log-weight."""
    highest = max(logs)
    return highest + math.log(math.fsum(math.exp(one - highest) for one in logs) / len(logs))


def softmax(logs: Sequence[float | None]) -> list[float]:
    """The share of each in all the weight; none for one without a log-weight."""
    highest = max((one for one in logs if one is not None), default=0.0)
    weights = [0.0 if one is None else math.exp(one - highest) for one in logs]
    whole = math.fsum(weights)
    return [weight / whole for weight in weights] if whole else weights


def effective(theta: Sequence[float]) -> float:
    """The effective sample size of shares that sum to 1: how many equal ones would say as much."""
    return 1 / math.fsum(share * share for share in theta)


def systematic(theta: Sequence[float], u: float) -> Resampling:
    """As many copies as shares, at equal distances from one random `u` in [0, 1).

    Each share gets its expected number of copies, rounded up or down.
    """
    return _drawn(theta, [(place + u) / len(theta) for place in range(len(theta))])


def multinomial(theta: Sequence[float], us: Sequence[float]) -> Resampling:
    """One independent copy for each of the random numbers `us` in [0, 1)."""
    return _drawn(theta, us)


def _drawn(theta: Sequence[float], positions: Sequence[float]) -> Resampling:
    ends = list(itertools.accumulate(theta))
    last = max(place for place, share in enumerate(theta) if share)
    # The sum may fall short of 1 by rounding: what lies beyond it belongs to the last that has a share at all.
    indices = tuple(min(bisect.bisect_right(ends, position), last) for position in positions)
    return Resampling(effective(theta), len(set(indices)), indices)


def annealing(ess_share: float, progress: float) -> float:
    """The factor on the temperature of entropic annealing: above 1 while few particles hold the weight early on."""
    return max(1.0, (1 - progress) / ess_share) if ess_share < 0.5 and progress < 0.5 else 1.0
