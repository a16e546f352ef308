"""`reasoner report`: the results of runs as a self-contained page, with its figures and tables beside it."""

import sys
from pathlib import Path

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.options import PATH
from reasoner.errors import UsageError


@click.command("report")
@click.argument("runs", nargs=-1, type=PATH, metavar="RUN...")
@click.option("--out", type=PATH, metavar="DIR",
              help="The folder for the report.  [default: RUN, if there is only one]")  # fmt: skip
@click.option("--html", type=PATH, metavar="FILE",
              help="The page's file, instead of DIR/report.html; all other files are written beside it.")  # fmt: skip
@click.option("--title", metavar="TEXT", help="The title of the page.  [default: the tasks]")
@guarded
def command(runs: tuple[Path, ...], out: Path | None, html: Path | None, title: str | None) -> int:
    """Report what RUNs measured, as a page and tables.

    RUNs are folders that `reasoner eval` wrote. Needs no model. Writes report.html, one page without scripts or
    external resources, and beside it results.csv, results.md, questions.csv with one row per question, and figures/
    with each figure as SVG and PNG. Prints the page's path. Several runs are reported together if they have the same
    questions for each task that they share.
    """
    from dataclasses import replace

    from reasoner.cli.terminal import Terminal
    from reasoner_evals.report.build import make_report, write_report

    page = _page(runs, out, html)
    report = make_report(runs)
    if title is not None:
        report = replace(report, title=title)
    write_report(report, page)
    Terminal(sys.stdout, sys.stderr).give(str(page))
    return ANSWERED


def _page(runs: tuple[Path, ...], out: Path | None, html: Path | None) -> Path:
    if not runs:
        raise UsageError("no run is given: name one or more folders that `reasoner eval` wrote")
    if out is not None and html is not None:
        raise UsageError(f"--out {out} and --html {html} both name the page's folder: give one")
    if html is not None:
        return html
    if out is None and len(runs) > 1:
        raise UsageError(f"{len(runs)} runs are given: name the report's folder with --out DIR or --html FILE")
    return (out or runs[0]) / "report.html"
