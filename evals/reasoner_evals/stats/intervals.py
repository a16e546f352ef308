"""95 % intervals of shares, differences, amounts and ratios of totals, for a population of similar questions.

One value per question, NaN if missing; missing values are left out and counted. `groups` names what questions share (a
template, a passage), one key per question; whole groups are then the independent units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reasoner.errors import UsageError
from reasoner_evals.stats.amounts import DRAWS, ratio_bounds
from reasoner_evals.stats.arrays import Floats
from reasoner_evals.stats.score import Z, scaled_counts, score_interval, score_test
from reasoner_evals.stats.spread import critical_value, spread_of, two_sided

SPARSE = 10
"""With fewer units that differ, the spread of the differences alone says too little."""
TRACE = 0.25
"""How much of a 0 and of a 1 is added if shares hardly vary."""

NEAR = 1e-9
"""Differences below this are rounding errors."""

Groups = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % interval; NaN bounds if there are too few values."""

    mean: float
    low: float
    high: float
    method: str
    """wilson, score, t, bootstrap, their clustered forms, or none."""
    n: int
    """Questions that have a value."""
    missing: int = 0
    """Questions that have none."""


class Difference(NamedTuple):
    """The mean of paired differences; interval and p-value are of one test, so p < 0.05 exactly if 0 is outside."""

    interval: Interval
    p_value: float
    """Two-sided, for a mean of 0."""


def interval(values: Floats, groups: Groups | None = None) -> Interval:
    """Wilson's interval of the mean of shares [Q] between 0 and 1, for as many outcomes as vary as much.

    Groups have their cluster-robust variance and Student's critical value.
    """
    present, keys, missing = _present(values, groups)
    if np.any((present < 0) | (present > 1)):
        raise UsageError(
            "shares must be between 0 and 1: use ratio_interval for amounts, difference_interval for gains"
        )
    n, mean = len(present), _mean(present)
    if not n:
        return Interval(mean, math.nan, math.nan, "none", n, missing)
    size, freedom = _outcomes(present, keys)
    low, high = wilson(min(mean, 1.0) * size, size, critical_value(freedom))
    return Interval(mean, min(low, mean), max(high, mean), _method("wilson", keys), n, missing)


def difference_interval(values: Floats, groups: Groups | None = None) -> Interval:
    """The interval of `difference`."""
    return difference(values, groups).interval


def difference(values: Floats, groups: Groups | None = None) -> Difference:
    """The mean of differences [Q] between -1 and 1 of paired shares, and whether it is 0.

    Single outcomes, and differences of which hardly any are not 0: Tango's score interval, whose test is McNemar's.
    If hardly any is not 1: Wilson's interval of (1 + difference) / 2. Otherwise Student's t.
    """
    present, keys, missing = _present(values, groups)
    if np.any(np.abs(present) > 1):
        raise UsageError("differences of shares must be between -1 and 1: use ratio_interval for amounts")
    present = np.where(np.abs(present) < NEAR, 0.0, present)
    n, mean = len(present), _mean(present)

    def result(low: float, high: float, method: str, p_value: float) -> Difference:
        bounds = max(min(low, mean), -1.0), min(max(high, mean), 1.0)
        return Difference(Interval(mean, *bounds, _method(method, keys), n, missing), p_value)

    if not n:
        return Difference(Interval(mean, math.nan, math.nan, "none", n, missing), 1.0)
    sizes = np.ones_like(present)
    totals = present
    if keys is not None:
        totals, sizes = totals_by(keys, present, sizes)
    better, worse, size = scaled_counts(totals)
    outcomes = keys is None and bool(np.all(np.isin(present, (-1, 0, 1))))
    if outcomes or better + worse < min(SPARSE, len(totals) / 2) or np.ptp(totals / sizes) < NEAR:
        scale = size * len(totals) / n
        low, high = score_interval(better, worse, len(totals))
        return result(low * scale, high * scale, "score", two_sided(score_test(better, worse), math.inf))
    if n * (1 - abs(mean)) < min(SPARSE, n / 4):
        effective, freedom = _outcomes((1 + present) / 2, keys)
        low, high = wilson((1 + mean) / 2 * effective, effective, critical_value(freedom))
        return result(2 * low - 1, 2 * high - 1, "score", two_sided(mean * math.sqrt(effective), freedom))
    spread = spread_of(totals, sizes)
    half = critical_value(spread.freedom) * spread.error
    return result(mean - half, mean + half, "t", two_sided(mean / spread.error, spread.freedom))


