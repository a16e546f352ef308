"""Grades of single sequences beside an arm's trace, on which a verifier can be fitted; derived from the verdicts."""

from collections.abc import Iterator

from reasoner.grades import Grade, GradeStatus
from reasoner.lines import sealed
from reasoner.trace import Sampled, drawn, read_trace
from reasoner.types import Completion
from reasoner_evals.grading import arithmetic_steps
from reasoner_evals.runs.folder import ArmFolder
from reasoner_evals.runs.verdicts import Verdicts
from reasoner_evals.runs.writer import write_whole


def write_grades(files: ArmFolder, task: str, verdicts: Verdicts) -> None:
    """Grade the sequences of an arm's trace; those whose answer nobody graded are left out.

    Raises:
        TraceError: the trace cannot be read, or the grades cannot be written.
    """
    write_whole(files.grades, map(sealed, _grades(files, task, verdicts)))


def _grades(files: ArmFolder, task: str, verdicts: Verdicts) -> Iterator[Grade]:
    for event, completion in drawn(read_trace(files.trace)):
        status = _status(event, completion, task, verdicts)
        if status is not None:
            steps = arithmetic_steps(event.text)
            yield Grade(
                question_id=event.question_id, prompt=event.prompt, index=event.index, status=status, steps=steps
            )


def _status(event: Sampled, completion: Completion, task: str, verdicts: Verdicts) -> GradeStatus | None:
    if completion.truncated:
        return "truncated"
    if event.answer is None:
        return "no_answer"
    return verdicts.status(task, event.question_id, event.answer.text)
