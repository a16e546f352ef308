"""The arms of opened runs, with what a page shows of a question: read from its lines on disk when it is asked for."""

import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from json import loads
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from reasoner.errors import DamagedLine, TraceError
from reasoner.journal.lines import MAX_LINE_BYTES, read_line_at
from reasoner.system.files import open_regular
from reasoner.trace.events import EVENT_LINES
from reasoner.trace.tree import SearchTree, search_trees
from reasoner_evals.runs.reading import COSTS, OUTCOMES, RIGHT, UNFINISHED, WRONG, ArmData, RunData, open_runs, read_arm
from reasoner_evals.runs.records import ITEM_LINES, RECORD_LINES, AskedItem, ItemRecord
from reasoner_evals.stats import Bools

_NAMED: Final = rb'"%b":("[^"\\]*(?:\\.[^"\\]*)*")'
"""A field and its text. No text of a model is taken for it: quotes within a text have a backslash."""
_TASK: Final = re.compile(_NAMED % b"task")
_QUESTION: Final = re.compile(_NAMED % b"question_id")


def _better(data: ArmData, other: ArmData) -> Bools:
    """[Q]: where an arm is right and another one, which finished the question, is not."""
    better: Bools = (data.outcome == RIGHT) & other.finished & (other.outcome != RIGHT)
    return better


FILTERS: Final[Mapping[str, tuple[str, Callable[[ArmData], Bools]]]] = {
    "all": ("every question", lambda data: data.outcome >= UNFINISHED),
    "right": ("the answer is right", lambda data: data.outcome == RIGHT),
    "wrong": ("the answer is wrong", lambda data: data.outcome == WRONG),
    "missed": ("a sample is right, the answer is wrong", lambda data: data.missed),
    "undecided": (
        "neither right nor wrong: no answer, an error, or no grade",
        lambda data: data.finished & (data.outcome != RIGHT) & (data.outcome != WRONG),
    ),
    "cut": ("a sample was cut at max_tokens", lambda data: data.costs[:, COSTS.index("cut")] > 0),
}
"""What is shown of an arm: a name, its meaning, and [Q] whether it holds."""
PAIRED: Final[Mapping[str, tuple[str, Callable[[ArmData, ArmData], Bools]]]] = {
    "backfired": (
        "one greedy sample is right, the answer is wrong",
        lambda data, greedy: (data.outcome == WRONG) & (greedy.outcome == RIGHT),
    ),
    "ahead": ("this arm is right, the other is not", _better),
    "behind": ("the other arm is right, this is not", lambda data, other: _better(other, data)),
}
"""The same for two arms: one beside the greedy arm, or beside the one that is shown with it."""


class LineIndex:
    """Where the lines about each question begin in a file of JSON lines: eight bytes a line, no text.

    `rows` numbers the questions of `task`; lines about others are left out. `unread` lines name no question.

    Raises:
        TraceError: the file cannot be read.
    """

    def __init__(self, path: Path, rows: Mapping[str, int], task: str = "") -> None:
        self.unread = 0
        starts, owners, offset = array("q"), array("i"), 0
        try:
            with open_regular(path) as file:
                for line in iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""):
                    start, offset = offset, offset + len(line)
                    # The writer was killed in the last line.
                    if not line.endswith(b"\n"):
                        break
                    row = self._row(line, rows, task)
                    if row is not None:
                        starts.append(start)
                        owners.append(row)
        except FileNotFoundError:
            pass  # an arm that has not started
        except OSError as error:
            raise TraceError(f"cannot read {path}: {error.strerror or error}") from error
        by_row = np.argsort(owners, kind="stable")
        self._starts = np.asarray(starts, dtype=np.int64)[by_row]
        self._ends = np.searchsorted(np.asarray(owners, dtype=np.int32)[by_row], np.arange(len(rows)), side="right")

    def _row(self, line: bytes, rows: Mapping[str, int], task: str) -> int | None:
        try:
            if task and (named := _TASK.search(line)) and loads(named[1]) != task:
                return None
            return rows.get(loads(_QUESTION.search(line)[1]))  # type: ignore[index]
        except (TypeError, ValueError):
            self.unread += 1
            return None

    def of(self, row: int) -> list[int]:
        """The offsets of the lines about one question, in their order."""
        before = int(self._ends[row - 1]) if row else 0
        offsets: list[int] = self._starts[before : self._ends[row]].tolist()
        return offsets


class Course(NamedTuple):
    """How a question was searched for: its tree, None without one, and what could not be read of it."""

    tree: SearchTree | None
    complaints: list[str]


@dataclass(frozen=True)
class ShownArm:
    """One arm of an opened run: its arrays, and indices of its lines, which are made when a page first needs them."""

    number: int
    run: RunData
    data: ArmData
    asks: int
    """Equal for arms with the same questions, which can be shown side by side."""

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
        return read_line_at(self.run.folder.items, self._items.of(row)[0], ITEM_LINES)

    def record(self, row: int) -> ItemRecord | None:
        """What came of a question: the record that counts; None before it is finished."""
        path, record = self.run.folder.arm(self.data.arm.name).journal, None
        for offset in self._journal.of(row):
            record = read_line_at(path, offset, RECORD_LINES)
            if record.status != "error":
                break
        return record

    def course(self, row: int) -> Course:
        """How a question was searched for, without the lines that are damaged."""
        path = self.run.folder.arm(self.data.arm.name).trace
        events, complaints = [], []
        for offset in self._trace.of(row):
            try:
                events.append(read_line_at(path, offset, EVENT_LINES))
            except DamagedLine as error:
                complaints.append(str(error))
        if self._trace.unread:
            complaints.append(f"{path} has {self._trace.unread:,} damaged lines, which may be about this question")
        try:
            trees: Sequence[SearchTree] = [*search_trees(events)]
        except TraceError as error:
            return Course(None, [*complaints, str(error)])
        return Course(trees[-1] if trees else None, complaints if trees else [*complaints, f"{path} does not hold it"])

    def outcome(self, row: int) -> str:
        """What came of a question, in a word."""
        code = int(self.data.outcome[row])
        return "not finished" if code == UNFINISHED else word(code)

    def verdicts(self, row: int, answers: Sequence[str]) -> list[str]:
        """The verdict on each answer to a question, in a word."""
        return [word(code) for code in self.run.verdicts.of(self.data.arm.task, self.ids[row], answers)]

    def right_samples(self, row: int) -> int:
        """How many replies to a question are right."""
        replies = self.data.replies
        return int((replies.outcome[replies.rows.of(row)] == RIGHT).sum())


def word(code: int) -> str:
    """An outcome for people."""
    return OUTCOMES[code].replace("_", " ")


def open_arms(paths: Sequence[Path]) -> list[ShownArm]:
    """All arms of these runs. Raises UsageError or TraceError: a run cannot be read, or is given twice."""
    shown: list[ShownArm] = []
    known: dict[object, int] = {}
    for run in open_runs(paths):
        for arm in run.manifest.arms:
            items = run.tasks[arm.task]
            asks = known.setdefault((arm.task, items.ids, items.digests), len(known))
            shown.append(ShownArm(len(shown), run, read_arm(run, arm.name), asks))
    return shown
