"""The verdicts of a run: each answer is graded once, apart from generation, and again on demand; grades of a trace."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from reasoner.answers.equivalence import Equivalence
from reasoner.errors import DamagedLine
from reasoner.journal.folder import write_whole
from reasoner.journal.lines import JournalWriter, read_lines, sealed_line
from reasoner.trace.events import AnswerExtracted, Ended, Sampled, read_trace
from reasoner.trace.replies import Grade, GradeStatus
from reasoner.types import Answer
from reasoner_evals.runs.records import (
    VERDICT_LINES,
    ArmFolder,
    GradedAnswer,
    ItemRecord,
    Manifest,
    Outcome,
    RunFolder,
    read_journal,
)
from reasoner_evals.tasks.benchmark import TaskData
from reasoner_evals.tasks.graders import GradedQuestion

CONCURRENCY: Final = 256
"""Answers that `grade_again` grades at the same time."""


def read_verdicts(path: Path) -> Iterator[GradedAnswer]:
    """The verdicts of a file, streamed; none without a file. Raises TraceError if it cannot be read."""
    if path.exists():
        advice = f"make the verdicts again with: reasoner grade {path.parent}"
        yield from read_lines(path, VERDICT_LINES, advice=advice)


@dataclass(slots=True)
class VerdictFile:
    """The verdicts of a run, read from its file up to the last whole line, and extended with every new answer."""

    path: Path
    equivalence: Equivalence
    _lines: JournalWriter = field(init=False)
    _known: dict[tuple[str, str, str], tuple[GradeStatus, str]] = field(default_factory=dict)
    """The grade of each (task, question id, answer) and its grader; a million verdicts take some 400 MB."""

    def __post_init__(self) -> None:
        self._lines = JournalWriter(self.path, "verdicts", resume=True)
        for verdict in read_verdicts(self.path):
            self._known.setdefault(verdict.key, (verdict.status, sys.intern(verdict.grader)))

    async def grade(self, task: str, item: GradedQuestion, record: ItemRecord) -> Outcome:
        """The outcome of a question: the grade of its answer. All its other answers are graded as well."""
        answers = answers_in(record)
        statuses = await asyncio.gather(*(self._grade(task, item, answer) for answer in answers))
        if record.status != "answered":
            return record.status
        return dict(zip((answer.text for answer in answers), statuses, strict=True)).get(record.answer, "ungraded")

    async def _grade(self, task: str, item: GradedQuestion, answer: Answer) -> GradeStatus:
        known = self._known.get((task, item.question.id, answer.text))
        if known is None or known[1] != _grader(item):
            verdict = await _verdict(task, item, answer, self.equivalence)
            known = verdict.status, sys.intern(verdict.grader)
            self._known[verdict.key] = known
            self._lines.write(verdict)
        return known[0]

    @property
    def statuses(self) -> dict[tuple[str, str, str], GradeStatus]:
        """The grade of each (task, question id, answer)."""
        return {key: status for key, (status, _) in self._known.items()}

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def answers_in(record: ItemRecord) -> list[Answer]:
    """The distinct answers to a question, as written, in the order in which they were given."""
    answers = {source.answer: Answer(source.answer, source.key) for source in record.candidates if source.answer}
    return list(answers.values())


def _grader(item: GradedQuestion) -> str:
    return f"{item.grader.name}@{item.grader.version}"


async def _verdict(task: str, item: GradedQuestion, answer: Answer, equivalence: Equivalence) -> GradedAnswer:
    """The verdict on one answer. An unexpected error of the grader is a crash of the grader, not a wrong answer."""
    try:
        status = await item.grader.grade(item, answer, equivalence)
    except Exception:
        status = "grader_crash"
    return GradedAnswer(
        task=task, question_id=item.question.id, answer=answer.text, status=status, grader=_grader(item)
    )


def write_grades(files: ArmFolder, task: str, statuses: Mapping[tuple[str, str, str], GradeStatus]) -> None:
    """Grade the sequences of an arm's trace by `statuses`, the grade of each (task, question id, answer).

    Sequences with an answer that has no grade are left out. Raises TraceError if a file cannot be read or written.
    """

    def known(event: Sampled, answer: Answer) -> Iterator[Grade]:
        if status := statuses.get((task, event.question_id, answer.text)):
            yield grade_of(event, status)

    def grades() -> Iterator[Grade]:
        # By question, as an answer may still be extracted until it ends.
        unread: dict[str, dict[tuple[str, int], Sampled]] = {}
        for event in read_trace(files.trace):
            match event:
                case Sampled(finish_reason="stop", answer=None):
                    unread.setdefault(event.question_id, {})[event.prompt, event.index] = event
                case Sampled(finish_reason="stop", answer=Answer() as answer):
                    yield from known(event, answer)
                case Sampled():
                    yield grade_of(event, "truncated")
                case AnswerExtracted(answer=Answer() as answer):
                    sampled = unread.get(event.question_id, {}).pop((event.prompt, event.index), None)
                    yield from known(sampled, answer) if sampled else ()
                case Ended():
                    yield from (grade_of(each, "no_answer") for each in unread.pop(event.question_id, {}).values())
                case _:
                    pass
        yield from (grade_of(each, "no_answer") for left in unread.values() for each in left.values())

    write_whole(files.grades, map(sealed_line, grades()))


def grade_of(event: Sampled, status: GradeStatus) -> Grade:
    """The record of a grade."""
    return Grade(question_id=event.question_id, prompt=event.prompt, index=event.index, status=status)


class Change(NamedTuple):
    """An answer with a new grade; `before` is None if it had none."""

    task: str
    question_id: str
    answer: str
    before: GradeStatus | None
    after: GradeStatus


async def grade_again(folder: RunFolder, manifest: Manifest, tasks: Mapping[str, TaskData]) -> tuple[int, list[Change]]:
    """Grade all answers of a run without a model, and replace its verdicts: how many, and which grades changed.

    Raises:
        TraceError: a file cannot be read or written.
    """
    before: dict[tuple[str, str, str], GradeStatus] = {}
    # After a damaged line the former grades are unknown; all are made again.
    with suppress(DamagedLine):
        before.update((verdict.key, verdict.status) for verdict in read_verdicts(folder.verdicts))
    equivalence = Equivalence()
    try:
        verdicts = [verdict async for verdict in _all_verdicts(folder, manifest, tasks, equivalence)]
    finally:
        await equivalence.close()
    write_whole(folder.verdicts, map(sealed_line, verdicts))
    after = {verdict.key: verdict.status for verdict in verdicts}
    for arm in manifest.arms:
        if folder.arm(arm.name).trace.exists():
            write_grades(folder.arm(arm.name), arm.task, after)
    changed = [Change(*key, before.get(key), status) for key, status in after.items() if before.get(key) != status]
    return len(verdicts), changed


async def _all_verdicts(
    folder: RunFolder, manifest: Manifest, tasks: Mapping[str, TaskData], equivalence: Equivalence
) -> AsyncIterator[GradedAnswer]:
    items = {(task, item.question.id): item for task, data in tasks.items() for item in data.items}
    seen: set[tuple[str, str, str]] = set()
    pending: list[asyncio.Task[GradedAnswer]] = []
    for arm in manifest.arms:
        for record in read_journal(folder.arm(arm.name)):
            item = items.get((arm.task, record.question_id))
            for answer in answers_in(record) if item else ():
                key = (arm.task, record.question_id, answer.text)
                if item and key not in seen:
                    seen.add(key)
                    pending.append(asyncio.ensure_future(_verdict(arm.task, item, answer, equivalence)))
            if len(pending) >= CONCURRENCY:
                for verdict in await asyncio.gather(*pending):
                    yield verdict
                pending = []
    for verdict in await asyncio.gather(*pending):
        yield verdict
