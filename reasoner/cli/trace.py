"""`reasoner trace`: how an answer was searched for."""

from contextlib import suppress
from pathlib import Path

import click

from reasoner.cli.commands import Command
from reasoner.cli.options import PATH
from reasoner.cli.terminal import ANSWERED, guarded
from reasoner.errors import UsageError


@click.command("trace", cls=Command, heading="Look")
@click.argument("file", type=PATH)
@click.option(
    "--question",
    metavar="ID",
    help="Id of the question to show.  [default: all questions]",
)
@click.option(
    "-o",
    "--out",
    type=PATH,
    metavar="FILE.html",
    help="HTML page of the trees to write, replaced if it exists.",
)
@guarded
def command(file: Path, question: str | None, out: Path | None) -> int:
    """Show how an answer came about, from a trace.

    FILE is a trace that `reasoner solve --trace FILE` wrote, or one in a run's folder. One question is shown as a tree:
    samples, scores, states, costs, and the path to the answer. Several questions are listed, one line each; --question
    shows one of them.
    """
    from reasoner.cli import trace_view

    with suppress(OSError):
        if out is not None and out.samefile(file):
            raise UsageError(f"--out {out} is the trace itself: name another file")
    trace_view.show(file, question, out)
    return ANSWERED
