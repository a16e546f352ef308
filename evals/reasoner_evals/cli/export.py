"""`reasoner export`: a run as one flat table, for other tools."""

import sys
from pathlib import Path

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.options import PATH


@click.command("export")
@click.argument("run", type=PATH, metavar="RUN")
@click.option("--out", type=PATH, required=True, metavar="FILE",
              help="The table, as Parquet or CSV: its name ends in .parquet or .csv.")  # fmt: skip
@guarded
def command(run: Path, out: Path) -> int:
    """Write RUN as one table.

    RUN is a folder that `reasoner eval` wrote. The table has a row for each reply to each question, and one for its
    final answer. Answers to questions that may not be published are left empty.
    """
    from reasoner.cli.terminal import Terminal
    from reasoner_evals.runs.export import export

    rows = export(run, out)
    Terminal(sys.stdout, sys.stderr).say(f"{rows:,} rows in {out}")
    return ANSWERED
