"""How far a fit of accuracy against samples holds: bands, a held-out check, and where doubling stops paying."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reasoner.errors import UsageError, require
from reasoner_evals.stats.arrays import Floats, Ints, check_pool, check_sizes, counts
from reasoner_evals.stats.estimators import coverage_at_k
from reasoner_evals.stats.scaling import (
    LEAST_QUESTIONS,
    REACH,
    CoverageFit,
    PowerFit,
    Unfitted,
    fit_counts,
    fit_coverage,
    fit_power,
    how_many,
)

DRAWS = 200
"""Bootstrap resamples of the questions for a band."""

Fit = CoverageFit | PowerFit


@dataclass(frozen=True, slots=True)
class Band:
    """A fitted curve with its 95 % interval by bootstrap over questions; all arrays are [K]."""

    ks: tuple[int, ...]
    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a fit of the lower half of the range says about the upper half, and what was measured there."""

    fitted_to: int
    predicted: Band
    measured: Floats
    """[K], at the sample counts of `predicted`."""

    @property
    def error(self) -> float:
        """The largest distance of prediction and measurement."""
        return float(np.abs(self.predicted.value - self.measured).max())

    @property
    def inside(self) -> bool:
        """Whether every measurement lies in the interval of its prediction."""
        return bool(np.all((self.predicted.low <= self.measured) & (self.measured <= self.predicted.high)))


def coverage_band(drawn: Ints, right: Ints, ks: Sequence[int], *, seed: int = 0, draws: int = DRAWS) -> Band | Unfitted:
    """The coverage fit at `ks`, with questions resampled for its interval."""
    whole = fit_coverage(drawn, right)
    if isinstance(whole, Unfitted):
        return whole
    pairs, place = np.unique(np.stack((drawn, right), axis=1), axis=0, return_inverse=True)
    place = place.ravel()

    def again(source: np.random.Generator) -> CoverageFit | Unfitted:
        chosen = place[source.integers(0, len(place), size=len(place))]
        return fit_counts(pairs, np.bincount(chosen, minlength=len(pairs)))

    return _band(whole, again, ks, seed, draws)


def power_band(
    values: Floats, measured_at: Sequence[int], ks: Sequence[int], *, seed: int = 0, draws: int = DRAWS
) -> Band | Unfitted:
    """The power law of per-question accuracies [Q, K] at `measured_at`, read at `ks`; incomplete questions are out."""
    check_sizes(measured_at)
    if values.ndim != 2 or values.shape[1] != len(measured_at):
        raise UsageError(f"{len(measured_at)} sample counts need an array [questions, counts], not {values.shape}")
    complete = values[~np.isnan(values).any(axis=1)]
    if len(complete) < LEAST_QUESTIONS:
        return Unfitted(f"{how_many(len(complete))} with all sample counts: it takes {LEAST_QUESTIONS}")
    whole = fit_power(measured_at, complete.mean(axis=0))
    if isinstance(whole, Unfitted):
        return whole

    def again(source: np.random.Generator) -> PowerFit | Unfitted:
        return fit_power(measured_at, complete[source.integers(0, len(complete), size=len(complete))].mean(axis=0))

    return _band(whole, again, ks, seed, draws)


def held_out_coverage(right: Floats, *, seed: int = 0, draws: int = DRAWS) -> HeldOut | Unfitted:
    """Fit a random half of each question's samples of a pool [Q, N], predict coverage beyond it up to N."""
    check_pool(right)
    drawn, correct = counts(right)
    full = drawn == right.shape[1]
    half, samples = right.shape[1] // 2, right.shape[1]
    if full.sum() < LEAST_QUESTIONS or half < 2:
        return Unfitted(f"{how_many(int(full.sum()))} with all of {samples} samples: it takes {LEAST_QUESTIONS}, of 4")
    seen = np.random.default_rng(seed).hypergeometric(correct[full], samples - correct[full], half)
    ks = tuple(sorted({half + (samples - half) * step // 4 for step in range(1, 5)} - {half}))
    band = coverage_band(np.full(len(seen), half), seen, [k for k in ks if k <= REACH * half], seed=seed, draws=draws)
    if isinstance(band, Unfitted):
        return band
    return HeldOut(half, band, coverage_at_k(right[full], band.ks).mean(axis=0))


def held_out_power(
    values: Floats, measured_at: Sequence[int], *, seed: int = 0, draws: int = DRAWS
) -> HeldOut | Unfitted:
    """Fit the sample counts up to half of the largest, predict the others."""
    check_sizes(measured_at)
    sizes = np.asarray(measured_at)
    lower = sizes <= sizes.max() / 2
    if not lower.any():
        return Unfitted("no sample count is at most half of the largest")
    limit = int(sizes[lower].max())
    upper = (sizes > limit) & (sizes <= REACH * limit)
    if not upper.any():
        return Unfitted(f"nothing was measured between {limit} samples and {REACH} times as many")
    complete = values[~np.isnan(values).any(axis=1)]
    band = power_band(complete[:, lower], sizes[lower].tolist(), sizes[upper].tolist(), seed=seed, draws=draws)
    return band if isinstance(band, Unfitted) else HeldOut(limit, band, complete[:, upper].mean(axis=0))


def diminishing(fit: Fit, gain: float) -> int | None:
    """The sample count from which on no doubling buys `gain` any more; None where the last that is known still does."""
    require(gain, "gain", above=0)
    ks = range(1, REACH * fit.measured // 2 + 1)
    enough = np.flatnonzero(fit.at([2 * k for k in ks]) - fit.at(ks) >= gain)
    if not len(enough):
        return 1
    return None if enough[-1] == len(ks) - 1 else ks[enough[-1]] + 1


def _band(
    whole: Fit, again: Callable[[np.random.Generator], Fit | Unfitted], ks: Sequence[int], seed: int, draws: int
) -> Band | Unfitted:
    check_sizes(ks)
    value = whole.at(ks)
    source, curves = np.random.default_rng(seed), []
    for _ in range(draws):
        found = again(source)
        if not isinstance(found, Unfitted):
            curves.append(dataclasses.replace(found, measured=whole.measured).at(ks))
    if len(curves) < draws / 2:
        return Unfitted("most resamples of the questions cannot be fitted: there is too little variety in them")
    low, high = np.percentile(curves, (2.5, 97.5), axis=0)
    return Band(tuple(ks), value, low, high)
