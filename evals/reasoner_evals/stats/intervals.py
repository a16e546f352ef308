"""95 % intervals of shares, differences, amounts and ratios of totals, for a population of similar questions.

One value per question, NaN if missing; missing values are left out and counted. `groups` names what questions share (a
template, a passage), one key per question; whole groups are then resampled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reasoner.errors import UsageError
from reasoner_evals.stats.arrays import Floats

DRAWS = 4000
"""Bootstrap resamples."""
FEW = 40
"""Up to this many questions, or groups, a t interval is nearer to its nominal coverage than a percentile bootstrap."""
MANY = 2000
"""Above this, a bootstrap equals the t interval to 3 % of its width, at a high price."""
SPARSE = 10
"""With fewer right, or wrong, or different in all, the spread of the values alone says too little."""
TRACE = 0.25
"""How much of a 0 and of a 1 is added if shares hardly vary."""
Z = 1.959963984540054
_BATCH = 1 << 20

Groups = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % interval; NaN bounds if there are too few values."""

    mean: float
    low: float
    high: float
    method: str
    """wilson, adjusted, t, bootstrap, their clustered forms, or none."""
    n: int
    """Questions that have a value."""
    missing: int = 0
    """Questions that have none."""


def interval(values: Floats, groups: Groups | None = None, *, seed: int = 0, draws: int = DRAWS) -> Interval:
    """The mean of shares [Q] between 0 and 1: Wilson for single outcomes and near 0 and 1, otherwise t or bootstrap."""
    present, keys, missing = _present(values, groups)
    if np.any((present < 0) | (present > 1)):
        raise UsageError(
            "shares must be between 0 and 1: use ratio_interval for amounts, difference_interval for gains"
        )
    n, mean = len(present), _mean(present)
    if n and keys is None and np.all((present == 0) | (present == 1)):
        return Interval(mean, *wilson(mean * n, n), "wilson", n, missing)
    units = _units(present, keys)
    if n and (min(units.sum(), (1 - units).sum()) < SPARSE or np.ptp(units) == 0):
        size = effective_outcomes(len(units), float(units.sum()), float(units @ units))
        return Interval(mean, *wilson(mean * size, size), _method("wilson", keys), n, missing)
    return _clipped(_of_totals(present, np.ones_like(present), keys, missing, seed, draws), 0.0)


def difference_interval(values: Floats, groups: Groups | None = None, *, seed: int = 0, draws: int = DRAWS) -> Interval:
    """The mean of differences [Q] between -1 and 1 of paired shares.

    For single outcomes, and if hardly any differ, two questions that differ by 1 and -1 are added (Bonett & Price
    2012): no difference seen in few questions is not a difference of exactly 0.
    """
    present, keys, missing = _present(values, groups)
    if np.any(np.abs(present) > 1):
        raise UsageError("differences of shares must be between -1 and 1: use ratio_interval for amounts")
    units = _units(present, keys)
    outcomes = keys is None and bool(np.all(np.isin(present, (-1, 0, 1))))
    if len(present) and (outcomes or np.count_nonzero(units) < SPARSE or np.ptp(units) == 0):
        added = np.append(units, (1.0, -1.0))
        half, centre, method = Z * float(added.std()) / math.sqrt(len(added)), _mean(added), _method("adjusted", keys)
        adjusted = Interval(_mean(present), centre - half, centre + half, method, len(present), missing)
        return _clipped(adjusted, -1.0)
    return _clipped(_of_totals(present, np.ones_like(present), keys, missing, seed, draws), -1.0)


def ratio_interval(
    tops: Floats, bottoms: Floats, groups: Groups | None = None, *, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """The total of `tops` over the total of `bottoms` (both [Q], bottoms 0 or more), never the mean of the ratios.

    With bottoms of 1 this is the mean of amounts of any range: tokens, seconds.
    """
    if tops.shape != bottoms.shape:
        raise UsageError(f"a ratio needs one pair per question (got {tops.shape} and {bottoms.shape})")
    both = np.where(np.isnan(bottoms), np.nan, tops)
    present, keys, missing = _present(both, groups)
    below = bottoms[~np.isnan(both)]
    if np.any(below < 0) or (len(below) and not below.sum() > 0):
        raise UsageError("the denominators of a ratio must be at least 0, and not all 0")
    return _of_totals(present, below, keys, missing, seed, draws)


def wilson(right: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; `right` may be fractional, as a sum of shares varies less than outcomes do."""
    if not 0 <= right <= n or n <= 0:
        raise UsageError(f"a share needs 0 <= right <= n and n above 0 (got right={right:g}, n={n:g})")
    p = right / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
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


def _units(values: Floats, keys: Groups | None) -> Floats:
    """The independent units: the values, or the means of their groups."""
    return values if keys is None else np.divide(*totals_by(keys, values, np.ones_like(values)))


def effective_outcomes(n: int, total: float, squares: float) -> float:
    """The number of single outcomes whose mean varies as that of `n` shares does, by their sums; at least `n`.

    A trace of a 0 and of a 1 is added, or equal shares would count as infinitely many outcomes. In simulations, a trace
    of a quarter is nearest to 95 % coverage (bench/interval_coverage.py).
    """
    size = n + 2 * TRACE
    mean = (total + TRACE) / size
    spread = squares - 2 * mean * total + n * mean**2 + TRACE * (mean**2 + (1 - mean) ** 2)
    return max(mean * (1 - mean) * (size - 1) / spread, 1.0) * n


def _method(name: str, keys: Groups | None) -> str:
    return name if keys is None else f"{name}, clustered"


def _clipped(estimate: Interval, minimum: float) -> Interval:
    low, high = (float(np.clip(bound, minimum, 1.0)) for bound in (estimate.low, estimate.high))
    return replace(estimate, low=low, high=high)


def _of_totals(tops: Floats, bottoms: Floats, keys: Groups | None, missing: int, seed: int, draws: int) -> Interval:
    """The interval of a ratio of totals over independent units: questions, or groups of them."""
    n = len(tops)
    if keys is not None and n:
        tops, bottoms = totals_by(keys, tops, bottoms)
    estimate = float(tops.sum() / bottoms.sum()) if n else math.nan
    if len(tops) < 2:
        return Interval(estimate, math.nan, math.nan, "none", n, missing)
    # Resamples whose bottoms are all 0 have no ratio.
    if not FEW < len(tops) <= MANY or not bottoms.all():
        from scipy import special

        units = len(tops)
        spread = math.sqrt(units / (units - 1) * float(np.sum((tops - estimate * bottoms) ** 2))) / float(bottoms.sum())
        half = float(special.stdtrit(units - 1, 0.975)) * spread
        return Interval(estimate, estimate - half, estimate + half, _method("t", keys), n, missing)
    if draws < 2000:
        raise UsageError(f"draws must be at least 2000 for an interval (got {draws})")
    units, source = len(tops), np.random.default_rng(seed)
    size, ratios = max(_BATCH // units, 1), []
    for at in range(0, draws, size):
        chosen = source.integers(0, units, size=(min(size, draws - at), units), dtype=np.int32)
        ratios.append(tops[chosen].sum(axis=1) / bottoms[chosen].sum(axis=1))
    low, high = np.percentile(np.concatenate(ratios), (2.5, 97.5))
    return Interval(estimate, float(low), float(high), _method("bootstrap", keys), n, missing)
