"""`reasoner trace`: how an answer was searched for."""

from contextlib import suppress
from pathlib import Path

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.options import PATH
from reasoner.errors import UsageError


@click.command("trace")
@click.argument("file", type=PATH)
@click.option("--question", metavar="ID",
              help="The id of the question to show.  [default: all questions]")  # fmt: skip
@click.option("--html", type=PATH, metavar="OUT",
              help="Also draw the trees in this HTML file, which is replaced if it exists.")  # fmt: skip
@guarded
def command(file: Path, question: str | None, html: Path | None) -> int:
    """Show how an answer was searched for, from a trace.

    FILE is what `reasoner solve --trace FILE` wrote, or a trace in a run's folder. For one question: the tree of
    sampled sequences with their scores, states and costs, and the path to the answer. For several questions: one line
    each; choose one with --question.
    """
    from reasoner.cli import trace_view

    with suppress(OSError):
        if html is not None and html.samefile(file):
            raise UsageError(f"--html {html} is the trace itself: name another file")
    trace_view.show(file, question, html)
    return ANSWERED
