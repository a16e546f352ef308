"""Bounds on harm: the published ones, and what they promise, by simulation; and alarms, false and true."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from reasoner.calibration.risk import (
    EXACT,
    broken_promise,
    drift,
    least_questions,
    lost_accuracy,
    predicted_at_most,
    upper_bound,
    walk,
)
from tests.sweeps import cases

# The bound


@pytest.mark.parametrize(
    ("harmed", "n", "bound"),
    [(0, 59, 0.0495), (0, 100, 0.0295), (0, 299, 0.00997), (1, 100, 0.0466), (2, 200, 0.0311), (5, 500, 0.0209)],
)
def test_the_published_bounds(harmed: int, n: int, bound: float) -> None:
    assert upper_bound(harmed, n, 0.05) == pytest.approx(bound, abs=5e-5)


@pytest.mark.parametrize(("epsilon", "minimum"), [(0.05, 59), (0.02, 149), (0.01, 299)])
def test_how_many_questions_it_takes_without_harm(epsilon: float, minimum: int) -> None:
    assert least_questions(epsilon, 0.05) == minimum
    assert upper_bound(0, minimum, 0.05) <= epsilon < upper_bound(0, minimum - 1, 0.05)


@given(st.integers(1, 300), st.data(), st.floats(0.001, 0.5))
def test_whole_harm_has_the_exact_binomial_bound(n: int, data: st.DataObject, alpha: float) -> None:
    harmed = data.draw(st.integers(0, n - 1))
    assert special.bdtr(harmed, n, upper_bound(harmed, n, alpha)) == pytest.approx(alpha, rel=1e-6)


@given(st.integers(1, 300), st.data())
def test_the_bound_rises_with_harm_and_stays_above_it(n: int, data: st.DataObject) -> None:
    less, more = sorted(data.draw(st.tuples(st.floats(0, n), st.floats(0, n))))
    assert less / n <= upper_bound(less, n, 0.05) <= upper_bound(more, n, 0.05) + 1e-12
    assert upper_bound(more, n, 0.05) <= upper_bound(math.ceil(more), n, 0.05) + 1e-12


def test_everything_harmed_is_bounded_by_one() -> None:
    assert upper_bound(7, 7, 0.05) == 1.0


def test_rounding_errors_of_a_sum_count_as_no_question() -> None:
    assert upper_bound(sum([0.1] * 30), 200, 0.05) == upper_bound(3, 200, 0.05)


@pytest.mark.parametrize(
    ("harmed", "n", "alpha"), [(-1, 5, 0.05), (6, 5, 0.05), (0, 0, 0.05), (0, 5, 0.0), (0, 5, 1.0), (math.nan, 5, 0.05)]
)
def test_impossible_counts_are_refused(harmed: float, n: int, alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        upper_bound(harmed, n, alpha)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [(0.0, 1.0), (0.5,), (0.1,), (0.05, 0.3, 1.0)])
@pytest.mark.parametrize("n", [60, 160])
def test_the_bound_holds_for_harm_in_parts(parts: tuple[float, ...], n: int) -> None:
    """Losses are one of the parts or 0, and 0.05 on average; the bound misses that in 5 % of calibrations at most."""
    source = np.random.default_rng(n)
    positive = [part for part in parts if part]
    odds = 0.05 / np.mean(positive)
    losses = source.choice(positive, (1500, n)) * (source.random((1500, n)) < odds)
    missed = np.mean([upper_bound(total, n, 0.05) < 0.05 for total in losses.sum(axis=1)])
    assert missed <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)


# The walk


def test_the_published_walk_ends_before_the_first_that_fails() -> None:
    counts = [(losses, 400) for losses in (0, 2, 5, 3)]
    assert [round(upper_bound(*count, 0.05), 4) for count in counts] == [0.0075, 0.0157, 0.0261, 0.0193]
    assert walk(counts, 0.02, 0.05) == 2


@pytest.mark.parametrize(("counts", "passed"), [([], 0), ([(9, 100)], 0), ([(9, 100), (0, 900)], 0), ([(0, 200)], 1)])
def test_the_walk_at_its_ends(counts: list[tuple[float, int]], passed: int) -> None:
    assert walk(counts, 0.02, 0.05) == passed


@pytest.mark.slow
@pytest.mark.parametrize("risks", [(0.001, 0.005, 0.0201, 0.03, 0.05), (0.0201,) * 6, (0.0, 0.0, 0.021)])
@pytest.mark.parametrize("n", [150, 400])
def test_what_is_chosen_is_too_risky_in_alpha_of_calibrations_at_most(risks: tuple[float, ...], n: int) -> None:
    source = np.random.default_rng(n)
    missed = 0
    for _ in range(1500):
        # The bolder harms at least what the more cautious does.
        luck = source.random(n)
        harms = [int((luck < risk).sum()) for risk in risks]
        passed = walk([(harm, n) for harm in harms], 0.02, 0.05)
        missed += passed > 0 and risks[passed - 1] > 0.02
    assert missed / 1500 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)


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


MANY = 10**12
"""So many calibrated questions leave no calibration error."""


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=9))
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
    assert predicted_at_most(sum(right), confidences, MANY) == pytest.approx(chance, abs=1e-5)


@given(st.integers(2, 60), st.floats(0.5, 0.98), st.integers(10, 1000))
@settings(deadline=None)
def test_fewer_calibrated_questions_make_an_unlikely_count_likelier(n: int, chance: float, questions: int) -> None:
    count = math.floor(n * chance - 3 * math.sqrt(n * chance * (1 - chance)))
    if count >= 0:
        few, more = (predicted_at_most(count, [chance] * n, size) for size in (questions, 10 * questions))
        assert more <= few + 1e-12


def false_alarms(calibrated: int, asked: int, times: int) -> tuple[float, float]:
    """How often answers of unchanged accuracy raise each alarm, with confidences in four levels as measured."""
    source, levels = np.random.default_rng(calibrated + asked), np.array([0.45, 0.75, 0.92, 0.99])
    rung = np.zeros(2)
    for _ in range(times):
        old, new = source.integers(0, 4, calibrated), source.integers(0, 4, asked)
        outcome = source.random(calibrated) < levels[old]
        known = [np.clip(outcome[old == level].mean(), 1 / calibrated, 1 - 1 / calibrated) for level in range(4)]
        right = (source.random(asked) < levels[new]).tolist()
        confidences = np.array(known)[new].tolist()
        rung += (
            broken_promise(confidences, right, calibrated) is not None,
            lost_accuracy(float(outcome.mean()), calibrated, sum(right), asked) is not None,
        )
    return float(rung[0]) / times, float(rung[1]) / times


@cases("sizes", [(calibrated, asked) for calibrated in (60, 150, 600) for asked in (30, 100, 300)], thin=[(150, 30)])
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


def test_nothing_seen_is_nothing_broken() -> None:
    assert broken_promise([], [], 100) is None
    assert lost_accuracy(1.0, 100, 0, 0) is None


def test_a_calibration_without_a_failure_is_not_certain() -> None:
    assert lost_accuracy(1.0, 100, 29, 30) is None
    assert lost_accuracy(1.0, 100, 20, 30) is not None
    assert broken_promise([1.0] * 30, [False] + [True] * 29, 100) is not None


@pytest.mark.parametrize(("confidences", "right"), [([0.5], []), ([1.1], [True]), ([math.nan], [True])])
def test_what_is_no_confidence_is_refused(confidences: list[float], right: list[bool]) -> None:
    with pytest.raises(ValueError, match="confidence"):
        broken_promise(confidences, right, 100)


def test_beyond_the_exact_count_the_chance_is_the_same_but_for_a_little() -> None:
    source = np.random.default_rng(3)
    confidences = source.uniform(0.5, 1, EXACT).tolist()
    for shortfall in (0, 20, 40, 60):
        count = int(sum(confidences)) - shortfall
        exact = predicted_at_most(count, confidences, 2000)
        beyond = predicted_at_most(count + 1, [*confidences, 1.0], 2000)
        assert beyond == pytest.approx(exact, abs=2e-3)
