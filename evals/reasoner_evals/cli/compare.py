"""`reasoner compare`: the paired verdict on two runs, or on two arms."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reasoner.cli.exits import ANSWERED, guarded

if TYPE_CHECKING:
    from reasoner_evals.report.data.comparisons import PairedResult


@click.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--task", default="", metavar="TASK", help="Only this task.")
@click.option("--json", "as_json", is_flag=True, help="Give the result as JSON.")
@guarded
def command(first: str, second: str, task: str, *, as_json: bool) -> int:
    """Set A against B, question by question: two runs, or two arms as RUN:ARM.

    A and B are folders that `reasoner eval` wrote. Two runs are compared arm by arm, where both have the same strategy,
    verifier, budget and seed. Refuses questions that are not the same.
    """
    import dataclasses
    import json

    from reasoner.cli.terminal import Terminal, clean
    from reasoner_evals.report.data.comparisons import compare_runs

    terminal = Terminal(sys.stdout, sys.stderr)
    found = compare_runs(_side(first), _side(second), task=task)
    if as_json:
        terminal.give(json.dumps([dataclasses.asdict(one) for one in found]))
        return ANSWERED
    for one in found:
        for line in _lines(one):
            terminal.give(clean(line))
    return ANSWERED


def _side(given: str) -> tuple[Path, str]:
    """A run's folder, and the arm where one is named: the part behind the last colon, unless that is a path as well."""
    if Path(given).exists():
        return Path(given), ""
    run, _, arm = given.rpartition(":")
    return (Path(run), arm) if run else (Path(given), "")


def _lines(one: "PairedResult") -> list[str]:
    from reasoner_evals.report.narrative import percent, signed_points

    missing = f", {one.missing:,} more lack a value in one" if one.missing else ""
    lines = [
        f"{one.task}: {one.questions:,} questions{missing}",
        f"  A  {one.first}: {percent(one.first_accuracy)}",
        f"  B  {one.second}: {percent(one.second_accuracy)}",
        f"  A - B       {signed_points(one.difference)}",
        f"  p           {one.p:.3g} ({one.test})"
        + (f", {one.p_holm:.3g} after Holm's adjustment over {one.family}" if one.family > 1 else ""),
        f"  ahead       A on {one.better:,} questions, B on {one.worse:,}",
    ]
    if one.detectable is not None:
        verdict = "resolvable" if one.resolvable else "not resolvable"
        lines.append(f"  detectable  {100 * one.detectable:.1f} points: {verdict}")
    if one.cost_ratio is not None:
        low, high = one.cost_ratio.low, one.cost_ratio.high
        bounds = "" if low is None or high is None else f" ({low:.3g} to {high:.3g})"
        lines.append(f"  tokens      A costs {one.cost_ratio.value:.3g}{bounds} times what B does")
    return lines
