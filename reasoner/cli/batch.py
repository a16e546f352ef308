"""`reasoner batch`: answer the questions of a file, with a file of answers that an interrupted run continues."""

from pathlib import Path
from typing import Any

import click

from reasoner.cli import options
from reasoner.cli.exits import guarded
from reasoner.cli.look import Command, option
from reasoner.cli.settings import SETTINGS, settled
from reasoner.cli.terminal import Terminal
from reasoner.errors import UsageError


@click.command("batch", cls=Command)
@click.argument("questions", type=options.PATH)
@option("-o", "--output", type=options.PATH, default=options.STANDARD, metavar="FILE",
        help="The answers: a .jsonl, to which they are written as they come, or a .csv or .parquet, which is "
             "made at the end; - is JSON lines on standard output.  [default: -]")  # fmt: skip
@option("--overwrite", is_flag=True, help="Begin again, and replace the answers if they exist.")
@option("--question-column", metavar="NAME", section="Question",
        help="The column of the questions.  [default: question]")  # fmt: skip
@option("--id-column", metavar="NAME", section="Question",
        help="The column of ids that no two questions share.  [default: id where there is one, else the number of the "
             "row and a hash of the question]")  # fmt: skip
@option("-a", "--answer", metavar="KIND", section="Question",
        help="The kind of the answers, as of `reasoner solve`; `reasoner list answers` shows all.  [default: "
             "auto]")  # fmt: skip
@options.SYSTEM
@option(
    "-s",
    "--strategy",
    metavar=options.SPEC,
    section="Strategy",
    help="How to spend the compute; `reasoner list strategies` shows all.  [default: self_consistency]",
)
@options.sampling_options
@options.thinking_option()
@options.budget_option(together=True)
@option("--each", metavar=options.UNITS, section="Strategy",
        help="The most that each question may spend, as in tokens=4k,seconds=30.  [default: no limit]")  # fmt: skip
@options.auto_options
@SETTINGS
@options.engine_options
@options.NO_SERVER
@options.SEED
@option("--concurrency", type=click.IntRange(min=1), metavar="N", section="Model",
        help="The most questions that are open at once; fewer where they fill the engine.  [default: "
             "1,024]")  # fmt: skip
@options.QUIET
@guarded
def command(
    questions: Path,
    output: Path,
    overwrite: bool,
    each: str | None,
    concurrency: int | None,
    settings: Path | None,
    **typed: Any,
) -> int:
    """Answer the questions of a file, or - for standard input.

    The file is JSON lines, CSV or parquet; a .gz is unpacked. Answers are written as they come, with confidence, cost
    and what ended each, beside the columns of the question. The same command continues a batch that was interrupted at
    any moment: nothing is answered twice, and one budget holds for all sessions together.

    Exit codes: 0 all rows are done, 1 some rows cannot be asked, or output could not be written, 2 usage, 3 the budget
    left questions without an answer, 4 engine failure or questions that ended in an error, 130 interrupted.
    """
    from reasoner.cli.batch_run import BatchRun
    from reasoner.cli.progress import BatchProgress
    from reasoner.execution.session import CONCURRENCY

    given = options.Given(**settled(settings, typed))
    if overwrite and output == options.STANDARD:
        raise UsageError("--overwrite has no effect without --output FILE: omit it")
    total, limit = options.budget_of(given.budget).together(), options.budget_of(each)
    prices = options.read_prices(given.prices, [total, limit])
    return BatchRun(
        engine=given.to_engine(),
        display=BatchProgress(Terminal(), total, prices, quiet=given.quiet),
        questions=questions,
        answers=output,
        overwrite=overwrite,
        given=given,
        budget=total,
        each=limit,
        prices=prices,
        concurrency=concurrency or CONCURRENCY,
    ).run()
