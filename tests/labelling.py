"""Labelled traces for tests: questions are answered into a folder, and each sequence is graded beside the trace."""

from collections.abc import Sequence
from pathlib import Path

from reasoner import solve_many
from reasoner.answers.equivalence import Equivalence
from reasoner.engine import Engine
from reasoner.journal.folder import make_folder, write_whole
from reasoner.journal.lines import sealed_line
from reasoner.strategy import Strategy
from reasoner.trace.events import TraceWriter, read_trace
from reasoner.trace.replies import GRADES, TRACE, Grade, GradeStatus, completions_in
from reasoner.types import Completion
from reasoner.verifier import Verifier
from reasoner_evals.tasks.graders import GradedQuestion


async def grade(
    item: GradedQuestion, completion: Completion, equivalence: Equivalence
) -> GradeStatus:
    """The grade of one completion. Raises UsageError if its grader cannot grade this kind of question."""
    if completion.truncated:
        return "truncated"
    answer = item.question.read(completion)
    return (
        "no_answer"
        if answer is None
        else await item.grader.grade(item, answer, equivalence)
    )


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
    make_folder(folder)
    writer = TraceWriter(folder / TRACE)
    questions = [item.question for item in items]
    try:
        await solve_many(
            questions, strategy, engine, verifier=verifier, trace=writer, seed=seed
        )
    finally:
        writer.close()
    await grade_run(items, folder)


async def grade_run(items: Sequence[GradedQuestion], folder: Path) -> None:
    """Grade the sequences of a folder's trace, replacing earlier grades. Raises TraceError if a file fails."""
    by_id = {item.question.id: item for item in items}
    equivalence = Equivalence()
    try:
        grades = [
            Grade(
                question_id=event.question_id,
                prompt=event.prompt,
                index=event.index,
                status=await grade(by_id[event.question_id], completion, equivalence),
            )
            for event, completion in completions_in(read_trace(folder / TRACE))
            if event.question_id in by_id
        ]
    finally:
        await equivalence.close()
    write_whole(folder / GRADES, map(sealed_line, grades))
