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
        return _power(np.array((self.ceiling, self.start, self.exponent)), _within_reach(ks, self.measured))


def fit_coverage(drawn: Ints, right: Ints) -> CoverageFit | Unfitted:
    """The Beta of greatest likelihood for `right` of `drawn` samples per question, both [Q]."""
    if drawn.shape != right.shape or drawn.ndim != 1 or np.any((right < 0) | (right > drawn)):
        raise UsageError("coverage is fitted to two arrays [questions] with 0 <= right <= drawn")
    kept = drawn > 0
    drawn, right = drawn[kept], right[kept]
    if len(drawn) < LEAST_QUESTIONS:
        return Unfitted(f"{how_many(len(drawn))} with samples: it takes {LEAST_QUESTIONS}")
    if drawn.max() < 2:
        return Unfitted("one sample a question does not tell hard questions from easy ones")
    if not right.any() or np.all(right == drawn):
        return Unfitted(f"every sample is {'right' if right.any() else 'wrong'}")
    mean, concentration = _most_likely(drawn, right)
    return CoverageFit(mean * concentration, (1 - mean) * concentration, int(drawn.max()))


def fit_power(ks: Sequence[int], accuracy: Floats) -> PowerFit | Unfitted:
    """The saturating power law nearest to accuracies [K] in [0, 1] at sample counts `ks`."""
    from scipy import optimize

    check_sizes(ks)
    if accuracy.shape != (len(ks),) or not np.all((accuracy >= 0) & (accuracy <= 1)):
        raise UsageError("a power law is fitted to one accuracy between 0 and 1 for each sample count")
    if len(set(ks)) < LEAST_POINTS:
        return Unfitted(f"{len(set(ks))} sample counts do not determine a curve: it takes {LEAST_POINTS}")
    if np.ptp(accuracy) < 1e-9:
        return Unfitted(f"accuracy is {accuracy[0]:.3g} at every sample count")
    sizes = np.asarray(ks, dtype=np.float64)
    first, last = float(accuracy[np.argmin(sizes)]), float(accuracy[np.argmax(sizes)])
    tries = [
        optimize.least_squares(
            lambda parameters: _power(parameters, sizes) - accuracy,
            np.clip((last, first, exponent), 1e-6, 1 - 1e-6),
            bounds=((0, 0, 0.01), (1, 1, 5)),
        )
        for exponent in (0.2, 0.9)
    ]
    ceiling, start, exponent = min(tries, key=lambda found: float(found.cost)).x
    return PowerFit(float(ceiling), float(start), float(exponent), max(ks))


def _most_likely(drawn: Ints, right: Ints) -> tuple[float, float]:
    """Mean and concentration a + b of the Beta of greatest likelihood."""
    from scipy import optimize, special

    pairs, size = np.unique(np.stack((drawn, right), axis=1), axis=0, return_counts=True)
    n, c = pairs.T.astype(np.float64)

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
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=(_MEAN, _CONCENTRATION))
    return float(special.expit(found.x[0])), math.exp(float(found.x[1]))


def _power(parameters: Floats, sizes: Floats) -> Floats:
    ceiling, start, exponent = parameters
    return np.asarray(ceiling - (ceiling - start) * sizes**-exponent)


def _within_reach(ks: Sequence[int], measured: int) -> Floats:
    check_sizes(ks)
    if max(ks) > REACH * measured:
        raise UsageError(f"{max(ks)} samples are beyond what was measured: up to {measured}, and {REACH} times that")
    return np.asarray(ks, dtype=np.float64)


def how_many(n: int) -> str:
    """A number of questions, as the beginning of a reason."""
    return f"there {'is' if n == 1 else 'are'} {n} question{'s' * (n != 1)}"
