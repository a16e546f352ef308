"""The pages over runs: the arms, the questions of one or two arms, the samples of a question, its tree."""

import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from io import BytesIO
from json import loads
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
from markupsafe import Markup

from reasoner.errors import DamagedLine, ReasonerError, TraceError, UsageError
from reasoner.journal.lines import MAX_LINE_BYTES, Format, read_line
from reasoner.system.files import open_regular
from reasoner.system.foreign import described
from reasoner.system.printing import clipped, counted
from reasoner.trace import outline
from reasoner.trace.events import EVENT_LINES
from reasoner.trace.page import (
    MAX_CHARACTERS,
    MAX_TEXT_LENGTH,
    environment,
    page,
    policy,
    style,
)
from reasoner.trace.view import QuestionView, TreeNode, search_trees
from reasoner_evals.runs.naming import arm_names, is_greedy
from reasoner_evals.runs.reading import (
    OUTCOMES,
    RIGHT,
    UNFINISHED,
    UNGRADED,
    WRONG,
    ArmData,
    RunData,
    open_runs,
    read_arm,
)
from reasoner_evals.runs.records import ITEM_LINES, RECORD_LINES, AskedItem, ItemRecord
from reasoner_evals.stats import Bools, Floats, Ints

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
    """All arms of these runs. Raises UsageError or TraceError: a run cannot be read, or is given twice."""
    shown: list[ShownArm] = []
    known: dict[object, int] = {}
    arms = [(run, arm) for run in open_runs(paths) for arm in run.manifest.arms]
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


HERE: Final = Path(__file__).parent
QUESTIONS: Final = 50
"""Questions on one page."""
SAMPLES: Final = 25
"""Samples of each arm on one page."""
SORTS: Final[Mapping[str, tuple[str, Callable[[ArmData], Floats]]]] = {
    "file": (
        "in the order of the file",
        lambda data: np.arange(len(data.outcome), dtype=np.float64),
    ),
    "tokens": ("the most tokens first", lambda data: -data.tokens.astype(np.float64)),
    "vote": (
        "the smallest share of the vote first",
        lambda data: data.share.astype(np.float64),
    ),
}
"""How a list of questions is sorted: a name, its meaning, and [Q] what it ascends by."""


class Selection(NamedTuple):
    """What a page shows: an arm and perhaps one beside it, a filter, a text, an order, and from which entry."""

    arms: tuple[ShownArm, ...]
    show: str = "all"
    start: int = 0
    find: str = ""
    """A text in the question or its id, in any case; empty for every question."""
    sort: str = "file"

    def link(self, row: int | None = None, end: str = "", **changes: object) -> str:
        """The address of a page; `beside` is a number of an arm, or None for no arm beside."""
        beside = self.arms[1].number if self.arms[1:] else None
        query = {
            "show": self.show,
            "find": self.find,
            "sort": self.sort,
            "beside": beside,
            **changes,
        }
        used = {name: str(value) for name, value in query.items() if value is not None}
        used = {
            name: text
            for name, text in used.items()
            if (name, text)
            not in (("show", "all"), ("start", "0"), ("find", ""), ("sort", "file"))
        }
        path = f"/arm/{self.arms[0].number}{'' if row is None else f'/{row}'}{end}"
        return f"{path}?{urlencode(used)}" if used else path


