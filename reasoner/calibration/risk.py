"""Alarms that a calibration no longer holds."""

import math
from collections.abc import Sequence
from typing import Any

ALARM = 0.01
"""The chance of a false alarm per look."""
EXACT = 500
"""Up to this many answers the distribution is exact; the time grows with their square."""
NODES = 21
"""Points of the quadrature over the error of a calibration."""


def broken_promise(
    confidences: Sequence[float],
    right: Sequence[bool],
    questions: int,
    alpha: float = ALARM,
) -> str | None:
    """The alarm that fewer answers are right than their calibrated confidences, in [0, 1], predict; None without one.

    One look, as in `drift`. `questions` is how many the confidences were calibrated on: see `predicted_at_most`.
    """
    count = sum(right)
    chance = predicted_at_most(count, confidences, questions)
    if chance > alpha:
        return None
    return (
        f"fewer answers are right than their confidence predicts: {count} of {len(right)}, "
        f"and {math.fsum(confidences):.1f} were expected (p = {chance:.2g})"
    )


def lost_accuracy(
    accuracy: float, questions: int, right: int, asked: int, alpha: float = ALARM
) -> str | None:
    """The alarm that fewer of the `asked` questions are answered rightly than in calibration; None without one.

    `accuracy` was measured on `questions` questions. A question without an answer counts as not right, as it did there.
    One look, as in `drift`.
    """
    # Not even a calibration without a failure makes the next question certain.
    sure = (accuracy * questions + 0.5) / (questions + 1)
    chance = predicted_at_most(right, [sure] * asked, questions)
    if chance > alpha:
        return None
    return (
        f"fewer questions are answered rightly than in calibration: {right} of {asked}, and {accuracy:.1%} of "
        f"{questions} in calibration (p = {chance:.2g})"
    )


def predicted_at_most(count: int, chances: Sequence[float], questions: int) -> float:
    """The chance that `count` answers or fewer are right, if their `chances` were measured on `questions` questions.

    It is the mid-p: `count` itself counts half, so that false alarms are as frequent as they should be, and not only
    at most (Lancaster 1961). The calibration has an error of its own: all log odds are shifted by one normal amount,
    and its effect on the mean chance has the variance of a mean over `questions` answers. Given the shift, the count is
    a sum of unequal coins: exact up to `EXACT` answers, beyond by the normal approximation.
    """
    import numpy as np
    from scipy import special

    p = np.asarray(chances, dtype=np.float64)
    if not len(p):
        return 1.0
    # Where all chances are near 0 or 1, the shift has a deviation of at most 2.
    variance = max(float(np.mean(p * (1 - p))), 0.25 / questions)
    shifts, weights = np.polynomial.hermite_e.hermegauss(NODES)
    spread = 1 / math.sqrt(questions * variance)
    with np.errstate(divide="ignore"):
        shifted = special.expit(special.logit(p) + spread * shifts[:, None])
    return float(weights @ _at_most(count, shifted)) / float(weights.sum())


def _at_most(count: int, chances: Any) -> Any:
    """P(fewer than `count` of these coins fall heads) + P(`count` do) / 2, for each row of [K, n]."""
    import numpy as np
    from scipy import special

    rows, n = chances.shape
    if n > EXACT:
        spread = np.sqrt((chances * (1 - chances)).sum(axis=1))
        distance = count - chances.sum(axis=1)
        return np.asarray(special.ndtr(distance / np.maximum(spread, 1e-12)))
    law = np.zeros((rows, count + 1))
    law[:, 0] = 1.0
    for chance in chances.T[:, :, None]:
        law[:, 1:] = law[:, 1:] * (1 - chance) + law[:, :-1] * chance
        law[:, :1] *= 1 - chance
    return np.asarray(law.sum(axis=1) - law[:, -1] / 2)
