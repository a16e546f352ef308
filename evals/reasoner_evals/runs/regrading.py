"""Grading a run's answers anew, without a model."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from reasoner.equivalence import Equivalence
from reasoner.errors import DamagedLine
from reasoner.grades import GradeStatus
from reasoner.lines import sealed
from reasoner_evals.runs.folder import RunFolder
from reasoner_evals.runs.journal import read_journal
from reasoner_evals.runs.labels import write_grades
from reasoner_evals.runs.records import Manifest, Verdict
from reasoner_evals.runs.verdicts import Verdicts, distinct, read_verdicts, verdict_on
from reasoner_evals.runs.writer import write_whole
from reasoner_evals.tasks.task import TaskData

AT_ONCE = 256
"""Answers that are graded at the same time."""


class Change(NamedTuple):
    """An answer whose grade is another one now; `before` is None where it had none."""

    task: str
    question_id: str
    answer: str
    before: GradeStatus | None
    after: GradeStatus


@dataclass(frozen=True, slots=True)
class Changes:
    """What grading anew has changed, and how many answers were graded."""

    graded: int
    changed: tuple[Change, ...]


async def grade_again(folder: RunFolder, manifest: Manifest, tasks: Mapping[str, TaskData]) -> Changes:
    """Grade all answers of a run by its tasks' graders; the file of verdicts is replaced as a whole.

    Raises:
        TraceError: a journal or a trace cannot be read, or the verdicts cannot be written.
    """
    before = _before(folder)
    equivalence = Equivalence()
    try:
        verdicts = [verdict async for verdict in _verdicts(folder, manifest, tasks, equivalence)]
        write_whole(folder.verdicts, map(sealed, verdicts))
        known = Verdicts(folder.verdicts, equivalence)
        known.open()
        known.close()
        for arm in manifest.arms:
            if folder.arm(arm.name).trace.exists():
                write_grades(folder.arm(arm.name), arm.task, known)
    finally:
        await equivalence.close()
    named = [((one.task, one.question_id, one.answer), one.status) for one in verdicts]
    changed = tuple(Change(*name, before.get(name), after) for name, after in named if before.get(name) != after)
    return Changes(len(verdicts), changed)


def _before(folder: RunFolder) -> dict[tuple[str, str, str], GradeStatus]:
    """The grades until now; those from a damaged line on are not known, and are all made again."""
    found = {}
    with suppress(DamagedLine):
        for one in read_verdicts(folder.verdicts):
            found[one.task, one.question_id, one.answer] = one.status
    return found


async def _verdicts(
    folder: RunFolder, manifest: Manifest, tasks: Mapping[str, TaskData], equivalence: Equivalence
) -> AsyncIterator[Verdict]:
    items = {(name, item.question.id): item for name, data in tasks.items() for item in data.items}
    seen: set[tuple[str, str, str]] = set()
    waiting: list[asyncio.Task[Verdict]] = []
    for arm in manifest.arms:
        for record in read_journal(folder.arm(arm.name)):
            item = items.get((arm.task, record.question_id))
            for answer in distinct(record) if item else ():
                name = (arm.task, record.question_id, answer.text)
                if item and name not in seen:
                    seen.add(name)
                    waiting.append(asyncio.ensure_future(verdict_on(arm.task, item, answer, equivalence)))
            if len(waiting) >= AT_ONCE:
                for verdict in await asyncio.gather(*waiting):
                    yield verdict
                waiting = []
    for verdict in await asyncio.gather(*waiting):
        yield verdict
