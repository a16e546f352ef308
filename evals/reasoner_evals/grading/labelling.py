"""Labelled traces: each sampled sequence with its grade in a file beside the trace, to fit verifiers on."""

from collections.abc import Mapping

from reasoner.trace.events import Sampled, completions_in, read_trace
from reasoner.trace.grades import Grade, GradeStatus
from reasoner.trace.jsonl import sealed_line
from reasoner_evals.grading.graders import arithmetic_steps
from reasoner_evals.runs.folder import ArmFolder, write_whole


def write_grades(files: ArmFolder, task: str, statuses: Mapping[tuple[str, str, str], GradeStatus]) -> None:
    """Grade the sequences of an arm's trace by `statuses`, the grade of each (task, question id, answer).

    Sequences whose answer has no grade are left out. Raises TraceError if a file cannot be read or written.
    """

    def status(event: Sampled) -> GradeStatus | None:
        return statuses.get((task, event.question_id, event.answer.text)) if event.answer else "no_answer"

    graded = (
        (event, "truncated" if completion.truncated else status(event))
        for event, completion in completions_in(read_trace(files.trace))
    )
    write_whole(files.grades, (sealed_line(grade_of(event, known)) for event, known in graded if known))


def grade_of(event: Sampled, status: GradeStatus) -> Grade:
    """The record of a grade."""
    return Grade(
        question_id=event.question_id,
        prompt=event.prompt,
        index=event.index,
        status=status,
        steps=arithmetic_steps(event.text),
    )
