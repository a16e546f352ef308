"""`reasoner batch`: answer the questions of a file, with a file of answers that an interrupted run continues."""

from pathlib import Path
from typing import Final

import click

from reasoner.cli import options
from reasoner.cli.exits import guarded
from reasoner.cli.look import NUMBER, WHOLE, Command, option
from reasoner.cli.solve import ANSWERS
from reasoner.errors import UsageError

STANDARD: Final = Path("-")
"""Standard input, or standard output."""


@click.command("batch", cls=Command)
@click.argument("questions", type=options.PATH)
@option("-o", "--output", type=options.PATH, default=STANDARD, metavar="FILE",
        brief="The answers: .jsonl, .csv, .parquet or .arrow.",
        help="The answers: a .jsonl, to which they are written as they come, or a .csv, .parquet or .arrow, which is "
             "made at the end; - is JSON lines on standard output.  [default: -]")  # fmt: skip
@option("--overwrite", is_flag=True, help="Begin again, and replace the answers if they exist.")
@option("--question-column", metavar="NAME", section="Question", brief="The column of the questions.",
        help="The column of the questions.  [default: question]")  # fmt: skip
@option("--id-column", metavar="NAME", section="Question",
        help="The column of ids that no two questions share.  [default: id where there is one, else the number of the "
             "row and a hash of the question]")  # fmt: skip
@option("--keep", metavar="NAME,...", section="Question",
        help="The input's columns that the answers repeat, or none.  [default: all]")  # fmt: skip
@option("-a", "--answer", metavar="KIND", section="Question", shell_complete=options.words(*ANSWERS),
        brief="auto, number, math, choice, yes_no, text or code.",
        help="The kind of the answers, as of `reasoner solve`; `reasoner list answers` shows all.  [default: "
             "auto]")  # fmt: skip
@options.SYSTEM
@options.FEW_SHOT
@option("-s", "--strategy", metavar=options.SPEC, section="Strategy", shell_complete=options.names_of("strategy"),
        brief="How to spend compute, as in best_of_n:n=4.",
        help="How to spend the compute; `reasoner list strategies` shows all.  [default: self_consistency; for "
             "OpenAI's format, one completion where a line chooses nothing else]")  # fmt: skip
@options.sampling_options
@options.thinking_option()
@options.budget_option(together=True)
@option("--each", metavar=options.UNITS, section="Strategy", brief="The most to spend on each question.",
        help="The most that each question may spend, as in tokens=4k,seconds=30.  [default: no limit]")  # fmt: skip
@options.EFFORT
@options.PROFILE
@option("--abstain-below", type=NUMBER, metavar="P", section="Strategy",
        help="Give no answer whose calibrated probability of being right is below P, 0 to 1; needs "
             "--profile.")  # fmt: skip
@options.VERIFIER
@options.UNSANDBOXED
@options.engine_options
@options.SEED
@option("--concurrency", type=WHOLE, metavar="N", section="Model",
        help="The most questions that are open at once; fewer are where these fill the engine.  [default: "
             "1,024]")  # fmt: skip
@options.QUIET
@guarded
def command(
    questions: Path,
    output: Path,
    overwrite: bool,
    question_column: str | None,
    id_column: str | None,
    keep: str | None,
    answer: str | None,
    system: str | None,
    few_shot: Path | None,
    strategy: str | None,
    n: int | None,
    temperature: float | None,
    max_tokens: int | None,
    thinking: str | None,
    budget: str | None,
    each: str | None,
    effort: str | None,
    profile: str | None,
    abstain_below: float | None,
    verifier: str | None,
    unsandboxed: bool,
    model: str | None,
    engine: str | None,
    base_url: str | None,
    prices: str | None,
    seed: int,
    concurrency: int | None,
    quiet: bool,
) -> int:
    """Answer the questions of a file: JSON lines, CSV, parquet, Arrow, OpenAI's batch format, or - for standard input.

    Answers are written as they come, with confidence, cost and what ended each, beside the columns of the question. The
    same command continues a batch that was interrupted at any moment: nothing is answered twice, and one budget holds
    for all sessions together. A .gz is unpacked.

    Exit codes: 0 all rows are done, 1 some rows cannot be asked, or output could not be written, 2 usage, 3 the budget
    left questions without an answer, 4 engine failure or questions that ended in an error, 130 interrupted.
    """
    from reasoner.budget import Budget
    from reasoner.cli.batch_files import Choices, Files
    from reasoner.cli.batch_run import BatchRun
    from reasoner.execution.session import CONCURRENCY

    if seed < 0:
        raise UsageError(f"--seed must be at least 0 (got {seed})")
    if concurrency is not None and concurrency < 1:
        raise UsageError(f"--concurrency must be at least 1 (got {concurrency})")
    if overwrite and output == STANDARD:
        raise UsageError("--overwrite has no effect without --output FILE: omit it")
    total, limit = (Budget() if text is None else Budget.parse(text) for text in (budget, each))
    choices = Choices(
        strategy=strategy,
        sampling={"n": n, "temperature": temperature, "max_tokens": max_tokens, "thinking": thinking},
        auto={"effort": effort, "profile": profile, "abstain_below": abstain_below},
        verifier=verifier,
        unsandboxed=unsandboxed,
        answer=answer,
        system=system,
        few_shot=few_shot,
        question_column=question_column,
        id_column=id_column,
        keep=keep,
    )
    run = BatchRun(
        Files(questions, output, overwrite=overwrite),
        choices,
        options.choose_engine(engine, model_id=model, base_url=base_url),
        total,
        limit,
        options.read_prices(prices, [total, limit]),
        seed,
        concurrency or CONCURRENCY,
        quiet=quiet,
    )
    return run.run()
