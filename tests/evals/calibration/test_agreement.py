"""What a profile keeps of agreement: one order of each question, and a stated power where less of it costs accuracy."""

import numpy as np
import pytest

from reasoner.calibration import shift
from reasoner_evals.calibration.outcomes import Outcomes, Way
from reasoner_evals.calibration.profiles import agreement_in, shifted_weights
from reasoner_evals.stats import Floats


def voted(vote: Floats, right: Floats) -> Outcomes:
    """Outcomes [Q, R] of a vote of 8 with these shares of the leader."""
    samples = np.full(vote.shape, 8.0)
    return Outcomes(
        Way("x", "", ""), right, samples, samples, vote, vote, samples, samples
    )


def baseline(questions: int = 300) -> Outcomes:
    """Answers that are right as often as their leader's share says, in three orders."""
    source = np.random.default_rng(questions)
    chance = source.beta(4, 1, questions)
    vote = np.maximum(source.binomial(8, chance, (3, questions)).T, 1) / 8
    return voted(
        vote,
        (source.random(questions) < chance)[:, None].repeat(3, axis=1).astype(float),
    )


def test_one_order_of_each_question_is_kept() -> None:
    whole = baseline()
    found = agreement_in(whole, None)
    kept = np.repeat(found.percent, found.questions)
    assert kept.tolist() == sorted(np.round(100 * whole.vote[:, 0]).tolist())
    assert found.power == shift.LEVEL


def test_questions_of_little_agreement_are_weighted_until_accuracy_has_dropped() -> (
    None
):
    whole = baseline()
    weights = shifted_weights(whole)
    assert weights is not None
    assert weights.mean() == pytest.approx(1)
    dropped = whole.right.mean() - (weights[:, None] * whole.right).mean()
    assert dropped == pytest.approx(shift.DROP, abs=0.005)
    assert (weights[:, None] * whole.vote).mean() < whole.vote.mean()
    assert agreement_in(whole, weights).power > 0.3
    single = voted(np.ones((300, 1)), whole.right[:, :1])
    assert shifted_weights(single) is None
    assert agreement_in(single, weights).power < shift.LEVEL + 1e-9
