"""How accuracy grows with samples: fits of coverage and of selection accuracy, their bands and held-out checks.

A fit covers at most twice the sample counts it was made from. What cannot be fitted is `Unfitted`, with the reason.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reasoner.errors import UsageError
from reasoner_evals.stats.arrays import Floats, Ints, check_pool, check_sizes, counts
from reasoner_evals.stats.estimators import coverage_at_k

MIN_QUESTIONS = 10
MIN_POINTS = 4
MASSES = 4
"""With fewer samples per question, no share of questions is fitted that are always or never answered."""
REACH = 2
"""How many times the measured range a fit covers."""
DRAWS = 200
"""Bootstrap resamples of the questions for a band."""
_CONCENTRATION = (math.log(1e-3), math.log(1e5))
_MEAN = (-14.0, 14.0)
_MASS = (-14.0, 14.0)
_EXPONENT = (0.01, 5.0)
_GRID, _ZOOMS = 64, 4


@dataclass(frozen=True, slots=True)
class Unfitted:
    """No fit, and why."""

    reason: str

    def __str__(self) -> str:
        return f"cannot be fitted, because {self.reason}"


@dataclass(frozen=True, slots=True)
class CoverageFit:
    """Coverage if each question's chance per sample is 0, 1 or from Beta(a, b): 1 - E[(1 - p)^k]."""

    a: float
    b: float
    measured: int
    never: float = 0.0
    """The share of questions that no sample answers."""
    always: float = 0.0
    """The share of questions that every sample answers."""

    def at(self, ks: Sequence[int]) -> Floats:
        """Coverage at sample counts [K]."""
        from scipy import special

        sizes = _within_reach(ks, self.measured)
        covered = -np.expm1(special.betaln(self.a, self.b + sizes) - special.betaln(self.a, self.b))
        return np.asarray(self.always + (1 - self.never - self.always) * covered)


@dataclass(frozen=True, slots=True)
class PowerFit:
    """Accuracy from `start` at one sample to `ceiling`: ceiling - (ceiling - start) * k^-exponent."""

    ceiling: float
    start: float
    exponent: float
    measured: int

    def at(self, ks: Sequence[int]) -> Floats:
        """Accuracy at sample counts [K]."""
        left = _within_reach(ks, self.measured) ** -self.exponent
        return np.asarray(self.ceiling - (self.ceiling - self.start) * left)


Fit = CoverageFit | PowerFit


