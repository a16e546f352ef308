"""How accuracy grows with samples: fits of coverage and of selection accuracy.

A fit speaks for at most twice the sample counts it was made from. What cannot be fitted is `Unfitted`, with the reason.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reasoner.errors import UsageError
from reasoner_evals.stats.arrays import Floats, Ints, check_sizes

LEAST_QUESTIONS = 10
LEAST_POINTS = 4
REACH = 2
"""How many times the measured range a fit may speak for."""
_CONCENTRATION = (math.log(1e-3), math.log(1e5))
_MEAN = (-14.0, 14.0)
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
    """Coverage where each question's chance per sample comes from Beta(a, b): 1 - E[(1 - p)^k]."""

    a: float
    b: float
    measured: int

    def at(self, ks: Sequence[int]) -> Floats:
        """Coverage at sample counts [K]."""
        from scipy import special

        sizes = _within_reach(ks, self.measured)
        return np.asarray(-np.expm1(special.betaln(self.a, self.b + sizes) - special.betaln(self.a, self.b)))


@dataclass(frozen=True, slots=True)
class PowerFit:
    """Accuracy that goes from `start` at one sample to `ceiling`: ceiling - (ceiling - start) * k^-exponent."""

    ceiling: float
    start: float
    exponent: float
    measured: int

    def at(self, ks: Sequence[int]) -> Floats:
        """Accuracy at sample counts [K]."""
        left = _within_reach(ks, self.measured) ** -self.exponent
        return np.asarray(self.ceiling - (self.ceiling - self.start) * left)


def fit_coverage(drawn: Ints, right: Ints) -> CoverageFit | Unfitted:
    """The Beta of greatest likelihood for `right` of `drawn` samples per question, both [Q]."""
    if drawn.shape != right.shape or drawn.ndim != 1 or np.any((right < 0) | (right > drawn)):
        raise UsageError("coverage is fitted to two arrays [questions] with 0 <= right <= drawn")
    pairs, questions = np.unique(np.stack((drawn, right), axis=1), axis=0, return_counts=True)
    return fit_counts(pairs, questions)


def fit_counts(pairs: Ints, questions: Ints) -> CoverageFit | Unfitted:
    """As `fit_coverage`: each of `pairs` [P, 2], samples and right ones, stands for so many `questions` [P]."""
    there = (pairs[:, 0] > 0) & (questions > 0)
    (drawn, right), questions = pairs[there].T, questions[there]
    total = int(questions.sum())
    if total < LEAST_QUESTIONS:
        return Unfitted(f"{how_many(total)} with samples: it takes {LEAST_QUESTIONS}")
    if drawn.max() < 2:
        return Unfitted("one sample a question does not tell hard questions from easy ones")
    if not right.any() or np.all(right == drawn):
        return Unfitted(f"every sample is {'right' if right.any() else 'wrong'}")
    mean, concentration = _most_likely(drawn, right, questions)
    return CoverageFit(mean * concentration, (1 - mean) * concentration, int(drawn.max()))


def fit_power(ks: Sequence[int], accuracy: Floats) -> PowerFit | Unfitted:
    """The saturating power law nearest to accuracies [K] in [0, 1] at sample counts `ks`."""
    check_sizes(ks)
    if accuracy.shape != (len(ks),) or not np.all((accuracy >= 0) & (accuracy <= 1)):
        raise UsageError("a power law is fitted to one accuracy between 0 and 1 for each sample count")
    if len(set(ks)) < LEAST_POINTS:
        return Unfitted(f"{len(set(ks))} sample counts do not determine a curve: it takes {LEAST_POINTS}")
    if np.ptp(accuracy) < 1e-9:
        return Unfitted(f"accuracy is {accuracy[0]:.3g} at every sample count")
    ceiling, start, exponent = _nearest(np.asarray(ks, dtype=np.float64), accuracy)
    return PowerFit(ceiling, start, exponent, max(ks))


