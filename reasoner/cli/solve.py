"""`reasoner solve`: answer one question within a budget."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reasoner.cli import options
from reasoner.cli.commands import Command
from reasoner.cli.options import option
from reasoner.cli.terminal import Terminal, guarded
from reasoner.errors import UsageError

if TYPE_CHECKING:
    from reasoner.answers.questions import Question
    from reasoner.cli.given import GivenOptions
    from reasoner.engine import Engine
    from reasoner.trace.events import TraceWriter


@click.command("solve", cls=Command, heading="Answer")
@click.argument("question", required=False)
@option(
    "-s",
    "--strategy",
    metavar=options.SPEC,
    section="Strategy",
    help="Strategy, as in self_consistency:n=16 or best_of_n(n=4,of=refine). `reasoner list strategies` "
    "shows all.  [default: self_consistency]",
)
@options.SAMPLES
@options.sampling_options
@options.thinking_option()
@options.budget_option("the question")
@options.VERIFIER
@options.UNSANDBOXED
@options.SETTINGS
@option(
    "-a",
    "--answer",
    default="auto",
    show_default=True,
    metavar="KIND",
    section="Question",
    help="Kind of answer: auto, number, math, choice, yes_no, text or code. `reasoner list answers` shows "
    "their options.",
)
@options.SYSTEM
@option(
    "--context",
    type=options.PATH,
    metavar="FILE",
    section="Question",
    help="Text file that the question is about. Samples share it in the prefix cache.",
)
@options.engine_options
@options.PRICES
@options.SEED
@options.json_option("the solution")
@option(
    "--trace",
    type=options.PATH,
    metavar="FILE",
    help="Trace to write, JSON lines, for `reasoner trace FILE` and --engine replay:FILE. A name in .gz "
    "compresses it.",
)
@option("--overwrite", is_flag=True, help="Replace the file of --trace if it exists.")
@options.QUIET
@option(
    "--verbose",
    is_flag=True,
    help="Explain the strategy, the end of the run and its reliability; show the winning reply, or an error's "
    "traceback.",
)
@guarded
def command(
    question: str | None,
    context: Path | None,
    trace: Path | None,
    overwrite: bool,
    as_json: bool,
    verbose: bool,
    settings: Path | None,
    **typed: Any,
) -> int:
    """Answer QUESTION: one quoted argument, or - for standard input.

    Standard output has only the answer. Standard error has progress, votes, cost and time. After an error, standard
    output is empty, also with --json, and standard error shows the best answer so far.

    Exit codes: 0 answered; 1 no answer, not sure, or output could not be written; 2 usage; 3 budget exhausted before
    any answer; 4 engine or model failure; 130 interrupted.
    """
    from reasoner.cli.given import GivenOptions, budget_of, read_prices, settled
    from reasoner.cli.progress import QuestionProgress
    from reasoner.cli.question_run import QuestionRun

    given = GivenOptions(**settled(settings, typed))
    if overwrite and trace is None:
        raise UsageError("--overwrite has no effect without --trace: omit it")
    if given.quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other: keep one")
    asked = _question(question, context, given)
    strategy, engine, budget = (
        given.to_strategy(),
        given.to_engine(),
        budget_of(given.budget),
    )
    return QuestionRun(
        engine=engine,
        display=QuestionProgress(Terminal(), budget, quiet=given.quiet),
        question=asked,
        strategy=strategy,
        verifier=given.to_verifier([strategy], engine),
        budget=budget,
        prices=read_prices(given.prices, [budget]),
        seed=given.seed,
        as_json=as_json,
        verbose=verbose,
        trace=_writer(trace, engine, overwrite=overwrite) if trace else None,
    ).run()


def _question(
    argument: str | None, context: Path | None, given: "GivenOptions"
) -> "Question":
    """The question of the argument, with the document that it is about."""
    from reasoner.cli.question_run import file_text, question_text

    if argument is None:
        raise UsageError(
            'no question is given: write it in quotes, as in `reasoner solve "What is 3 + 4?"`, or - for standard input'
        )
    ask = given.to_question()
    document = file_text("--context", context) if context else ""
    return ask(question_text(argument), context=document)


def _writer(path: Path, engine: "Engine", *, overwrite: bool) -> "TraceWriter":
    from reasoner.engines.replay import ReplayEngine
    from reasoner.trace.events import TraceWriter

    played = Path(engine.path) if isinstance(engine, ReplayEngine) else None
    if played and played.exists() and path.exists() and path.samefile(played):
        raise UsageError(
            f"--trace {path} is the trace that is played back: give it another name"
        )
    return TraceWriter(path, overwrite=overwrite)
