"""`reasoner report`: what runs say, as a page that needs nothing else, with its figures and tables beside it."""

import sys
from pathlib import Path

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.errors import UsageError

PAGE = "report.html"


@click.command("report")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
              help="Where everything goes.  [default: RUN, if it is one]")  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE",
              help="The page's own place and name; the rest goes beside it.")  # fmt: skip
@click.option("--title", metavar="TEXT", help="What stands above.  [default: the tasks]")
@guarded
def command(runs: tuple[Path, ...], out: Path | None, html: Path | None, title: str | None) -> int:
    """Report what RUNs measured, from the folders that `reasoner eval` wrote; no model is needed.

    Writes report.html, one page that needs no network and no script, and beside it results.csv, results.md,
    questions.csv with a row for each question, and figures/ with each figure as SVG and PNG. Gives the page's path.
    Several runs are reported together: they have to ask the same questions of a task that they share.
    """
    from dataclasses import replace

    from reasoner.cli.terminal import Terminal
    from reasoner_evals.report.build import make_report, write_report

    place = _place(runs, out, html)
    report = make_report(runs)
    if title is not None:
        report = replace(report, title=title)
    write_report(report, place)
    Terminal(sys.stdout, sys.stderr).give(str(place))
    return ANSWERED


def _place(runs: tuple[Path, ...], out: Path | None, html: Path | None) -> Path:
    """Where the page goes."""
    if not runs:
        raise UsageError("no run is given: name the folder of one or more, as `reasoner eval` wrote it")
    if out is not None and html is not None:
        raise UsageError(f"--out {out} and --html {html} both say where the page goes: give one")
    if html is not None:
        return html
    if out is None and len(runs) > 1:
        raise UsageError(f"{len(runs)} runs are given: say where their report goes, with --out DIR or --html FILE")
    return (out or runs[0]) / PAGE
