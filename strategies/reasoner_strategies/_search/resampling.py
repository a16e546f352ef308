"""Resampling of weighted particles, as pure functions of the weights and of a random number that is given."""

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

EPSILON = 1e-6
"""Ratings are clipped to this distance from 0 and 1, as their odds must be finite."""


class Resampling(NamedTuple):
    """One resampling: the effective sample size, and the index of the ancestor of each particle."""

    ess: float
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


def systematic(theta: Sequence[float], u: float) -> Resampling:
    """As many copies as shares, at equal distances from one random `u` in [0, 1); the shares sum to 1.

    Each share gets its expected number of copies, rounded up or down. The effective sample size is the number of equal
    weights with the same variance.
    """
    ends = list(itertools.accumulate(theta))
    last = max(index for index, share in enumerate(theta) if share)
    # The sum may fall short of 1 by rounding: a position beyond it belongs to the last one with a share.
    positions = ((index + u) / len(theta) for index in range(len(theta)))
    indices = tuple(min(bisect.bisect_right(ends, position), last) for position in positions)
    return Resampling(1 / math.fsum(share * share for share in theta), indices)
