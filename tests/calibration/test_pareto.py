"""The hull and the knapsack: the pin, and against enumeration and a linear program."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from reasoner.calibration.pareto import Mix, Point, fill, hull
from reasoner.errors import UsageError

Pair = tuple[float, float]


def points(*pairs: Pair) -> list[Point[int]]:
    return [Point(cost, value, place) for place, (cost, value) in enumerate(pairs)]


whole = st.integers(0, 12).map(float)
clouds = st.lists(st.tuples(whole, whole), min_size=1, max_size=9)


# The hull


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
def test_dominated_equal_and_collinear_points_are_left_out(given: list[Pair], kept: list[int]) -> None:
    assert [vertex.of for vertex in hull(points(*given))] == kept


@pytest.mark.parametrize(("cost", "value"), [(math.inf, 0), (0, math.nan), (math.nan, 0), (0, -math.inf)])
def test_what_is_not_finite_is_refused(cost: float, value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Point(cost, value, None)


# One budget over bins

EASY = points((1, 0.90), (4, 0.92))
HARD = points((1, 0.30), (4, 0.50), (16, 0.55))


def of_mix(mix: Mix[int]) -> Pair:
    """The mean cost and value per question."""
    base, other = mix.base, mix.next or mix.base
    return base.cost + mix.share * (other.cost - base.cost), base.value + mix.share * (other.value - base.value)


def total(weights: list[float], mixes: tuple[Mix[int], ...]) -> Pair:
    shares = np.array(weights) / sum(weights)
    cost, value = shares @ [of_mix(mix) for mix in mixes]
    return float(cost), float(value)


def test_the_published_division() -> None:
    easy, hard = fill([(0.6, EASY), (0.4, HARD)], 3)
    assert (hard.base, hard.next) == (HARD[1], None)
    assert (easy.base, easy.next) == (EASY[0], EASY[1])
    assert round(easy.share, 3) == 0.444
    cost, value = total([0.6, 0.4], (easy, hard))
    assert cost == pytest.approx(3)
    assert round(value, 4) == 0.7453


def test_just_enough_buys_the_cheapest() -> None:
    bins = [(0.1, points((0.1, 1))), (0.2, points((0.3, 1), (2, 2))), (0.7, points((0.7, 1)))]
    minimum = 0.1 * 0.1 + 0.2 * 0.3 + 0.7 * 0.7
    assert fill(bins, minimum) == tuple(Mix(ways[0]) for _, ways in bins)


@pytest.mark.parametrize("budget", [0.99, 0, -1, math.nan])
def test_less_than_the_cheapest_is_refused(budget: float) -> None:
    with pytest.raises(UsageError, match="cost 1 on average"):
        fill([(0.6, EASY), (0.4, HARD)], budget)


@pytest.mark.parametrize("weights", [(0, 0), (-1, 2), (math.nan, 1), (math.inf, 1)])
def test_weights_that_are_none_are_refused(weights: Pair) -> None:
    with pytest.raises(ValueError, match="weights"):
        fill([(weights[0], EASY), (weights[1], HARD)], 3)


def test_a_bin_without_questions_costs_nothing() -> None:
    hard, empty = fill([(1, HARD), (0, EASY)], 2)
    assert hard.share == pytest.approx(1 / 3)
    assert empty.next is None


@given(st.lists(st.tuples(st.integers(1, 5).map(float), clouds), min_size=1, max_size=4), st.floats(0, 15))
def test_nothing_is_better_by_linear_programming(bins: list[tuple[float, list[Pair]]], budget: float) -> None:
    weights = [weight for weight, _ in bins]
    shares = np.array(weights) / sum(weights)
    minimum = sum(share * min(cost for cost, _ in cloud) for share, (_, cloud) in zip(shares, bins, strict=True))
    budget = max(budget, float(minimum))
    mixes = fill([(weight, points(*cloud)) for weight, cloud in bins], budget)
    cost, value = total(weights, mixes)

    costs = np.concatenate(
        [share * np.array([c for c, _ in cloud]) for share, (_, cloud) in zip(shares, bins, strict=True)]
    )
    values = np.concatenate(
        [share * np.array([v for _, v in cloud]) for share, (_, cloud) in zip(shares, bins, strict=True)]
    )
    member = np.concatenate([[place] * len(cloud) for place, (_, cloud) in enumerate(bins)])
    one = np.array([member == place for place in range(len(bins))], dtype=float)
    best = linprog(-values, A_ub=[costs], b_ub=[budget + 1e-9], A_eq=one, b_eq=np.ones(len(bins)))
    assert value == pytest.approx(-best.fun, abs=1e-6)
    assert cost <= budget + 1e-9
    assert sum(mix.next is not None for mix in mixes) <= 1
    assert all(0 <= mix.share < 1 for mix in mixes)
