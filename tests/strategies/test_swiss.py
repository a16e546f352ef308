"""The Swiss tournament: who meets whom, what a comparison weighs, what positions do, and what it costs."""

import random
import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.registry import build
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import number_question
from reasoner_strategies._voting.self_comparison import Candidate
from reasoner_strategies.swiss import Comparison, Game, Standings

QUESTION = number_question()
_ANSWERS = re.compile(r"Answer [AB]:\n.*answer is (\d+)")
Scores = Callable[[int, int], tuple[int, int]]


def board(size: int) -> Standings:
    return Standings([Candidate(index, index, str(index)) for index in range(size)])


def solved(
    spec: str, keys: str, scores: Scores
) -> tuple[Solution, list[tuple[int, int]]]:
    """The solution, and the answers of each pair that the model was shown."""
    pairs: list[tuple[int, int]] = []

    def script(request: SampleRequest) -> str:
        shown = _ANSWERS.findall(request.prompt.messages[-1].content)
        if not shown:
            return f"answer is {keys[request.index]}"
        pairs.append((int(shown[0]), int(shown[1])))
        first, second = scores(*pairs[-1])
        return f"A is so.\nScore A: {first}\n**Score B:** {second}"

    solution = solve_sync(
        QUESTION,
        build("strategy", f"swiss:n={len(keys)},{spec}"),
        ScriptedEngine(script),
    )
    assert solution.error is None
    return solution, pairs


def larger(first: int, second: int) -> tuple[int, int]:
    return first, second


def always_first(*_: int) -> tuple[int, int]:
    return 9, 2


@given(size=st.integers(2, 40), degree=st.integers(1, 5), seed=st.integers())
def test_links_reach_every_candidate_and_each_meets_enough_others(
    size: int, degree: int, seed: int
) -> None:
    pairs = board(size).links(degree, random.Random(seed))
    assert len({frozenset(each.index for each in pair) for pair in pairs}) == len(pairs)
    degrees = Counter(each.index for pair in pairs for each in pair)
    assert min(degrees.values()) >= min(degree, size - 1)
    reached, before = {0}, set[int]()
    while reached != before:
        before = set(reached)
        reached |= {
            each.index
            for pair in pairs
            if reached & {one.index for one in pair}
            for each in pair
        }
    assert len(reached) == size


def test_a_win_weighs_its_margin_and_a_tie_a_tenth() -> None:
    standings = board(4)
    zero, one, two, three = standings.candidates
    standings.games.append(
        Game((zero, one), Comparison(6 / 9, 10), Comparison(-4 / 9, 10))
    )
    standings.games.append(
        Game((zero, two), Comparison(-1 / 9, 10), Comparison(1 / 9, 10))
    )
    standings.games.append(
        Game((one, three), Comparison(5 / 9, 10), Comparison(4 / 9, 10))
    )
    standings.games.append(
        Game((two, three), Comparison(None, 10), Comparison(None, 10))
    )
    # 5/9 won and 1/9 lost; 5/9 lost and a tie of 0.1, half of it won.
    assert list(standings.rates().values()) == pytest.approx(
        [5 / 6, 0.05 / (5 / 9 + 0.1), 1.0, 0.5]
    )
    assert [each.index for each in standings.ranked()] == [2, 0, 3, 1]
    # Down the standings: 2 has met 0 and 3, and 0 has met 1.
    assert [(a.index, b.index) for a, b in standings.round()] == [(2, 1), (0, 3)]
    assert standings.summary.startswith(
        "4 pairs in both orders: 1 tie, 1 without a verdict, the first answer liked by +0.20, 20 tokens a pair"
    )


def test_the_best_rated_answer_wins_against_the_majority() -> None:
    solution, pairs = solved("", "7778", larger)
    assert sorted(pairs) == [(7, 8), (8, 7)]
    assert solution.answer is not None
    assert (solution.answer.key, solution.cost.samples) == ("8", 6)
    assert solved("", "7777", larger)[0].cost.samples == 4


@pytest.mark.parametrize(
    ("spec", "pairs"),
    [("candidates=all", 24), ("candidates=all,budget=1.5", 12), ("", 10)],
)
def test_no_more_pairs_are_compared_than_the_budget_allows_and_none_twice(
    spec: str, pairs: int
) -> None:
    _, asked = solved(spec, "77788695", larger)
    assert len(asked) == 2 * pairs
    assert spec or max(Counter(asked).values()) == 1


def test_a_model_that_always_likes_the_first_position_decides_nothing() -> None:
    solution, _ = solved("", "778899", always_first)
    assert solution.answer is not None
    assert solution.answer.key == "7"
    assert (
        "3 pairs in both orders: 3 ties, 0 without a verdict, the first answer liked by +0.78"
        in solution.remarks[0]
    )
