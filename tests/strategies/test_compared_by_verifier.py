"""Knockout and pairwise by a verifier that compares."""

import pytest

from reasoner import SamplingParams, Solution, solve_sync
from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner.strategy import Strategy
from reasoner.trace.events import Event, Sampled, Scored
from reasoner_strategies.knockout import Knockout
from reasoner_strategies.pairwise import Pairwise
from tests.execution.test_scores import Comparing
from tests.helpers import Judge, number_question, says
from tests.scripted import ScriptedEngine

QUESTION = number_question()
PARAMS = SamplingParams(max_tokens=40)
KINDS: list[type[Knockout] | type[Pairwise]] = [Knockout, Pairwise]


def run(strategy: Strategy, *replies: str, verifier: Judge | None = None) -> tuple[Solution, list[Event]]:
    events: list[Event] = []
    solution = solve_sync(
        QUESTION, strategy, ScriptedEngine(says(*replies)), verifier=verifier or Comparing(), trace=events.append
    )
    return solution, events


@pytest.mark.parametrize("kind", KINDS)
def test_the_preferred_answer_wins_against_more_votes(kind: type[Knockout] | type[Pairwise]) -> None:
    """The verifier prefers smaller answers; 8 has the most votes."""
    solution, events = run(kind(5, by="verifier", params=PARAMS), "8", "8", "7", "6", "8")
    assert solution.error is None
    assert (solution.answer and solution.answer.key) == "6"
    assert sum(isinstance(event, Sampled) for event in events) == 5
    assert sum(isinstance(event, Scored) for event in events) == (2 if kind is Knockout else 3)


@pytest.mark.parametrize("kind", KINDS)
def test_where_it_cannot_say_the_votes_decide(kind: type[Knockout] | type[Pairwise]) -> None:
    solution, _ = run(kind(3, by="verifier", params=PARAMS), "9", "9", "7")
    assert (solution.error, solution.answer and solution.answer.key) == (None, "9")


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_is_not_compared_and_one_that_cannot_compare_is_named(kind: type[Knockout] | type[Pairwise]) -> None:
    solution, events = run(kind(3, by="verifier", params=PARAMS), "7", verifier=Judge())
    assert (solution.error, [e for e in events if isinstance(e, Scored)]) == (None, [])
    solution, _ = run(kind(3, by="verifier", params=PARAMS), "7", "8", verifier=Judge())
    assert isinstance(solution.error, UsageError)
    # The majority was proposed before, and stays.
    assert (solution.answer and solution.answer.key) == "7"


@pytest.mark.parametrize("name", ["knockout", "pairwise"])
def test_an_option_without_effect_is_refused(name: str) -> None:
    assert build("strategy", f"{name}:by=verifier").uses_verifier
    assert not build("strategy", name).uses_verifier
    with pytest.raises(UsageError, match="comparisons=3 has no effect with by=verifier"):
        build("strategy", f"{name}:by=verifier,comparisons=3")
