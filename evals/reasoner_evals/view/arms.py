"""The arms of opened runs, with what a page shows of a question: read from its lines on disk when it is asked for."""

import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from json import loads
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from reasoner.errors import DamagedLine, TraceError
from reasoner.journal.lines import MAX_LINE_BYTES, Format, read_line
from reasoner.system.files import open_regular
from reasoner.system.printing import counted
from reasoner.trace.events import EVENT_LINES
from reasoner.trace.view import QuestionView, search_trees
from reasoner_evals.runs.naming import arm_names
from reasoner_evals.runs.reading import (
    OUTCOMES,
    RIGHT,
    UNFINISHED,
    UNGRADED,
    WRONG,
    ArmData,
    RunData,
    open_runs,
    parts_in,
    read_arm,
)
from reasoner_evals.runs.records import ITEM_LINES, RECORD_LINES, AskedItem, ItemRecord
from reasoner_evals.stats import Bools

T = TypeVar("T")
_WORDS: Final = tuple(name.replace("_", " ") for name in (*OUTCOMES, "not finished"))
"""By index into `OUTCOMES`; the last one stands for `UNFINISHED`."""
_NAMED: Final = rb'"%b":("[^"\\]*(?:\\.[^"\\]*)*")'
"""A field and its text. No text of a model is taken for it: quotes within a text have a backslash."""
_TASK: Final = re.compile(_NAMED % b"task")
_QUESTION: Final = re.compile(_NAMED % b"question_id")


def _better(data: ArmData, other: ArmData) -> Bools:
    """[Q]: where an arm is right and the result of another one is not."""
    better: Bools = (
        (data.outcome == RIGHT)
        & other.has_result
        & ~np.isin(other.outcome, (RIGHT, UNGRADED))
    )
    return better


FILTERS: Final[Mapping[str, tuple[str, Callable[[ArmData], Bools]]]] = {
    "all": ("every question", lambda data: data.outcome >= UNFINISHED),
    "right": ("the answer is right", lambda data: data.outcome == RIGHT),
    "wrong": ("the answer is wrong", lambda data: data.outcome == WRONG),
    "missed": ("a sample is right, the answer is wrong", lambda data: data.missed),
    "undecided": (
        "no answer, an error or no grade",
        lambda data: data.finished & ~np.isin(data.outcome, (RIGHT, WRONG)),
    ),
    "cut": (
        "a sample was cut at max_tokens",
        lambda data: data.costs["cut"] > 0,
    ),
}
"""What is shown of an arm: a name, its meaning, and [Q] whether it holds."""
PAIRED: Final[Mapping[str, tuple[str, Callable[[ArmData, ArmData], Bools]]]] = {
    "backfired": (
        "one greedy sample is right, this is not",
        lambda data, greedy: _better(greedy, data),
    ),
    "ahead": ("this arm is right, the other is not", _better),
    "behind": (
        "the other arm is right, this is not",
        lambda data, other: _better(other, data),
    ),
}
"""The same for two arms: one beside the greedy arm, or beside the one that is shown with it."""


class LineIndex:
    """Where the lines about each question begin in a file of JSON lines: 16 bytes a line, no text.

    `rows` numbers the questions of `task`; lines about others are left out. `unread` lines name no question.

    Raises:
        TraceError: the file cannot be read.
    """

    def __init__(self, path: Path, rows: Mapping[str, int], task: str = "") -> None:
        self.path = path
        self.unread = 0
        starts, owners, end = array("q"), array("i"), 0
        try:
            with open_regular(path) as file:
                # The writer may have been killed in the last line.
                while (line := file.readline(MAX_LINE_BYTES + 1)).endswith(b"\n"):
                    starts.append(end)
                    owners.append(self._row(line, rows, task))
                    end += len(line)
        except FileNotFoundError:
            pass  # an arm that has not started
        except OSError as error:
            raise TraceError(
                f"cannot read {path}: {error.strerror or error}"
            ) from error
        self._numbers = np.argsort(owners, kind="stable")
        self._starts = np.asarray(starts, dtype=np.int64)[self._numbers]
        by_row = np.asarray(owners, dtype=np.int32)[self._numbers]
        self._bounds = np.searchsorted(by_row, np.arange(len(rows) + 1))

    def _row(self, line: bytes, rows: Mapping[str, int], task: str) -> int:
        """The question of a line; -1 for none of these."""
        try:
            if task and (named := _TASK.search(line)) and loads(named[1]) != task:
                return -1
            return rows.get(loads(_QUESTION.search(line)[1]), -1)  # type: ignore[index]
        except (TypeError, ValueError):
            self.unread += 1
            return -1

    def read(
        self, row: int, form: Format[T], complaints: list[str] | None = None
    ) -> Iterator[T]:
        """The records about one question, in their order.

        Raises:
            DamagedLine: a line is not what was written; with `complaints`, the error is added there instead.
        """
        with open_regular(self.path) if self.path.exists() else BytesIO() as file:
            for at in range(self._bounds[row], self._bounds[row + 1]):
                file.seek(int(self._starts[at]))
                try:
                    yield read_line(
                        file.readline(MAX_LINE_BYTES + 1),
                        form,
                        f"{self.path}:{self._numbers[at] + 1}",
                    )
                except DamagedLine as error:
                    if complaints is None:
                        raise
                    complaints.append(str(error))


