"""Certainty from log-probabilities, against closed forms."""

import asyncio
import math

import pytest

from reasoner.errors import VerifierError
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import completion, number_question, says
from reasoner.types import NO_LOGPROB, Logprobs, Rating
from reasoner.verifier import CostMeter
from reasoner_verifiers import Certainty
from reasoner_verifiers.certainty import Measure

ENGINE = ScriptedEngine(says("7"))
LIKELIHOOD, SELF = Certainty(), Certainty("self_certainty")


def rating(verifier: Certainty, logprobs: Logprobs | None) -> Rating:
    return asyncio.run(
        verifier.score(
            number_question(), completion("7", logprobs=logprobs), ENGINE, CostMeter()
        )
    )


def value(verifier: Certainty, logprobs: Logprobs) -> float:
    found = rating(verifier, logprobs).value
    assert found is not None
    return found


def peaked(*laws: tuple[float, ...]) -> Logprobs:
    """One token for each law over its alternatives, best first."""
    tops = tuple(tuple(math.log(p) for p in law) for law in laws)
    return Logprobs(tuple(top[0] for top in tops), tops)


def confident(*tokens: float) -> Logprobs:
    """Tokens of these confidences: both alternatives have the log-probability -C."""
    return Logprobs((-0.1,) * len(tokens), tuple((-c, -c) for c in tokens))


TOKENS = (4, 1, 1, 4, 4, 4, 7, 9, 1, 5)


def logs(*probabilities: float) -> Logprobs:
    """Sampled tokens of these probabilities."""
    return Logprobs(tuple(math.log(p) for p in probabilities))


DIVERGENCE = 0.5108256
"""Of (0.9, 0.1) from uniform."""


@pytest.mark.parametrize(
    ("verifier", "logprobs", "expected"),
    [
        (LIKELIHOOD, logs(0.5, 0.125), 0.25),
        (LIKELIHOOD, Logprobs((-0.0,) * 5), 1),
        (LIKELIHOOD, Logprobs((1e-9,)), 1),
        (Certainty("self_certainty", 2), peaked((0.9, 0.1)), 1 - math.exp(-DIVERGENCE)),
        (
            Certainty("self_certainty", 2),
            peaked((0.9, 0.1), (0.5, 0.5)),
            1 - math.exp(-DIVERGENCE / 2),
        ),
        # Renormalised: what the alternatives left out hold together does not matter, nor those beyond `top_k`.
        (Certainty("self_certainty", 5), peaked((0.1 / 5,) * 5), 0),
        (Certainty("self_certainty", 2), peaked((0.4, 0.4, 0.1, 0.05, 0.05)), 0),
        # Groups of three: 2, 2, 3, 4, 5, ...
        (Certainty("lowest_group", 2, 3), confident(*TOKENS), 1 - math.log(2) / 2),
        (Certainty("lowest_group", 2, 99), confident(*TOKENS), 1 - math.log(2) / 4),
    ],
)
def test_each_measure_has_its_closed_form(
    verifier: Certainty, logprobs: Logprobs, expected: float
) -> None:
    assert value(verifier, logprobs) == pytest.approx(expected, abs=1e-7)


LACKING = Logprobs((-0.19, -0.2), ((-0.19, -2.31), (-0.2, NO_LOGPROB)))
"""What vLLM's servers report for an alternative that they lack, which would make the model seem certain."""
MEASURES: tuple[Measure, ...] = (
    "self_certainty",
    "lowest_group",
)


@pytest.mark.parametrize(
    ("verifier", "logprobs", "error"),
    [
        *(
            (Certainty(measure, top_k=2), LACKING, "for some of the best alternatives")
            for measure in MEASURES
        ),
        (LIKELIHOOD, Logprobs((-0.1, NO_LOGPROB)), "for some of the sampled tokens"),
        (LIKELIHOOD, Logprobs((-0.1, -math.inf)), "for some of the sampled tokens"),
        (LIKELIHOOD, None, "no log-probabilities"),
        (SELF, Logprobs(), "no log-probabilities"),
        (SELF, Logprobs((-0.5,)), "no alternatives"),
    ],
)
def test_what_was_not_measured_is_an_error_and_no_certainty(
    verifier: Certainty, logprobs: Logprobs | None, error: str
) -> None:
    with pytest.raises(VerifierError, match=error):
        rating(verifier, logprobs)
    assert value(LIKELIHOOD, LACKING) > 0.8
