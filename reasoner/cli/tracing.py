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


@click.command("trace")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--question", metavar="ID", help="The question to show, where the trace holds several.")
@click.option("--html", type=click.Path(path_type=Path), metavar="OUT", help="Write a page with the tree as well.")
@click.option("--json", "as_json", is_flag=True, help="Give JSON, one question a line.")
@guarded
def command(file: Path, question: str | None, html: Path | None, *, as_json: bool) -> int:
    """Show how an answer was searched for, from a trace that `solve --trace FILE` wrote.

    Of one question: the tree of what was drawn, with scores, what was pruned, what it cost, and the path to the answer.
    Of several: a line each; choose one with --question. The page given by --html holds the trees of all that are shown.
    """
    from reasoner.cli.terminal import Terminal
    from reasoner.errors import TraceError, UsageError
    from reasoner.trace import read_trace
    from reasoner.tree.build import courses

    if html is not None and _same(file, html):
        raise UsageError(f"--html {html} is the trace itself: name another file")
    terminal = Terminal(sys.stdout, sys.stderr)
    events = read_trace(file) if question is None else _of(question, read_trace(file))
    found = courses(events)
    with ExitStack() as stack:
        if html is not None:
            from reasoner.tree.page import writing_page

            found = stack.enter_context(writing_page(html, source=file.name)).passing(found)
        if question is not None:
            # It is one question: where it was asked anew, the last time counts.
            found = iter(deque(found, maxlen=1))
        first = next(found, None)
        if first is None:
            raise TraceError(f"the trace {file} holds no question: it is empty")
        _give(terminal, first, found, as_json=as_json)
    if html is not None:
        terminal.say(f"wrote {html}")
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
        terminal.give(json.dumps(row(course)) if as_json else table(course, columns))
    if not as_json:
        terminal.say("choose one with --question ID")


def _of(question: str, events: "Iterable[Event]") -> "Iterator[Event]":
    """The events of one question.

    Raises:
        UnknownName: there are none.
    """
    from reasoner.errors import UnknownName

    others: set[str] = set()
    found = False
    for event in events:
        if event.question_id == question:
            found = True
            yield event
        else:
            others.add(event.question_id)
    if not found and others:
        raise UnknownName("question", question, others, of="the trace")


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
