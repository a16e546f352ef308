"""short-m@k: the order is that of length, and each chain costs as many tokens as the last one that counts."""

from typing import Any

import pytest

from reasoner import Solution, solve_sync
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import number_question
from reasoner.types import SamplingParams
from reasoner_strategies.short_m_at_k import ShortMAtK
from tests.strategies.driving import chains

QUESTION = number_question()
PUBLISHED = (5, 9, 7, 20)


def solved(
    lengths: tuple[int, ...],
    keys: str = "",
    *,
    m: int = 1,
    max_tokens: int = 512,
    **options: Any,
) -> Solution:
    strategy = ShortMAtK(len(lengths), m, SamplingParams(max_tokens=max_tokens))
    return solve_sync(
        QUESTION, strategy, ScriptedEngine(chains(lengths, keys)), **options
    )


def key(solution: Solution) -> str | None:
    return solution.answer.key if solution.answer else None


@pytest.mark.parametrize(("m", "tokens"), [(1, 20), (2, 26), (3, 30), (4, 41)])
def test_the_published_costs(m: int, tokens: int) -> None:
    solution = solved(PUBLISHED, m=m)
    assert solution.cost.generated_tokens + solution.cost.cancelled_tokens == tokens
    assert solution.cost.sequential_tokens == sorted(PUBLISHED)[m - 1]
    assert key(solution) == "0"
    assert [vote.answer.key for vote in solution.vote_state.votes] == [
        "0",
        "2",
        "1",
        "3",
    ][:m]
    assert solution.vote_state.samples == m


def test_the_majority_of_the_shortest_wins_and_the_shortest_breaks_ties() -> None:
    lengths = (9, 5, 7, 6, 8)
    assert key(solved(lengths, "87897", m=1)) == "7"
    assert key(solved(lengths, "87897", m=3)) == "7"
    assert key(solved(lengths, "87888", m=4)) == "8"


def test_of_equal_lengths_the_earliest_launched_counts() -> None:
    solution = solved((6, 6, 6), "987", m=2)
    assert [vote.answer.key for vote in solution.vote_state.votes] == ["9", "8"]


def test_a_cut_chain_never_finishes() -> None:
    """The shortest two are what it waits for; with the others cut, it makes do with them."""
    solution = solved((9, 30, 30), "788", m=2, max_tokens=12)
    assert (key(solution), solution.vote_state.samples) == ("7", 1)
    assert solution.cost.generated_tokens == 9 + 12 + 12
    cut = solved((30, 30), "78", max_tokens=12)
    assert (cut.answer, cut.vote_state.samples, len(cut.proposals)) == (None, 0, 2)
