"""The verdicts of a run: each answer is graded once, apart from generation, and again on demand; grades of a trace."""

import asyncio
import hashlib
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from reasoner import Answer
from reasoner.answers.equivalence import Equivalence
from reasoner.errors import DamagedLine
from reasoner.journal.folder import replace, write_whole
from reasoner.journal.lines import JournalWriter, read_lines, sealed_line
from reasoner.trace.events import read_trace
from reasoner.trace.replies import Grade, GradeStatus
from reasoner.trace.view import question_views
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
from reasoner_evals.tasks import GradedQuestion, TaskData


def read_verdicts(path: Path) -> Iterator[GradedAnswer]:
    """The verdicts of a file, streamed; none without a file. Raises TraceError if it cannot be read."""
    if path.exists():
        advice = f"make the verdicts again with: reasoner runs grade {path.parent}"
        yield from read_lines(path, VERDICT_LINES, advice=advice)


class RunVerdicts:
    """The verdicts of a run by a digest of what was graded, without texts. The last verdict on an answer counts."""

    def __init__(self, *paths: Path) -> None:
        self._known: dict[int, tuple[GradeStatus, str]] = {}
        for path in paths:
            for verdict in read_verdicts(path):
                self.add(verdict)

    def __len__(self) -> int:
        return len(self._known)

    @property
    def graders(self) -> set[str]:
        """The names and versions of all graders."""
        return {grader for _, grader in self._known.values()}

    def add(self, verdict: GradedAnswer) -> None:
        """Add a verdict."""
        self._known[_digest(*verdict.key)] = verdict.status, sys.intern(verdict.grader)

    def status(self, *key: str, grader: str | None = None) -> GradeStatus | None:
        """The grade of (task, question id, answer), if there is one, and if `grader` gave it where that is named."""
        status, given_by = self._known.get(_digest(*key), (None, ""))
        return status if grader in (None, given_by) else None


def _digest(task: str, question_id: str, answer: str) -> int:
    text = f"{len(task)}:{task}\0{len(question_id)}:{question_id}\0{answer}"
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(),
        "little",
    )


class VerdictFile:
    """The verdicts of a run, read from its file up to the last whole line, and extended with every new answer."""

    def __init__(self, path: Path, equivalence: Equivalence) -> None:
        self.equivalence = equivalence
        self._lines = JournalWriter(path, "verdicts", resume=True)
        self.known = RunVerdicts(path)

    async def grade(
        self, task: str, item: GradedQuestion, record: ItemRecord
    ) -> Outcome:
        """The outcome of a question: the grade of its answer. All its other answers are graded as well."""
        # The distinct answers as written, in the order in which they were given.
        answers = {
            source.answer: Answer(source.answer, source.key)
            for source in record.candidates
            if source.answer
        }
        statuses = await asyncio.gather(
            *(self._grade(task, item, answer) for answer in answers.values())
        )
        if record.status != "answered":
            return record.status
        return dict(zip(answers, statuses, strict=True)).get(record.answer, "ungraded")

    async def _grade(
        self, task: str, item: GradedQuestion, answer: Answer
    ) -> GradeStatus:
        """An unexpected error of the grader is a crash of the grader, not a wrong answer."""
        grader = f"{item.grader.name}@{item.grader.version}"
        name = item.question.id
        if known := self.known.status(task, name, answer.text, grader=grader):
            return known
        try:
            status = await item.grader.grade(item, answer, self.equivalence)
        except Exception:
            status = "grader_crash"
        verdict = GradedAnswer(
            task=task,
            question_id=name,
            answer=answer.text,
            status=status,
            grader=grader,
        )
        # Two attempts at a question may give one answer, and are graded at the same time.
        if self.known.status(*verdict.key, grader=grader) is None:
            self.known.add(verdict)
            self._lines.write(verdict)
        return status

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def write_grades(files: ArmFolder, task: str, verdicts: RunVerdicts) -> None:
    """Grade the sequences of an arm's trace by the verdicts on their answers.

    Sequences with an answer that has no grade are left out. Raises TraceError if a file cannot be read or written.
    """

    def grades() -> Iterator[Grade]:
        for view in question_views(read_trace(files.trace)):
            for (prompt, index), node in view.by_name.items():
                answer = node.answer
                known = (
                    verdicts.status(task, view.id, answer.text)
                    if answer
                    else "no_answer"
                )
                status = known if node.finish == "stop" else "truncated"
                if node.finish and status:
                    yield Grade(
                        question_id=view.id, prompt=prompt, index=index, status=status
                    )

    write_whole(files.grades, map(sealed_line, grades()))


class Change(NamedTuple):
    """An answer with a new grade; `before` is None if it had none."""

    task: str
    question_id: str
    answer: str
    before: GradeStatus | None
    after: GradeStatus


async def grade_again(
    folder: RunFolder, manifest: Manifest, tasks: Mapping[str, TaskData]
) -> tuple[int, list[Change]]:
    """Grade all answers of a run without a model, and replace its verdicts: how many, and which grades changed.

    Raises:
        TraceError: a file cannot be read or written.
    """
    try:
        before: RunVerdicts | None = RunVerdicts(folder.verdicts)
    except DamagedLine:
        before = None  # the former grades are unknown
    equivalence, made = Equivalence(), folder.verdicts.with_suffix(".new")
    made.unlink(missing_ok=True)
    verdicts = VerdictFile(made, equivalence)
    try:
        for arm in manifest.arms:
            items = {item.question.id: item for item in tasks[arm.task].items}
            records = (
                record
                for record in read_journal(folder.arm(arm.name))
                if record.question_id in items
            )
            # Questions that `grade_again` grades at the same time
            while batch := list(islice(records, 256)):
                await asyncio.gather(
                    *(
                        verdicts.grade(arm.task, items[each.question_id], each)
                        for each in batch
                    )
                )
    finally:
        verdicts.close()
        await equivalence.close()
    replace(made, folder.verdicts)
    for arm in manifest.arms:
        if folder.arm(arm.name).trace.exists():
            write_grades(folder.arm(arm.name), arm.task, verdicts.known)
    grades = (
        (each, before.status(*each.key) if before else None)
        for each in read_verdicts(folder.verdicts)
    )
    return len(verdicts.known), [
        Change(*each.key, old, each.status)
        for each, old in grades
        if old != each.status
    ]
