"""What races: a verifier that costs nothing joins where it suits all answers."""

import pytest

from reasoner import Question
from reasoner.registry import build
from reasoner_evals.tasks.graders import GradedQuestion
from reasoner_evals.tuning.candidates import (
    FREE_VERIFIERS,
    free_verifier,
    strategies_for,
)

WEIGHTED = "best_of_n:selector=weighted"


def items(*kinds: str) -> list[GradedQuestion]:
    return [GradedQuestion(Question.of("How many?", space=kind), "7") for kind in kinds]


@pytest.mark.parametrize(
    ("kinds", "verifier"),
    [
        (("number", "number"), "certainty*equations"),
        (("math", "number"), "certainty*equations"),
        (("code",), "code:tests=shown"),
        (("number", "code"), ""),
        (("text",), ""),
    ],
)
def test_a_free_verifier_suits_all_answers_or_none_is_taken(
    kinds: tuple[str, ...], verifier: str
) -> None:
    assert free_verifier(items(*kinds)) == verifier


def test_a_free_verifier_adds_one_vote_to_what_races_and_nothing_to_what_was_named() -> (
    None
):
    plain = strategies_for((), rated=False)
    assert strategies_for((), rated=False, free="equations") == (*plain, WEIGHTED)
    assert WEIGHTED not in strategies_for(("self_consistency:n=4",), rated=False)


@pytest.mark.parametrize("spec", sorted(set(FREE_VERIFIERS.values())))
def test_what_is_called_free_is_there(spec: str) -> None:
    assert build("verifier", spec).logprobs in (None, 0)
