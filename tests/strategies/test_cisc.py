"""CISC: the softmax of the ratings as weights."""

import math

import pytest

from reasoner import Cost, Solution, solve_sync
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.strategy import Propose, Sample, Score
from reasoner.types import Completion, Rating, SamplingParams
from reasoner_strategies.cisc import Cisc, softmax
from reasoner_strategies.self_consistency import SelfConsistency
from tests.helpers import Judge, completion, finish, number_question, says, varied
from tests.scripted import ScriptedEngine

QUESTION = number_question()
PUBLISHED = (("7", 0.9), ("8", 0.5), ("8", 0.5))
CROSSOVER = 0.4 / math.log(2)


def solved(temperature: float, pool: tuple[tuple[str, float], ...] = PUBLISHED) -> Solution:
    ratings = [rating for _, rating in pool]
    judge = Judge(lambda candidate: ratings[candidate.index])
    engine = ScriptedEngine(says(*(key for key, _ in pool)))
    return solve_sync(QUESTION, Cisc(len(pool), temperature), engine, verifier=judge)


def key(solution: Solution) -> str | None:
    return solution.answer.key if solution.answer else None


def test_the_published_pool() -> None:
    soft = solved(1.0)
    assert (key(soft), [round(vote.weight, 3) for vote in soft.vote_state.votes]) == ("8", [0.573, 0.427])
    sharp = solved(0.5)
    assert (key(sharp), [round(vote.weight, 3) for vote in sharp.vote_state.votes]) == ("7", [0.527, 0.473])


def test_the_crossover_lies_where_it_should() -> None:
    assert pytest.approx(0.57708, abs=1e-5) == CROSSOVER
    assert key(solved(CROSSOVER * 1.001)) == "8"
    assert key(solved(CROSSOVER * 0.999)) == "7"


def test_at_the_ends_stand_the_majority_and_the_most_confident() -> None:
    pool = (("7", 0.5), ("8", 0.51), ("7", 0.0), ("9", 0.50999), ("7", 0.0))
    assert key(solved(1e-300, pool)) == "8"
    assert key(solved(math.inf, pool)) == "7"
    assert solved(math.inf, pool).vote_state.share == pytest.approx(3 / 5)
    for seed in range(10):
        flat = solve_sync(QUESTION, Cisc(10, 1e9), ScriptedEngine(varied), verifier=Judge(), seed=seed)
        plain = solve_sync(QUESTION, SelfConsistency(10), ScriptedEngine(varied), seed=seed)
        if not plain.vote_state.tied:
            assert flat.answer == plain.answer


def test_the_weights_are_a_softmax() -> None:
    weights = softmax([0.9, None, 0.5], 0.5)
    assert weights[1] is None
    assert [weights[0], weights[2]] == pytest.approx([1 / (1 + math.exp(-0.8)), 1 / (1 + math.exp(0.8))])


def drawn(*keys: str | None) -> tuple[Completion, ...]:
    return tuple(
        completion("no idea" if key is None else f"The answer is {key}", index=place) for place, key in enumerate(keys)
    )


def rating(value: float | None) -> Rating:
    return Rating(value, Cost(), error="" if value is not None else "broken")


def test_what_could_not_be_rated_drops_out_and_is_never_a_zero() -> None:
    """As zeros the two 8s would win at this temperature."""
    plan = Cisc(4, 1.0).plan(QUESTION)
    assert next(plan) == Sample((QUESTION.prompt,), 4, SamplingParams())
    majority = plan.send(drawn("7", "8", "8", None))
    assert isinstance(majority, Propose)
    assert majority.answer is not None
    assert majority.answer.key == "8"
    op = plan.send(None)
    assert isinstance(op, Score)
    assert [one.index for one in op.candidates] == [0, 1, 2]
    chosen = plan.send((rating(0.1), rating(None), rating(None)))
    assert isinstance(chosen, Propose)
    assert (chosen.answer and chosen.answer.key, chosen.vote_state.samples) == ("7", 4)


@pytest.mark.parametrize("values", [None, (None, None, None)])
def test_without_any_rating_the_majority_decides(values: tuple[None, ...] | None) -> None:
    plan = Cisc(3).plan(QUESTION)
    next(plan)
    majority = plan.send(drawn("7", "8", "8"))
    assert isinstance(majority, Propose)
    plan.send(None)
    reply = BudgetExhausted("tokens", needed=9, free=0, limit=5) if values is None else tuple(map(rating, values))
    assert finish(plan, reply) == majority.answer


def test_a_single_answer_is_not_rated() -> None:
    judge = Judge()
    assert key(solve_sync(QUESTION, Cisc(1), ScriptedEngine(says("7")), verifier=judge)) == "7"
    assert judge.spent == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n": 0}, "n must be .*got 0"),
        ({"softmax_temperature": 0.0}, "softmax_temperature must be .*got 0.0"),
        ({"softmax_temperature": math.nan}, "softmax_temperature must be .*got nan"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Cisc(**options)  # type: ignore[arg-type]
