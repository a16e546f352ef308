"""Grades of answers, kept apart from what was generated: each answer to a question is graded once."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reasoner.equivalence import Equivalence
from reasoner.grades import GradeStatus
from reasoner.lines import LineWriter, read_lines
from reasoner.types import Answer
from reasoner_evals.grading import GradedQuestion
from reasoner_evals.runs.records import VERSION, ItemRecord, Outcome, Verdict


def grader_of(item: GradedQuestion) -> str:
    """The name and version of what grades a question's answers."""
    return f"{item.grader.name}@{item.grader.version}"


def read_verdicts(path: Path) -> Iterator[Verdict]:
    """The verdicts of a file, streamed; none where there is no file.

    Raises:
        TraceError: the file cannot be read, or a line is no verdict.
    """
    if path.exists():
        yield from read_lines(
            path,
            Verdict.model_validate_json,
            file="verdicts",
            record="verdict",
            version=VERSION,
            way_out=f"make the verdicts again with: reasoner grade {path.parent}",
        )


@dataclass(slots=True)
class Verdicts:
    """The verdicts of a run: those that are there, and those that are added to them."""

    path: Path
    equivalence: Equivalence
    _lines: LineWriter | None = None
    _known: dict[tuple[str, str, str], Verdict] = field(default_factory=dict)

    def open(self) -> None:
        """Read what is there, up to its last whole line, and go on behind it."""
        self._lines = LineWriter.onto(self.path, what="verdicts")
        for verdict in read_verdicts(self.path):
            self._known.setdefault((verdict.task, verdict.question_id, verdict.answer), verdict)

    async def grade(self, task: str, item: GradedQuestion, record: ItemRecord) -> Outcome:
        """What became of a question: its answer's grade. All other answers of it are graded as well."""
        answers = distinct(record)
        statuses = await asyncio.gather(*(self._graded(task, item, one) for one in answers))
        return outcome(record, dict(zip((one.text for one in answers), statuses, strict=True)))

    async def _graded(self, task: str, item: GradedQuestion, answer: Answer) -> GradeStatus:
        name = (task, item.question.id, answer.text)
        known = self._known.get(name)
        if known is None or known.grader != grader_of(item):
            known = await verdict_on(task, item, answer, self.equivalence)
            self._known[name] = known
            if self._lines:
                self._lines.write(known)
        return known.status

    def status(self, task: str, question_id: str, answer: str) -> GradeStatus | None:
        """The grade of an answer; None where there is none."""
        known = self._known.get((task, question_id, answer))
        return known.status if known else None

    def close(self) -> None:
        """Close the file."""
        if self._lines:
            self._lines.close()


async def verdict_on(task: str, item: GradedQuestion, answer: Answer, equivalence: Equivalence) -> Verdict:
    """The grade of one answer. What the grader raises unexpectedly is a crash of the grader, not a wrong answer."""
    try:
        status = await item.grader.grade(item, answer, equivalence)
    except Exception:
        status = "grader_crash"
    return Verdict(task=task, question_id=item.question.id, answer=answer.text, status=status, grader=grader_of(item))


def distinct(record: ItemRecord) -> list[Answer]:
    """The different answers of a question, as they were written, in the order in which they were given."""
    given: Iterable[tuple[str, str]] = (
        *((reply.answer, reply.key) for reply in record.pool),
        *((along.answer, along.key) for along in record.along),
        (record.answer, record.key),
    )
    return list({text: Answer(text, key) for text, key in given if text}.values())


def outcome(record: ItemRecord, statuses: Mapping[str, GradeStatus]) -> Outcome:
    """What became of a question, by the grades of its answers."""
    if record.status == "answered":
        return statuses.get(record.answer, "ungraded")
    return record.status
