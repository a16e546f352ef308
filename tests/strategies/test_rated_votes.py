"""Votes over rated samples: best-of-N, CISC and the Borda vote."""

import itertools
import math
from collections.abc import Sequence

import pytest

from reasoner import Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import VerifierError
from reasoner.strategy import Strategy
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, number_question
from reasoner.trace.events import Event, Scored
from reasoner.types import Completion
from reasoner_strategies import BestOfN
from reasoner_strategies.best_of_n import borda_weights, confidence_weights

QUESTION = number_question()
CROSSOVER = 0.4 / math.log(2)


def cisc(n: int, temperature: float = 1.0) -> BestOfN:
    return BestOfN(n, "softmax", softmax_temperature=temperature)


def borda(n: int, power: float = 0.5) -> BestOfN:
    return BestOfN(n, "borda", power=power)


KINDS = [BestOfN(3), BestOfN(3, "weighted"), cisc(3), borda(3)]
kinds = pytest.mark.parametrize("strategy", KINDS, ids=str)


def solved(
    strategy: Strategy, keys: str, *ratings: float | None
) -> tuple[Solution, list[Scored]]:
    """A run on samples with these answers, "-" for none, and these ratings, None where the verifier fails."""

    def rate(candidate: Completion) -> float:
        value = ratings[candidate.index]
        if value is None:
            raise VerifierError("out of order")
        return value

    def say(request: SampleRequest) -> str:
        return (
            "no idea"
            if keys[request.index] == "-"
            else f"The answer is {keys[request.index]}"
        )

    events: list[Event] = []
    solution = solve_sync(
        QUESTION,
        strategy,
        ScriptedEngine(say),
        verifier=Judge(rate),
        trace=events.append,
    )
    assert solution.error is None
    return solution, [event for event in events if isinstance(event, Scored)]


def key(solution: Solution) -> str | None:
    return solution.answer.key if solution.answer else None


def weights(solution: Solution) -> dict[str, float]:
    return {vote.answer.key: vote.weight for vote in solution.vote_state.votes}


# Laws of all


@kinds
def test_unrated_samples_have_no_vote_and_are_no_zeros(strategy: Strategy) -> None:
    solution, _ = solved(strategy, "788", 0.1, None, None)
    assert (key(solution), solution.vote_state.samples) == ("7", 3)
    nothing, _ = solved(strategy, "788", None, None, None)
    assert (key(nothing), len(nothing.proposals)) == ("8", 1)


@kinds
def test_only_samples_with_an_answer_are_rated_and_a_single_one_is_not(
    strategy: Strategy,
) -> None:
    solution, scored = solved(strategy, "7-8", 0.1, 0.9, 0.2)
    assert (
        [event.index for event in scored],
        key(solution),
        solution.vote_state.samples,
    ) == ([0, 2], "8", 3)
    alone, scored = solved(strategy, "-7-", 0.9, 0.1, 0.9)
    assert (scored, key(alone)) == ([], "7")


@kinds
def test_the_majority_is_proposed_before_the_choice(strategy: Strategy) -> None:
    solution, _ = solved(strategy, "788", 0.9, 0.1, 0.1)
    first, last = (proposal.answer for proposal in solution.proposals)
    assert (first and first.key, last) == ("8", solution.answer)


# Best-of-N


def test_the_published_pool_by_each_selector() -> None:
    (best, _), (weighted, _) = (
        solved(BestOfN(4, selector), "1223", 0.9, 0.6, 0.5, 0.2)
        for selector in ("argmax", "weighted")
    )
    assert (key(best), weights(best)["1"]) == ("1", 0.9)
    assert key(weighted) == "2"
    assert weights(weighted)["2"] == pytest.approx(1.1)


def test_the_earliest_of_the_best_rated_wins_and_constant_ratings_are_the_majority() -> (
    None
):
    tied, _ = solved(BestOfN(3), "121", 0.2, 0.9, 0.9)
    assert (key(tied), tied.vote_state.tied) == ("2", True)
    for rating in (0.3, 0.0):
        assert key(solved(BestOfN(3, "weighted"), "122", *[rating] * 3)[0]) == "2"


# CISC


def test_the_published_softmax_of_confidences() -> None:
    for temperature, answer, shares in (
        (1.0, "8", [0.573, 0.427]),
        (0.5, "7", [0.527, 0.473]),
    ):
        solution, _ = solved(cisc(3, temperature), "788", 0.9, 0.5, 0.5)
        assert (
            key(solution),
            [round(vote.weight, 3) for vote in solution.vote_state.votes],
        ) == (answer, shares)
    assert pytest.approx(0.57708, abs=1e-5) == CROSSOVER
    for factor, answer in ((1.001, "8"), (0.999, "7")):
        assert (
            key(solved(cisc(3, CROSSOVER * factor), "788", 0.9, 0.5, 0.5)[0]) == answer
        )
    assert confidence_weights([0.9, None, 0.5], 0.5) == [
        pytest.approx(0.690, abs=5e-4),
        None,
        pytest.approx(0.310, abs=5e-4),
    ]


def test_extreme_temperatures_are_the_most_confident_sample_and_the_majority() -> None:
    pool = ("78797", 0.5, 0.51, 0.0, 0.50999, 0.0)
    assert key(solved(cisc(5, 1e-300), *pool)[0]) == "8"
    flat, _ = solved(cisc(5, math.inf), *pool)
    assert key(flat) == "7"
    assert flat.vote_state.share == pytest.approx(3 / 5)


# Borda


@pytest.mark.parametrize(
    ("power", "expected"),
    [(1.0, [4, 3, 2, 1]), (0.5, [2, 1.732, 1.414, 1]), (0.0, [1] * 4)],
)
def test_the_published_weights_of_ranks(
    power: float, expected: Sequence[float]
) -> None:
    for order in itertools.permutations(range(4)):
        ratings = [0.9 - 0.2 * rank for rank in order]
        assert borda_weights(ratings, power) == pytest.approx(
            [expected[rank] for rank in order], abs=5e-4
        )


def test_equal_ratings_share_their_weights_and_the_unrated_rank_last() -> None:
    assert borda_weights([0.5, 0.9, 0.5, 0.1], 1.0) == [2.5, 4, 2.5, 1]
    assert borda_weights([0.3] * 5, 2.0) == [11] * 5
    assert borda_weights([None, 0.2, None, 0.8], 1.0) == [None, 3, None, 4]


def test_ranks_count_and_a_high_power_is_the_best_rated() -> None:
    near, far = (
        solved(borda(3, 1.0), "878", *ratings)[0]
        for ratings in ((0.10, 0.12, 0.11), (0.0, 1.0, 0.01))
    )
    assert near.vote_state == far.vote_state
    answers = [
        key(solved(borda(5, power), "87898", 0.1, 0.99, 0.2, 0.3, 0.15)[0])
        for power in (0.0, 0.5, 3.0)
    ]
    assert answers == ["8", "8", "7"]
