"""Alarms that a calibration no longer holds, false and true."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.calibration.risk import EXACT, broken_promise, drift

# Drift


def shares(source: np.random.Generator, accuracy: float, n: int) -> np.ndarray:
    """Smoothed shares as votes have them: most agree, some are split."""
    return np.where(source.random(n) < accuracy, source.beta(30, 2, n), source.uniform(0.2, 0.7, n))


def alarms(new: float, n: int, seen: int, times: int = 2000) -> float:
    source, rung = np.random.default_rng(seen), 0
    for _ in range(times):
        old = shares(source, 0.8, n)
        rung += drift(old.mean(), old.std(ddof=1), n, shares(source, new, seen).tolist()) is not None
    return rung / times


@pytest.mark.slow
@pytest.mark.parametrize("n", [40, 300])
@pytest.mark.parametrize("seen", [10, 25, 200])
def test_the_same_questions_raise_an_alarm_in_alpha_of_cases_at_most(n: int, seen: int) -> None:
    assert alarms(0.8, n, seen) <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 2000)


def test_easier_questions_raise_none() -> None:
    assert alarms(0.95, 100, 50) < 0.001


@pytest.mark.parametrize(("new", "seen", "power"), [(0.4, 50, 0.95), (0.6, 150, 0.9), (0.2, 25, 0.95)])
def test_harder_questions_raise_it(new: float, seen: int, power: float) -> None:
    assert alarms(new, 200, seen, times=500) >= power


def test_few_questions_raise_none() -> None:
    assert drift(0.95, 0.01, 300, [0.1] * 9) is None
    assert drift(0.95, 0.01, 300, []) is None


def test_few_questions_that_agree_by_chance_are_no_proof() -> None:
    assert drift(0.9, 0.2, 300, [0.85] * 10) is None


def test_without_any_spread_a_lower_share_is_an_alarm() -> None:
    assert drift(0.95, 0.0, 300, [0.95] * 10) is None
    assert drift(0.95, 0.0, 300, [0.5] * 10) is not None


def test_a_drift_is_told_with_its_numbers() -> None:
    told = drift(0.9, 0.1, 300, [0.5, 0.6] * 10)
    assert told is not None
    assert "0.550 on 20 questions, 0.900 on 300 in calibration" in told
    assert "\n" not in told


def test_a_calibration_on_one_question_has_no_spread() -> None:
    with pytest.raises(ValueError, match="n must be at least 2"):
        drift(0.9, 0.1, 1, [0.5] * 10)


# Broken promises


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=9))
def test_the_chance_is_that_of_all_courses_enumerated(cases: list[tuple[float, bool]]) -> None:
    confidences, right = [chance for chance, _ in cases], [hit for _, hit in cases]
    chance = 0.0
    for course in range(2 ** len(cases)):
        hits = [course >> place & 1 for place in range(len(cases))]
        if sum(hits) <= sum(right):
            chance += math.prod(p if hit else 1 - p for p, hit in zip(confidences, hits, strict=True))
    for alpha in (0.001, 0.01, 0.2, 0.7):
        if abs(chance - alpha) > 1e-9:
            assert (broken_promise(confidences, right, alpha) is not None) == (chance <= alpha)


@pytest.mark.slow
@pytest.mark.parametrize("n", [8, 60, 150])
def test_kept_promises_raise_an_alarm_in_alpha_of_cases_at_most(n: int) -> None:
    source, rung = np.random.default_rng(n), 0
    for _ in range(1000):
        confidences = source.beta(6, 2, n)
        rung += broken_promise(confidences.tolist(), (source.random(n) < confidences).tolist()) is not None
    assert rung / 1000 <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 1000)


def test_broken_ones_raise_it() -> None:
    told = broken_promise([0.9] * 40, [True] * 28 + [False] * 12)
    assert told is not None
    assert "28 of 40, and 36.0 were expected" in told
    assert "\n" not in told


def test_nothing_seen_is_nothing_broken() -> None:
    assert broken_promise([], []) is None


@pytest.mark.parametrize(("confidences", "right"), [([0.5], []), ([1.1], [True]), ([math.nan], [True])])
def test_what_is_no_confidence_is_refused(confidences: list[float], right: list[bool]) -> None:
    with pytest.raises(ValueError, match="confidence"):
        broken_promise(confidences, right)


def test_beyond_the_exact_count_the_alarm_is_the_same_but_for_a_little() -> None:
    """Right at the border both ways give one verdict and nearly one chance; certain promises that break are told."""
    source = np.random.default_rng(3)
    confidences = source.uniform(0.5, 1, EXACT)
    for shortfall in (0, 60, 120):
        count = int(confidences.sum()) - shortfall
        right = [place < count for place in range(EXACT)]
        exact = broken_promise(confidences.tolist(), right)
        beyond = broken_promise([*confidences.tolist(), 1.0], [*right, True])
        assert (exact is None) == (beyond is None) == (shortfall < 100)
    sure = [1.0] * (EXACT + 1)
    assert broken_promise(sure, [True] * len(sure)) is None
    assert broken_promise(sure, [False, *[True] * EXACT]) is not None
