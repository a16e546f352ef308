"""Paired comparisons: exact tests, what they say when nothing differs, and adjusting for many."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reasoner.errors import UsageError
from reasoner_evals.stats.comparison import compare, holm, mcnemar, minimum_detectable


def test_single_outcomes_are_compared_by_mcnemars_test() -> None:
    found = compare((np.array([1.0] * 9 + [0.0] * 2 + [1.0] * 9)), (np.array([0.0] * 9 + [1.0] * 2 + [1.0] * 9)))
    assert (found.better, found.worse, found.test) == (9, 2, "mcnemar")
    assert found.p_value == pytest.approx(stats.chi2.sf((9 - 2) ** 2 / 11, 1))
    assert found.difference.mean == pytest.approx(7 / 20)
    assert found.detectable == pytest.approx(minimum_detectable(20, 11 / 20))


def test_the_other_way_round_is_the_negative() -> None:
    source = np.random.default_rng(1)
    first, second = (source.random(60)), (source.random(60))
    one, other = compare(first, second), compare(second, first)
    assert one.difference.mean == -other.difference.mean
    assert (one.p_value, one.better, one.detectable) == (other.p_value, other.worse, other.detectable)


DIFFERENCES = st.one_of(
    st.lists(st.sampled_from([-1.0, 0.0, 0.0, 1.0]), min_size=1, max_size=60),
    st.lists(st.sampled_from([-0.25, 0.0, 0.0, 0.0, 0.125, 0.5, 1.0]), min_size=1, max_size=60),
    st.lists(st.floats(-1, 1), min_size=1, max_size=30),
    st.lists(st.floats(0.9, 1), min_size=1, max_size=60),
)


@given(DIFFERENCES, st.none() | st.integers(1, 12))
@settings(deadline=None, max_examples=300)
def test_p_is_below_5_percent_exactly_if_the_interval_excludes_0(values: list[float], groups: int | None) -> None:
    keys = None if groups is None else [str(row * row % groups) for row in range(len(values))]
    first = np.array(values)
    found = compare(first, np.zeros(len(values)), keys)
    assert 0 <= found.p_value <= 1
    if abs(found.p_value - 0.05) > 1e-9:
        assert (found.p_value < 0.05) == (found.difference.low > 0 or found.difference.high < 0)
    other = compare(np.zeros(len(values)), first, keys)
    assert other.p_value == pytest.approx(found.p_value, abs=1e-12)
    assert (other.difference.low, other.difference.high) == pytest.approx(
        (-found.difference.high, -found.difference.low), abs=1e-9
    )


@given(st.integers(0, 400), st.integers(0, 400))
@settings(deadline=None)
def test_mcnemar_is_the_chi_square_of_the_pairs_that_differ(better: int, worse: int) -> None:
    known = stats.chi2.sf((better - worse) ** 2 / (better + worse), 1) if better + worse else 1.0
    assert mcnemar(better, worse) == pytest.approx(known, rel=1e-9)


def test_without_a_difference_p_is_uniform() -> None:
    source = np.random.default_rng(3)
    p_values = [compare(source.random(40), source.random(40)).p_value for _ in range(1000)]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_without_a_difference_clustered_arms_are_called_different_in_5_percent() -> None:
    source = np.random.default_rng(4)
    groups = [f"g{at // 5}" for at in range(60)]
    clustered, single = [], []
    for _ in range(600):
        shift = np.repeat(source.normal(0, 0.2, 12), 5)
        first, second = (np.clip(0.5 + shift, 0, 1)), (np.clip(source.normal(0.5, 0.05, 60), 0, 1))
        clustered.append(compare(first, second, groups).p_value < 0.05)
        single.append(compare(first, second).p_value < 0.05)
    assert 0.02 <= np.mean(clustered) <= 0.08
    assert np.mean(single) > 0.25


def test_groups_widen_what_is_detectable() -> None:
    source = np.random.default_rng(5)
    first, second = (np.repeat(source.random(20), 5)), (np.repeat(source.random(20), 5))
    alone, grouped = (
        compare(first, second),
        compare(first, second, [f"g{at // 5}" for at in range(100)]),
    )
    assert grouped.detectable == pytest.approx(alone.detectable * math.sqrt(5))
    assert grouped.difference.method == "t, clustered"


def test_an_arm_against_itself_resolves_nothing() -> None:
    same = np.array([1.0, 0.0] * 20)
    found = compare(same, same)
    assert (found.p_value, found.better, found.worse, found.resolvable) == (1.0, 0, 0, False)
    assert found.difference.low < 0 < found.difference.high


def test_a_difference_below_the_detectable_is_not_resolvable() -> None:
    base = np.zeros(400)
    small, large = base.copy(), base.copy()
    small[:6], large[:60] = 1, 1
    assert not compare((small), (base)).resolvable
    assert compare((large), (base)).resolvable


def test_a_question_without_a_value_in_one_arm_is_left_out_and_counted() -> None:
    first, second = (np.array([1.0, math.nan, 1.0, 0.0])), (np.array([0.0, 1.0, 1.0, math.nan]))
    found = compare(first, second)
    assert (found.difference.n, found.difference.missing, found.better, found.worse) == (2, 2, 1, 0)
    assert math.isnan(compare(np.array([math.nan]), np.array([1.0])).difference.mean)


def test_holm_of_a_known_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
@settings(deadline=None)
def test_holm_never_lowers_a_p_value_nor_swaps_two(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert all(a <= b for (p, a), (q, b) in itertools.permutations(zip(p_values, adjusted, strict=True), 2) if p < q)


@pytest.mark.parametrize(
    ("n", "discordant", "points"),
    [(30, 0.1, 16), (30, 0.2, 23), (40, 0.1, 14), (198, 0.2, 8.9), (500, 0.1, 4.0), (1319, 0.2, 3.5)],
)
def test_what_known_benchmarks_can_show(n: int, discordant: float, points: float) -> None:
    assert 100 * minimum_detectable(n, discordant) == pytest.approx(points, abs=0.5 if points >= 10 else 0.06)


def test_no_pair_that_differs_is_no_evidence() -> None:
    assert mcnemar(0, 0) == 1.0


def test_a_missing_group_or_no_probability_is_refused() -> None:
    with pytest.raises(UsageError, match="1 of 2 questions have no group key"):
        compare(np.array([1.0, 0.0]), np.array([1.0, 0.0]), ["g", None])
    with pytest.raises(UsageError, match="between 0 and 1"):
        holm([1.2])
    with pytest.raises(UsageError, match="n=0"):
        minimum_detectable(0, 0.1)
