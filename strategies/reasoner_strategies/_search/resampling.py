"""Resampling of weighted particles, as pure functions of the weights and of random numbers that are given."""

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

EPSILON = 1e-6
"""Ratings are clipped to this distance from 0 and 1, as their odds must be finite."""


class Resampling(NamedTuple):
    """One resampling: the effective sample size, the number of different ancestors, and the index of each one."""

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
    return highest + math.log(math.fsum(math.exp(log - highest) for log in logs) / len(logs))


def softmax(logs: Sequence[float | None]) -> list[float]:
    """The share of each in the total weight; 0 without a log-weight."""
    highest = max((log for log in logs if log is not None), default=0.0)
    weights = [0.0 if log is None else math.exp(log - highest) for log in logs]
    total = math.fsum(weights)
    return [weight / total for weight in weights] if total else weights


def effective(theta: Sequence[float]) -> float:
    """The effective sample size of shares that sum to 1: the number of equal weights with the same variance."""
    return 1 / math.fsum(share * share for share in theta)


def systematic(theta: Sequence[float], u: float) -> Resampling:
    """As many copies as shares, at equal distances from one random `u` in [0, 1).

    Each share gets its expected number of copies, rounded up or down.
    """
    return _drawn(theta, [(index + u) / len(theta) for index in range(len(theta))])


def multinomial(theta: Sequence[float], us: Sequence[float]) -> Resampling:
    """One independent copy for each of the random numbers `us` in [0, 1)."""
    return _drawn(theta, us)


def _drawn(theta: Sequence[float], positions: Sequence[float]) -> Resampling:
    ends = list(itertools.accumulate(theta))
    last = max(index for index, share in enumerate(theta) if share)
    # The sum may fall short of 1 by rounding: a position beyond it belongs to the last one with a share.
    indices = tuple(min(bisect.bisect_right(ends, position), last) for position in positions)
    return Resampling(effective(theta), len(set(indices)), indices)


def annealing(ess_share: float, progress: float) -> float:
    """The factor on the temperature of entropic annealing: above 1 while few particles hold the weight early on."""
    return max(1.0, (1 - progress) / ess_share) if ess_share < 0.5 and progress < 0.5 else 1.0
