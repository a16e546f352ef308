"""Predictions from a profile: the pin, closed forms, what must not fall, and the KV cache by hand."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.calibration.arm_selection import shrunk
from reasoner.calibration.planning import TAIL, Forecast, outlook
from reasoner.calibration.profile import ArmRow, Bins, Family
from reasoner.errors import UsageError
from tests.calibration import profiles
from tests.calibration.profiles import VOTE, plain_row

MANY = 10_000_000
Arm = tuple[float, float]
"""Tokens, accuracy."""


def row(place: int, arm: Arm, questions: int, *, name: str = "", **fields: object) -> ArmRow:
    """One arm of single outcomes, as many of them right as the accuracy says."""
    tokens, accuracy = arm
    right, name = accuracy * questions, name or f"way:n={tokens:g}"
    plain = {"right": right, "squares": right, "loss_squares": 0, "tokens": tokens, "tokens_p95": tokens, "samples": 1}
    return plain_row(**{"strategy": name, "bin": place, "questions": questions, **plain, **fields})


def family(*bins: tuple[int, list[Arm]], extra: tuple[ArmRow, ...] = ()) -> Family:
    """Bins of (questions, arms); the first arm of each is the baseline."""
    rows = [
        row(place, arm, questions, name="" if at else VOTE)
        for place, (questions, arms) in enumerate(bins)
        for at, arm in enumerate(arms)
    ]
    edges = tuple(float(edge) for edge in range(1, len(bins)))
    return profiles.family(*rows, *extra, task="a", bins=Bins(signal="split", edges=edges))


HARD: list[Arm] = [(4, 0.50), (1, 0.30), (16, 0.55)]
EASY: list[Arm] = [(4, 0.92), (1, 0.90)]


def published(questions: int = MANY) -> Family:
    return family((4 * questions // 10, HARD), (6 * questions // 10, EASY))


counts = st.integers(30, 400)
arms = st.lists(
    st.tuples(st.integers(1, 40).map(float), st.floats(0, 1)), min_size=1, max_size=6, unique_by=lambda a: a[0]
)
families = st.lists(st.tuples(counts, arms), min_size=1, max_size=3).map(lambda bins: family(*bins))


# What a budget brings


def test_the_published_division() -> None:
    told = outlook(published()).at(3)
    assert told.accuracy.mean == pytest.approx(0.7453, abs=5e-5)
    assert told.tokens.mean == pytest.approx(3)
    hard, easy = told.parts
    assert [(share, way.row.tokens) for share, way in hard.arms] == [(1, 4)]
    assert [way.row.tokens for _, way in easy.arms] == [1, 4]
    assert easy.arms[1][0] == pytest.approx(0.444, abs=5e-4)


def test_the_interval_of_one_arm_is_that_of_its_mean() -> None:
    told = outlook(family((400, [(1, 0.3)]))).at(1)
    low, high = told.interval
    error = math.sqrt(0.3 * 0.7 / 400)
    assert told.accuracy.mean == pytest.approx(0.3)
    assert (low, high) == pytest.approx((0.3 - 1.96 * error, 0.3 + 1.96 * error), abs=1e-3)


def test_bins_that_get_the_same_are_as_sure_as_all_questions_in_one() -> None:
    # The law of total variance; the bins are so far apart that nothing is drawn together.
    split = outlook(family((4000, [(1, 0.1)]), (6000, [(1, 0.9)]))).at(1)
    assert split.accuracy.variance == pytest.approx(0.58 * 0.42 / 10_000, rel=0.01)


def test_arms_of_one_bin_may_err_together() -> None:
    one = family((400, EASY))
    estimates = shrunk(one)
    errors = [math.sqrt(estimates[arm.arm, 0].variance) for arm in one.rows(0)]
    told = outlook(one).at(2)
    assert math.sqrt(told.accuracy.variance) == pytest.approx(2 / 3 * errors[0] + 1 / 3 * errors[1])


@pytest.mark.parametrize("chances", [(0.45, 0.9), (0.5, 0.55), (0.6, 0.6)])
def test_intervals_hold_the_truth_whether_bins_differ_or_not(chances: tuple[float, float]) -> None:
    source = random.Random(0)
    held, rounds = 0, 1000
    for _ in range(rounds):
        hard = sum(source.random() < 0.4 for _ in range(200))
        bins = []
        for questions, chance in zip((hard, 200 - hard), chances, strict=True):
            right = sum(source.random() < chance for _ in range(questions))
            bins.append((questions, [(1.0, right / questions)]))
        low, high = outlook(family(*bins)).at(1).interval
        held += low <= 0.4 * chances[0] + 0.6 * chances[1] <= high
    # Three standard deviations of 1,000 rounds below 95 %.
    assert held / rounds >= 0.93


@given(families, st.floats(0, 60))
def test_no_more_is_expected_than_the_best_arms_bring_nor_spent_than_given(one: Family, extra: float) -> None:
    asked, estimates = outlook(one), shrunk(one)
    told = asked.at(asked.minimum + extra)
    best = [max(estimates[arm.arm, place].mean for arm in one.rows(place)) for place in range(one.bins.count)]
    sizes = [one.standard(place).questions for place in range(one.bins.count)]
    maximum = sum(n * value for n, value in zip(sizes, best, strict=True)) / sum(sizes)
    assert told.tokens.mean <= (asked.minimum + extra) * (1 + 1e-9)
    assert told.accuracy.mean <= maximum + 1e-9
    assert asked.maximum.accuracy.mean == pytest.approx(maximum)


def test_what_was_measured_on_few_questions_is_not_used() -> None:
    better = row(0, (2, 1.0), 29)
    assert outlook(family((400, [(1, 0.3)]), extra=(better,))).maximum.accuracy.mean == pytest.approx(0.3)
    with pytest.raises(UsageError, match="bin 0 of a has no arm with 30 questions: calibrate"):
        outlook(family((29, [(1, 0.3)])))


# What an accuracy costs


@given(families, st.floats(0, 1))
def test_an_accuracy_costs_the_budget_that_brings_it(one: Family, place: float) -> None:
    asked = outlook(one)
    low, high = asked.at(asked.minimum), asked.maximum
    wanted = low.accuracy.mean + place * (high.accuracy.mean - low.accuracy.mean)
    tokens = asked.tokens_for(wanted)
    assert tokens is not None
    assert asked.at(tokens).accuracy.mean == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("budget", [1.0, 1.5, 2.2, 3.0, 4.0, 5.5, 8.8])
def test_a_budget_on_the_hull_is_what_its_accuracy_costs(budget: float) -> None:
    asked = outlook(published())
    assert asked.tokens_for(asked.at(budget).accuracy.mean) == pytest.approx(budget, rel=1e-6)


def test_the_cheapest_is_enough_for_little_and_nothing_for_too_much() -> None:
    asked = outlook(published())
    assert asked.tokens_for(0) == asked.minimum
    assert asked.tokens_for(0.773) is None
    assert asked.maximum.tokens.mean == pytest.approx(0.4 * 16 + 0.6 * 4)
    # Sums of steps round differently from the sum of the parts.
    assert asked.tokens_for(asked.maximum.accuracy.mean + 1e-12) == pytest.approx(0.4 * 16 + 0.6 * 4)


# How much it varies


def spread_out(p95: float, questions: int = 100) -> Forecast:
    one = family((questions, [(100, 0.5)]))
    rows = tuple(arm.model_copy(update={"tokens_p95": p95}) for arm in one.arms)
    return outlook(one.model_copy(update={"arms": rows})).at(100)


def test_the_total_varies_with_its_questions_and_with_the_calibration() -> None:
    told = spread_out(100 + 10 * TAIL)
    assert told.tokens_p95 == pytest.approx(100 + 10 * TAIL)
    assert told.total_p95(100) == pytest.approx(10_000 + TAIL * math.sqrt(100 * 10**2 + 100**2 * 10**2 / 100))


def test_a_mix_varies_as_its_arms_differ() -> None:
    told = outlook(family((MANY, EASY))).at(2.5)
    # Half of the questions cost 1, half 4.
    assert told.total_p95(100) == pytest.approx(250 + TAIL * 10 * 1.5, rel=1e-3)
    assert told.tokens_p95 == 4


def test_a_share_of_none_is_not_used() -> None:
    told = outlook(family((MANY, EASY))).at(1)
    assert [way.row.tokens for _, way in told.parts[0].arms] == [1]
    assert told.tokens_p95 == 1


# How many sequences fit

GIB = 2**30
