"""REBASE: children in proportion to ratings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_strategies.rebase import Rebase, allocate
from tests.stepping import SEPARATOR, noisy
from tests.strategies.searching import Distinct, Rater, Uneven, search

SCORES = st.lists(
    st.integers(0, 64).map(lambda number: number / 64), min_size=1, max_size=20
)
WIDTHS = st.integers(1, 300)
TEMPERATURES = st.sampled_from([1e-3, 0.01, 0.1, 0.2, 1.0, 1e3])


@pytest.mark.parametrize(
    ("scores", "width", "temperature", "counts"),
    [
        ([0.9, 0.8, 0.5, 0.1], 16, 0.2, [10, 5, 1, 0]),
        ([0.9, 0.8, 0.5, 0.1], 16, 0.1, [12, 4, 0, 0]),
        ([0.5, 0.5, 0.5], 7, 0.2, [3, 2, 2]),
        ([0.1, 0.6, 0.6], 1, 0.2, [0, 1, 0]),
        ([], 16, 0.2, []),
        ([1.0, 0.0, 1.0], 5, 1e-3, [3, 0, 2]),
    ],
)
def test_the_published_allocations(
    scores: list[float], width: int, temperature: float, counts: list[int]
) -> None:
    assert allocate(scores, width, temperature) == counts


def test_sums_of_weights_that_drift_lose_no_child() -> None:
    assert sum(allocate([0.4129, 0.2884], 37, 0.2)) == 37


@given(SCORES, WIDTHS, TEMPERATURES)
def test_all_children_are_allocated_and_the_better_has_no_fewer(
    scores: list[float], width: int, temperature: float
) -> None:
    counts = allocate(scores, width, temperature)
    assert sum(counts) == width
    assert min(counts) >= 0
    ranked = [
        counts[place]
        for place in sorted(range(len(scores)), key=lambda place: -scores[place])
    ]
    assert ranked == sorted(ranked, reverse=True)


@given(SCORES, WIDTHS, TEMPERATURES, st.integers(-640, 640))
def test_only_differences_of_scores_count(
    scores: list[float], width: int, temperature: float, shift: int
) -> None:
    # Sixty-fourths are added without rounding, so that equal has to mean equal.
    shifted = [score + shift / 64 for score in scores]
    assert allocate(shifted, width, temperature) == allocate(scores, width, temperature)


def test_a_level_is_what_was_allocated() -> None:
    run = search(Rebase(16), Distinct(depth=4).engine(), Rater(noisy(0.2)))
    assert run.levels == dict.fromkeys(range(4), 16)
    for level in range(1, 4):
        rated = {
            chain: value
            for chain, value in run.judge.rated.items()
            if chain.count(SEPARATOR) == level - 1
        }
        counts = allocate(list(rated.values()), 16, 0.2)
        expected = {
            chain + SEPARATOR: count
            for chain, count in zip(rated, counts, strict=True)
            if count
        }
        assert run.parents(level) == expected


@pytest.mark.parametrize("seed", range(3))
def test_each_chain_that_ended_takes_its_place_along(seed: int) -> None:
    run = search(Rebase(6), Uneven().engine(), Rater(noisy(0.2)), seed=seed)
    places, ended = 6, 0
    for level, children in run.levels.items():
        assert children == places
        ended += sum(
            "answer" in chain
            for chain in run.judge.seen
            if chain.count(SEPARATOR) == level
        )
        places = 6 - ended
    assert (places, run.solution.vote_state.samples) == (0, 6)
    assert len(run.judge.seen) == len(set(run.judge.seen))