def ratio_interval(
    tops: Floats, bottoms: Floats, groups: Groups | None = None, *, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """The total of `tops` over the total of `bottoms` (both [Q], bottoms 0 or more), never the mean of the ratios.

    With bottoms of 1 this is the mean of amounts of any range: tokens, seconds. The bootstrap is studentized.
    """
    if tops.shape != bottoms.shape:
        raise UsageError(f"a ratio needs one pair per question (got {tops.shape} and {bottoms.shape})")
    both = np.where(np.isnan(bottoms), np.nan, tops)
    present, keys, missing = _present(both, groups)
    below = bottoms[~np.isnan(both)]
    if not np.all(np.isfinite(present) & np.isfinite(below)):
        raise UsageError("the amounts of a ratio must be finite")
    if np.any(below < 0) or (len(below) and not below.sum() > 0):
        raise UsageError("the denominators of a ratio must be at least 0, and not all 0")
    if draws < 2000:
        raise UsageError(f"draws must be at least 2000 for an interval (got {draws})")
    n = len(present)
    if keys is not None and n:
        present, below = totals_by(keys, present, below)
    estimate = float(present.sum() / below.sum()) if n else math.nan
    if len(present) < 2:
        return Interval(estimate, math.nan, math.nan, "none", n, missing)
    low, high, method = ratio_bounds(present, below, seed, draws)
    return Interval(estimate, low, high, _method(method, keys), n, missing)


def wilson(right: float, n: float, critical: float = Z) -> tuple[float, float]:
    """Wilson's interval of a share, at 95 % by default.

    `right` and `n` may be fractional, as a sum of shares varies less than outcomes do.
    """
    if not 0 <= right <= n or n <= 0:
        raise UsageError(f"a share needs 0 <= right <= n and n above 0 (got right={right:g}, n={n:g})")
    p, square = right / n, critical * critical
    centre = (p + square / (2 * n)) / (1 + square / n)
    half = critical / (1 + square / n) * math.sqrt(p * (1 - p) / n + square / (4 * n * n))
    return (0.0 if p == 0 else max(centre - half, 0.0)), (1.0 if p == 1 else min(centre + half, 1.0))


def _present(values: Floats, groups: Groups | None) -> tuple[Floats, Groups | None, int]:
    """The values that are not missing, their group keys, and how many are missing."""
    if values.ndim != 1:
        raise UsageError(f"an interval needs one value per question (got an array of shape {values.shape})")
    present = ~np.isnan(values)
    missing = int((~present).sum())
    if groups is None:
        return values[present], None, missing
    if len(groups) != len(values):
        raise UsageError(f"{len(values)} questions have {len(groups)} group keys: give one each")
    without_key = sum(not key for key in groups)
    if without_key:
        raise UsageError(
            f"{without_key} of {len(groups)} questions have no group key: give one each, or no groups at all"
        )
    return values[present], [key for key, is_present in zip(groups, present, strict=True) if is_present], missing


def totals_by(keys: Groups, *columns: Floats) -> list[Floats]:
    """The columns summed within each group."""
    names, inverse = np.unique(np.asarray(keys, dtype=object).astype(str), return_inverse=True)
    return [np.bincount(inverse, weights=column, minlength=len(names)).astype(np.float64) for column in columns]


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def effective_outcomes(n: int, total: float, squares: float) -> float:
    """The number of single outcomes whose mean varies as that of `n` shares does, by their sums; at least `n`.

    A trace of a 0 and of a 1 is added, or equal shares would count as infinitely many outcomes. In simulations, a trace
    of a quarter is nearest to 95 % coverage (bench/interval_coverage.py).
    """
    size = n + 2 * TRACE
    mean = (total + TRACE) / size
    spread = squares - 2 * mean * total + n * mean**2 + TRACE * (mean**2 + (1 - mean) ** 2)
    return max(mean * (1 - mean) * (size - 1) / spread, 1.0) * n


def _outcomes(shares: Floats, keys: Groups | None) -> tuple[float, float]:
    """The number of single outcomes whose mean varies as that of these shares, and the degrees of freedom of that."""
    if keys is None:
        if np.all((shares == 0) | (shares == 1)):
            return float(len(shares)), math.inf
        return effective_outcomes(len(shares), float(shares.sum()), float(shares @ shares)), math.inf
    totals, sizes = totals_by(keys, shares, np.ones_like(shares))
    if len(totals) == 1:
        return 1.0, math.inf
    # As effective_outcomes, with the variance between groups (Kott & Carr 1997).
    spread, units = spread_of(totals, sizes), len(totals)
    mean = (float(shares.mean()) * units + TRACE) / (units + 2 * TRACE)
    variance = spread.error**2 + TRACE * (mean**2 + (1 - mean) ** 2) / units**2
    return max(mean * (1 - mean) / variance, 1.0), spread.freedom


def _method(name: str, keys: Groups | None) -> str:
    return name if keys is None else f"{name}, clustered"