class Pages:
    """The pages over these runs: called with a path and its query, it gives the page.

    Arrays of a few bytes per sample are in memory; texts are read from the runs when a page shows them. The runs are
    shown as they were when they were opened.

    Raises:
        UsageError: a run is given twice, or is no run.
        TraceError: a journal cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._arms = open_arms(paths)

    def __call__(self, address: str) -> tuple[int, str]:
        """The HTTP status and the page of an address; a page that says what is wrong where there is none."""
        try:
            return 200, self._page(address)
        except Exception as error:
            problem = (
                str(error) if isinstance(error, ReasonerError) else described(error)
            )
            status = 404 if isinstance(error, UsageError) else 500
            return status, _render(
                "problem.html.j2", title="This cannot be shown", problem=problem
            )

    def _page(self, address: str) -> str:
        parts = urlsplit(address)
        match = re.fullmatch(
            r"/(?:arm/(?P<arm>\d{1,6})(?:/(?P<row>\d{1,9})(?P<tree>/tree)?)?)?",
            parts.path,
        )
        if match is None:
            raise UsageError("there is no such page")
        if match["arm"] is None:
            return _render(
                "arms.html.j2", title="Runs", arms=self._arms, selection=Selection
            )
        shown = self._selection(int(match["arm"]), dict(parse_qsl(parts.query)))
        filters = self._filters(shown)
        if shown.show not in filters:
            raise UsageError(
                f"show is one of {', '.join(filters)}, not {clipped(shown.show, 20)!r}"
            )
        rows = self._sought(shown, filters[shown.show][1])
        if match["row"] is None:
            return self._questions(shown, rows, filters)
        row = int(match["row"])
        if row >= len(shown.arms[0].data.outcome):
            raise UsageError(
                f"the arm has {counted(len(shown.arms[0].data.outcome), 'question')}"
            )
        return (
            self._tree(shown.arms[0], row)
            if match["tree"]
            else self._question(shown, row, rows)
        )

    def _others(self, arm: ShownArm) -> list[ShownArm]:
        """The arms that can be shown beside one."""
        return [
            other for other in self._arms if other is not arm and other.asks == arm.asks
        ]

    def _greedy(self, arm: ShownArm) -> ShownArm | None:
        """The arm of one greedy sample of the same model and questions."""
        model = arm.run.manifest.model
        thinks = model.thinking is not None
        same = (
            other for other in self._others(arm) if other.run.manifest.model == model
        )
        return next(
            (
                other
                for other in same
                if is_greedy(other.data.arm.strategy, thinks=thinks)
            ),
            None,
        )

    def _filters(self, shown: Selection) -> dict[str, tuple[str, Ints]]:
        """The filters that apply: their meaning, and the questions of each."""
        arm, greedy = shown.arms[0], self._greedy(shown.arms[0])
        held = {
            name: (meaning, holds(arm.data))
            for name, (meaning, holds) in FILTERS.items()
        }
        for name, (meaning, holds_of) in PAIRED.items():
            other = greedy if name == "backfired" else shown.arms[-1]
            if other and other is not arm:
                held[name] = meaning, holds_of(arm.data, other.data)
        return {
            name: (meaning, np.flatnonzero(holds))
            for name, (meaning, holds) in held.items()
        }

    def _sought(self, shown: Selection, rows: Ints) -> Ints:
        """Those of `rows` that hold the text, sorted; equals stay in the order of the file."""
        arm, text = shown.arms[0], shown.find.casefold()
        if text:
            # Read one by one: no text stays in memory.
            items = ((row, arm.item(row)) for row in rows.tolist())
            rows = np.asarray(
                [
                    row
                    for row, item in items
                    if text in f"{item.question_id}\n{item.text}".casefold()
                ],
                int,
            )
        return rows[np.argsort(SORTS[shown.sort][1](arm.data)[rows], kind="stable")]

    def _selection(self, number: int, query: Mapping[str, str]) -> Selection:
        if number >= len(self._arms):
            raise UsageError(f"the runs have {counted(len(self._arms), 'arm')}")
        arms = [self._arms[number]]
        if beside := query.get("beside"):
            others = {str(other.number): other for other in self._others(arms[0])}
            if beside not in others:
                raise UsageError(
                    f"arm {clipped(beside, 20)} does not have the questions of arm {number}"
                )
            arms.append(others[beside])
        start = query.get("start", "0")
        if not (start.isascii() and start.isdigit() and len(start) < 10):
            raise UsageError(f"start is a number, not {clipped(start, 20)!r}")
        sort = query.get("sort", "file")
        if sort not in SORTS:
            raise UsageError(
                f"sort is one of {', '.join(SORTS)}, not {clipped(sort, 20)!r}"
            )
        return Selection(
            tuple(arms),
            query.get("show", "all"),
            int(start),
            # Characters of a text that is searched for
            query.get("find", "")[:200],
            sort,
        )

    def _questions(
        self, shown: Selection, rows: Ints, filters: dict[str, tuple[str, Ints]]
    ) -> str:
        arm = shown.arms[0]
        here = rows[shown.start : shown.start + QUESTIONS].tolist()
        return _render(
            "questions.html.j2",
            title=arm.words,
            shown=shown,
            filters=filters,
            others=self._others(arm),
            entries=[
                (row, arm.item(row), [(each, each.record(row)) for each in shown.arms])
                for row in here
            ],
            count=len(rows),
            step=QUESTIONS,
            sorts=SORTS,
        )

    def _question(self, shown: Selection, row: int, rows: Ints) -> str:
        item = shown.arms[0].item(row)
        listed = np.flatnonzero(rows == row)
        at = int(listed[0]) if len(listed) else len(rows)
        columns = [_column(each, row, shown.start) for each in shown.arms]
        return _render(
            "question.html.j2",
            title=f"{item.task}: question {clipped(item.question_id, 200)}",
            shown=shown,
            row=row,
            item=item,
            columns=columns,
            count=max(column["count"] for column in columns),
            step=SAMPLES,
            before=rows[at - 1 : at].tolist() if at and len(listed) else [],
            after=rows[at + 1 : at + 2].tolist(),
        )

    def _tree(self, arm: ShownArm, row: int) -> str:
        tree, complaints = arm.tree(row)
        source = f"{arm.run.name}:{arm.data.arm.name}"
        return "\n".join(
            page([tree] if tree else [], source=source, note=" ".join(complaints))
        )


def _column(arm: ShownArm, row: int, start: int) -> dict[str, Any]:
    """What a page shows of a question in one arm."""
    tree, complaints = arm.tree(row)
    nodes = tree.nodes[start : start + SAMPLES] if tree else []
    answers = [outline.answer_of(node, tree) for node in nodes] if tree else []
    verdicts = arm.verdicts(row, answers)
    record = arm.record(row)
    return {
        "arm": arm,
        "record": record,
        "differs": record is not None and votes_differ(arm, row, record),
        "tree": tree,
        "complaints": complaints,
        "samples": list(zip(nodes, answers, verdicts, strict=True)),
        "count": len(tree.nodes) if tree else 0,
        "longest": min(MAX_TEXT_LENGTH, MAX_CHARACTERS // max(2 * len(nodes), 1)),
    }


def votes_differ(arm: ShownArm, row: int, record: ItemRecord) -> bool:
    """Whether the right answer has another share of the vote than of the samples."""
    pool = len(record.pool)
    return (
        bool(pool)
        and arm.outcome(row) == "right"
        # Shares that differ by more than this are shown as different numbers
        and abs(record.share - arm.right_samples(row) / pool) > 0.005
    )


def accuracy(arm: ShownArm) -> str:
    """The share of right answers among graded ones, in words; empty before the first."""
    data = arm.data
    graded = int((data.has_result & (data.outcome != UNGRADED)).sum())
    right = int((data.outcome == RIGHT).sum())
    return (
        f"{100 * right / graded:.1f} % right ({right:,} of {graded:,})"
        if graded
        else ""
    )


def why(node: TreeNode) -> str:
    """Why a sample ended, in words."""
    if node.finish is None:
        return node.state
    stopped = "the model ended it" if node.complete else "it reached a stop string"
    return {"stop": stopped, "length": "cut at max_tokens"}.get(
        node.finish, "the engine gave it up"
    )


def _render(template: str, **values: Any) -> str:
    own = Markup((HERE / "view.css").read_text(encoding="utf-8"))  # noqa: S704 ours
    frame = {
        "heading": values["title"],
        "source": "",
        "policy": policy(forms="'self'"),
        "version": version("reasoner-kit"),
    }
    names = {
        "accuracy": accuracy,
        "why": why,
        "outline": outline,
        "filter_names": FILTERS,
    }
    return (
        environment(HERE)
        .get_template(template)
        .render(frame | names | values, style=style() + own)
    )
