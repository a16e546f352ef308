"""`reasoner solve`: answer one question within a budget."""

import io
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from traceback import format_exception
from typing import IO, TYPE_CHECKING

import click

from reasoner.cli.exits import ANSWERED, ENGINE, EXHAUSTED, OTHER, code_of, error_line, guarded
from reasoner.errors import ReasonerError, TraceError, UsageError, require
from reasoner.files import open_regular

if TYPE_CHECKING:
    from reasoner.budget import Budget, Prices
    from reasoner.cli.progress import Progress
    from reasoner.cli.terminal import Terminal
    from reasoner.protocols import Engine, Strategy, Verifier
    from reasoner.solution import Solution
    from reasoner.trace import Event, Sink, TraceWriter
    from reasoner.types import Question

LONGEST_INPUT = 10_000_000
"""Bytes of a question or a --context file beyond which no model's window could hold it."""
LONGEST_ANSWER = 2000
"""Characters of an answer that are printed; --json gives all."""
STARTED = time.perf_counter()


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that was asked for on the command line, as objects."""

    question: "Question"
    strategy: "Strategy"
    verifier: "Verifier | None"
    engine: "Engine"
    budget: "Budget"
    prices: "Prices | None"
    seed: int
    verbose: bool


@dataclass(slots=True)
class _Recording:
    """A trace being written. Where that fails the trace ends there, and the run goes on: its answer is worth more."""

    writer: "TraceWriter"
    failure: TraceError | None = None

    def __call__(self, event: "Event") -> None:
        if self.failure is None:
            try:
                self.writer(event)
            except TraceError as error:
                self.failure = error

    def close(self) -> None:
        try:
            self.writer.close()
        except TraceError as error:
            self.failure = self.failure or error


@click.command("solve")
@click.argument("question")
@click.option("-s", "--strategy", metavar="NAME[:OPTION=VALUE,...]",
              help="How to spend the compute, as in self_consistency:n=16,temperature=0.9.  [default: "
                   "self_consistency]")  # fmt: skip
@click.option("--effort", metavar="low|medium|high",
              help="Spend what pays, at this price; chooses the strategy auto.")  # fmt: skip
@click.option("--profile", metavar="FILE",
              help="What reasoner calibrate measured, for auto to choose by.")  # fmt: skip
@click.option("--abstain-below", type=float, metavar="P",
              help="Say that it is not sure where the calibrated chance is below this; needs --profile.")  # fmt: skip
@click.option("--verifier", metavar="NAME[:OPTION=VALUE,...]",
              help="Who rates candidates, for strategies that ask for it.  [default: certainty]")  # fmt: skip
@click.option("--allow-unsandboxed-code", is_flag=True,
              help="Let --verifier code run a model's code without a sandbox, where none can be had.")  # fmt: skip
@click.option("-b", "--budget", metavar="UNIT=AMOUNT,...",
              help="What may be spent at most: tokens, generated, samples, seconds, flops, usd.")  # fmt: skip
@click.option("--prices", metavar="KIND=USD,...",
              help="Dollars per million tokens, as in prompt=0.15,cached=0.08,generated=0.60.")  # fmt: skip
@click.option("-a", "--answer", default="auto", show_default=True, metavar="KIND",
              help="What the answer is: auto, number, math, choice, yes_no, text or code. math:seconds=30 compares "
                   "formulas for so long at most, instead of 10 s.")  # fmt: skip
@click.option("--context", type=click.Path(path_type=Path), metavar="FILE",
              help="A text file that the question is about; its cached prefix is shared by all samples.")  # fmt: skip
@click.option("-m", "--model", metavar="PATH_OR_ID",
              help="A model folder or Hugging Face id.  [default: embedded]")  # fmt: skip
@click.option("-e", "--engine", metavar="NAME[:OPTION=VALUE,...]",
              help="What runs the model: vllm, openai, simulated, replay:FILE.  [default: vllm, or openai with "
                   "--base-url]")  # fmt: skip
@click.option("--base-url", metavar="URL", help="An OpenAI-compatible server, for --engine openai.")
@click.option("--seed", type=int, default=0, show_default=True, help="Repeats a run where the engine can.")
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE",
              help="Write every event to a JSONL file, gzipped where its name ends in .gz; replay:FILE plays it "
                   "back.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Let --trace replace a file that exists.")
@click.option("-v", "--verbose", is_flag=True,
              help="Tell what was bought and why, what ended it and how far to trust it.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Give the whole solution as JSON.")
@guarded
def command(
    question: str,
    strategy: str | None,
    effort: str | None,
    profile: str | None,
    abstain_below: float | None,
    verifier: str | None,
    allow_unsandboxed_code: bool,
    budget: str | None,
    prices: str | None,
    answer: str,
    context: Path | None,
    model: str | None,
    engine: str | None,
    base_url: str | None,
    seed: int,
    trace: Path | None,
    overwrite: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Answer QUESTION, one quoted argument; pass - to read it from standard input.

    The answer goes to standard output, the vote, the cost and the time to standard error. Where an error ends the run,
    standard output gets nothing, with --json too, and the best answer until then is on standard error. Exit codes: 0
    answered, 1 no answer found, not sure of it, or no place to write it or its trace, 2 usage, 3 budget exhausted
    before any answer, 4 engine or model failure, 130 interrupted.
    """
    from reasoner.budget import Budget
    from reasoner.cli.choosing import check_prices, choose_engine, choose_strategy, choose_verifier, read_prices
    from reasoner.questions import ask

    require(seed, "--seed", at_least=0)
    if overwrite and trace is None:
        raise UsageError("--overwrite has no effect without --trace: leave it out")
    asked = ask(_question_text(question), space=answer, context=_context_text(context) if context else "")
    chosen = choose_strategy(strategy, effort=effort, profile=profile, abstain_below=abstain_below)
    runs_on = choose_engine(engine, model_id=model, base_url=base_url)
    plan = _Plan(
        asked,
        chosen,
        choose_verifier(verifier, [chosen], runs_on, unsandboxed=allow_unsandboxed_code),
        runs_on,
        Budget() if budget is None else Budget.parse(budget),
        None if prices is None else read_prices(prices),
        seed,
        verbose,
    )
    check_prices([plan.budget], plan.prices)
    recording = _recording(trace, plan.engine, overwrite=overwrite) if trace else None
    quiet = type(runs_on).__module__.startswith("reasoner.engines.vllm")
    return _run(plan, recording, as_json=as_json, quiet=quiet)


