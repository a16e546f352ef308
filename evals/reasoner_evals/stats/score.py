"""Tango's score test of paired differences, and the interval that inverts it."""

import math

import numpy as np

from reasoner_evals.stats.arrays import Floats

Z = 1.959963984540054
_STEPS = 60


def score_test(better: float, worse: float) -> float:
    """The z of McNemar's test, without continuity correction: (b - c) / sqrt(b + c), 0 if there is no difference."""
    return (better - worse) / math.sqrt(better + worse) if better + worse else 0.0


def score_interval(better: float, worse: float, n: float) -> tuple[float, float]:
    """Tango's 95 % interval of (better - worse) / n (1998, Statistics in Medicine 17:891); counts may be fractional.

    It excludes 0 exactly if the absolute value of `score_test` is above `Z`.
    """
    estimate = (better - worse) / n

    def z(difference: float) -> float:
        """The score statistic of a true difference, with the restricted maximum likelihood of the share of `worse`."""
        b = (2 * n - better + worse) * difference - better - worse
        root = math.sqrt(max(b * b + 8 * n * worse * difference * (1 - difference), 0.0))
        share = max(root - b, 0.0) / (4 * n)
        return (better - worse - n * difference) / math.sqrt(
            max(n * (2 * share + difference * (1 - difference)), 1e-300)
        )

    def bound(end: float, sign: float) -> float:
        inside, outside = estimate, end
        for _ in range(_STEPS):
            middle = (inside + outside) / 2
            if sign * z(middle) > Z:
                outside = middle
            else:
                inside = middle
        return outside

    return bound(-1.0, 1.0), bound(1.0, -1.0)


def scaled_counts(differences: Floats) -> tuple[float, float, float]:
    """The differences [U] as so many wins and losses of one size: wins, losses, size.

    Their total and their sum of squares are those of the differences. Single outcomes are their own counts.
    """
    total = float(np.abs(differences).sum())
    if not total:
        return 0.0, 0.0, 1.0
    size = float(differences @ differences) / total
    return float(differences[differences > 0].sum()) / size, -float(differences[differences < 0].sum()) / size, size
