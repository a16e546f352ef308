"""`reasoner compare`: the paired comparison of two runs, or of two arms."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.options import json_option

if TYPE_CHECKING:
    from reasoner_evals.report.comparisons import PairedResult


@click.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--task", default="", metavar="TASK", help="Compare this task only.  [default: all tasks]")
@json_option("the result")
@guarded
def command(first: str, second: str, task: str, *, as_json: bool) -> int:
    """Compare two runs, or two arms, question by question.

    A and B are runs, or arms written as RUN:ARM. A run is a folder that `reasoner eval` wrote. Two runs are compared
    arm by arm: those with the same strategy, verifier, budget and seed. Both must have the same questions.
    """
    import dataclasses
    import json

    from reasoner.cli.terminal import Terminal, columns, labelled
    from reasoner_evals.report.comparisons import compare_runs

    terminal = Terminal(sys.stdout, sys.stderr)
    results = compare_runs(_side(first), _side(second), task=task)
    if as_json:
        terminal.give(json.dumps([dataclasses.asdict(result) for result in results]))
        return ANSWERED
    for result in results:
        terminal.show(_heading(result), labelled(_rows(result)), width=columns())
    return ANSWERED


def _side(name: str) -> tuple[Path, str]:
    """A run's folder, and the arm after the last colon, unless the whole is a path."""
    if Path(name).exists():
        return Path(name), ""
    run, _, arm = name.rpartition(":")
    return (Path(run), arm) if run else (Path(name), "")


def _heading(result: "PairedResult") -> str:
    missing = f", {result.missing:,} more lack a result in A or B" if result.missing else ""
    return f"{result.task}: {result.questions:,} questions{missing}"


def _rows(result: "PairedResult") -> Iterator[tuple[str, str]]:
    from reasoner_evals.report.narrative import percent, signed_points

    holm = f", {result.p_holm:.3g} after Holm's adjustment over {result.family}" if result.family > 1 else ""
    yield "  A", f"{result.first}, {result.first_model}: {percent(result.first_accuracy)}"
    yield "  B", f"{result.second}, {result.second_model}: {percent(result.second_accuracy)}"
    yield "  A - B", signed_points(result.difference)
    yield "  p", f"{result.p:.3g} ({result.test}){holm}"
    yield "  better", f"A on {result.better:,} questions, B on {result.worse:,}"
    if result.detectable:
        verdict = "the difference is at least that" if result.resolvable else "the difference is smaller"
        yield "  detectable", f"{100 * result.detectable:.1f} points: {verdict}"
    if result.cost_ratio is not None:
        low, high = result.cost_ratio.low, result.cost_ratio.high
        bounds = "" if low is None or high is None else f" ({low:.3g} to {high:.3g})"
        yield "  tokens", f"A costs {result.cost_ratio.value:.3g}{bounds} times as much as B"