def _question_text(argument: str) -> str:
    if argument == "-":
        return _text(sys.stdin.buffer, "the question on standard input")
    return _text(io.BytesIO(argument.encode("utf-8", "surrogatepass")), "the question")


def _context_text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            text = _text(file, f"--context {path}")
    except OSError as error:
        raise UsageError(f"cannot read --context {path}: {error.strerror}") from error
    if not text.strip():
        raise UsageError(f"--context {path} is empty: leave it out, or give a file with text")
    return text


def _text(file: IO[bytes], name: str) -> str:
    data = file.read(LONGEST_INPUT + 1)
    if len(data) > LONGEST_INPUT:
        raise UsageError(f"{name} is too long: at most {LONGEST_INPUT:,} bytes are read")
    if b"\0" in data:
        raise UsageError(f"{name} is binary: convert it to plain text first")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text: convert it first") from error


def _run(plan: _Plan, recording: _Recording | None, *, as_json: bool, quiet: bool) -> int:
    from reasoner.cli import interrupts
    from reasoner.cli.progress import Progress
    from reasoner.cli.terminal import own_streams
    from reasoner.trace import tee

    log = _log() if quiet else None
    with own_streams(log) as terminal:
        progress = Progress(terminal, plan.budget)
        sink = tee(progress, recording) if recording else progress
        codes: list[int] = []
        try:
            with ExitStack() as live:
                live.enter_context(progress.shown())
                interrupts.run(lambda: _solve(plan, progress, sink, live, codes, as_json=as_json))
            [code] = codes
        except KeyboardInterrupt as interrupt:
            # If the solution was shown already, only the engine was still closing.
            code = codes[0] if codes else _tell_interrupted(plan, progress, interrupt, as_json=as_json)
        except ReasonerError as error:
            _tell_error(terminal, error, plan)
            code = code_of(error)
        if recording:
            recording.close()
            if recording.failure:
                terminal.say(error_line(recording.failure))
                code = code or OTHER
        if code == ENGINE and log and log.exists() and log.stat().st_size:
            terminal.say(f"vLLM's own output is in {log}")
        return code


def _log() -> Path:
    """Where what vLLM prints goes."""
    from reasoner.models.cache import cache_home

    return cache_home() / "engine.log"


def _recording(path: Path, engine: "Engine", *, overwrite: bool) -> _Recording:
    from reasoner.engines.replay import ReplayEngine
    from reasoner.trace import TraceWriter

    played = Path(engine.path) if isinstance(engine, ReplayEngine) else None
    if played and played.exists() and path.exists() and path.samefile(played):
        raise UsageError(f"--trace {path} is the trace that is played back: give it another name")
    return _Recording(TraceWriter(path, overwrite=overwrite))


