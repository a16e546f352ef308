"""The pages over runs: the arms, the questions of one or two arms, the samples of a question, its tree."""

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
from markupsafe import Markup

from reasoner.errors import ReasonerError, UsageError
from reasoner.system.foreign import described
from reasoner.system.printing import clipped, counted
from reasoner.trace import outline
from reasoner.trace.page import (
    MAX_CHARACTERS,
    MAX_TEXT_LENGTH,
    environment,
    page,
    policy,
    style,
)
from reasoner.trace.view import TreeNode
from reasoner_evals.runs.naming import is_greedy
from reasoner_evals.runs.reading import RIGHT, UNGRADED, ArmData
from reasoner_evals.runs.records import ItemRecord
from reasoner_evals.stats import Floats, Ints
from reasoner_evals.view.arms import FILTERS, PAIRED, ShownArm, open_arms

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
_PATH: Final = re.compile(
    r"/(?:arm/(?P<arm>\d{1,6})(?:/(?P<row>\d{1,9})(?P<tree>/tree)?)?)?"
)


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
        match = _PATH.fullmatch(parts.path)
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
