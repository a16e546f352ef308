"""95 % intervals for questions like these: of shares, differences, amounts and ratios of totals.

One value a question, NaN where there is none; those are left out and counted. `groups` names what questions share (a
template, a passage), one key a question; whole groups are then resampled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reasoner.errors import UsageError, require
from reasoner_evals.stats.arrays import Floats

DRAWS = 4000
"""Bootstrap resamples."""
FEW = 40
"""Up to so many questions, or groups, a t interval is nearer to its nominal coverage than a percentile bootstrap."""
MANY = 2000
"""Above so many, questions or groups, a bootstrap gives the t interval again, to 3 % of its width, at a high price."""
SPARSE = 10
"""With fewer right, or wrong, or different than this in all, the spread of the values says too little by itself."""
TRACE = 0.25
"""How much of a 0 and of a 1 is added where shares hardly vary."""
Z = 1.959963984540054
_BATCH = 1 << 20

Groups = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % interval; NaN bounds where there is too little to say one."""

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
    kept, keys, missing = _usable(values, groups)
    if np.any((kept < 0) | (kept > 1)):
        raise UsageError("shares lie between 0 and 1: take amount_interval for amounts, difference_interval for gains")
    n, mean = len(kept), _mean(kept)
    if n and keys is None and np.all((kept == 0) | (kept == 1)):
        return Interval(mean, *wilson(mean * n, n), "wilson", n, missing)
    units = _units(kept, keys)
    if n and (min(units.sum(), (1 - units).sum()) < SPARSE or np.ptp(units) == 0):
        size = _effective(units)
        return Interval(mean, *wilson(mean * size, size), _named("wilson", keys), n, missing)
    return _clipped(_of_means(kept, keys, missing, seed, draws), 0.0)


def difference_interval(values: Floats, groups: Groups | None = None, *, seed: int = 0, draws: int = DRAWS) -> Interval:
    """The mean of differences [Q] between -1 and 1 of paired shares.

    For single outcomes, and where hardly any differ, two questions that differ by 1 and -1 are added (Bonett & Price
    2012): no difference seen in few questions is not a difference of exactly 0.
    """
    kept, keys, missing = _usable(values, groups)
    if np.any(np.abs(kept) > 1):
        raise UsageError("differences of shares lie between -1 and 1: take amount_interval for amounts")
    units = _units(kept, keys)
    outcomes = keys is None and bool(np.all(np.isin(kept, (-1, 0, 1))))
    if len(kept) and (outcomes or np.count_nonzero(units) < SPARSE or np.ptp(units) == 0):
        added = np.append(units, (1.0, -1.0))
        half = Z * float(added.std()) / math.sqrt(len(added))
        centre = _mean(added)
        found = Interval(_mean(kept), centre - half, centre + half, _named("adjusted", keys), len(kept), missing)
        return _clipped(found, -1.0)
    return _clipped(_of_means(kept, keys, missing, seed, draws), -1.0)


def amount_interval(values: Floats, groups: Groups | None = None, *, seed: int = 0, draws: int = DRAWS) -> Interval:
    """The mean of amounts [Q] of any range: tokens, seconds."""
    return _of_means(*_usable(values, groups), seed, draws)


