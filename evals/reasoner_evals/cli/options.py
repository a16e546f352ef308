"""The options that `reasoner eval` and `reasoner tune` share. Imports nothing slow: `--help` reads it."""

import shlex
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import click

from reasoner.cli.options import (
    COLUMNS,
    PRICES,
    SPEC,
    UNSANDBOXED,
    VERIFIER,
    F,
    budget_option,
    engine_options,
    option,
    sampling_options,
    thinking_option,
    together,
    total_option,
)


def run_options(*, strategies: str) -> Callable[[F], F]:
    """The options of both commands, as fields of `RunOptions`; `strategies` is the default of --strategy."""
    return together(
        click.argument("tasks", nargs=-1, metavar="TASK[:OPTION=VALUE,...]|FILE..."),
        option(
            "-s",
            "--strategy",
            "strategies",
            multiple=True,
            metavar=SPEC,
            section="Strategy",
            help=f"Strategy; repeat the option for several.  [default: {strategies}]",
        ),
        sampling_options,
        thinking_option(several=True),
        VERIFIER,
        budget_option("each question", several=True),
        total_option(several=True),
        option(
            "--seeds",
            metavar="COUNT|SEED,...",
            section="Strategy",
            help="Number of seeds, as in 3 for 0, 1 and 2, or a list of seeds, as in 4,7.  [default: 1]",
        ),
        UNSANDBOXED,
        option(
            "--limit",
            type=int,
            metavar="N",
            section="Data",
            help="Number of questions of each task, from the first.  [default: all]",
        ),
        option(
            "--subset-seed",
            type=int,
            metavar="SEED",
            section="Data",
            help="Seed that shuffles each task before --limit.  [default: the benchmark's order]",
        ),
        COLUMNS,
        engine_options,
        PRICES,
    )


def default_folder(prefix: str, task: str, shard: str | None = None) -> Path:
    """The folder of a run that was not given one; shards that start together have one each."""
    from reasoner_evals.runs.arms import file_part

    now = datetime.now().astimezone()
    part = "" if shard is None else f"-{file_part(shard.replace('/', 'of'))}"
    name = Path(task.partition(":")[0]).name
    return Path("runs") / f"{prefix}{now:%Y%m%d-%H%M%S}-{file_part(name)}{part}"


def command_line() -> str:
    """The command of this process as it was typed."""
    return shlex.join(["reasoner", *sys.argv[1:]])
