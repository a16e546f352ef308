"""Borda vote: weights by rank, ties shared."""

import itertools
import math

import pytest

from reasoner import Cost, Solution, solve_sync
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.registry import build
from reasoner.strategy import Propose, Sample, Score
from reasoner.types import Rating, SamplingParams
from reasoner_strategies.borda import Borda, borda_weights
from tests.helpers import Judge, completion, finish, number_question, says
from tests.scripted import ScriptedEngine

QUESTION = number_question()


def key(solution: Solution) -> str | None:
    return solution.answer.key if solution.answer else None


@pytest.mark.parametrize(("power", "weights"), [(1.0, [4, 3, 2, 1]), (0.5, [2, 1.732, 1.414, 1]), (0.0, [1, 1, 1, 1])])
def test_the_published_weights(power: float, weights: list[float]) -> None:
    for order in itertools.permutations(range(4)):
        ratings = [0.9 - 0.2 * rank for rank in order]
        assert borda_weights(ratings, power) == pytest.approx([weights[rank] for rank in order], abs=5e-4)


def test_equal_ratings_share_the_mean_of_their_weights() -> None:
    assert borda_weights([0.5, 0.9, 0.5, 0.1], 1.0) == [2.5, 4, 2.5, 1]
    shared = (math.sqrt(3) + math.sqrt(2)) / 2
    assert borda_weights([0.5, 0.9, 0.5, 0.1], 0.5) == pytest.approx([shared, 2, shared, 1])
    assert borda_weights([0.3] * 5, 2.0) == [11] * 5


def test_what_has_no_rating_ranks_last_without_a_vote() -> None:
    assert borda_weights([None, 0.2, None, 0.8], 1.0) == [None, 3, None, 4]


def solved(power: float, *pool: tuple[str, float]) -> Solution:
    ratings = [rating for _, rating in pool]
    judge = Judge(lambda candidate: ratings[candidate.index])
    return solve_sync(
        QUESTION, Borda(len(pool), power), ScriptedEngine(says(*(key for key, _ in pool))), verifier=judge
    )


def test_power_leads_from_the_majority_to_the_best_rated() -> None:
    pool = (("8", 0.10), ("7", 0.99), ("8", 0.2), ("9", 0.3), ("8", 0.15))
    assert key(solved(0.0, *pool)) == "8"
    assert key(solved(0.5, *pool)) == "8"
    assert key(solved(3.0, *pool)) == "7"


def test_ranks_count_and_not_how_far_apart_ratings_are() -> None:
    near, far = (("8", 0.10), ("7", 0.12), ("8", 0.11)), (("8", 0.0), ("7", 1.0), ("8", 0.01))
    assert solved(1.0, *near).vote_state == solved(1.0, *far).vote_state


def test_self_certainty_is_what_the_certainty_verifier_says() -> None:
    """The surer of two samples wins, with nothing but their own log-probabilities."""
    certainty = build("verifier", "certainty:measure=self_certainty")
    engine = ScriptedEngine(says("7", "8"), certainty=lambda request: (0.5, 0.95)[request.index])
    solution = solve_sync(QUESTION, Borda(2, 1.0), engine, verifier=certainty)
    assert (key(solution), [vote.weight for vote in solution.vote_state.votes]) == ("8", [2, 1])
    assert solution.cost.verifier_tokens == 0


def test_it_proposes_the_majority_before_it_rates_and_falls_back_to_it() -> None:
    samples = tuple(completion(f"The answer is {key}", index=place) for place, key in enumerate("788"))
    refusals: list[object] = [
        BudgetExhausted("tokens", needed=9, free=0, limit=5),
        tuple(Rating(None, Cost(), error="broken") for _ in range(3)),
    ]
    for reply in refusals:
        plan = Borda(3).plan(QUESTION)
        assert next(plan) == Sample((QUESTION.prompt,), 3, SamplingParams())
        majority = plan.send(samples)
        assert isinstance(majority, Propose)
        assert majority.answer is not None
        assert majority.answer.key == "8"
        assert isinstance(plan.send(None), Score)
        assert finish(plan, reply) == majority.answer


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n": 0}, "n must be .*got 0"),
        ({"power": -0.5}, "power must be .*got -0.5"),
        ({"power": 11.0}, "power must be .*got 11.0"),
        ({"power": math.nan}, "power must be .*got nan"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Borda(**options)  # type: ignore[arg-type]
