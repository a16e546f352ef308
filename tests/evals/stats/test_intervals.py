"""Intervals and paired tests: which one is taken, that 95 % of intervals hold the truth, and that p agrees with them."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reasoner.errors import UsageError
from reasoner_evals.stats import Floats
from reasoner_evals.stats.intervals import (
    Interval,
    amount,
    compare,
    difference,
    holm,
    interval,
    score_test,
    spread_of,
    two_sided,
    wilson,
)

RUNS = 600


def coverage(truth: float, drawn: Callable[[np.random.Generator], Interval]) -> float:
    source = np.random.default_rng(5)
    intervals = [drawn(source) for _ in range(RUNS)]
    return float(np.mean([one.low <= truth <= one.high for one in intervals]))


def shares(source: np.random.Generator, questions: int, samples: int) -> Floats:
    """Accuracies over some samples of questions with chances from Beta(2, 1): their mean is 2/3."""
    return source.binomial(samples, source.beta(2, 1, questions)) / samples


def clustered(
    source: np.random.Generator, groups: int, size: int
) -> tuple[Floats, list[str]]:
    """Outcomes in groups that share their chance, Beta(2, 1): their mean is 2/3."""
    chance = np.repeat(source.beta(2, 1, groups), size)
    return source.binomial(1, chance).astype(float), [
        f"g{at // size}" for at in range(groups * size)
    ]


def unequal(source: np.random.Generator) -> Interval:
    """Single outcomes of 40 groups of very unequal sizes, with chances from Beta(1.8, 1.2)."""
    sizes = np.maximum(60 // np.arange(1, 41), 1)
    outcomes = source.binomial(1, np.repeat(source.beta(1.8, 1.2, 40), sizes)).astype(
        float
    )
    return interval(outcomes, [f"g{row}" for row in np.repeat(np.arange(40), sizes)])


def rare(source: np.random.Generator) -> Interval:
    """Differences of eight samples each, of questions that are nearly all alike."""
    chance = source.beta(0.15, 2.85, 30)
    return difference(np.subtract(*source.binomial(8, chance, (2, 30))) / 8)[0]


@pytest.mark.parametrize(
    ("truth", "drawn", "highest"),
    [
        (2 / 3, lambda source: interval(shares(source, 30, 8)), 0.97),
        (2 / 3, lambda source: interval(shares(source, 100, 8)), 0.97),
        (2 / 3, lambda source: interval(*clustered(source, 35, 6)), 0.975),
        (0.6, unequal, 0.985),
        (
            0.1,
            lambda source: difference(
                source.choice([-1.0, 0.0, 1.0], 100, p=[0.05, 0.8, 0.15])
            )[0],
            0.975,
        ),
        (0.0, rare, 0.99),
    ],
    ids=[
        "few means",
        "means",
        "groups",
        "unequal groups",
        "differences",
        "rare differences",
    ],
)
def test_95_percent_of_intervals_hold_the_truth(
    truth: float, drawn: Callable[[np.random.Generator], Interval], highest: float
) -> None:
    assert 0.93 <= coverage(truth, drawn) <= highest


def test_the_method_follows_from_the_values() -> None:
    source = np.random.default_rng(8)
    assert interval(shares(source, 35, 8)).method == "wilson"
    assert interval(*clustered(source, 40, 6)).method == "wilson, clustered"
    gains = shares(source, 60, 8) - shares(source, 60, 8)
    assert difference(gains)[0].method == "t"
    assert (
        difference(gains, [str(row // 2) for row in range(60)])[0].method
        == "t, clustered"
    )
    assert difference(np.sign(gains))[0].method == "score"
    assert difference(np.where(np.arange(60) < 5, gains, 0))[0].method == "score"


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.3, 1.0, math.nan]), min_size=1, max_size=60),
    st.none() | st.integers(1, 30),
)
@settings(deadline=None)
def test_any_shares_have_an_interval_around_their_mean_within_0_and_1(
    values: list[float], groups: int | None
) -> None:
    keys = None if groups is None else [str(at % groups) for at in range(len(values))]
    found = interval(np.array(values), keys)
    assert found.n == int((~np.isnan(values)).sum())
    if found.n:
        assert 0 <= found.low <= found.mean + 1e-12
        assert found.mean - 1e-12 <= found.high <= 1
        assert found.high > found.low


@given(st.integers(1, 400), st.data())
@settings(deadline=None)
def test_wilson_is_scipys_but_for_an_exact_bound_next_to_0_and_1(
    n: int, data: st.DataObject
) -> None:
    right = data.draw(st.integers(0, n))
    test = stats.binomtest(right, n)
    known, exact = (
        test.proportion_ci(level, method)
        for level, method in ((0.95, "wilson"), (0.9, "exact"))
    )
    low = min(known.low, exact.low) if 2 * right < n else known.low
    high = max(known.high, exact.high) if 2 * right > n else known.high
    assert wilson(right, n) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize("n", [10, 100])
def test_intervals_of_rare_outcomes_cover_nearly_95_percent(n: int) -> None:
    bounds = np.array([wilson(right, n) for right in range(n + 1)])
    for p in np.linspace(0.0005, 0.03, 60):
        chances = stats.binom.pmf(np.arange(n + 1), n, p)
        assert chances[(bounds[:, 0] <= p) & (p <= bounds[:, 1])].sum() > 0.93
        assert (
            chances[::-1][(bounds[:, 0] <= 1 - p) & (1 - p <= bounds[:, 1])].sum()
            > 0.93
        )


@given(st.lists(st.floats(0, 1e5), min_size=2, max_size=30))
def test_the_mean_of_amounts_has_students_interval(values: list[float]) -> None:
    found, drawn = amount(np.array(values)), np.array(values)
    low, high = (
        stats.t.interval(0.95, len(drawn) - 1, drawn.mean(), stats.sem(drawn))
        if np.ptp(drawn)
        else [drawn[0]] * 2
    )
    assert (found.low, found.high) == pytest.approx((max(low, 0), high), abs=1e-6)


def test_the_paired_interval_of_single_outcomes_is_tangos() -> None:
    # The 21 children of Bentur et al. (2009), the example of Fagerland, Lydersen & Laake (2014).
    found = difference(np.array([1.0] + [-1.0] * 7 + [0.0] * 13))[0]
    assert (found.low, found.high) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert found.mean == pytest.approx(-6 / 21)


def test_nothing_to_measure_is_reported_as_nothing() -> None:
    found = interval(np.array([math.nan]))
    assert (found.method, found.n) == ("none", 0)
    assert math.isnan(found.mean)


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.integers(1, 40)), min_size=2, max_size=12)
)
@settings(deadline=None)
def test_the_spread_is_the_jackknifes_and_of_units_of_one_size_students(
    units: list[tuple[float, int]],
) -> None:
    totals, sizes = np.array(units).T
    left_out = (totals.sum() - totals) / (sizes.sum() - sizes)
    squares = np.sum((left_out - totals.sum() / sizes.sum()) ** 2)
    found = spread_of(totals, sizes)
    assert found.error == pytest.approx(
        math.sqrt((1 - 1 / len(units)) * squares), abs=1e-9
    )
    assert 1 <= found.freedom <= len(units) - 1 + 1e-9
    equal = spread_of(totals, np.full(len(units), 5.0))
    assert equal.error == pytest.approx(
        totals.std(ddof=1) / 5 / math.sqrt(len(units)), abs=1e-9
    )
    assert equal.freedom == pytest.approx(len(units) - 1)


def test_single_outcomes_are_compared_by_mcnemars_test() -> None:
    found = compare(
        (np.array([1.0] * 9 + [0.0] * 2 + [1.0] * 9)),
        (np.array([0.0] * 9 + [1.0] * 2 + [1.0] * 9)),
    )
    assert (found.better, found.worse, found.test) == (9, 2, "mcnemar")
    assert found.p_value == pytest.approx(stats.chi2.sf((9 - 2) ** 2 / 11, 1))
    assert found.difference.mean == pytest.approx(7 / 20)
    assert found.detectable == pytest.approx(2.8 * np.sqrt(11 / 20 / 20))


DIFFERENCES = st.one_of(
    st.lists(st.sampled_from([-1.0, 0.0, 0.0, 1.0]), min_size=1, max_size=60),
    st.lists(
        st.sampled_from([-0.25, 0.0, 0.0, 0.0, 0.125, 0.5, 1.0]),
        min_size=1,
        max_size=60,
    ),
    st.lists(st.floats(-1, 1), min_size=1, max_size=30),
    st.lists(st.floats(0.9, 1), min_size=1, max_size=60),
)


@given(DIFFERENCES, st.none() | st.integers(1, 12))
@settings(deadline=None, max_examples=300)
def test_p_is_below_5_percent_exactly_if_the_interval_excludes_0(
    values: list[float], groups: int | None
) -> None:
    keys = (
        None
        if groups is None
        else [str(row * row % groups) for row in range(len(values))]
    )
    first = np.array(values)
    found = compare(first, np.zeros(len(values)), keys)
    assert 0 <= found.p_value <= 1
    if abs(found.p_value - 0.05) > 1e-9:
        assert (found.p_value < 0.05) == (
            found.difference.low > 0 or found.difference.high < 0
        )
    other = compare(np.zeros(len(values)), first, keys)
    assert other.p_value == pytest.approx(found.p_value, abs=1e-12)
    assert (other.difference.low, other.difference.high) == pytest.approx(
        (-found.difference.high, -found.difference.low), abs=1e-9
    )


@given(st.integers(0, 400), st.integers(0, 400))
@settings(deadline=None)
def test_mcnemar_is_the_chi_square_of_the_pairs_that_differ(
    better: int, worse: int
) -> None:
    known = (
        stats.chi2.sf((better - worse) ** 2 / (better + worse), 1)
        if better + worse
        else 1.0
    )
    assert two_sided(score_test(better, worse), math.inf) == pytest.approx(
        known, rel=1e-9
    )


def test_without_a_difference_p_is_uniform() -> None:
    source = np.random.default_rng(3)
    p_values = [
        compare(source.random(40), source.random(40)).p_value for _ in range(1000)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_holm_of_a_known_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_question_without_a_group_among_others_is_refused() -> None:
    with pytest.raises(UsageError, match="1 of 2 questions have no group key"):
        interval(np.array([0.5, 0.5]), ["a", None])
