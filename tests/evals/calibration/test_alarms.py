"""The alarms of a run: what counts, and what neither raises nor hides one."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.strategy import CalibrationSummary
from reasoner.types import Answer, VoteState
from reasoner_evals.calibration.alarms import Watch, calibration_of
from reasoner_evals.runs.records import ItemRecord, ItemStatus, Outcome


@dataclass(frozen=True)
class Calibrated:
    """A strategy whose calibration is known."""

    measured_on: CalibrationSummary = CalibrationSummary("model", 300, 0.9, 0.05, 0.9)

    def confidence(self, vote_state: VoteState) -> float | None:
        return 0.9

    def plan(self, question: Question) -> Answer | None:
        raise NotImplementedError


def watched(**outcomes: int) -> list[str]:
    """The alarms after so many questions of each outcome: right, wrong, abstained, lost or error."""
    watch = Watch()
    for kind, times in outcomes.items():
        for number in range(times):
            outcome: Outcome = kind if kind in {"right", "wrong", "error"} else "no_answer"  # type: ignore[assignment]
            answered = outcome in {"right", "wrong"}
            status: ItemStatus = "answered" if answered else "error" if kind == "error" else "no_answer"
            record = ItemRecord(
                question_id=f"{kind}{number}", status=status, answer="7" * answered, key="7" * answered,
                share=0.95 * (kind != "lost"), confidence=None if kind in {"lost", "error"} else 0.9,
                ended_by="strategy", reason="", cost=Cost(samples=16),
            )  # fmt: skip
            watch.add(record, outcome)
    return list(watch.alarms(Calibrated()))


def test_a_calibration_that_holds_raises_no_alarm() -> None:
    assert watched(right=27, wrong=3) == []
    assert watched(right=25, wrong=5) == []


def test_fewer_right_answers_raise_one() -> None:
    [line] = watched(right=20, wrong=20)
    assert line.startswith("fewer answers are right than their confidence predicts: 20 of 40")


def test_lost_answers_do_not_hide_that_fewer_are_right() -> None:
    assert watched(right=21, wrong=6, lost=0) == []
    assert any("21 of 30" in line for line in watched(right=21, wrong=6, lost=3))


@pytest.mark.parametrize("abstained", [1, 15, 300])
def test_abstaining_neither_raises_nor_hides_an_alarm(abstained: int) -> None:
    assert watched(right=27, wrong=3, abstained=abstained) == []
    assert watched(right=20, wrong=20, abstained=abstained) == watched(right=20, wrong=20)


def test_a_profile_that_is_gone_is_an_unknown_calibration(tmp_path: Path) -> None:
    assert calibration_of(f"auto:profile={tmp_path / 'gone.json'}") is None
    assert calibration_of("single") is None