def ratio_interval(
    tops: Floats, bottoms: Floats, groups: Groups | None = None, *, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """The total of `tops` over the total of `bottoms` (both [Q], bottoms 0 or more), never the mean of the ratios."""
    if tops.shape != bottoms.shape:
        raise UsageError(f"a ratio needs one pair a question, not {tops.shape} and {bottoms.shape}")
    both = np.where(np.isnan(bottoms), np.nan, tops)
    kept, keys, missing = _usable(both, groups)
    below = bottoms[~np.isnan(both)]
    if np.any(below < 0) or (len(below) and not below.sum() > 0):
        raise UsageError("the bottom of a ratio is 0 or more and not 0 in all")
    return _of_totals(kept, below, keys, missing, seed, draws)


def wilson(right: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; `right` may be fractional, as a sum of shares varies less than outcomes do."""
    if not 0 <= right <= n or n <= 0:
        raise UsageError(f"a share needs 0 <= right <= n and n above 0, not right={right:g}, n={n:g}")
    p = right / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return (0.0 if p == 0 else max(centre - half, 0.0)), (1.0 if p == 1 else min(centre + half, 1.0))


def _usable(values: Floats, groups: Groups | None) -> tuple[Floats, Groups | None, int]:
    """The values that are there, their group keys, and how many are not there; a missing key is an error."""
    if values.ndim != 1:
        raise UsageError(f"an interval takes one value a question, not an array of shape {values.shape}")
    there = ~np.isnan(values)
    missing = int((~there).sum())
    if groups is None:
        return values[there], None, missing
    if len(groups) != len(values):
        raise UsageError(f"{len(values)} questions have {len(groups)} group keys: give one each")
    lacking = sum(not key for key in groups)
    if lacking:
        raise UsageError(f"{lacking} of {len(groups)} questions have no group key: give one each, or no groups at all")
    return values[there], [key for key, kept in zip(groups, there, strict=True) if kept], missing


def totals_by(keys: Groups, *columns: Floats) -> list[Floats]:
    """The columns summed within each group."""
    names, place = np.unique(np.asarray(keys, dtype=object).astype(str), return_inverse=True)
    return [np.bincount(place, weights=column, minlength=len(names)).astype(np.float64) for column in columns]


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _units(values: Floats, keys: Groups | None) -> Floats:
    """What is drawn independently: the values, or the means of their groups."""
    return values if keys is None else np.divide(*totals_by(keys, values, np.ones_like(values)))


def _effective(units: Floats) -> float:
    """So many single outcomes would vary as the mean of these shares does: never fewer than there are.

    A trace of a 0 and of a 1 is added, or equal shares would count as endlessly many outcomes. By simulation, an added
    quarter covers nearest to 95 % (bench/interval_coverage.py).
    """
    n = len(units)
    size = n + 2 * TRACE
    mean = (float(units.sum()) + TRACE) / size
    spread = float(np.sum((units - mean) ** 2)) + TRACE * (mean**2 + (1 - mean) ** 2)
    return max(mean * (1 - mean) * (size - 1) / spread, 1.0) * n


def _named(method: str, keys: Groups | None) -> str:
    return method if keys is None else f"{method}, clustered"


def _clipped(found: Interval, least: float) -> Interval:
    low, high = (float(np.clip(bound, least, 1.0)) for bound in (found.low, found.high))
    return Interval(found.mean, low, high, found.method, found.n, found.missing)


def _of_means(values: Floats, keys: Groups | None, missing: int, seed: int, draws: int) -> Interval:
    return _of_totals(values, np.ones_like(values), keys, missing, seed, draws)


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
        low, high = _linearised(tops, bottoms, estimate)
        return Interval(estimate, low, high, _named("t", keys), n, missing)
    low, high = np.percentile(_resampled(tops, bottoms, seed, draws), (2.5, 97.5))
    return Interval(estimate, float(low), float(high), _named("bootstrap", keys), n, missing)


def _linearised(tops: Floats, bottoms: Floats, estimate: float) -> tuple[float, float]:
    from scipy import special

    units = len(tops)
    spread = math.sqrt(units / (units - 1) * float(np.sum((tops - estimate * bottoms) ** 2))) / float(bottoms.sum())
    half = float(special.stdtrit(units - 1, 0.975)) * spread
    return estimate - half, estimate + half


def _resampled(tops: Floats, bottoms: Floats, seed: int, draws: int) -> Floats:
    """Ratios of totals of units drawn with replacement; their standard deviation is the standard error as it is."""
    require(draws, "draws", at_least=2000)
    units, source = len(tops), np.random.default_rng(seed)
    size = max(_BATCH // units, 1)
    batches = [
        source.integers(0, units, size=(min(size, draws - at), units), dtype=np.int32) for at in range(0, draws, size)
    ]
    return np.concatenate([tops[chosen].sum(axis=1) / bottoms[chosen].sum(axis=1) for chosen in batches])
