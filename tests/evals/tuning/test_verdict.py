"""The verdict: a gain is claimed only where it is shown, and nothing as plainly as something."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_evals.stats import Floats
from reasoner_evals.tuning.race import Race
from reasoner_evals.tuning.verdict import (
    CLAIM,
    JudgedStrategy,
    TuningVerdict,
    forecasts,
    frontier,
    verdict,
)

GREEDY, VOTE = "one greedy sample", "a plain vote of equal cost"


def judged(spec: str, right: list[float]) -> JudgedStrategy:
    values = np.array(right)
    return JudgedStrategy(spec, values, *(np.ones_like(values) for _ in range(3)))


def of(chosen: list[float], greedy: list[float], vote: list[float]) -> TuningVerdict:
    return verdict(
        judged("search", chosen),
        [(GREEDY, judged("single", greedy)), (VOTE, judged("vote8", vote))],
    )


def test_a_gain_is_claimed_with_its_size_and_p_value() -> None:
    found = of([1.0] * 40, [0.0] * 20 + [1.0] * 20, [1.0] * 40)
    assert found.headline.startswith(
        "search beats one greedy sample by 50.0 points (p = "
    )
    assert [each.gain for each in found.comparisons] == [True, False]
    assert found.accuracy.n == 40


def test_nothing_beats_greedy_is_a_result() -> None:
    alone = verdict(
        judged("single", [1.0] * 9), [(GREEDY, judged("single", [1.0] * 9))]
    )
    assert alone.headline == "Nothing beats one greedy sample here."
    even = of([1.0, 0.0] * 20, [0.0, 1.0] * 20, [1.0, 0.0] * 20)
    assert even.headline.startswith(
        "No gain over one greedy sample is shown: +0.0 points on 40 questions"
    )


def test_the_baseline_that_is_better_by_most_is_named() -> None:
    worse = of([0.0] * 40, [1.0] * 39 + [0.0], [1.0] * 40)
    assert worse.better
    assert worse.better.name == VOTE
    assert of([1.0] * 40, [1.0] * 40, [0.0] * 40).better is None


@pytest.mark.slow
def test_where_nothing_differs_a_gain_is_rarely_claimed() -> None:
    source, claims = np.random.default_rng(1), 0
    for _ in range(1000):
        three = (source.random((3, 60)) < 0.6).astype(float).tolist()
        claims += any(each.gain for each in of(*three).comparisons)
    # Both directions share the level, and a gain is one of them.
    assert claims <= CLAIM * 1000


def run(right: Floats, cost: list[float], goal: float) -> Race:
    return Race(
        right, np.array(cost)[:, None] * np.ones_like(right), np.zeros_like(right), goal
    )


def test_the_forecast_takes_the_best_that_fits_and_extrapolates_once() -> None:
    right = np.array(
        [[1.0] * 40 + [0.0] * 60, [1.0] * 60 + [0.0] * 40, [1.0] * 70 + [0.0] * 30]
    )
    quarter, half, whole, double = forecasts(
        run(right, [25, 50, 100], 100), ["a", "b", "c"], 100
    )
    assert (quarter.spec, half.spec, whole.spec, double.spec) == ("a", "b", "c", "")
    # The first doubling gains 20 points and the second one 10: the next one 5.
    assert double.accuracy == pytest.approx(0.75)
    assert whole.low < whole.accuracy < whole.high
    [nothing, *_] = forecasts(run(right, [90, 95, 100], 100), ["a", "b", "c"], 100)
    assert nothing.spec == ""
    assert np.isnan(nothing.accuracy)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 8)), min_size=1, max_size=8)
)
def test_the_frontier_rises_and_nothing_is_above_it(
    candidates: list[tuple[int, int]],
) -> None:
    right = np.array([[1.0] * good + [0.0] * (8 - good) for _, good in candidates])
    costs = [float(cost) for cost, _ in candidates]
    points = frontier(run(right, costs, 9), [str(at) for at in range(len(costs))])
    assert [point.accuracy for point in points] == sorted(
        {point.accuracy for point in points}
    )
    for cost, good in candidates:
        assert (
            max(point.accuracy for point in points if point.tokens <= cost) >= good / 8
        )