@dataclass(frozen=True)
class ShownArm:
    """One arm of an opened run: its arrays, and indices of its lines, which are made when a page first needs them."""

    number: int
    run: RunData
    data: ArmData
    asks: int
    """Equal for arms with the same questions, which can be shown side by side."""
    words: str
    """Its name for people, such as `vote of 8`, with its seed where seeds differ; its label has the whole spec."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its questions."""
        return self.run.tasks[self.data.arm.task].ids

    def _index(self, path: Path, task: str = "") -> LineIndex:
        return LineIndex(path, {name: row for row, name in enumerate(self.ids)}, task)

    @cached_property
    def _items(self) -> LineIndex:
        return self._index(self.run.folder.items, self.data.arm.task)

    @cached_property
    def _journal(self) -> LineIndex:
        return self._index(self.run.folder.arm(self.data.arm.name).journal)

    @cached_property
    def _trace(self) -> LineIndex:
        return self._index(self.run.folder.arm(self.data.arm.name).trace)

    def item(self, row: int) -> AskedItem:
        """A question with its reference answer."""
        return next(self._items.read(row, ITEM_LINES))

    def record(self, row: int) -> ItemRecord | None:
        """What came of a question: the record that counts; None before it is finished."""
        return (None, *self._journal.read(row, RECORD_LINES))[-1]

    def tree(self, row: int) -> tuple[QuestionView | None, list[str]]:
        """How a question was searched for, if the trace holds it, and what could not be read of it."""
        complaints: list[str] = []
        trees: list[QuestionView] = []
        try:
            trees += search_trees([*self._trace.read(row, EVENT_LINES, complaints)])
        except TraceError as error:
            complaints.append(str(error))
        if self._trace.unread:
            complaints.append(
                f"{self._trace.path} has {counted(self._trace.unread, 'damaged line')}, perhaps of this question"
            )
        if not trees and not complaints:
            complaints.append(f"{self._trace.path} does not hold it")
        return trees[-1] if trees else None, complaints

    def outcome(self, row: int) -> str:
        """What came of a question, in words."""
        return _WORDS[int(self.data.outcome[row])]

    def verdicts(self, row: int, answers: Sequence[str]) -> list[str]:
        """The verdict on each answer to a question, in words."""
        return [
            _WORDS[code]
            for code in self.run.grades(self.data.arm.task, self.ids[row], answers)
        ]

    def right_samples(self, row: int) -> int:
        """How many replies to a question are right."""
        return self.data.replies.right(row)


def open_arms(paths: Sequence[Path]) -> list[ShownArm]:
    """All arms of these runs, shard by shard.

    Raises UsageError or TraceError: a run cannot be read, or is given twice.
    """
    shown: list[ShownArm] = []
    known: dict[object, int] = {}
    runs = open_runs([part.path for path in paths for part in parts_in(path)])
    arms = [(run, arm) for run in runs for arm in run.manifest.arms]
    names = arm_names(
        (arm.strategy, arm.verifier, run.manifest.model.thinking is not None)
        for run, arm in arms
    )
    several_seeds = len({arm.seed for _, arm in arms}) > 1
    for run, arm in arms:
        items = run.tasks[arm.task]
        asks = known.setdefault((arm.task, items.ids, items.digests), len(known))
        parts = [names[arm.strategy, arm.verifier].at(None), arm.limit]
        parts += [f"seed {arm.seed}"] if several_seeds else []
        words = ", ".join(filter(None, parts))
        shown.append(ShownArm(len(shown), run, read_arm(run, arm.name), asks, words))
    return shown