async def _solve(
    plan: _Plan, progress: "Progress", sink: "Sink", live: ExitStack, codes: list[int], *, as_json: bool
) -> None:
    """Solve the question and show the solution in place of the live display; append the exit code to `codes`."""
    from reasoner.cli.starting import started
    from reasoner.protocols import Recorded
    from reasoner.runner import solve

    async with started(plan.engine, plan.verifier, [plan.strategy], progress) as verifier_start:
        progress.begin(f"solving with {plan.engine.model.name}")
        solution = await solve(
            plan.question,
            plan.strategy,
            plan.engine,
            verifier=plan.verifier,
            budget=plan.budget,
            prices=plan.prices,
            comparer=plan.engine.comparer() if isinstance(plan.engine, Recorded) else None,
            trace=sink,
            seed=plan.seed,
        )
        live.close()
        codes.append(_tell(progress.terminal, plan, solution, progress, verifier_start, as_json=as_json))


def _tell_interrupted(plan: _Plan, progress: "Progress", interrupt: KeyboardInterrupt, *, as_json: bool) -> int:
    """Give the best answer so far, if there is one; the exit code."""
    from reasoner.cli.interrupts import code_of
    from reasoner.cli.terminal import OutputLost
    from reasoner.solution import Solution

    terminal = progress.terminal
    if progress.answer:
        cost, proposals = progress.cost, tuple(progress.proposals)
        solution = Solution(plan.question.id, progress.answer, cost, proposals, "error", "interrupted")
        try:
            _give(terminal, plan, solution, as_json=as_json)
        except OutputLost as error:
            terminal.say(error_line(error))
    best = f"; until then: {progress.line()}" if progress.samples else ""
    terminal.say(f"interrupted{best}")
    return code_of(interrupt)


def _tell(
    terminal: "Terminal",
    plan: _Plan,
    solution: "Solution",
    progress: "Progress",
    verifier_start: float,
    *,
    as_json: bool,
) -> int:
    from reasoner.cli.summary import LABEL, Times, explanation, summary
    from reasoner.cli.terminal import OutputLost, printable
    from reasoner.cli.votes import VoteSummary

    elapsed = time.perf_counter() - STARTED
    try:
        if solution.stands:
            _give(terminal, plan, solution, as_json=as_json)
    except OutputLost:
        if solution.answer:
            terminal.say_wrapped(f"answer   {printable(solution.answer.text, limit=LONGEST_ANSWER)}", indent=LABEL)
        raise
    finally:
        times = Times(verifier_start, progress.first_sample, elapsed)
        lines = explanation(plan.strategy, solution) if plan.verbose else []
        for line in [*summary(solution, plan.budget, plan.prices, plan.engine, times), *lines]:
            terminal.say_wrapped(line, indent=LABEL)
    if solution.error:
        if solution.answer:
            best = f"{printable(solution.answer.text)} ({VoteSummary(solution.standing).short})"
            terminal.say_wrapped(f"so far   {best}; it is not the answer, as the run failed", indent=LABEL)
        _tell_error(terminal, solution.error, plan)
        return code_of(solution.error)
    if solution.answer:
        return ANSWERED
    code, why = _no_answer(solution)
    terminal.say(error_line(why))
    return code


def _give(terminal: "Terminal", plan: _Plan, solution: "Solution", *, as_json: bool) -> None:
    """Write what a run came to to standard output; nothing where it came to no answer."""
    from reasoner.cli.summary import abstained, as_document
    from reasoner.cli.terminal import printable

    if as_json:
        terminal.give(
            as_document(plan.question, plan.strategy, plan.verifier, plan.engine, plan.budget, plan.seed, solution)
        )
    elif solution.answer:
        terminal.give(printable(solution.answer.text, limit=LONGEST_ANSWER))
    elif abstained(solution):
        terminal.give("not sure")


def _tell_error(terminal: "Terminal", error: ReasonerError, plan: _Plan) -> None:
    """The error in one line; with --verbose, the traceback of the exception from which it comes before it."""
    if plan.verbose and error.__cause__ and not isinstance(error.__cause__, ReasonerError):
        for part in format_exception(error.__cause__):
            for line in part.splitlines():
                terminal.say(line)
    terminal.say(error_line(error))


def _no_answer(solution: "Solution") -> tuple[int, str]:
    """The exit code of a solution without an answer or an error, and why there is none."""
    from reasoner.cli.summary import abstained

    leader = solution.standing.leader
    if leader and abstained(solution):
        best = f"the best guess, {leader.text!r:.200}, is right with a chance of {solution.confidence:.2f}"
        return OTHER, f"not sure: {best}; ask for less than --abstain-below, or spend more with --effort"
    if solution.ended_by == "budget":
        way_out = "raise it" if solution.cost.samples else "raise it, or shorten the question"
        return EXHAUSTED, f"{solution.reason}: {way_out}"
    samples = (
        "the one sample held no" if solution.cost.samples == 1 else f"none of {solution.cost.samples} samples held an"
    )
    return OTHER, f"{samples} answer: try more samples, a higher max_tokens or another --answer kind"
