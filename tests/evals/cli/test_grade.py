"""`reasoner runs grade`: answers graded again, without a model."""

import asyncio
import json
from pathlib import Path

import pytest

from reasoner import Question
from reasoner.answers.equivalence import Equivalence
from reasoner.trace.replies import GradeStatus
from reasoner_evals.runs.records import RunFolder
from reasoner_evals.runs.verdicts import VerdictFile, read_verdicts
from reasoner_evals.tasks.graders import GradedQuestion
from tests.cli.command import Run
from tests.evals.fabricated import VOTE, question_id, record
from tests.helpers import without_checksums

QUESTIONS = [
    {"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i)}
    for i in range(4)
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    path.write_text(
        "\n".join(json.dumps(row) for row in QUESTIONS) + "\n", encoding="utf-8"
    )
    return path


@pytest.fixture
def folder(data: Path, tmp_path: Path, run: Run) -> RunFolder:
    """A finished run of four questions, answered by 4 and 6."""
    engine = ("-e", "simulated:answers=[4,6],tokens=20", "-s", "self_consistency:n=8")
    assert (
        run("eval", f"jsonl:{data}", *engine, "--out", str(tmp_path / "run")).code == 0
    )
    return RunFolder(tmp_path / "run")


def verdicts(folder: RunFolder) -> dict[tuple[str, str], str]:
    return {
        (one.question_id, one.answer): one.status
        for one in read_verdicts(folder.verdicts)
    }


def test_what_was_graded_otherwise_is_shown_and_repaired(
    folder: RunFolder, run: Run
) -> None:
    before = verdicts(folder)
    lines = without_checksums(folder.verdicts).read_text(encoding="utf-8").splitlines()
    wrong = [line.replace('"right"', '"wrong"') for line in lines]
    wrong = [line for line in wrong if '"q0"' not in line]
    folder.verdicts.write_text("\n".join(wrong) + "\n", encoding="utf-8")
    of_q0 = sum(question == "q0" for question, _ in before)
    told = json.loads(run("runs", "grade", str(folder.path), "--json").out)
    assert told["graded"] == len(before)
    assert sorted(
        (one["question_id"], one["answer"], one["before"], one["after"])
        for one in told["changed"]
    ) == sorted(
        [
            ("q0", answer, None, status)
            for (question, answer), status in before.items()
            if question == "q0"
        ]
        + [("q2", "4", "wrong", "right"), ("q3", "6", "wrong", "right")]
    )
    assert verdicts(folder) == before
    folder.verdicts.write_text("\n".join(wrong) + "\n", encoding="utf-8")
    shown = run("runs", "grade", str(folder.path)).out.splitlines()
    assert shown[0] == f"{len(before)} answers graded, {2 + of_q0} grades changed"
    assert "wrong -> right: 2" in shown
    assert f"no grade -> wrong: {of_q0}" in shown
    assert (
        run("runs", "grade", str(folder.path)).out
        == f"{len(before)} answers graded, 0 grades changed\n"
    )
    assert verdicts(folder) == before


class Slow:
    """A grader that others do not wait for."""

    name, version = "slow", 1

    async def grade(self, *_given: object) -> GradeStatus:
        await asyncio.sleep(0)
        return "wrong"


def test_an_answer_of_two_attempts_is_graded_once(tmp_path: Path) -> None:
    async def graded() -> None:
        file = VerdictFile(tmp_path / "verdicts.jsonl", Equivalence())
        item = GradedQuestion(
            Question.of("How many?", id=question_id(0)), "7", grader=Slow()
        )
        await asyncio.gather(
            *(file.grade("sums", item, record(VOTE, 0)) for _ in range(2))
        )
        file.close()
        await file.equivalence.close()

    asyncio.run(graded())
    written = [one.answer for one in read_verdicts(tmp_path / "verdicts.jsonl")]
    assert len(written) == len(set(written)) > 0


def test_data_that_is_gone_or_has_changed_is_named(
    folder: RunFolder, run: Run, data: Path
) -> None:
    before = folder.verdicts.read_bytes()
    data.write_text(
        data.read_text(encoding="utf-8").replace('"answer": "4"', '"answer": "5"'),
        encoding="utf-8",
    )
    changed = run("runs", "grade", str(folder.path))
    assert changed.code == 2
    assert f"the questions of jsonl:path={data} have changed" in changed.error
    data.unlink()
    gone = run("runs", "grade", str(folder.path))
    assert gone.code == 2
    assert f"the questions of jsonl:path={data}" in gone.error
    assert folder.verdicts.read_bytes() == before