def _nearest(sizes: Floats, accuracy: Floats) -> tuple[float, float, float]:
    """Ceiling, start and exponent of least squared error: exponents on a grid, which closes in on the best of them."""
    low, high = _EXPONENT
    for _ in range(_ZOOMS):
        exponents = np.geomspace(low, high, _GRID)
        error, ceiling, start = _linear(sizes ** -exponents[:, None], accuracy)
        best = int(np.argmin(error))
        low, high = exponents[max(best - 1, 0)], exponents[min(best + 1, _GRID - 1)]
    return float(ceiling[best]), float(start[best]), float(exponents[best])


def _linear(left: Floats, accuracy: Floats) -> tuple[Floats, Floats, Floats]:
    """The error, ceiling and start, both in [0, 1], nearest to `accuracy` [K] for each exponent; `left` is [E, K].

    The curve is linear in them, `ceiling * (1 - left) + start * left`, so that the best lies where the slopes are 0 or,
    where that is outside, on one of the square's edges.
    """
    gone = 1 - left
    cc, cs, ss = (gone**2).sum(axis=1), (gone * left).sum(axis=1), (left**2).sum(axis=1)
    cy, sy = (gone * accuracy).sum(axis=1), (left * accuracy).sum(axis=1)
    area = cc * ss - cs**2
    zero, one = np.zeros_like(cc), np.ones_like(cc)
    ceilings = [(cy * ss - sy * cs) / area, np.clip(cy / cc, 0, 1), np.clip((cy - cs) / cc, 0, 1), zero, one]
    starts = [(sy * cc - cy * cs) / area, zero, one, np.clip(sy / ss, 0, 1), np.clip((sy - cs) / ss, 0, 1)]
    ceiling, start = np.stack(ceilings), np.stack(starts)
    error = ((ceiling[..., None] * gone + start[..., None] * left - accuracy) ** 2).sum(axis=-1)
    error[(ceiling < 0) | (ceiling > 1) | (start < 0) | (start > 1)] = np.inf
    best, each = error.argmin(axis=0), np.arange(len(left))
    return error[best, each], ceiling[best, each], start[best, each]


def _most_likely(drawn: Ints, right: Ints, questions: Ints) -> tuple[float, float]:
    """Mean and concentration a + b of the Beta of greatest likelihood."""
    from scipy import optimize, special

    n, c, size = (column.astype(np.float64) for column in (drawn, right, questions))

    def loss(point: Floats) -> tuple[float, Floats]:
        mean, total = float(special.expit(point[0])), math.exp(point[1])
        a, b = mean * total, (1 - mean) * total
        likely = special.betaln(c + a, n - c + b) - special.betaln(a, b)
        shared = special.digamma(total) - special.digamma(n + total)
        by_a = size @ (special.digamma(c + a) - special.digamma(a) + shared)
        by_b = size @ (special.digamma(n - c + b) - special.digamma(b) + shared)
        slope = (by_a - by_b) * total * mean * (1 - mean), by_a * a + by_b * b
        return -float(size @ likely), -np.array(slope)

    share = float(size @ c / (size @ n))
    start = np.array((math.log(share / (1 - share)), 0.0))
    # L-BFGS-B ends no nearer, and takes 20 times as long: for two parameters it wakes all threads of the BLAS.
    found = optimize.minimize(loss, start, jac=True, method="SLSQP", bounds=(_MEAN, _CONCENTRATION))
    return float(special.expit(found.x[0])), math.exp(float(found.x[1]))


def _within_reach(ks: Sequence[int], measured: int) -> Floats:
    check_sizes(ks)
    if max(ks) > REACH * measured:
        raise UsageError(f"{max(ks)} samples are beyond what was measured: up to {measured}, and {REACH} times that")
    return np.asarray(ks, dtype=np.float64)


def how_many(n: int) -> str:
    """A number of questions, as the beginning of a reason."""
    return f"there {'is' if n == 1 else 'are'} {n} question{'s' * (n != 1)}"
