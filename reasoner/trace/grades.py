"""Grades of sequences: a JSONL file next to a trace, so that a trace can be graded again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict

from reasoner.errors import TraceError
from reasoner.journal.lines import Format, read_lines
from reasoner.trace.events import Event, read_trace

VERSION: Final = 1
TRACE = "trace.jsonl"
GRADES = "grades.jsonl"

GradeStatus = Literal["right", "wrong", "no_answer", "truncated", "too_complex", "grader_timeout", "grader_crash"]
STATUSES: tuple[GradeStatus, ...] = get_args(GradeStatus)


class Grade(BaseModel):
    """The grade of the sequence that (`question_id`, `prompt`, `index`) names in the trace.

    `steps` says for each step whether it is right; None if that cannot be checked. A sequence that the grader could not
    judge has a status of its own and is neither right nor wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = VERSION
    question_id: str
    prompt: str
    index: int
    status: GradeStatus
    steps: tuple[bool | None, ...] = ()


GRADE_LINES: Final = Format("grades", Grade.model_validate_json, VERSION)
"""The lines of a file of grades."""


class LabelledRun(NamedTuple):
    """The events of a run's trace, and its grades by sequence (question id, prompt, index)."""

    events: list[Event]
    grades: dict[tuple[str, str, int], Grade]


def read_grades(path: Path) -> Iterator[Grade]:
    """The grades of a file, streamed. A torn last line, left by a killed run, is skipped.

    Raises:
        TraceError: the file cannot be read, or a line is not a grade.
    """
    return read_lines(path, GRADE_LINES, advice="make the grades again with `reasoner grade RUN`")


def labelled_folders(run: Path) -> list[Path]:
    """The folders of a run that have a trace and grades: the run itself, or the arms of an evaluation.

    Raises:
        TraceError: an arm of the evaluation has no grades yet.
    """
    arms = sorted(folder for folder in run.glob("arms/*") if (folder / TRACE).exists())
    if (run / TRACE).exists() or not arms:
        return [run]
    if bare := [folder.name for folder in arms if not (folder / GRADES).exists()]:
        raise TraceError(f"{run} has no grades of {bare[0]}: finish it with `reasoner eval --resume {run}`")
    return arms


def read_run(folder: Path) -> LabelledRun:
    """The trace and the grades in a run's folder.

    Raises:
        TraceError: one of the two cannot be read, or there are no grades.
    """
    grades = {(g.question_id, g.prompt, g.index): g for g in read_grades(folder / GRADES)}
    if not grades:
        raise TraceError(f"{folder / GRADES} holds no grade: grade the run first")
    return LabelledRun(list(read_trace(folder / TRACE)), grades)
