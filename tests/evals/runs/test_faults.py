"""What becomes of an evaluation when one of its questions fails in a way that nobody expected."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reasoner.engine import SampleRequest
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import varied
from reasoner.types import Completion
from reasoner_evals.report.build import make_report
from reasoner_evals.runs.records import ItemRecord, RunFolder, read_journal
from tests.evals.runs.sittings import TASK, begin, data, manifest, sit

HUGE = 10**3999


class Hostile(ScriptedEngine):
    """An engine that answers one question in a way of its own."""

    def __init__(self, do: Any) -> None:
        super().__init__(varied)
        self.do = do

    async def sample(self, request: SampleRequest) -> Completion:
        drawn = await ScriptedEngine.sample(self, request)
        if request.question_id != "q1":
            return drawn
        if isinstance(self.do, BaseException):
            raise self.do
        if isinstance(self.do, str):
            return replace(drawn, text=self.do)
        return replace(drawn, usage=replace(drawn.usage, generated_tokens=self.do))


def journal(folder: Path, arm: str = "vote") -> list[ItemRecord]:
    return list(read_journal(RunFolder(folder).arm(arm)))


def reported(folder: Path, **options: Any) -> int:
    """How many tasks the run's report is about."""
    begin(RunFolder(folder), manifest(["vote"], 6, **options), {TASK: data(6)})
    return len(make_report([folder]).tasks)


@pytest.mark.parametrize(
    ("do", "options"),
    [
        (HUGE, {}),
        (HUGE, {"total": "tokens=2000"}),
        (KeyError("x"), {"budget": "tokens=3000"}),
        (asyncio.CancelledError(), {}),
        (SystemExit(3), {}),
        ("The answer is \ud800", {}),
    ],
    ids=["huge", "huge of all", "KeyError", "cancelled", "exit", "half a character"],
)
def test_one_questions_failure_leaves_the_run_whole_and_is_tried_again(
    tmp_path: Path, do: object, options: dict[str, Any]
) -> None:
    seen = sit(tmp_path, ["vote"], engine=Hostile(do), **options)
    outcomes = {question: outcome for _, question, outcome in seen.done}
    assert [outcomes[f"q{n}"] == "error" for n in range(6)] == [
        False,
        True,
        False,
        False,
        False,
        False,
    ]
    assert {record.question_id for record in journal(tmp_path)} == {
        f"q{n}" for n in range(6)
    }
    assert reported(tmp_path, **options) == 1
    again = sit(tmp_path, ["vote"], **options)
    assert again.started == [("vote", 6, 5)]
    assert "error" not in {outcome for _, _, outcome in again.done}
