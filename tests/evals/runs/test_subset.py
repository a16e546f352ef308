"""Which questions a run asks."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Budget
from reasoner.errors import UsageError
from reasoner_evals.runs.arms import Shard, Subset
from reasoner_evals.tasks.arithmetic import Arithmetic
from reasoner_evals.tasks.benchmark import checked_data
from tests.evals.runs.sittings import task

LIMITS = st.integers(1, 10**6)
SEEDS = st.none() | st.integers(0, 10**9)
COUNTS = st.integers(1, 60)
SHARDS = COUNTS.flatmap(
    lambda count: st.builds(Shard, st.just(count), st.integers(1, count))
)


@given(
    st.builds(Subset, LIMITS, SEEDS, st.none() | SHARDS)
    | st.builds(Subset, shard=st.none() | SHARDS)
)
def test_a_subset_reads_what_it_writes(subset: Subset) -> None:
    assert Subset.parse(str(subset)) == subset


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *(
            (lambda text=text: Subset.parse(text), "is not a subset")
            for text in ("", "some", "first -1", "all, shard")
        ),
        *(
            (
                lambda text=text: Shard.parse(text),
                "--shard must be I/N with I from 1 to N",
            )
            for text in (
                "",
                "1",
                "0/2",
                "3/2",
                "1/0",
                "-1/2",
                "1/2/3",
                "1/2 ",
                "1/100001",
                "1/" + "9" * 99,
                "1+/2",
                "+/2",
                "0+1/2",
                "1+3/2",
            )
        ),
        (lambda: Subset(0, None), "--limit must be at least 1"),
        (lambda: Subset(5, -1), "--subset-seed must be at least 0"),
        (lambda: Subset(None, 3), "without --limit"),
    ],
)
def test_what_is_no_subset_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("asked", [39, 40])
def test_only_the_questions_that_are_asked_are_checked(asked: int) -> None:
    whole = task(questions=40)
    broken = replace(whole, items=(*whole.items[:39], replace(whole.items[39], gold=5)))  # type: ignore[arg-type]
    with (
        pytest.raises(UsageError, match="gold must be text")
        if asked == 40
        else nullcontext()
    ):
        assert (
            checked_data(Arithmetic(), broken, Subset(asked).cut).source.items == asked
        )


def ids(subset: Subset) -> list[str]:
    return [item.question.id for item in subset.cut(task(questions=40)).items]


@given(st.integers(1, 39), SEEDS)
def test_a_larger_limit_adds_questions_and_takes_none_away(
    limit: int, seed: int | None
) -> None:
    smaller, larger = ids(Subset(limit, seed)), ids(Subset(limit + 1, seed))
    assert larger[:limit] == smaller
    assert len(set(larger)) == limit + 1


@given(st.integers(0, 40), LIMITS | st.none(), COUNTS)
def test_each_question_is_in_one_shard_and_shards_differ_by_one_at_most(
    questions: int, limit: int | None, count: int
) -> None:
    whole = Subset(limit).cut(task(questions=questions))
    parts = [
        Subset(limit, shard=Shard(count, index)).cut(task(questions=questions))
        for index in range(1, count + 1)
    ]
    sizes = [part.source.items for part in parts]
    assert sizes == [len(part.items) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    dealt = {
        index + 1 + at * count: item
        for index, part in enumerate(parts)
        for at, item in enumerate(part.items)
    }
    assert tuple(dealt[number] for number in sorted(dealt)) == whole.items
    assert sorted(dealt) == list(range(1, len(whole.items) + 1))


AMOUNTS = st.none() | st.integers(0, 10**12)
REALS = st.none() | st.floats(0, 1e30, exclude_min=True)


@given(COUNTS, st.builds(Budget, AMOUNTS, AMOUNTS, AMOUNTS, REALS, REALS))
def test_the_shards_parts_of_a_budget_are_no_more_than_the_whole(
    count: int, total: Budget
) -> None:
    parts = [total.part_of(count, index) for index in range(1, count + 1)]
    for unit in ("tokens", "generated", "samples"):
        limit, amounts = getattr(total, unit), [getattr(part, unit) for part in parts]
        assert amounts == [None] * count if limit is None else sum(amounts) == limit
    for unit in ("usd",):
        limit, amounts = getattr(total, unit), [getattr(part, unit) for part in parts]
        if limit is None:
            assert amounts == [None] * count
        else:
            assert sum(map(Fraction, amounts)) <= Fraction(limit)
            assert sum(amounts) >= limit - 2 * count * math.ulp(limit)
    # All shards run at the same time.
    assert {part.seconds for part in parts} == {total.seconds}
