"""`reasoner export`: a run as one flat table, for other tools."""

import sys
from pathlib import Path

import click

from reasoner.cli.exits import ANSWERED, guarded


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="The table: .parquet or .csv, by its name.")  # fmt: skip
@guarded
def command(run: Path, out: Path) -> int:
    """Write RUN as one table: a row for each reply of each question, and one for its final answer.

    RUN is a folder that `reasoner eval` wrote. Answers to questions that may not be shown are left empty.
    """
    from reasoner.cli.terminal import Terminal
    from reasoner_evals.runs.export import export

    rows = export(run, out)
    Terminal(sys.stdout, sys.stderr).say(f"{rows:,} rows in {out}")
    return ANSWERED
