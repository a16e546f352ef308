"""Certainty from log-probabilities, against closed forms."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.budget import Cost
from reasoner.engines.scripted import ScriptedEngine
from reasoner.errors import UsageError, VerifierError
from reasoner.types import Logprobs, Rating
from reasoner_verifiers import Certainty
from tests.helpers import completion, number_question, says

ENGINE = ScriptedEngine(says("7"))
LIKELIHOOD, SELF = Certainty(), Certainty("self_certainty")


def rating(verifier: Certainty, logprobs: Logprobs | None) -> Rating:
    return asyncio.run(verifier.score(number_question(), completion("7", logprobs=logprobs), ENGINE))


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
    assert value(LIKELIHOOD, Logprobs((-math.inf, -0.1))) == 0.0


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


@given(st.floats(0.21, 0.9), st.floats(0.01, 0.09))
def test_self_certainty_grows_with_the_peak(peak: float, more: float) -> None:
    def law(top: float) -> tuple[float, ...]:
        return top, *[(1 - top) / 4] * 4

    assert value(SELF, peaked(law(peak))) < value(SELF, peaked(law(peak + more)))


def test_self_certainty_looks_at_as_many_alternatives_as_it_is_told() -> None:
    law = peaked((0.4, 0.4, 0.1, 0.05, 0.05))
    assert value(Certainty("self_certainty", 2), law) == pytest.approx(0, abs=1e-12)
    assert value(Certainty("self_certainty", 5), law) > 0.1


def test_self_certainty_of_an_impossible_alternative_is_a_value() -> None:
    assert value(SELF, Logprobs((0.0,), ((0.0, -math.inf, -math.inf, -math.inf, -math.inf),))) == 1.0


def test_it_costs_nothing() -> None:
    assert rating(LIKELIHOOD, Logprobs((-0.5,))).cost == Cost()
    assert asyncio.run(LIKELIHOOD.bound(number_question(), completion(), ENGINE)) == Cost()


@pytest.mark.parametrize("verifier", [LIKELIHOOD, SELF])
@pytest.mark.parametrize("logprobs", [None, Logprobs()])
def test_without_log_probabilities_it_says_so(verifier: Certainty, logprobs: Logprobs | None) -> None:
    with pytest.raises(VerifierError, match="no log-probabilities"):
        rating(verifier, logprobs)


def test_without_alternatives_self_certainty_says_so() -> None:
    with pytest.raises(VerifierError, match="no alternatives"):
        rating(SELF, Logprobs((-0.5,)))


def test_it_asks_for_what_it_reads() -> None:
    assert LIKELIHOOD.logprobs == 0
    assert Certainty("self_certainty", 7).logprobs == 7


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"measure": "luck"}, "choose likelihood or self_certainty"),
        ({"top_k": 1}, "top_k is 2 to 20"),
        ({"top_k": 21}, "top_k is 2 to 20"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Certainty(**options)  # type: ignore[arg-type]
