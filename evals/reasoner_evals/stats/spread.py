"""The standard error of a ratio of totals over independent questions or groups, and what it is worth."""

import math
from typing import NamedTuple

import numpy as np

from reasoner_evals.stats.arrays import Floats

LEVEL = 0.95
"""The level of every interval."""


class Spread(NamedTuple):
    """A standard error, and the degrees of freedom of its estimate."""

    error: float
    freedom: float


def critical_value(freedom: float) -> float:
    """How many standard errors an interval reaches to each side; `freedom` may be infinite."""
    from scipy import special

    return float(special.stdtrit(freedom, (1 + LEVEL) / 2))


def two_sided(distance: float, freedom: float) -> float:
    """The p-value of an estimate so many standard errors away from a hypothesis; `freedom` may be infinite."""
    from scipy import special

    return 2 * float(special.stdtr(freedom, -abs(distance)))


def spread_of(totals: Floats, sizes: Floats) -> Spread:
    """The spread of sum(totals) / sum(sizes) over two or more questions or groups, both [U], sizes above 0.

    The variance is the jackknife's, of leaving out one unit at a time (MacKinnon, Nielsen & Webb 2023, 2205.03288). Its
    degrees of freedom are Bell & McCaffrey's (2002) for independent questions: few if some groups are much larger than
    others. Of units of one size, both are Student's.
    """
    units, whole = len(sizes), float(sizes.sum())
    share = sizes / whole
    residuals = totals - totals.sum() / whole * sizes
    variance = (units - 1) / units * float(np.sum((residuals / (1 - share)) ** 2)) / whole**2
    # tr(M)^2 / tr(M^2), where M is the covariance of independent questions' residuals, each divided by 1 - share.
    weighted = sizes / (1 - share)
    square = float(np.sum(weighted**2 * (1 - 2 * share))) + float(weighted @ share) ** 2
    return Spread(math.sqrt(variance), max(whole**2 / square, 1.0))
