"""What a cheaper way may spoil, bounded with confidence; and alarms that a calibration no longer holds."""

import math
from collections.abc import Sequence

ALARM = 0.01
"""The chance of a false alarm, each time that one is asked for."""
EXACT = 5000
"""So many coins are counted one by one; the time grows with their square."""
LEAST_SEEN = 10
"""Agreement on fewer questions raises no alarm."""


def upper_bound(harmed: float, n: int, alpha: float) -> float:
    """The rate of harm that is not exceeded with confidence 1 - `alpha`, after `harmed` of `n`.

    For whole questions it is Clopper and Pearson's, which is exact. What is harmed in expectation only counts in part;
    then it is the lesser of two: Hoeffding's, proven for any losses in [0, 1], and Clopper and Pearson's of the next
    whole number. That one is proven at 2 `alpha`: toss a coin for each part, and the count is a binomial which is at
    most that number in half of the cases or more. A search found no losses that are worse for it than whole ones.
    """
    if not 0 <= harmed <= n or not n or not 0 < alpha < 1:
        raise ValueError(f"{harmed} of {n} at alpha={alpha}: 0 to n of 1 or more, alpha above 0 and below 1")
    from scipy import special

    count = math.ceil(harmed - 1e-9)
    whole = 1.0 if count == n else float(special.betaincinv(count + 1, n - count, 1 - alpha))
    return min(whole, _hoeffding(harmed / n, math.log(1 / alpha) / n))


def _hoeffding(rate: float, least: float) -> float:
    """The rate u above this one from which on the relative entropy of `rate` to u is `least`."""
    low, high = rate, 1.0
    for _ in range(60):
        u = (low + high) / 2
        entropy = (
            (rate and rate * math.log(rate / u)) + (1 - rate) * math.log((1 - rate) / (1 - u)) if u < 1 else math.inf
        )
        low, high = (u, high) if entropy < least else (low, u)
    return high


def least_questions(epsilon: float, alpha: float) -> int:
    """How many questions without harm it takes to bound the rate by `epsilon`."""
    return math.ceil(math.log(alpha) / math.log1p(-epsilon))


def walk(counts: Sequence[tuple[float, int]], epsilon: float, alpha: float) -> int | None:
    """The place of the last (harmed, n) that `epsilon` bounds before the first that it does not; None if it is none.

    The order, from cautious to bold, is fixed before the counts are looked at: then the risk of what is chosen exceeds
    `epsilon` with a chance of `alpha` at most, however many there are (fixed-sequence testing: Angelopoulos 2021,
    2110.01052).
    """
    passed = None
    for place, (harmed, n) in enumerate(counts):
        if upper_bound(harmed, n, alpha) > epsilon:
            break
        passed = place
    return passed


def drift(mean: float, sd: float, n: int, seen: Sequence[float], alpha: float = ALARM) -> str | None:
    """The alarm that votes agree less than in calibration: there, smoothed shares on `n` questions had `mean` and `sd`.

    A one-sided t test on the shares `seen`, with the greater of the two spreads for both, as few questions may have
    missed the rare ones that split; None where there is nothing to tell, or fewer than `LEAST_SEEN`. For one look at
    these questions: who looks at k windows divides `alpha` by k.
    """
    import numpy as np
    from scipy import special

    if n < 2 or not 0 < alpha < 1:
        raise ValueError(f"n={n}, alpha={alpha}: a calibration of 2 questions or more, alpha above 0 and below 1")
    if len(seen) < LEAST_SEEN:
        return None
    now = math.fsum(seen) / len(seen)
    if now > mean - 1e-9:
        return None
    square = max(sd**2, float(np.var(seen, ddof=1)))
    calibrated, new = square / n, square / len(seen)
    chance = 0.0
    if spread := calibrated + new:
        freedom = spread**2 / (calibrated**2 / (n - 1) + new**2 / (len(seen) - 1))
        chance = float(special.stdtr(freedom, (now - mean) / math.sqrt(spread)))
    if chance > alpha:
        return None
    return (
        f"votes agree less than in calibration: a mean share of {now:.3f} on {len(seen)} questions, {mean:.3f} on {n} "
        f"before (p = {chance:.2g})"
    )


def broken_promise(confidences: Sequence[float], right: Sequence[bool], alpha: float = ALARM) -> str | None:
    """The alarm that fewer answers are right than their calibrated confidences, in [0, 1], say; None where not.

    The count of right answers against the sum of unequal coins: exact up to `EXACT` answers, by the normal law with a
    correction for continuity beyond. One look, as in `drift`.
    """
    if len(confidences) != len(right) or not all(0 <= chance <= 1 for chance in confidences):
        raise ValueError("a confidence from 0 to 1 for each answer")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha} is above 0 and below 1")
    count = sum(right)
    chance = _at_most(count, confidences)
    if chance > alpha:
        return None
    return (
        f"fewer answers are right than their confidence says: {count} of {len(right)}, "
        f"and {math.fsum(confidences):.1f} were promised (p = {chance:.2g})"
    )


def _at_most(count: int, chances: Sequence[float]) -> float:
    """P(no more than `count` of these coins fall heads)."""
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
