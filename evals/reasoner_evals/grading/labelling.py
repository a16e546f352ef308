"""Labelled traces: each sampled sequence with its grade in a file beside the trace, to fit verifiers on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from reasoner import solve_many
from reasoner.answers.equivalence import Equivalence
from reasoner.engine import Engine
from reasoner.strategy import Strategy
from reasoner.trace.events import Sampled, TraceWriter, completions_in, read_trace
from reasoner.trace.grades import GRADES, TRACE, Grade, GradeStatus
from reasoner.trace.jsonl import sealed_line
from reasoner.verifier import Verifier
from reasoner_evals.grading.graders import GradedQuestion, arithmetic_steps, grade
from reasoner_evals.runs.folder import ArmFolder, make_folder, write_whole


async def label(
    items: Sequence[GradedQuestion],
    strategy: Strategy,
    engine: Engine,
    folder: Path,
    *,
    verifier: Verifier | None = None,
    seed: int = 0,
) -> None:
    """Answer the questions and grade all sequences; writes `trace.jsonl` and `grades.jsonl` into `folder`.

    Raises UsageError if there is a trace already, and TraceError if a file cannot be written.
    """
    make_folder(folder, exist_ok=True)
    writer = TraceWriter(folder / TRACE)
    questions = [item.question for item in items]
    try:
        await solve_many(questions, strategy, engine, verifier=verifier, trace=writer, seed=seed)
    finally:
        writer.close()
    await grade_run(items, folder)


async def grade_run(items: Sequence[GradedQuestion], folder: Path) -> None:
    """Grade the sequences of a folder's trace, replacing earlier grades. Raises TraceError if a file fails."""
    by_id = {item.question.id: item for item in items}
    equivalence = Equivalence()
    try:
        grades = [
            _grade(event, await grade(by_id[event.question_id], completion, equivalence))
            for event, completion in completions_in(read_trace(folder / TRACE))
            if event.question_id in by_id
        ]
    finally:
        await equivalence.close()
    write_whole(folder / GRADES, map(sealed_line, grades))


def write_grades(files: ArmFolder, task: str, statuses: Mapping[tuple[str, str, str], GradeStatus]) -> None:
    """Grade the sequences of an arm's trace by `statuses`, the grade of each (task, question id, answer).

    Sequences whose answer has no grade are left out. Raises as `grade_run`.
    """

    def status(event: Sampled) -> GradeStatus | None:
        return statuses.get((task, event.question_id, event.answer.text)) if event.answer else "no_answer"

    graded = (
        (event, "truncated" if completion.truncated else status(event))
        for event, completion in completions_in(read_trace(files.trace))
    )
    write_whole(files.grades, (sealed_line(_grade(event, known)) for event, known in graded if known))


def _grade(event: Sampled, status: GradeStatus) -> Grade:
    return Grade(
        question_id=event.question_id,
        prompt=event.prompt,
        index=event.index,
        status=status,
        steps=arithmetic_steps(event.text),
    )
