"""Alarms that a calibration no longer holds."""

import math
from collections.abc import Sequence

ALARM = 0.01
"""The chance of a false alarm per look."""
EXACT = 5000
"""Up to so many answers the distribution is exact; the time grows with their square."""
MIN_SEEN = 10
"""Fewer questions raise no alarm of drift."""


def drift(mean: float, sd: float, n: int, shares: Sequence[float], alpha: float = ALARM) -> str | None:
    """The alarm that votes agree less than in calibration, where smoothed shares on `n` questions had `mean` and `sd`.

    A one-sided t test on `shares`, with the greater of the two spreads for both, as a few questions may miss
    the rare ones that split; None without an alarm, or with fewer than `MIN_SEEN`. `alpha` is for one look: divide it
    by the number of windows that are looked at.
    """
    import numpy as np
    from scipy import special

    if n < 2 or not 0 < alpha < 1:
        raise ValueError(f"n must be at least 2, alpha above 0 and below 1 (got {n}, {alpha})")
    if len(shares) < MIN_SEEN:
        return None
    recent = math.fsum(shares) / len(shares)
    if recent > mean - 1e-9:
        return None
    square = max(sd**2, float(np.var(shares, ddof=1)))
    calibrated, new = square / n, square / len(shares)
    chance = 0.0
    if spread := calibrated + new:
        freedom = spread**2 / (calibrated**2 / (n - 1) + new**2 / (len(shares) - 1))
        chance = float(special.stdtr(freedom, (recent - mean) / math.sqrt(spread)))
    if chance > alpha:
        return None
    return (
        f"votes agree less than in calibration: a mean share of {recent:.3f} on {len(shares)} questions, {mean:.3f} on "
        f"{n} in calibration (p = {chance:.2g})"
    )


def broken_promise(confidences: Sequence[float], right: Sequence[bool], alpha: float = ALARM) -> str | None:
    """The alarm that fewer answers are right than their calibrated confidences, in [0, 1], predict; None without one.

    The count of right answers against a sum of unequal coins: exact up to `EXACT` answers, beyond by the normal
    approximation with continuity correction. One look, as in `drift`.
    """
    if len(confidences) != len(right) or not all(0 <= chance <= 1 for chance in confidences):
        raise ValueError("give a confidence from 0 to 1 for each answer")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be above 0 and below 1 (got {alpha})")
    count = sum(right)
    chance = _at_most(count, confidences)
    if chance > alpha:
        return None
    return (
        f"fewer answers are right than their confidence predicts: {count} of {len(right)}, "
        f"and {math.fsum(confidences):.1f} were expected (p = {chance:.2g})"
    )


def _at_most(count: int, chances: Sequence[float]) -> float:
    """P(at most `count` of these coins fall heads)."""
    import numpy as np

    p = np.asarray(chances, dtype=np.float64)
    if len(p) > EXACT:
        from scipy import special

        spread = math.sqrt(float((p * (1 - p)).sum()))
        return float(special.ndtr((count + 0.5 - p.sum()) / spread)) if spread else float(count >= p.sum())
    law = np.zeros(len(p) + 1)
    law[0] = 1.0
    for chance in p:
        law[1:] = law[1:] * (1 - chance) + law[:-1] * chance
        law[0] *= 1 - chance
    return float(law[: count + 1].sum())
