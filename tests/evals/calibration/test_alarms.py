"""Alarms that a calibration does not hold: what raises one, and what hides none."""

from pathlib import Path

from reasoner.strategy import CalibrationSummary
from reasoner_evals.calibration.drift import calibration_of, fewer_right

MEASURED = CalibrationSummary("model", 300, 0.9)


def alarms(right: int, wrong: int, unanswered: int = 0) -> list[str]:
    outcomes = [True] * right + [False] * wrong
    return list(
        fewer_right(MEASURED, [0.9] * len(outcomes), outcomes, unanswered, 0.0075)
    )


def test_fewer_right_answers_raise_one() -> None:
    assert alarms(27, 3) == alarms(25, 5) == []
    [line] = alarms(20, 20)
    assert line.startswith(
        "fewer answers are right than their confidence predicts: 20 of 40"
    )


def test_lost_answers_do_not_hide_that_fewer_are_right() -> None:
    assert alarms(21, 6) == []
    assert any("21 of 30" in line for line in alarms(21, 6, unanswered=3))


def test_a_profile_that_is_gone_is_an_unknown_calibration(tmp_path: Path) -> None:
    assert calibration_of(f"auto:profile={tmp_path / 'gone.json'}") is None
    assert calibration_of("single") is None
