"""Whether questions are like those of a calibration, by how far their samples agree: no answer has to be graded."""

import math
from collections.abc import Mapping
from typing import Final

from reasoner.system.printing import counted

LEVEL: Final = 0.0075
"""The chance of a false alarm in one run or batch, which is looked at once, when it is finished."""
DRAWS: Final = 10_000
"""Random divisions of the questions into those of the calibration and those in use, at most."""
BLOCK, ENOUGH = 500, 100
"""Divisions drawn at once, until this many have a mean as low: the chance is then above 1 %."""
DROP: Final = 0.064
"""The drop of accuracy with a stated power: as from 74.8 to 68.4 %."""
ASKED: Final = 100
"""The questions in use for which the power is stated."""

Agreements = Mapping[int, int]
"""How many questions ended with the leader at each share of the vote, in percent."""


def percent(share: float) -> int:
    """A share of the vote, 0 to 1, as `Agreements` count it."""
    return round(100 * share)


def less_agreement(
    measured: Agreements, seen: Agreements, alpha: float = LEVEL
) -> str | None:
    """The alarm that samples agree less than in calibration; None without one.

    It is for one look at questions that were chosen before it: later looks at more of them have false alarms of their
    own.
    """
    chance = chance_of_less(measured, seen)
    if chance > alpha:
        return None
    return (
        f"samples agree less than in calibration: on average the leader has {_mean(seen):.1f} % of the vote on "
        f"{counted(sum(seen.values()), 'question')}, and {_mean(measured):.1f} % on {sum(measured.values()):,} in "
        f"calibration (p = {chance:.2g})"
    )


def chance_of_less(measured: Agreements, seen: Agreements) -> float:
    """The p-value that the mean share is as low as in use, if both are questions of one kind; 1 without questions.

    A permutation test, so it is exact whatever the distribution and the sizes: of `DRAWS` random divisions of all
    questions, those with a mean as low, and the actual one (Phipson & Smyth 2010).
    """
    import numpy as np

    if not measured or not seen:
        return 1.0
    values = np.array(sorted(measured.keys() | seen.keys()))
    asked, total = (
        sum(seen.values()),
        sum(value * count for value, count in seen.items()),
    )
    both = [measured.get(value, 0) + seen.get(value, 0) for value in values.tolist()]
    source, drawn, as_low = np.random.default_rng(0), 0, 0
    while drawn < DRAWS and as_low < ENOUGH:
        divided = source.multivariate_hypergeometric(
            both, asked, size=BLOCK, method="marginals"
        )
        drawn, as_low = (
            drawn + BLOCK,
            as_low + int(np.count_nonzero(divided @ values <= total)),
        )
    return (1 + as_low) / (1 + drawn)


def seen_in(power: float) -> str:
    """What a stored power says, as a clause."""
    return (
        f"where questions of little agreement are more frequent, so that {100 * DROP:g} points of accuracy are lost, "
        f"{ASKED} questions raise the alarm in {power:.0%} of runs"
    )


def power(
    fall: float,
    spread: tuple[float, float],
    questions: int,
    asked: int,
    alpha: float = LEVEL,
) -> float:
    """The chance of the alarm if the mean share falls by `fall`, by a normal approximation.

    `spread` are the standard deviations of a question's share in calibration, on `questions` questions, and in use.
    """
    from statistics import NormalDist

    before, after = spread
    whole = questions + asked
    pooled = (questions * before**2 + asked * after**2) / whole + questions * asked * (
        fall / whole
    ) ** 2
    error = math.sqrt(before**2 / questions + after**2 / asked)
    if not error:
        return float(fall > 0)
    limit = NormalDist().inv_cdf(1 - alpha) * math.sqrt(
        pooled * (1 / questions + 1 / asked)
    )
    return NormalDist().cdf((fall - limit) / error)


def _mean(agreements: Agreements) -> float:
    return sum(value * count for value, count in agreements.items()) / sum(
        agreements.values()
    )
