"""Labelled runs: samples drawn for questions with known answers, their trace and their grades in one folder."""

from collections.abc import Sequence
from pathlib import Path

from reasoner import solve_many
from reasoner.equivalence import Equivalence
from reasoner.files import replacing
from reasoner.grades import GRADES, TRACE, Grade
from reasoner.lines import sealed
from reasoner.protocols import Engine, Strategy, Verifier
from reasoner.trace import TraceWriter, drawn, read_trace
from reasoner_evals.grading import GradedQuestion, arithmetic_steps, grade


async def label(
    items: Sequence[GradedQuestion],
    strategy: Strategy,
    engine: Engine,
    folder: Path,
    *,
    verifier: Verifier | None = None,
    seed: int = 0,
) -> None:
    """Answer the questions and grade all that was drawn; writes `trace.jsonl` and `grades.jsonl` into `folder`.

    Raises:
        UsageError: the folder holds a trace already.
        TraceError: one of the two cannot be written.
    """
    writer = _writer(folder)
    questions = [item.question for item in items]
    try:
        await solve_many(questions, strategy, engine, verifier=verifier, trace=writer, seed=seed)
    finally:
        writer.close()
    await grade_run(items, folder)


def _writer(folder: Path) -> TraceWriter:
    folder.mkdir(parents=True, exist_ok=True)
    return TraceWriter(folder / TRACE)


async def grade_run(items: Sequence[GradedQuestion], folder: Path) -> None:
    """Grade the sequences of a folder's trace; grades that were there are replaced."""
    by_id = {item.question.id: item for item in items}
    equivalence = Equivalence()
    try:
        with replacing(folder / GRADES) as file:
            for event, completion in drawn(read_trace(folder / TRACE)):
                if item := by_id.get(event.question_id):
                    made = Grade(
                        question_id=event.question_id,
                        prompt=event.prompt,
                        index=event.index,
                        status=await grade(item, completion, equivalence),
                        steps=arithmetic_steps(event.text),
                    )
                    file.write(f"{sealed(made)}\n".encode())
    finally:
        await equivalence.close()