@dataclass(frozen=True, slots=True)
class Band:
    """A fitted curve with its 95 % interval by bootstrap over questions; all arrays are [K]."""

    ks: tuple[int, ...]
    value: Floats
    low: Floats
    high: Floats

    def upto(self, count: int) -> "Band":
        """The band at its first `count` sample counts."""
        return Band(self.ks[:count], self.value[:count], self.low[:count], self.high[:count])


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A fit to the lower half of the range, its prediction of the upper half, and what was measured there."""

    fitted_to: int
    predicted: Band
    measured: Floats
    """[K], at the sample counts of `predicted`."""

    @property
    def inside(self) -> bool:
        """Whether every measurement lies in the interval of its prediction."""
        return bool(np.all((self.predicted.low <= self.measured) & (self.measured <= self.predicted.high)))


def fit_coverage(drawn: Ints, right: Ints) -> CoverageFit | Unfitted:
    """The Beta of maximum likelihood for `right` of `drawn` samples per question, both [Q]."""
    if drawn.shape != right.shape or drawn.ndim != 1 or np.any((right < 0) | (right > drawn)):
        raise UsageError("coverage is fitted to two arrays [questions] with 0 <= right <= drawn")
    return _fit_counts(*np.unique(np.stack((drawn, right), axis=1), axis=0, return_counts=True))


def _fit_counts(pairs: Ints, questions: Ints, near: CoverageFit | None = None) -> CoverageFit | Unfitted:
    """As `fit_coverage`: each of `pairs` [P, 2], samples and right ones, stands for so many `questions` [P].

    With a fit that is `near`, the search starts there, and there are masses at 0 and 1 if it has them.
    """
    from scipy import special

    present = (pairs[:, 0] > 0) & (questions > 0)
    (drawn, right), questions = pairs[present].T, questions[present]
    total = int(questions.sum())
    if total < MIN_QUESTIONS:
        return Unfitted(f"{_how_many(total)} with samples: it takes {MIN_QUESTIONS}")
    if drawn.max() < 2:
        return Unfitted("one sample per question does not tell hard questions from easy ones")
    if not right.any() or np.all(right == drawn):
        return Unfitted(f"every sample is {'right' if right.any() else 'wrong'}")
    best = _maximum_likelihood(drawn, right, questions, near)
    mean, concentration = float(special.expit(best[0])), math.exp(best[1])
    _, never, always = special.softmax((0.0, *best[2:])) if len(best) > 2 else (1.0, 0.0, 0.0)
    return CoverageFit(mean * concentration, (1 - mean) * concentration, int(drawn.max()), float(never), float(always))


def _maximum_likelihood(drawn: Ints, right: Ints, questions: Ints, near: CoverageFit | None) -> list[float]:
    """Logit of the mean and log of a + b of the Beta of maximum likelihood; also the log odds of 0 and 1 to it.

    The masses at 0 and 1 are there if they raise the likelihood by more than their two parameters cost (AIC: Akaike
    1974). With fewer than `MASSES` samples, they cannot be told from a steep Beta.
    """
    from scipy import optimize

    n, c, size = (column.astype(np.float64) for column in (drawn, right, questions))
    share = float(size @ c / (size @ n))

    def fitted(start: Sequence[float], bounds: Sequence[tuple[float, float]]) -> tuple[float, list[float]]:
        # L-BFGS-B is not more accurate, and takes 20 times as long: it wakes all threads of the BLAS.
        best = optimize.minimize(_loss, start, args=(n, c, size), jac=True, method="SLSQP", bounds=bounds)
        return float(best.fun), best.x.tolist()

    if near:
        start = [math.log(near.a / near.b), math.log(near.a + near.b)]
        if near.never + near.always:
            beta_share = 1 - near.never - near.always
            start += [math.log(max(mass / beta_share, 1e-6)) for mass in (near.never, near.always)]
        return fitted(start, (_MEAN, _CONCENTRATION, _MASS, _MASS)[: len(start)])[1]
    loss, beta = fitted((math.log(share / (1 - share)), 0.0), (_MEAN, _CONCENTRATION))
    if drawn.max() < MASSES:
        return beta
    loss_with_masses, with_masses = fitted((*beta, -2.0, -2.0), (_MEAN, _CONCENTRATION, _MASS, _MASS))
    return with_masses if loss_with_masses < loss - 2 else beta


def _loss(point: Floats, n: Floats, c: Floats, size: Floats) -> tuple[float, Floats]:
    """Minus the log-likelihood of `_maximum_likelihood`, and its gradient, by the number of samples and right ones."""
    from scipy import special

    mean, total = float(special.expit(point[0])), math.exp(point[1])
    a, b = mean * total, (1 - mean) * total
    likelihood = special.betaln(c + a, n - c + b) - special.betaln(a, b)
    weight, of_masses = size, np.empty(0)
    if len(point) > 2:
        odds = np.array((0.0, *point[2:]))
        shares = odds - np.logaddexp.reduce(odds)
        with np.errstate(divide="ignore"):
            parts = np.stack((shares[0] + likelihood, shares[1] + np.log(c == 0), shares[2] + np.log(c == n)))
        likelihood = np.logaddexp.reduce(parts)
        belongs = np.exp(parts - likelihood)
        weight = size * belongs[0]
        of_masses = belongs[1:] @ size - np.exp(shares[1:]) * size.sum()
    shared = special.digamma(total) - special.digamma(n + total)
    by_a = weight @ (special.digamma(c + a) - special.digamma(a) + shared)
    by_b = weight @ (special.digamma(n - c + b) - special.digamma(b) + shared)
    slope = (by_a - by_b) * total * mean * (1 - mean), by_a * a + by_b * b
    return -float(size @ likelihood), -np.array((*slope, *of_masses))


def fit_power(ks: Sequence[int], accuracy: Floats) -> PowerFit | Unfitted:
    """The saturating power law nearest to accuracies [K] in [0, 1] at sample counts `ks`, by least squares."""
    check_sizes(ks)
    if accuracy.shape != (len(ks),) or not np.all((accuracy >= 0) & (accuracy <= 1)):
        raise UsageError("a power law is fitted to one accuracy between 0 and 1 for each sample count")
    if len(set(ks)) < MIN_POINTS:
        return Unfitted(f"{len(set(ks))} sample counts do not determine a curve: it takes {MIN_POINTS}")
    if np.ptp(accuracy) < 1e-9:
        return Unfitted(f"accuracy is {accuracy[0]:.3g} at every sample count")
    sizes = np.asarray(ks, dtype=np.float64)
    low, high = _EXPONENT
    # A grid of exponents that zooms in on the best of them.
    for _ in range(_ZOOMS):
        exponents = np.geomspace(low, high, _GRID)
        error, ceiling, start = _linear(sizes ** -exponents[:, None], accuracy)
        best = int(np.argmin(error))
        low, high = exponents[max(best - 1, 0)], exponents[min(best + 1, _GRID - 1)]
    return PowerFit(float(ceiling[best]), float(start[best]), float(exponents[best]), max(ks))


def _linear(left: Floats, accuracy: Floats) -> tuple[Floats, Floats, Floats]:
    """The error, ceiling and start, both in [0, 1], nearest to `accuracy` [K] for each exponent; `left` is [E, K]."""
    # The curve is linear in ceiling and start: the best point has a zero gradient, or is on an edge of the unit square.
    gone = 1 - left
    cc, cs, ss = (gone**2).sum(axis=1), (gone * left).sum(axis=1), (left**2).sum(axis=1)
    cy, sy = (gone * accuracy).sum(axis=1), (left * accuracy).sum(axis=1)
    area = cc * ss - cs**2
    lowest, highest = np.zeros_like(cc), np.ones_like(cc)
    ceilings = [(cy * ss - sy * cs) / area, np.clip(cy / cc, 0, 1), np.clip((cy - cs) / cc, 0, 1), lowest, highest]
    starts = [(sy * cc - cy * cs) / area, lowest, highest, np.clip(sy / ss, 0, 1), np.clip((sy - cs) / ss, 0, 1)]
    ceiling, start = np.stack(ceilings), np.stack(starts)
    error = ((ceiling[..., None] * gone + start[..., None] * left - accuracy) ** 2).sum(axis=-1)
    error[(ceiling < 0) | (ceiling > 1) | (start < 0) | (start > 1)] = np.inf
    best, each = error.argmin(axis=0), np.arange(len(left))
    return error[best, each], ceiling[best, each], start[best, each]


def _within_reach(ks: Sequence[int], measured: int) -> Floats:
    check_sizes(ks)
    if max(ks) > REACH * measured:
        raise UsageError(f"{max(ks)} samples are beyond the fit: it covers up to {REACH} times the measured {measured}")
    return np.asarray(ks, dtype=np.float64)


def _how_many(n: int) -> str:
    return f"there {'is' if n == 1 else 'are'} {n} question{'s' * (n != 1)}"


def coverage_band(drawn: Ints, right: Ints, ks: Sequence[int], *, seed: int = 0, draws: int = DRAWS) -> Band | Unfitted:
    """The coverage fit at `ks`, with questions resampled for its interval."""
    whole = fit_coverage(drawn, right)
    if isinstance(whole, Unfitted):
        return whole
    pairs, inverse = np.unique(np.stack((drawn, right), axis=1), axis=0, return_inverse=True)
    inverse = inverse.ravel()

    def resample(source: np.random.Generator) -> CoverageFit | Unfitted:
        chosen = inverse[source.integers(0, len(inverse), size=len(inverse))]
        return _fit_counts(pairs, np.bincount(chosen, minlength=len(pairs)), whole)

    return _band(whole, resample, ks, seed, draws)


def power_band(
    values: Floats, measured_at: Sequence[int], ks: Sequence[int], *, seed: int = 0, draws: int = DRAWS
) -> Band | Unfitted:
    """The power law of per-question accuracies [Q, K] at `measured_at`, read at `ks`; without incomplete questions."""
    check_sizes(measured_at)
    if values.ndim != 2 or values.shape[1] != len(measured_at):
        raise UsageError(f"{len(measured_at)} sample counts need an array [questions, counts] (got {values.shape})")
    complete = values[~np.isnan(values).any(axis=1)]
    if len(complete) < MIN_QUESTIONS:
        return Unfitted(f"{_how_many(len(complete))} with all sample counts: it takes {MIN_QUESTIONS}")
    whole = fit_power(measured_at, complete.mean(axis=0))
    if isinstance(whole, Unfitted):
        return whole

    def resample(source: np.random.Generator) -> PowerFit | Unfitted:
        return fit_power(measured_at, complete[source.integers(0, len(complete), size=len(complete))].mean(axis=0))

    return _band(whole, resample, ks, seed, draws)


def _band(
    whole: Fit, resample: Callable[[np.random.Generator], Fit | Unfitted], ks: Sequence[int], seed: int, draws: int
) -> Band | Unfitted:
    check_sizes(ks)
    value = whole.at(ks)
    source = np.random.default_rng(seed)
    fits = (resample(source) for _ in range(draws))
    curves = [dataclasses.replace(fit, measured=whole.measured).at(ks) for fit in fits if not isinstance(fit, Unfitted)]
    if len(curves) < draws / 2:
        return Unfitted("most resamples of the questions cannot be fitted: there is too little variety in them")
    low, high = np.percentile(curves, (2.5, 97.5), axis=0)
    return Band(tuple(ks), value, low, high)


def held_out_coverage(right: Floats, *, seed: int = 0, draws: int = DRAWS) -> HeldOut | Unfitted:
    """Fit a random half of each question's samples of a pool [Q, N], predict coverage beyond it up to N."""
    check_pool(right)
    drawn, correct = counts(right)
    full = drawn == right.shape[1]
    half, samples = right.shape[1] // 2, right.shape[1]
    if full.sum() < MIN_QUESTIONS or half < 2:
        return Unfitted(f"{_how_many(int(full.sum()))} with all of {samples} samples: it takes {MIN_QUESTIONS}, of 4")
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
    """The sample count from which no doubling gains `gain` any more; None if the last one within reach still does."""
    if not gain > 0:
        raise UsageError(f"the least gain of a doubling must be above 0 (got {gain:g})")
    ks = range(1, REACH * fit.measured // 2 + 1)
    enough = np.flatnonzero(fit.at([2 * k for k in ks]) - fit.at(ks) >= gain)
    if not len(enough):
        return 1
    return None if enough[-1] == len(ks) - 1 else ks[enough[-1]] + 1
