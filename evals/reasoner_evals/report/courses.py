"""How the failures of the gallery were searched for, drawn from the runs' traces."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import to_json

from reasoner.errors import TraceError
from reasoner.lines import read_lines
from reasoner.trace import VERSION, Event, event_adapter
from reasoner.tree.build import courses
from reasoner.tree.page import fragment
from reasoner_evals.report.diagnoses import Case
from reasoner_evals.runs.folder import RunFolder

if TYPE_CHECKING:
    from markupsafe import Markup

    from reasoner.tree.course import Course

MOST_CHARACTERS = 3_000_000
"""Of all traces in a page; those after it are named, not shown."""


class Trace(NamedTuple):
    """A course as a piece of the page, or why it is not there; neither where it may not be shown."""

    course: "Markup | None"
    why: str


def traces(cases: Sequence[Case]) -> tuple[Trace, ...]:
    """The trace of each case. A trace file is read once, and of its lines only those of the cases are parsed."""
    wanted: dict[Path, set[str]] = {}
    for case in cases:
        if case.shareable:
            wanted.setdefault(_file(case), set()).add(case.question_id)
    found = {file: _read(file, ids) for file, ids in wanted.items()}
    shown: list[Trace] = []
    room = MOST_CHARACTERS
    for case in cases:
        trace = _trace(case, found.get(_file(case), {}), room) if case.shareable else Trace(None, "")
        room -= len(trace.course or "")
        shown.append(trace)
    return tuple(shown)


def _file(case: Case) -> Path:
    return RunFolder(Path(case.run)).arm(case.arm).trace


def _read(file: Path, ids: set[str]) -> "Mapping[str, Course] | str":
    """The courses of some questions, the last of each; or why they cannot be read."""
    if not file.exists():
        return {}
    marks = [to_json(one) for one in ids]

    def wanted(line: bytes) -> Event | None:
        # Most lines are of other questions: to search them is much quicker than to parse them.
        if not any(mark in line for mark in marks):
            return None
        event = event_adapter().validate_json(line)
        return event if event.question_id in ids else None

    lines: Iterable[Event | None] = read_lines(file, wanted, file="trace", record="trace event", version=VERSION)
    try:
        return {course.id: course for course in courses(event for event in lines if event)}
    except TraceError as error:
        return str(error)


def _trace(case: Case, found: "Mapping[str, Course] | str", room: int) -> Trace:
    if isinstance(found, str):
        return Trace(None, f"Its trace cannot be shown: {found}.")
    if case.question_id not in found:
        return Trace(None, "The run's folder holds no trace of it.")
    piece = fragment(found[case.question_id]) if room > 0 else None
    if piece is None or len(piece) > room:
        return Trace(None, f"Its trace is too long to be shown here: reasoner trace {_file(case)} --question ID.")
    return Trace(piece, "")
