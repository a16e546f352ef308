"""`reasoner trace`: how an answer was searched for."""

import json
import shutil
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from reasoner.cli.exits import ANSWERED, guarded

if TYPE_CHECKING:
    from reasoner.cli.drawing import Line
    from reasoner.cli.terminal import Terminal
    from reasoner.trace import Event
    from reasoner.tree.course import Course

WIDEST = 140
"""Columns that are used at most: longer lines are hard to read."""
PIPED = 100
"""Columns that are taken where nothing says how many there are."""
MOST_NAMED = 5
"""Questions that an error names."""


@click.command("trace")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--question", metavar="ID",
              help="The question to show, where the trace holds several; the first "
              "characters of its id are enough.")  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path), metavar="OUT", help="Write a page with the tree as well.")
@click.option("--json", "as_json", is_flag=True, help="Give JSON, one question a line.")
@guarded
def command(file: Path, question: str | None, html: Path | None, *, as_json: bool) -> int:
    """Show how an answer was searched for, from a trace that `solve --trace FILE` wrote.

    Of one question: the tree of what was drawn, with scores, what was pruned, what it cost, and the path to the answer.
    Of several: a line each; choose one with --question. The page given by --html holds the trees of all that are shown.
    """
    from reasoner.cli.terminal import OutputLost, Terminal
    from reasoner.errors import TraceError, UsageError
    from reasoner.trace import read_trace
    from reasoner.tree.build import courses

    if html is not None and _same(file, html):
        raise UsageError(f"--html {html} is the trace itself: name another file")
    terminal = Terminal(sys.stdout, sys.stderr)
    found = courses(read_trace(file) if question is None else _events_of(_id_of(question, file), file))
    if question is not None:
        # It is one question: where it was asked again, the last time counts.
        found = iter(deque(found, maxlen=1))
    lost: OutputLost | None = None
    with ExitStack() as stack:
        if html is not None:
            from reasoner.tree.page import writing_page

            found = stack.enter_context(writing_page(html, source=file.name)).passing(found)
        first = next(found, None)
        if first is None:
            raise TraceError(f"the trace {file} holds no question: it is empty")
        try:
            _give(terminal, first, found, as_json=as_json)
        except OutputLost as error:
            lost = error
            if html is not None:
                # The page is written in full, whoever reads standard output.
                deque(found, maxlen=0)
    if html is not None:
        terminal.say(f"wrote {html}")
    if lost:
        raise lost
    return ANSWERED


def _give(terminal: "Terminal", first: "Course", rest: "Iterator[Course]", *, as_json: bool) -> None:
    """One course whole, several as a line each."""
    from reasoner.cli.drawing import drawing, table, table_head
    from reasoner.tree.document import document, row

    columns = min(shutil.get_terminal_size((PIPED, 24)).columns, WIDEST)
    second = next(rest, None)
    if second is None:
        if as_json:
            terminal.give(json.dumps(document(first)))
        else:
            for line in _painted(drawing(first, columns), terminal.out):
                terminal.give(line)
        return
    if not as_json:
        terminal.give(table_head(columns))
    for course in chain((first, second), rest):
        for line in [json.dumps(row(course))] if as_json else table(course, columns):
            terminal.give(line)
    if not as_json:
        terminal.say("choose one with --question ID")


def _id_of(given: str, file: Path) -> str:
    """The id of the one question that is named, in full or by the first characters of its id.

    Raises:
        UnknownName: there is none.
        UsageError: there are several.
    """
    from pydantic import BaseModel

    from reasoner.errors import UnknownName, UsageError
    from reasoner.lines import read_lines
    from reasoner.trace import VERSION

    class Named(BaseModel):
        question_id: str

    lines = read_lines(file, Named.model_validate_json, file="trace", record="trace event", version=VERSION)
    ids = dict.fromkeys(line.question_id for line in lines)
    matching = [given] if given in ids else [one for one in ids if one.startswith(given)]
    if not matching and ids:
        raise UnknownName("question", given, ids, of="the trace")
    if len(matching) > 1:
        named = ", ".join(matching[:MOST_NAMED]) + (", ..." if len(matching) > MOST_NAMED else "")
        raise UsageError(f"--question {given} fits {len(matching):,} questions: {named}; give more of the id")
    return matching[0] if matching else given


def _events_of(question: str, file: Path) -> "Iterator[Event]":
    from reasoner.trace import read_trace

    return (event for event in read_trace(file) if event.question_id == question)


def _same(file: Path, html: Path) -> bool:
    try:
        return html.samefile(file)
    except OSError:
        return False


def _painted(lines: "Iterable[Line]", out: TextIO) -> Iterator[str]:
    """The lines, with their styles where a terminal shows any."""
    from rich.console import Console
    from rich.text import Text

    from reasoner.cli.drawing import STYLES

    console = Console(file=out, highlight=False, markup=False, emoji=False)
    if not (console.is_terminal and console.color_system) or console.no_color:
        yield from (line.text for line in lines)
        return
    for line in lines:
        with console.capture() as captured:
            console.print(Text(line.text, style=STYLES[line.style]), soft_wrap=True, end="")
        yield captured.get()
