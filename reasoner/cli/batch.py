"""`reasoner batch`: answer the questions of a file, with a file of answers that an interrupted run continues."""

from pathlib import Path
from typing import Any

import click

from reasoner.cli import options
from reasoner.cli.commands import Command
from reasoner.cli.options import option
from reasoner.cli.terminal import Terminal, guarded
from reasoner.errors import UsageError


@click.command("batch", cls=Command, heading="Answer")
@click.argument("questions", type=options.PATH)
@option(
    "-o",
    "--out",
    type=options.PATH,
    default=options.STANDARD,
    metavar="FILE",
    help="Answers: .jsonl (written as they come), .csv or .parquet (written at the end); - is standard "
    "output.  [default: -]",
)
@option("--overwrite", is_flag=True, help="Discard existing answers and begin again.")
@options.COLUMNS
@option(
    "-a",
    "--answer",
    metavar="KIND",
    section="Question",
    help="Kind of the answers. `reasoner list answers` shows all.  [default: auto]",
)
@options.SYSTEM
@option(
    "-s",
    "--strategy",
    metavar=options.SPEC,
    section="Strategy",
    help="Strategy for every question. `reasoner list strategies` shows all.  [default: self_consistency]",
)
@options.SAMPLES
@options.sampling_options
@options.thinking_option()
@options.budget_option("each question")
@options.total_option()
@options.VERIFIER
@options.UNSANDBOXED
@options.SETTINGS
@options.engine_options
@options.PRICES
@options.SEED
@option(
    "--concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    section="Model",
    help="Maximum number of open questions. A full engine lowers it.  [default: 1,024]",
)
@options.QUIET
@guarded
def command(
    questions: Path,
    out: Path,
    overwrite: bool,
    concurrency: int | None,
    settings: Path | None,
    **typed: Any,
) -> int:
    """Answer the questions of a file, or - for standard input.

    The file is JSON lines, CSV or parquet; .gz is unpacked. Each answer is written when it comes, with its confidence
    and cost, beside the columns of the question. The same command continues an interrupted batch: nothing is answered
    twice, and one budget, which may be raised, holds for all sessions.

    Exit codes: 0 all rows are done; 1 some rows cannot be asked, or output could not be written; 2 usage; 3 the budget
    left questions without an answer; 4 engine failure or questions that ended in an error; 130 interrupted.
    """
    from reasoner.cli.batch_run import BatchRun
    from reasoner.cli.given import GivenOptions, budget_of, read_prices, settled
    from reasoner.cli.progress import BatchProgress
    from reasoner.execution.session import CONCURRENCY

    settled_options = settled(settings, typed)
    total = budget_of(settled_options.pop("total"))
    given = GivenOptions(**settled_options)
    if overwrite and out == options.STANDARD:
        raise UsageError("--overwrite has no effect without --out FILE: omit it")
    budget = budget_of(given.budget)
    prices = read_prices(given.prices, [total, budget])
    return BatchRun(
        engine=given.to_engine(),
        display=BatchProgress(Terminal(), total, prices, quiet=given.quiet),
        questions=questions,
        answers=out,
        overwrite=overwrite,
        given=given,
        budget=budget,
        total=total,
        prices=prices,
        concurrency=concurrency or CONCURRENCY,
    ).run()
