"""The search trees of the failures on the page, drawn from the runs' traces."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import to_json

from reasoner.errors import TraceError
from reasoner.trace.events import VERSION, Event, event_adapter
from reasoner.trace.jsonl import read_lines
from reasoner.trace.tree.build import search_trees
from reasoner.trace.tree.page import fragment
from reasoner_evals.report.content import Failure

if TYPE_CHECKING:
    from markupsafe import Markup

    from reasoner.trace.tree.search_tree import SearchTree

MAX_CHARACTERS = 3_000_000
"""Of all search trees in a page; those after it are named, not shown."""


class TreeMarkup(NamedTuple):
    """A search tree as a part of the page, or why it is not there; neither if it may not be shown."""

    markup: "Markup | None"
    why: str


def tree_markups(failures: Sequence[Failure]) -> tuple[TreeMarkup, ...]:
    """The search tree of each failure. A trace is read once, and only the lines of the failures are parsed."""
    ids: dict[Path, set[str]] = {}
    for failure in failures:
        if failure.shareable:
            ids.setdefault(failure.trace, set()).add(failure.record.question_id)
    traces = {file: _read(file, wanted) for file, wanted in ids.items()}
    trees: list[TreeMarkup] = []
    room = MAX_CHARACTERS
    for failure in failures:
        tree = _tree(failure, traces[failure.trace], room) if failure.shareable else TreeMarkup(None, "")
        room -= len(tree.markup or "")
        trees.append(tree)
    return tuple(trees)


def _read(file: Path, ids: set[str]) -> "Mapping[str, SearchTree] | str":
    """The searches of some questions, the last of each; or why they cannot be read."""
    if not file.exists():
        return {}
    marks = [to_json(question_id) for question_id in ids]

    def wanted(line: bytes) -> Event | None:
        # Most lines are of other questions: searching a line is much faster than parsing it.
        if not any(mark in line for mark in marks):
            return None
        event = event_adapter().validate_json(line)
        return event if event.question_id in ids else None

    lines: Iterable[Event | None] = read_lines(file, wanted, file="trace", record="trace event", version=VERSION)
    try:
        return {tree.id: tree for tree in search_trees(event for event in lines if event)}
    except TraceError as error:
        return str(error)


def _tree(failure: Failure, trace: "Mapping[str, SearchTree] | str", room: int) -> TreeMarkup:
    if isinstance(trace, str):
        return TreeMarkup(None, f"Its trace cannot be shown: {trace}.")
    if failure.record.question_id not in trace:
        return TreeMarkup(None, "The run's folder has no trace of it.")
    markup = fragment(trace[failure.record.question_id]) if room > 0 else None
    if markup is None or len(markup) > room:
        command = f"reasoner trace {failure.trace} --question ID"
        return TreeMarkup(None, f"Its trace is too long to be shown here: {command}.")
    return TreeMarkup(markup, "")
