"""Predictions from a profile: the hull, the published division, a linear program, closed forms."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from reasoner.calibration.arm_selection import Estimate, shrunk
from reasoner.calibration.planning import (
    TAIL,
    BinArm,
    Forecast,
    Outlook,
    Part,
    hull,
    outlook,
)
from reasoner.calibration.profile import ArmRow, Bins, Family
from reasoner.errors import UsageError
from reasoner_evals.stats import Floats
from tests.calibration import profiles
from tests.calibration.profiles import VOTE, plain_row

MANY = 10_000_000
Arm = tuple[float, float]
"""Tokens, accuracy."""


def row(
    place: int, arm: Arm, questions: int, *, name: str = "", **fields: object
) -> ArmRow:
    """One arm of single outcomes, as many of them right as the accuracy says."""
    tokens, accuracy = arm
    right, name = accuracy * questions, name or f"way:n={tokens:g}"
    plain = {
        "right": right,
        "squares": right,
        "tokens": tokens,
        "tokens_p95": tokens,
        "tokens_sd": 0,
        "samples": 1,
    }
    return plain_row(
        **{"strategy": name, "bin": place, "questions": questions, **plain, **fields}
    )


def family(*bins: tuple[int, list[Arm]], extra: tuple[ArmRow, ...] = ()) -> Family:
    """Bins of (questions, arms); the first arm of each is the baseline."""
    rows = [
        row(place, arm, questions, name="" if at else VOTE)
        for place, (questions, arms) in enumerate(bins)
        for at, arm in enumerate(arms)
    ]
    edges = tuple(float(edge) for edge in range(1, len(bins)))
    return profiles.family(
        *rows, *extra, task="a", bins=Bins(signal="split", edges=edges)
    )


HARD: list[Arm] = [(4, 0.50), (1, 0.30), (16, 0.55)]
EASY: list[Arm] = [(4, 0.92), (1, 0.90)]


def published(questions: int = MANY) -> Family:
    return family((4 * questions // 10, HARD), (6 * questions // 10, EASY))


counts = st.integers(30, 400)
arms = st.lists(
    st.tuples(st.integers(1, 40).map(float), st.floats(0, 1)),
    min_size=1,
    max_size=6,
    unique_by=lambda a: a[0],
)
families = st.lists(st.tuples(counts, arms), min_size=1, max_size=3).map(
    lambda bins: family(*bins)
)


# The hull and the knapsack


def bin_arms(pairs: list[Arm]) -> tuple[BinArm, ...]:
    """Arms of these tokens and values, which need not be possible accuracies."""
    return tuple(
        BinArm(row(0, (tokens, 0), 30), Estimate(value, 0)) for tokens, value in pairs
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([(1.0, 0.5)], [0]),
        ([(1.0, 0.5), (1.0, 0.5)], [0]),
        ([(1.0, 0.4), (1.0, 0.5)], [1]),
        ([(2.0, 0.5), (1.0, 0.5)], [1]),
        ([(2.0, 0.4), (1.0, 0.5)], [1]),
        ([(1.0, 0.0), (2.0, 1.0), (3.0, 2.0)], [0, 2]),
        ([(1.0, 0.0), (2.0, 0.5), (3.0, 2.0)], [0, 2]),
        ([(3.0, 2.0), (1.0, 0.0), (2.0, 1.5)], [1, 2, 0]),
        ([(1.0, -3.0), (2.0, -1.0)], [0, 1]),
    ],
)
def test_dominated_equal_and_collinear_arms_are_left_out(
    given: list[Arm], kept: list[int]
) -> None:
    arms = bin_arms(given)
    assert hull(arms) == tuple(arms[place] for place in kept)


whole = st.integers(0, 12).map(float)
clouds = st.lists(st.tuples(whole, whole), min_size=1, max_size=9)


@given(
    st.lists(st.tuples(st.integers(1, 5).map(float), clouds), min_size=1, max_size=4),
    st.floats(0, 15),
)
def test_nothing_is_better_by_linear_programming(
    bins: list[tuple[float, list[Arm]]], budget: float
) -> None:
    total = sum(weight for weight, _ in bins)
    asked = Outlook(
        tuple((weight / total, hull(bin_arms(cloud))) for weight, cloud in bins), 1
    )
    budget = max(budget, asked.minimum)
    told = asked.at(budget)
    costs, values, member = np.array(
        [
            (weight / total * cost, weight / total * value, place)
            for place, (weight, cloud) in enumerate(bins)
            for cost, value in cloud
        ]
    ).T
    one = np.array([member == place for place in range(len(bins))], dtype=float)
    best = linprog(
        -values, A_ub=[costs], b_ub=[budget + 1e-9], A_eq=one, b_eq=np.ones(len(bins))
    )
    assert told.accuracy.mean == pytest.approx(-best.fun, abs=1e-6)
    assert told.tokens.mean <= budget + 1e-9
    assert sum(part.next is not None for part in told.parts) <= 1
    assert all(0 <= part.mixed < 1 for part in told.parts)


# What a budget brings


def test_the_published_division() -> None:
    told = outlook(published()).at(3)
    assert told.accuracy.mean == pytest.approx(0.7453, abs=5e-5)
    assert told.tokens.mean == pytest.approx(3)
    hard, easy = told.parts
    assert [(share, way.row.tokens) for share, way in hard.arms] == [(1, 4)]
    assert [way.row.tokens for _, way in easy.arms] == [1, 4]
    assert easy.arms[1][0] == pytest.approx(0.444, abs=5e-4)


@pytest.mark.parametrize("budget", [0.99, 0, -1, math.nan])
def test_less_than_the_cheapest_is_refused(budget: float) -> None:
    with pytest.raises(UsageError, match="cost 1 on average"):
        outlook(published()).at(budget)


def test_the_interval_of_one_arm_is_that_of_its_mean() -> None:
    told = outlook(family((400, [(1, 0.3)]))).at(1)
    low, high = told.interval
    error = math.sqrt(0.3 * 0.7 / 400)
    assert told.accuracy.mean == pytest.approx(0.3)
    assert (low, high) == pytest.approx(
        (0.3 - 1.96 * error, 0.3 + 1.96 * error), abs=1e-3
    )


def test_arms_of_one_bin_may_err_together() -> None:
    one = family((400, EASY))
    estimates = shrunk(one)
    errors = [math.sqrt(estimates[arm.arm, 0].variance) for arm in one.rows(0)]
    told = outlook(one).at(2)
    assert math.sqrt(told.accuracy.variance) == pytest.approx(
        2 / 3 * errors[0] + 1 / 3 * errors[1]
    )


@pytest.mark.parametrize("chances", [(0.45, 0.9), (0.5, 0.55), (0.6, 0.6)])
def test_intervals_hold_the_truth_whether_bins_differ_or_not(
    chances: tuple[float, float],
) -> None:
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


# What an accuracy costs


@given(families, st.floats(0, 1))
def test_an_accuracy_costs_the_budget_that_brings_it(one: Family, place: float) -> None:
    asked = outlook(one)
    low, high = asked.at(asked.minimum), asked.maximum
    wanted = low.accuracy.mean + place * (high.accuracy.mean - low.accuracy.mean)
    tokens = asked.tokens_for(wanted)
    assert tokens is not None
    assert asked.at(tokens).accuracy.mean == pytest.approx(wanted, abs=1e-9)


def test_the_cheapest_is_enough_for_little_and_nothing_for_too_much() -> None:
    asked = outlook(published())
    assert asked.tokens_for(0) == asked.minimum
    assert asked.tokens_for(0.773) is None
    assert asked.maximum.tokens.mean == pytest.approx(0.4 * 16 + 0.6 * 4)
    # Sums of steps round differently from the sum of the parts.
    assert asked.tokens_for(asked.maximum.accuracy.mean + 1e-12) == pytest.approx(
        0.4 * 16 + 0.6 * 4
    )


# How much it varies


def spread_out(questions: int = 100, **costs: float) -> Forecast:
    one = family((questions, [(100, 0.5)]))
    rows = tuple(arm.model_copy(update=costs) for arm in one.arms)
    return outlook(one.model_copy(update={"arms": rows})).at(100)


def test_the_total_varies_with_its_questions_and_with_the_calibration() -> None:
    told = spread_out(tokens_sd=10)
    error = math.sqrt(100 * 10**2 + 100**2 * 10**2 / 100)
    assert told.total_p95(100) == pytest.approx(
        10_000 * math.exp(TAIL * error / 10_000)
    )


@pytest.mark.parametrize("draw", ["normal", "lognormal", "rare"])
def test_the_total_is_exceeded_in_one_of_20_cases(draw: str) -> None:
    source, runs, questions = np.random.default_rng(7), 600, 100

    def costs(count: int) -> Floats:
        if draw == "normal":
            return source.normal(100, 20, count)
        spread = source.lognormal(4, 0.5 if draw == "lognormal" else 0.3, count)
        return spread * (10 if draw == "rare" else 1) ** (source.random(count) < 0.05)

    below = 0
    for _ in range(runs):
        seen = costs(questions)
        row = plain_row(tokens=float(seen.mean()), tokens_sd=float(seen.std()))
        told = Forecast((Part(1, BinArm(row, Estimate(0.8, 0))),), questions)
        below += float(costs(30).sum()) <= told.total_p95(30)
    assert 0.91 <= below / runs <= 0.98


def test_rare_costs_may_be_unseen_in_few_questions() -> None:
    assert spread_out(30).unseen == pytest.approx(0.095, abs=1e-3)
    assert spread_out(300).unseen == pytest.approx(0.01, abs=1e-3)
