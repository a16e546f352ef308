"""Alarms that a calibration no longer holds, false and true."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reasoner.calibration.risk import (
    EXACT,
    broken_promise,
    lost_accuracy,
    predicted_at_most,
)
from tests.sweeps import cases

MANY = 10**12
"""This many calibrated questions leave no calibration error."""


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=9))
@example([(1e-248, False)])
@settings(deadline=None)
def test_without_a_calibration_error_the_chance_is_that_of_all_courses_enumerated(
    answers: list[tuple[float, bool]],
) -> None:
    confidences, right = [chance for chance, _ in answers], [hit for _, hit in answers]
    chance = 0.0
    for course in range(2 ** len(answers)):
        hits = [course >> place & 1 for place in range(len(answers))]
        if sum(hits) <= sum(right):
            chance += (1 - (sum(hits) == sum(right)) / 2) * math.prod(
                p if hit else 1 - p for p, hit in zip(confidences, hits, strict=True)
            )
    assert predicted_at_most(sum(right), confidences, MANY) == pytest.approx(
        chance, abs=1e-5
    )


def false_alarms(calibrated: int, asked: int, times: int) -> tuple[float, float]:
    """How often answers of unchanged accuracy raise each alarm, with confidences in four levels as measured."""
    source, levels = (
        np.random.default_rng(calibrated + asked),
        np.array([0.45, 0.75, 0.92, 0.99]),
    )
    rung = np.zeros(2)
    for _ in range(times):
        old, new = source.integers(0, 4, calibrated), source.integers(0, 4, asked)
        outcome = source.random(calibrated) < levels[old]
        known = [
            np.clip(outcome[old == level].mean(), 1 / calibrated, 1 - 1 / calibrated)
            for level in range(4)
        ]
        right = (source.random(asked) < levels[new]).tolist()
        confidences = np.array(known)[new].tolist()
        rung += (
            broken_promise(confidences, right, calibrated) is not None,
            lost_accuracy(float(outcome.mean()), calibrated, sum(right), asked)
            is not None,
        )
    return float(rung[0]) / times, float(rung[1]) / times


@cases(
    "sizes",
    [(calibrated, asked) for calibrated in (60, 150, 600) for asked in (30, 100, 300)],
    thin=[(150, 30)],
)
def test_kept_promises_raise_an_alarm_in_alpha_of_cases(sizes: tuple[int, int]) -> None:
    for rate in false_alarms(*sizes, times=1000):
        assert rate <= 0.015 + 3 * math.sqrt(0.01 * 0.99 / 1000)


def test_broken_ones_raise_it() -> None:
    told = broken_promise([0.9] * 40, [True] * 26 + [False] * 14, 300)
    assert told is not None
    assert "26 of 40, and 36.0 were expected" in told
    assert "\n" not in told
    assert broken_promise([0.9] * 40, [True] * 26 + [False] * 14, 10) is None


def test_lost_answers_raise_the_alarm_that_the_others_do_not() -> None:
    # Of 30 questions, 3 lost all their answers, 6 are wrong and 21 right; 90 % were right in calibration.
    assert broken_promise([0.9] * 27, [True] * 21 + [False] * 6, 300) is None
    told = lost_accuracy(0.9, 300, 21, 30)
    assert told is not None
    assert "21 of 30, and 90.0% of 300 in calibration" in told


def test_beyond_the_exact_count_the_chance_is_the_same_but_for_a_little() -> None:
    source = np.random.default_rng(3)
    confidences = source.uniform(0.5, 1, EXACT).tolist()
    for shortfall in (0, 20, 40, 60):
        count = int(sum(confidences)) - shortfall
        exact = predicted_at_most(count, confidences, 2000)
        beyond = predicted_at_most(count + 1, [*confidences, 1.0], 2000)
        assert beyond == pytest.approx(exact, abs=2e-3)
