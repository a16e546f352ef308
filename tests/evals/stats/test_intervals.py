"""Intervals: which one is taken, and that 95 % of them hold the truth."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reasoner.errors import UsageError
from reasoner_evals.stats.arrays import Floats
from reasoner_evals.stats.intervals import SPARSE, Interval, difference_interval, interval, ratio_interval, wilson
from reasoner_evals.stats.spread import spread_of

RUNS = 600


def coverage(truth: float, drawn: Callable[[np.random.Generator], Interval]) -> float:
    source = np.random.default_rng(5)
    intervals = [drawn(source) for _ in range(RUNS)]
    return float(np.mean([one.low <= truth <= one.high for one in intervals]))


def shares(source: np.random.Generator, questions: int, samples: int) -> Floats:
    """Accuracies over some samples of questions whose chances are Beta(2, 1): their mean is 2/3."""
    return source.binomial(samples, source.beta(2, 1, questions)) / samples


def clustered(source: np.random.Generator, groups: int, size: int) -> tuple[Floats, list[str]]:
    """Outcomes in groups that share their chance, Beta(2, 1): their mean is 2/3."""
    chance = np.repeat(source.beta(2, 1, groups), size)
    return source.binomial(1, chance).astype(float), [f"g{at // size}" for at in range(groups * size)]


def test_95_percent_of_wilson_intervals_hold_the_truth() -> None:
    assert 0.93 <= coverage(0.7, lambda source: interval(source.binomial(1, 0.7, 100).astype(float))) <= 0.97


@pytest.mark.parametrize("questions", [30, 100])
def test_95_percent_of_intervals_of_means_hold_the_truth(questions: int) -> None:
    assert 0.93 <= coverage(2 / 3, lambda source: interval(shares(source, questions, 8))) <= 0.97


def test_the_method_follows_from_the_values() -> None:
    source = np.random.default_rng(8)
    assert interval(shares(source, 35, 8)).method == "wilson"
    assert interval(*clustered(source, 40, 6)).method == "wilson, clustered"
    gains = shares(source, 60, 8) - shares(source, 60, 8)
    assert difference_interval(gains).method == "t"
    assert difference_interval(gains, [str(row // 2) for row in range(60)]).method == "t, clustered"
    assert difference_interval(np.sign(gains)).method == "score"
    assert difference_interval(np.where(np.arange(60) < 5, gains, 0)).method == "score"
    assert ratio_interval(source.lognormal(0, 1, 60), np.ones(60)).method == "bootstrap"


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.3, 1.0, math.nan]), min_size=1, max_size=60),
    st.none() | st.integers(1, 30),
)
@settings(deadline=None)
def test_any_shares_have_an_interval_around_their_mean_within_0_and_1(values: list[float], groups: int | None) -> None:
    keys = None if groups is None else [str(at % groups) for at in range(len(values))]
    found = interval(np.array(values), keys)
    assert found.n + found.missing == len(values)
    if found.n:
        assert 0 <= found.low <= found.mean + 1e-12
        assert found.mean - 1e-12 <= found.high <= 1
        assert found.high > found.low


@given(st.lists(st.sampled_from([-1.0, -0.3, 0.0, 0.5, 1.0]), min_size=1, max_size=60), st.none() | st.integers(1, 30))
@settings(deadline=None)
def test_any_differences_have_an_interval_around_their_mean(values: list[float], groups: int | None) -> None:
    keys = None if groups is None else [str(at % groups) for at in range(len(values))]
    found = difference_interval(np.array(values), keys)
    assert -1 <= found.low <= found.mean <= found.high <= 1
    assert found.high > found.low


@pytest.mark.parametrize("groups", [20, 35, 85])
def test_95_percent_of_clustered_intervals_hold_the_truth(groups: int) -> None:
    assert 0.93 <= coverage(2 / 3, lambda source: interval(*clustered(source, groups, 6))) <= 0.975


@pytest.mark.parametrize("p", [0.6, 0.9])
def test_95_percent_of_intervals_of_groups_of_very_unequal_size_hold_the_truth(p: float) -> None:
    sizes = np.maximum(60 // np.arange(1, 41), 1)
    keys = [f"g{row}" for row in np.repeat(np.arange(40), sizes)]

    def one(source: np.random.Generator) -> Interval:
        return interval(source.binomial(1, np.repeat(source.beta(3 * p, 3 - 3 * p, 40), sizes)).astype(float), keys)

    assert 0.93 <= coverage(p, one) <= 0.985


def test_without_its_groups_clustered_data_gets_too_narrow_an_interval() -> None:
    assert coverage(2 / 3, lambda source: interval(clustered(source, 85, 6)[0])) < 0.9


def test_95_percent_of_intervals_of_paired_differences_hold_the_truth() -> None:
    def one(source: np.random.Generator) -> Interval:
        return difference_interval(source.choice([-1.0, 0.0, 1.0], 100, p=[0.05, 0.8, 0.15]))

    assert 0.93 <= coverage(0.1, one) <= 0.975


@pytest.mark.parametrize("questions", [30, 100])
@pytest.mark.parametrize("p", [0.05, 0.98])
def test_95_percent_of_intervals_of_differences_near_0_hold_the_truth(questions: int, p: float) -> None:
    def one(source: np.random.Generator) -> Interval:
        chance = source.beta(3 * p, 3 - 3 * p, questions)
        return difference_interval(np.subtract(*source.binomial(8, chance, (2, questions))) / 8)

    assert 0.93 <= coverage(0, one) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("paired", [False, True])
def test_95_percent_of_intervals_of_skewed_amounts_hold_the_truth(paired: bool) -> None:
    def one(source: np.random.Generator) -> Interval:
        below = source.lognormal(0.5, 1, 30) if paired else np.full(30, math.exp(0.5))
        return ratio_interval(source.lognormal(0.5 if paired else 0, 1, 30), below, draws=2000)

    assert 0.925 <= coverage(1, one) <= 0.975


@pytest.mark.slow
def test_95_percent_of_intervals_of_ratios_hold_the_truth() -> None:
    def one(source: np.random.Generator) -> Interval:
        bottoms = source.lognormal(0, 0.5, 100)
        return ratio_interval(bottoms * source.uniform(0, 1, 100), bottoms, draws=2000)

    assert 0.925 <= coverage(0.5, one) <= 0.97


@given(st.integers(1, 400), st.data())
@settings(deadline=None)
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    known = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((known.low, known.high), abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 2, 30, 500])
@pytest.mark.parametrize("grouped", [False, True])
def test_no_interval_at_the_end_has_no_width(value: float, n: int, grouped: bool) -> None:
    found = interval(np.full(n, value), [f"g{at // 2}" for at in range(n)] if grouped else None)
    assert found.mean == value
    assert found.low <= value <= found.high
    assert found.high - found.low > 0.005


def test_nearly_all_right_in_pooled_means_is_wilson() -> None:
    values = np.append(np.ones(199), 0.9)
    found = interval(values)
    assert found.method == "wilson"
    assert found.high - found.low > 0.01


def test_no_difference_seen_is_not_a_difference_of_exactly_nothing() -> None:
    found = difference_interval(np.zeros(30))
    assert (found.mean, found.method) == (0.0, "score")
    assert found.low < -0.05
    assert found.high > 0.05


def test_the_paired_interval_of_single_outcomes_is_tangos() -> None:
    # The 21 children of Bentur et al. (2009), the example of Fagerland, Lydersen & Laake (2014).
    found = difference_interval(np.array([1.0] + [-1.0] * 7 + [0.0] * 13))
    assert (found.low, found.high) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert found.mean == pytest.approx(-6 / 21)


@pytest.mark.parametrize("n", [1, 30, 500])
def test_without_any_difference_the_bounds_are_those_of_no_success(n: int) -> None:
    found = difference_interval(np.zeros(n))
    assert (-found.low, found.high) == pytest.approx([wilson(0, n)[1]] * 2, abs=1e-9)


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60), st.sampled_from([0.1, 0.25, 0.5]))
@settings(deadline=None)
def test_few_differences_of_one_size_have_the_interval_of_outcomes_of_that_size(
    signs: list[float], size: float
) -> None:
    whole, part = difference_interval(np.array(signs)), difference_interval(np.array(signs) * size)
    if any(signs) and sum(map(abs, signs)) < min(SPARSE, len(signs) / 2):
        assert (part.low, part.high) == pytest.approx((whole.low * size, whole.high * size), abs=1e-9)


def test_a_missing_value_is_left_out_and_counted() -> None:
    values = np.array([0.2, math.nan, 0.9, 0.4, 0.8] * 10)
    found = interval(values, [str(at) for at in range(50)])
    assert (found.n, found.missing) == (40, 10)
    assert found.mean == pytest.approx(0.575)
    assert found == interval(values[~np.isnan(values)], [str(at) for at in range(40)]).__class__(
        found.mean, found.low, found.high, found.method, 40, 10
    )


def test_a_ratio_is_of_totals() -> None:
    found = ratio_interval(np.array([1.0, 9.0]), np.array([10.0, 10.0]))
    assert found.mean == 0.5
    assert ratio_interval(np.array([1.0, 100.0]), np.array([1.0, 1000.0])).mean == pytest.approx(101 / 1001)


def test_bottoms_that_are_mostly_nothing_give_a_ratio_still() -> None:
    bottoms = np.zeros(100)
    bottoms[0] = 2.0
    assert ratio_interval(bottoms / 2, bottoms).mean == 0.5


def test_nothing_to_measure_is_told_as_nothing() -> None:
    found = interval(np.array([math.nan]))
    assert (found.method, found.n, found.missing) == ("none", 0, 1)
    assert math.isnan(found.mean)
    assert ratio_interval(np.array([3.0]), np.ones(1)).method == "none"


def test_the_same_seed_gives_the_same_interval() -> None:
    values, ones = np.random.default_rng(7).lognormal(0, 1, 100), np.ones(100)
    assert ratio_interval(values, ones, seed=1) == ratio_interval(values, ones, seed=1)
    assert ratio_interval(values, ones, seed=1) != ratio_interval(values, ones, seed=2)


def test_of_very_many_amounts_the_t_interval_is_taken_and_is_the_bootstraps() -> None:
    values = np.random.default_rng(9).lognormal(0, 0.5, 2001)
    many, fewer = (ratio_interval(part, np.ones(len(part))) for part in (values, values[:-1]))
    assert (many.method, fewer.method) == ("t", "bootstrap")
    assert (many.low, many.high) == pytest.approx((fewer.low, fewer.high), abs=0.06 * (many.high - many.low))


@given(
    st.lists(st.tuples(st.floats(-5, 50), st.sampled_from([0.0, 1e-9, 1.0, 7.0, 4096.0])), min_size=2, max_size=30),
    st.sampled_from([1e-6, 1.0, 1e6]),
)
@settings(deadline=None, max_examples=60)
def test_any_amounts_have_an_interval_around_their_ratio(amounts: list[tuple[float, float]], unit: float) -> None:
    tops, bottoms = np.array(amounts).T
    if bottoms.any():
        found = ratio_interval(tops, bottoms, draws=2000)
        assert found.low <= found.mean <= found.high
        scaled = ratio_interval(tops * unit, bottoms, draws=2000)
        assert (scaled.low, scaled.high) == pytest.approx(
            (found.low * unit, found.high * unit), rel=1e-5, abs=1e-9 * unit
        )


@pytest.mark.parametrize("cost", [0.0, -2.0, 57.0])
def test_equal_costs_have_no_spread(cost: float) -> None:
    found = ratio_interval(np.full(30, cost), np.ones(30))
    assert (found.mean, found.low, found.high, found.method) == (cost, cost, cost, "t")


@given(st.lists(st.tuples(st.floats(-3, 3), st.integers(1, 40)), min_size=2, max_size=12))
@settings(deadline=None)
def test_the_spread_is_the_jackknifes_and_of_units_of_one_size_students(units: list[tuple[float, int]]) -> None:
    totals, sizes = np.array(units).T
    left_out = (totals.sum() - totals) / (sizes.sum() - sizes)
    squares = np.sum((left_out - totals.sum() / sizes.sum()) ** 2)
    found = spread_of(totals, sizes)
    assert found.error == pytest.approx(math.sqrt((1 - 1 / len(units)) * squares), abs=1e-9)
    assert 1 <= found.freedom <= len(units) - 1 + 1e-9
    equal = spread_of(totals, np.full(len(units), 5.0))
    assert equal.error == pytest.approx(totals.std(ddof=1) / 5 / math.sqrt(len(units)), abs=1e-9)
    assert equal.freedom == pytest.approx(len(units) - 1)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: interval(np.array([0.5, 0.5]), ["a", None]), "1 of 2 questions have no group key"),
        (lambda: interval(np.array([0.5, 0.5]), ["a"]), "1 group key"),
        (lambda: interval(np.array([1.5])), "between 0 and 1"),
        (lambda: difference_interval(np.array([1.5])), "between -1 and 1"),
        (lambda: interval(np.zeros((2, 2))), "shape"),
        (lambda: ratio_interval(np.ones(2), np.zeros(2)), "not all 0"),
        (lambda: ratio_interval(np.array([1.0, math.inf]), np.ones(2)), "finite"),
        (lambda: ratio_interval(np.linspace(0, 1, 50), np.ones(50), draws=100), "got 100"),
        (lambda: wilson(3, 2), "right=3"),
    ],
)
def test_what_has_no_interval_is_refused(call: Callable[[], object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        call()
