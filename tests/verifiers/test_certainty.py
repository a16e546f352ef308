"""Certainty from log-probabilities, against closed forms."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import VerifierError
from reasoner.stopping.confidence import group_confidences
from reasoner.types import NO_LOGPROB, Logprobs, Rating
from reasoner.verifier import CostMeter
from reasoner_verifiers import Certainty
from reasoner_verifiers.certainty import Measure
from tests.helpers import completion, number_question, says
from tests.scripted import ScriptedEngine

ENGINE = ScriptedEngine(says("7"))
LIKELIHOOD, SELF = Certainty(), Certainty("self_certainty")


def rating(verifier: Certainty, logprobs: Logprobs | None) -> Rating:
    return asyncio.run(verifier.score(number_question(), completion("7", logprobs=logprobs), ENGINE, CostMeter()))


def value(verifier: Certainty, logprobs: Logprobs) -> float:
    found = rating(verifier, logprobs).value
    assert found is not None
    return found


def peaked(*laws: tuple[float, ...]) -> Logprobs:
    """One token for each law over its alternatives, best first."""
    tops = tuple(tuple(math.log(p) for p in law) for law in laws)
    return Logprobs(tuple(top[0] for top in tops), tops)


def test_likelihood_is_the_geometric_mean_of_the_probabilities() -> None:
    assert value(LIKELIHOOD, Logprobs((math.log(0.5), math.log(0.125)))) == pytest.approx(0.25)
    assert value(LIKELIHOOD, Logprobs((-0.0,) * 5)) == 1.0
    assert value(LIKELIHOOD, Logprobs((1e-9,))) == 1.0


@pytest.mark.parametrize("measure", ["self_certainty", "lowest_group", "bottom_10", "tail_group"])
def test_an_alternative_that_was_not_measured_is_an_error_and_no_certainty(measure: Measure) -> None:
    """What vLLM's servers report for an alternative that they lack, which would make the model seem certain."""
    lacking = Logprobs((-0.19, -0.2), ((-0.19, -2.31), (-0.2, NO_LOGPROB)))
    with pytest.raises(VerifierError, match="no log-probability for some of the best alternatives"):
        rating(Certainty(measure, top_k=2), lacking)
    assert value(LIKELIHOOD, lacking) > 0.8


@pytest.mark.parametrize("missing", [NO_LOGPROB, -math.inf])
def test_a_sampled_token_that_was_not_measured_is_an_error(missing: float) -> None:
    with pytest.raises(VerifierError, match="no log-probability for some of the sampled tokens"):
        rating(LIKELIHOOD, Logprobs((-0.1, missing)))


def test_self_certainty_is_the_mean_divergence_from_uniform() -> None:
    assert value(Certainty("self_certainty", 2), peaked((0.9, 0.1))) == pytest.approx(
        1 - math.exp(-0.5108256), abs=1e-7
    )
    both = value(Certainty("self_certainty", 2), peaked((0.9, 0.1), (0.5, 0.5)))
    assert both == pytest.approx(1 - math.exp(-0.5108256 / 2), abs=1e-7)


@pytest.mark.parametrize("k", [2, 5, 20])
def test_self_certainty_of_a_uniform_law_is_zero(k: int) -> None:
    assert value(Certainty("self_certainty", k), peaked((1 / k,) * k)) == pytest.approx(0, abs=1e-12)
    # Renormalised: what the alternatives left out hold together does not matter.
    assert value(Certainty("self_certainty", k), peaked((0.1 / k,) * k)) == pytest.approx(0, abs=1e-12)


def test_self_certainty_reads_the_alternatives_of_its_option() -> None:
    law = peaked((0.4, 0.4, 0.1, 0.05, 0.05))
    assert value(Certainty("self_certainty", 2), law) == pytest.approx(0, abs=1e-12)
    assert value(Certainty("self_certainty", 5), law) > 0.1


@pytest.mark.parametrize("verifier", [LIKELIHOOD, SELF])
@pytest.mark.parametrize("logprobs", [None, Logprobs()])
def test_without_log_probabilities_it_says_so(verifier: Certainty, logprobs: Logprobs | None) -> None:
    with pytest.raises(VerifierError, match="no log-probabilities"):
        rating(verifier, logprobs)


def test_without_alternatives_self_certainty_says_so() -> None:
    with pytest.raises(VerifierError, match="no alternatives"):
        rating(SELF, Logprobs((-0.5,)))


def test_tail_likelihood_looks_at_the_last_tokens_alone() -> None:
    logprobs = Logprobs(tuple(math.log(p) for p in (0.1, 0.1, 0.5, 0.125)))
    assert value(Certainty("tail_likelihood", window=2), logprobs) == pytest.approx(0.25)
    assert value(Certainty("tail_likelihood", window=9), logprobs) == pytest.approx(value(LIKELIHOOD, logprobs))


def confident(*tokens: float) -> Logprobs:
    """Tokens of these confidences: both alternatives have the log-probability -C."""
    return Logprobs((-0.1,) * len(tokens), tuple((-c, -c) for c in tokens))


@pytest.mark.parametrize(
    ("measure", "confidence"),
    [
        ("lowest_group", (1 + 1 + 4) / 3),  # groups of three: 2, 2, 3, 4, 5, ...
        ("tail_group", (9 + 1 + 5) / 3),
        ("bottom_10", (1 + 1 + 4) / 3),  # eight groups: a tenth is one of them
        ("mean", 4.0),
    ],
)
def test_group_confidence_slides_a_window_over_the_tokens(measure: Measure, confidence: float) -> None:
    logprobs = confident(4, 1, 1, 4, 4, 4, 7, 9, 1, 5)
    found = value(Certainty(measure, top_k=2, window=3), logprobs)
    assert found == pytest.approx(1 - math.log(2) / confidence)


def test_bottom_10_averages_the_lowest_tenth_of_the_groups() -> None:
    tokens = [float(c) for c in range(1, 21)]
    found = value(Certainty("bottom_10", top_k=2, window=1), confident(*tokens))
    assert found == pytest.approx(1 - math.log(2) / 1.5)


@given(st.lists(st.floats(1, 50), min_size=1, max_size=40), st.integers(1, 12))
def test_the_lowest_group_is_no_higher_than_the_others_and_groups_are_plain_means(
    tokens: list[float], window: int
) -> None:
    groups = group_confidences(tokens, window)
    plain = [math.fsum(tokens[i : i + window]) / window for i in range(len(tokens) - window + 1)]
    assert groups == pytest.approx(plain or [math.fsum(tokens) / len(tokens)])
    low, bottom, tail = (
        value(Certainty(measure, top_k=2, window=window), confident(*tokens))
        for measure in ("lowest_group", "bottom_10", "tail_group")
    )
    assert low <= bottom + 1e-12
    assert low <= tail + 1e-12
