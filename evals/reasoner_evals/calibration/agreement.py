"""How far samples agreed, in a calibration and where it is used, and which drop of accuracy a comparison sees."""

import math
from collections import Counter
from typing import Final

import numpy as np

from reasoner.calibration import shift
from reasoner.calibration.profile import Agreement
from reasoner_evals.calibration.outcomes import Outcomes
from reasoner_evals.runs.reading import ArmData
from reasoner_evals.stats import Floats

TILTS: Final = np.linspace(0, 20, 1001)
"""How fast the weight of a question falls with its leader's share of the vote, from the least shift on."""
DIGITS: Final = 6


def agreement_in(ended: Outcomes, shifted: Floats | None) -> Agreement:
    """The leader's share of the votes in one order of each question, as in use, and the power of comparing it.

    The power is for questions with the weights `shifted` [Q], or, without them, the probability of a false alarm.
    """
    shares, counts = np.unique(
        [shift.percent(share) for share in ended.vote[:, 0].tolist()],
        return_counts=True,
    )
    power = shift.LEVEL if shifted is None else _power(ended.vote, shifted)
    return Agreement(
        percent=shares.tolist(), questions=counts.tolist(), power=round(power, DIGITS)
    )


def shifted_weights(baseline: Outcomes) -> Floats | None:
    """[Q]: weights of mean 1, exp(-t share) by the vote of all samples, that lower its accuracy by `shift.DROP`.

    Of all such weights the nearest to equal ones. None where no t lowers it so far: agreement then does not show it.
    """
    share, right = baseline.vote.mean(axis=1), baseline.right.mean(axis=1)
    weights = np.exp(-TILTS[:, None] * (share - share.min()))
    weights /= weights.mean(axis=1, keepdims=True)
    low = np.flatnonzero((weights * right).mean(axis=1) <= right.mean() - shift.DROP)
    return weights[low[0]] if len(low) else None


def _power(vote: Floats, weights: Floats) -> float:
    """The chance that the mean of [Q, R] shares is seen to be lower with these weights."""
    weighted = weights[:, None]
    before, after = float(vote.mean()), float((weighted * vote).mean())
    if math.isclose(before, after):
        # Equal shares differ by the rounding of their mean, which depends on the processor.
        return shift.LEVEL
    spread = (
        float(vote.std()),
        math.sqrt(float((weighted * (vote - after) ** 2).mean())),
    )
    return shift.power(before - after, spread, len(vote), shift.ASKED)


def agreement_seen(data: ArmData) -> Counter[int]:
    """The same of an arm in use; empty where it is not comparable: it is not finished, or budgets ended questions.

    A finished arm is looked at once, as no question is added to it.
    """
    if data.arm.budget or data.arm.total or not data.finished.all():
        return Counter()
    return Counter(
        shift.percent(share) for share in data.share[data.has_result].tolist()
    )
