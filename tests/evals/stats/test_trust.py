"""The measures of confidence that `bench/controller.py` publishes, against hand examples."""

import runpy
from pathlib import Path

import numpy as np
import pytest

TRUST = runpy.run_path(str(Path(__file__).parents[3] / "bench/trust.py"))


def test_the_risk_at_each_coverage() -> None:
    found = TRUST["risk_coverage"](
        np.array([0.9, 0.8, 0.7, 0.1]), np.array([1.0, 0.0, 1.0, 0.0])
    )
    assert found == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    tied = TRUST["risk_coverage"](np.array([0.5, 0.5]), np.array([0.0, 1.0]))
    assert tied == pytest.approx([1 / 2, 1 / 2])


def test_the_calibration_error() -> None:
    few = TRUST["calibration_error"](
        np.array([0.1, 0.3, 0.8, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])
    )
    assert few == pytest.approx((0.1 + 0.7 + 0.2 + 0.0) / 4)
    # Ten bins of two questions, of which one is right.
    many = TRUST["calibration_error"](np.arange(20) / 20, np.tile([0.0, 1.0], 10))
    assert many == pytest.approx(
        np.mean([abs((4 * index + 1) / 40 - 0.5) for index in range(10)])
    )
