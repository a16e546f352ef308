"""The options that `reasoner eval` and `reasoner calibrate` share. Imports nothing slow: `--help` reads it."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from reasoner.cli.options import SPEC, UNSANDBOXED, VERIFIER, engine_options

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options as they were typed; empty or None where they were left out."""

    tasks: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    verifier: str | None = None
    budgets: str | None = None
    totals: str | None = None
    effort: str | None = None
    seeds: str | None = None
    limit: int | None = None
    subset_seed: int | None = None
    engine: str | None = None
    model: str | None = None
    base_url: str | None = None
    prices: str | None = None
    unsandboxed: bool = False


def run_options(*, strategies: str) -> Callable[[F], F]:
    """The fields of `RunOptions` but --totals and --effort, as options; `strategies` is the default of --strategy."""

    def add(command: F) -> F:
        command = engine_options(command)
        for option in (
            UNSANDBOXED,
            click.option("--subset-seed", type=int, metavar="SEED",
                         help="Shuffle each task by this seed before --limit is applied.  [default: the benchmark's "
                              "order]"),
            click.option("--limit", type=int, metavar="N", help="The first N questions of each task.  [default: all]"),
            click.option("--seeds", metavar="COUNT|SEED,...",
                         help="The number of seeds, as in 3 for 0, 1 and 2, or a list of seeds, as in 4,7.  [default: "
                              "1]"),
            click.option("--budgets", metavar="AMOUNT,...",
                         help="Budgets per question, one run each: 1k,2k are tokens, samples=8 names the unit. For "
                              "strategies that are not run as a pool of samples.  [default: no limit]"),
            VERIFIER,
            click.option("-s", "--strategy", "strategies", multiple=True, metavar=SPEC,
                         help=f"A strategy; repeat the option for several.  [default: {strategies}]"),
        ):  # fmt: skip
            command = option(command)
        return click.argument("tasks", nargs=-1, metavar="TASK[:OPTION=VALUE,...]...")(command)

    return add


def default_folder(prefix: str, task: str) -> Path:
    """The folder of a run that was not given one."""
    from reasoner_evals.runs.arms import file_part

    now = datetime.now().astimezone()
    return Path("runs") / f"{prefix}{now:%Y%m%d-%H%M%S}-{file_part(task.partition(':')[0])}"


def command_line() -> str:
    """The command of this process as it was typed."""
    return shlex.join(["reasoner", *sys.argv[1:]])
