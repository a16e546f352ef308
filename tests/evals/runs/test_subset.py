"""Which questions a run asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import UsageError
from reasoner_evals.runs.subset import Subset
from tests.evals.runs.made import task

LIMITS = st.integers(1, 10**6)
SEEDS = st.none() | st.integers(0, 10**9)


@given(st.builds(Subset, LIMITS, SEEDS) | st.just(Subset()))
def test_a_subset_reads_what_it_writes(subset: Subset) -> None:
    assert Subset.parse(str(subset)) == subset


@pytest.mark.parametrize("text", ["", "some", "first", "first -1", "first 3 in the order of seed x", "first 0"])
def test_what_names_no_subset_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Subset.parse(text)


@pytest.mark.parametrize(
    ("limit", "seed", "message"),
    [
        (0, None, "--limit must be at least 1"),
        (5, -1, "--subset-seed must be at least 0"),
        (None, 3, "without --limit"),
    ],
)
def test_limits_and_seeds_that_make_no_subset_are_refused(limit: int | None, seed: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Subset(limit, seed)


def ids(subset: Subset) -> list[str]:
    return [item.question.id for item in subset.cut(task(questions=40)).items]


def test_without_a_seed_the_benchmarks_order_is_kept() -> None:
    assert ids(Subset(3)) == ["sums-0", "sums-1", "sums-2"]
    assert ids(Subset()) == [f"sums-{i}" for i in range(40)]


@given(st.integers(1, 39), SEEDS)
def test_a_larger_limit_adds_questions_and_takes_none_away(limit: int, seed: int | None) -> None:
    smaller, larger = ids(Subset(limit, seed)), ids(Subset(limit + 1, seed))
    assert larger[:limit] == smaller
    assert len(set(larger)) == limit + 1


def test_seeds_order_differently() -> None:
    assert len({tuple(ids(Subset(10, seed))) for seed in range(5)}) == 5


def test_the_source_says_which_and_how_many_and_keeps_the_hash_of_all() -> None:
    cut = Subset(100, 7).cut(task(questions=5))
    assert (cut.source.items, cut.source.subset, cut.source.data_hash) == (5, "first 100 in the order of seed 7", "d1")
