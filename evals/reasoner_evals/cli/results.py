"""The commands that read the folders of runs and need no model: report, view, compare, and runs with its two."""

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

import click

from reasoner.cli.commands import Command, Group
from reasoner.cli.options import PATH, UNSANDBOXED, json_option, option
from reasoner.cli.terminal import ANSWERED, Terminal, columns, guarded, labelled
from reasoner.errors import UsageError
from reasoner.system.printing import counted


@click.group("runs", cls=Group, heading="Measure")
def group() -> None:
    """Grade a run again, or export it."""


@click.command("compare", cls=Command, heading="Measure")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@json_option("the result")
@guarded
def compare(first: str, second: str, *, as_json: bool) -> int:
    """Compare two runs, or two arms, question by question.

    A and B are folders of runs, or arms written as RUN:ARM. Two runs are compared arm by arm, where strategy, verifier,
    budget and seed match. Both must have the same questions.
    """
    from reasoner_evals.report.comparisons import compare_runs
    from reasoner_evals.report.terminal import compared_rows

    terminal = Terminal()
    results = compare_runs(_side(first), _side(second))
    if as_json:
        terminal.give(json.dumps([result.document for result in results]))
        return ANSWERED
    for result in results:
        missing = (
            f", {result.missing:,} more without a result in A or B"
            if result.missing
            else ""
        )
        heading = (
            f"{result.task}: {counted(result.delta.questions, 'question')}{missing}"
        )
        terminal.show(heading, labelled(compared_rows(result)), width=columns())
    return ANSWERED


def _side(name: str) -> tuple[Path, str]:
    """A run's folder, and the arm after the last colon, unless the whole is a path."""
    if Path(name).exists():
        return Path(name), ""
    run, _, arm = name.rpartition(":")
    return (Path(run), arm) if run else (Path(name), "")


@group.command("export")
@click.argument("run", type=PATH, metavar="RUN")
@click.option(
    "-o",
    "--out",
    type=PATH,
    required=True,
    metavar="FILE",
    help="Table to write; its name ends in .parquet or .csv.",
)
@guarded
def export(run: Path, out: Path) -> int:
    """Write RUN as one table.

    RUN is a folder that `reasoner eval` wrote. The table has one row per reply and one per final answer. Answers that
    may not be published are empty.
    """
    from reasoner_evals.runs import export as exporting

    Terminal().say(f"{counted(exporting.export(run, out), 'row')} in {out}")
    return ANSWERED


@group.command("grade")
@click.argument("run", type=PATH)
@UNSANDBOXED
@json_option("the changes")
@guarded
def grade(run: Path, *, unsandboxed: bool, as_json: bool) -> int:
    """Grade all answers of RUN again, and count the changes.

    RUN is a folder that `reasoner eval` wrote. Needs no model, but the questions must be unchanged.
    """
    from reasoner.cli import interrupts
    from reasoner_evals.cli.setup import unchanged_tasks
    from reasoner_evals.runs.manifest import read_manifest
    from reasoner_evals.runs.records import RunFolder
    from reasoner_evals.runs.verdicts import grade_again

    folder = RunFolder(run)
    manifest = read_manifest(folder)
    with folder.writing():
        tasks = unchanged_tasks(manifest, unsandboxed=unsandboxed)
        graded, changes = interrupts.run(lambda: grade_again(folder, manifest, tasks))
    terminal = Terminal()
    if as_json:
        terminal.give(
            json.dumps(
                {"graded": graded, "changed": [change._asdict() for change in changes]}
            )
        )
    else:
        terminal.give(
            f"{counted(graded, 'answer')} graded, {counted(len(changes), 'grade')} changed"
        )
        for (before, after), count in Counter(
            (change.before, change.after) for change in changes
        ).most_common():
            terminal.give(f"{before or 'no grade'} -> {after}: {count:,}")
    return ANSWERED


@click.command("report", cls=Command, heading="Look")
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option(
    "-o",
    "--out",
    type=PATH,
    metavar="DIR",
    help="Folder of the report.  [default: RUN, if there is only one]",
)
@click.option(
    "--title", metavar="TEXT", help="Title of the page.  [default: the tasks]"
)
@click.option(
    "--hide-questions",
    is_flag=True,
    help="Leave out the texts of questions and answers, for a page to publish.",
)
@guarded
def report(
    runs: tuple[Path, ...], out: Path | None, title: str | None, *, hide_questions: bool
) -> int:
    """Report what RUNs measured: a table, a page and figures.

    RUNs are folders that `reasoner eval` wrote, or folders with all shards of a run. Needs no model. Prints the results
    as a table, and in the last line the page's path. The page, report.html, has no scripts and no external resources.
    Beside it are results.csv, results.md, and each figure as SVG and PNG. Several runs may share a task if its
    questions are the same.
    """
    from dataclasses import replace

    from reasoner_evals.report.build import make_report, write_report
    from reasoner_evals.report.terminal import result_lines

    if out is None and len(runs) > 1:
        raise UsageError(
            f"{len(runs)} runs are given: name the report's folder with --out DIR"
        )
    page = (out or runs[0]) / "report.html"
    report = make_report(runs, hide_questions=hide_questions)
    if title is not None:
        report = replace(report, title=title)
    write_report(report, page)
    terminal = Terminal()
    for line in report.unfinished:
        terminal.say(f"unfinished: {line}")
    for task in report.tasks:
        for line in result_lines(task, columns()):
            terminal.give(line)
        terminal.give("")
    terminal.give(str(page))
    return ANSWERED


@click.command("view", cls=Command, heading="Look")
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    metavar="N",
    help="Port of the page.  [default: any free one]",
)
@guarded
def view(runs: tuple[Path, ...], port: int) -> int:
    """Look at each question and sample of RUNs in a browser.

    RUNs are folders that `reasoner eval` wrote. Prints the page's address and serves the page to this machine until
    Ctrl-C. Each arm lists its questions by result; each question shows its samples, with their thinking, and its tree.
    Two arms with the same questions are shown side by side.
    """
    from reasoner.cli.interrupts import Interrupted
    from reasoner_evals.view.pages import Pages
    from reasoner_evals.view.server import HOST, PageServer

    with PageServer(Pages(runs), port) as server:
        terminal = Terminal()
        terminal.give(f"http://{HOST}:{server.server_port}/")
        terminal.say("Ctrl-C ends it")
        with suppress(Interrupted):
            server.serve_forever()
    return ANSWERED
