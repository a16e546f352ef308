"""Calibration and ranking measures against hand examples and all pairs."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner_evals.stats import Floats, calibration
from reasoner_evals.stats.calibration import auroc, auroc_within, calibration_error, reliability, risk_coverage

judged = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 1.0])), min_size=1)


def columns(rows: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    confidence, right = zip(*rows, strict=True)
    return np.array(confidence), np.array(right)


@given(judged)
@settings(deadline=None)
def test_auroc_is_the_share_of_pairs_in_order_with_ties_half(rows: list[tuple[float, float]]) -> None:
    pairs = [(a > b) + (a == b) / 2 for (a, x), (b, y) in itertools.product(rows, rows) if x > y]
    found = auroc(*columns(rows))
    assert found == pytest.approx(np.mean(pairs)) if pairs else math.isnan(found)


def test_risk_and_coverage_of_a_hand_example() -> None:
    found = risk_coverage(np.array([0.9, 0.8, 0.7, 0.1]), np.array([1.0, 0.0, 1.0, 0.0]))
    assert found == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])


def test_calibration_error_of_a_hand_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "BINS", 2)
    confidence, right = np.array([0.1, 0.3, 0.8, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])
    low, high = reliability(confidence, right)
    assert (low.low, low.high, low.n, high.n) == (0.1, 0.3, 2, 2)
    assert (low.confidence, low.accuracy, high.confidence, high.accuracy) == pytest.approx((0.2, 0.5, 0.9, 1.0))
    assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.3 + 0.5 * 0.1)


def test_discrimination_within_a_question_is_blind_to_how_hard_questions_are() -> None:
    nan = math.nan
    right = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, nan], [1.0, 1.0, 1.0], [nan, nan, nan]])
    scores = np.array([[0.3, 0.1, nan], [0.9, 0.8, 0.1], [0.5, 0.2, 0.1], [0.1, 0.2, 0.3]])
    assert np.array_equal(auroc_within(right, scores), [1.0, 0.0, nan, nan], equal_nan=True)
