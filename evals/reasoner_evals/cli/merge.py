"""`reasoner merge`: the shards of a run as one run."""

import sys
from pathlib import Path

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.options import PATH


@click.command("merge")
@click.argument("runs", nargs=-1, type=PATH, metavar="RUN...")
@click.option("-o", "--out", type=PATH, required=True, metavar="DIR", help="The folder of the whole run, new or empty.")
@guarded
def command(runs: tuple[Path, ...], out: Path) -> int:
    """Make one run of the shards RUNs.

    RUNs are the folders of all shards that `reasoner eval --shard I/N` wrote, in any order, finished and with the same
    settings. Needs no model, and changes no shard. The whole run is like one that a single process made: it can be
    reported, compared, exported, graded and resumed. Prints its folder, which is complete or not there at all.
    """
    from reasoner.cli.terminal import Terminal
    from reasoner_evals.runs.merge import merge

    merged = merge(runs, out)
    terminal = Terminal(sys.stdout, sys.stderr)
    terminal.give(str(out))
    terminal.say(f"{merged.shards:,} shards, {merged.questions:,} questions; report: reasoner report {out}")
    if merged.errors:
        terminal.say(f"{merged.errors:,} results are errors: try these again with: reasoner eval --resume {out}")
    return ANSWERED
