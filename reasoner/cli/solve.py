"""`reasoner solve`: answer one question within a budget."""

import io
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from traceback import format_exception
from typing import IO, TYPE_CHECKING

import click

from reasoner.cli import options
from reasoner.cli.exits import ANSWERED, ENGINE, EXHAUSTED, OTHER, code_of, error_line, guarded
from reasoner.errors import ReasonerError, TraceError, UsageError
from reasoner.system.files import open_regular

if TYPE_CHECKING:
    from reasoner.budget import Budget, Prices
    from reasoner.cli.progress import Progress
    from reasoner.engine import Engine
    from reasoner.solution import Solution
    from reasoner.strategy import Strategy
    from reasoner.trace.events import Event, Sink, TraceWriter
    from reasoner.types import Question
    from reasoner.verifier import Verifier

MAX_INPUT_LENGTH = 10_000_000
"""Bytes of a question or a --context file; more would not fit the context window of any model."""
MAX_ANSWER_LENGTH = 2000
"""Characters of an answer that are printed; --json prints all."""
STARTED = time.perf_counter()


@dataclass(slots=True)
class _Recording:
    """A trace being written. If writing fails, the trace ends there and the run continues."""

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
@click.option("-s", "--strategy", metavar=options.SPEC,
              help="How to spend the compute, as in self_consistency:n=16,temperature=0.9 or, with another strategy "
                   "inside, best_of_n(n=4,of=refine(rounds=1)); `reasoner list strategies` shows all.  [default: "
                   "self_consistency]")  # fmt: skip
@click.option("--effort", metavar="low|medium|high",
              help="How much to spend on a higher chance of a right answer; selects the strategy auto.  "
                   "[default: medium, for auto]")  # fmt: skip
@click.option("--profile", metavar="FILE",
              help="The profile by which auto chooses, written by `reasoner calibrate`; selects auto.")  # fmt: skip
@click.option("--abstain-below", type=float, metavar="P",
              help="Print `not sure` instead of an answer whose calibrated probability of being right is below P, 0 to "
                   "1; needs --profile.  [default: always answer]")  # fmt: skip
@options.VERIFIER
@options.UNSANDBOXED
@click.option("-b", "--budget", metavar="UNIT=AMOUNT,...",
              help="The most that may be spent, as in tokens=4k,seconds=30. Units: tokens, generated, samples, "
                   "seconds, flops, usd.  [default: no limit]")  # fmt: skip
@click.option("-a", "--answer", default="auto", show_default=True, metavar="KIND",
              help="The kind of the answer: auto, number, math, choice, yes_no, text or code. math:seconds=30 lets a "
                   "comparison of formulas take 30 s instead of 10 s. number:pattern=REGEX, for any kind, reads "
                   "answers by a regular expression first.")  # fmt: skip
@click.option("--context", type=options.PATH, metavar="FILE",
              help="A text file that the question is about; all samples share it in the prefix cache.")  # fmt: skip
@options.engine_options
@click.option("--seed", type=int, default=0, show_default=True, metavar="N",
              help="The random seed, 0 or more: the same seed gives the same run, where the engine can.")  # fmt: skip
@click.option("--trace", type=options.PATH, metavar="FILE",
              help="Write all events to a JSONL file for `reasoner trace FILE` and --engine replay:FILE; gzipped if "
                   "its name ends in .gz.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file of --trace if it exists.")
@click.option("-v", "--verbose", is_flag=True,
              help="Explain what was run and why, what ended it and how reliable the answer is; show the traceback of "
                   "an error.")  # fmt: skip
@options.json_option("the whole solution")
@guarded
def command(
    question: str,
    strategy: str | None,
    effort: str | None,
    profile: str | None,
    abstain_below: float | None,
    verifier: str | None,
    unsandboxed: bool,
    budget: str | None,
    answer: str,
    context: Path | None,
    model: str | None,
    engine: str | None,
    base_url: str | None,
    prices: str | None,
    seed: int,
    trace: Path | None,
    overwrite: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Answer QUESTION: one quoted argument, or - for standard input.

    Standard output gets the answer and nothing else; standard error gets the progress, the votes, the cost and the
    time. If an error ends the run, standard output stays empty, even with --json, and standard error shows the best
    answer so far.

    Exit codes: 0 answered, 1 no answer, not sure, or output could not be written, 2 usage, 3 budget exhausted before
    any answer, 4 engine or model failure, 130 interrupted.
    """
    from reasoner.budget import Budget
    from reasoner.types import Question

    if seed < 0:
        raise UsageError(f"--seed must be at least 0 (got {seed})")
    if overwrite and trace is None:
        raise UsageError("--overwrite has no effect without --trace: omit it")
    asked = Question.of(_question_text(question), space=answer, context=_context_text(context) if context else "")
    chosen = options.choose_strategy(strategy, effort=effort, profile=profile, abstain_below=abstain_below)
    runs_on = options.choose_engine(engine, model_id=model, base_url=base_url)
    limits = Budget() if budget is None else Budget.parse(budget)
    run = _Run(
        asked,
        chosen,
        options.choose_verifier(verifier, [chosen], runs_on, unsandboxed=unsandboxed),
        runs_on,
        limits,
        options.read_prices(prices, [limits]),
        seed,
        verbose,
        as_json,
    )
    return run.run(_recording(trace, runs_on, overwrite=overwrite) if trace else None)


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
        raise UsageError(f"--context {path} is empty: omit it or give a file with text")
    return text


def _text(file: IO[bytes], name: str) -> str:
    data = file.read(MAX_INPUT_LENGTH + 1)
    if len(data) > MAX_INPUT_LENGTH:
        raise UsageError(f"{name} is too long: the limit is {MAX_INPUT_LENGTH:,} bytes")
    if b"\0" in data:
        raise UsageError(f"{name} is binary: convert it to plain text first")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text: convert it first") from error


def _recording(path: Path, engine: "Engine", *, overwrite: bool) -> _Recording:
    from reasoner.engines.replay import ReplayEngine
    from reasoner.trace.events import TraceWriter

    played = Path(engine.path) if isinstance(engine, ReplayEngine) else None
    if played and played.exists() and path.exists() and path.samefile(played):
        raise UsageError(f"--trace {path} is the trace that is played back: give it another name")
    return _Recording(TraceWriter(path, overwrite=overwrite))


@dataclass(slots=True)
class _Run:
    """One run of what the command line describes."""

    question: "Question"
    strategy: "Strategy"
    verifier: "Verifier | None"
    engine: "Engine"
    budget: "Budget"
    prices: "Prices | None"
    seed: int
    verbose: bool
    as_json: bool
    progress: "Progress" = field(init=False)
    code: int | None = field(default=None, init=False)
    """Set once the solution is shown, while the engine may still be closing."""

    def run(self, recording: _Recording | None) -> int:
        """Solve the question and show the solution; the exit code."""
        from reasoner.cli import interrupts
        from reasoner.cli.progress import Progress
        from reasoner.cli.terminal import engine_log, own_streams
        from reasoner.trace.events import tee

        log = engine_log(self.engine)
        with own_streams(log) as terminal:
            self.progress = Progress(terminal, self.budget)
            sink = tee(self.progress, recording) if recording else self.progress
            try:
                with self.progress.shown():
                    code = interrupts.run(lambda: self._solve(sink))
            except KeyboardInterrupt as interrupt:
                code = self._show_interrupted(interrupt) if self.code is None else self.code
            except ReasonerError as error:
                code = self._show_error(error)
            if recording:
                recording.close()
                if recording.failure:
                    terminal.say(error_line(recording.failure))
                    code = code or OTHER
            if code == ENGINE:
                terminal.point_to(log)
            return code

    async def _solve(self, sink: "Sink") -> int:
        from reasoner.cli.progress import started
        from reasoner.execution.runner import solve

        async with started(self.engine, self.verifier, [self.strategy], self.progress) as verifier_start:
            self.progress.begin(f"solving with {self.engine.model.name}")
            solution = await solve(
                self.question,
                self.strategy,
                self.engine,
                verifier=self.verifier,
                budget=self.budget,
                prices=self.prices,
                trace=sink,
                seed=self.seed,
            )
            self.progress.hide()
            self.code = self._show(solution, verifier_start)
        return self.code

    def _show(self, solution: "Solution", verifier_start: float) -> int:
        """Show the answer, the summary and why there is no answer; the exit code."""
        from reasoner.cli.summary import Times, VoteSummary, explanation, summary
        from reasoner.cli.terminal import OutputLost, printable

        terminal = self.progress.terminal
        elapsed = time.perf_counter() - STARTED
        answer = printable(solution.answer.text, limit=MAX_ANSWER_LENGTH) if solution.answer else ""
        try:
            if solution.error is None:
                self._give(solution)
        except OutputLost:
            if answer:
                terminal.say_labelled("answer", answer)
            raise
        finally:
            times = Times(verifier_start, self.progress.first_sample, elapsed)
            for label, line in [
                *summary(solution, self.budget, self.prices, self.engine, times),
                *(explanation(self.strategy, solution) if self.verbose else ()),
            ]:
                terminal.say_labelled(label, line)
        if solution.error:
            if answer:
                votes = VoteSummary(solution.vote_state).short
                terminal.say_labelled("so far", f"{answer} ({votes}); not the final answer, as the run failed")
            return self._show_error(solution.error)
        if answer:
            return ANSWERED
        code, why = _no_answer(solution)
        terminal.say(error_line(why))
        return code

    def _give(self, solution: "Solution") -> None:
        """Write the answer to standard output; nothing where there is none."""
        from reasoner.cli.summary import abstained, as_document
        from reasoner.cli.terminal import printable

        give = self.progress.terminal.give
        if self.as_json:
            give(
                as_document(self.question, self.strategy, self.verifier, self.engine, self.budget, self.seed, solution)
            )
        elif solution.answer:
            give(printable(solution.answer.text, limit=MAX_ANSWER_LENGTH))
        elif abstained(solution):
            give("not sure")

    def _show_interrupted(self, interrupt: KeyboardInterrupt) -> int:
        """Give the best answer so far if there is one; the exit code."""
        from reasoner.cli.interrupts import code_of as code_of_signal
        from reasoner.cli.terminal import OutputLost
        from reasoner.solution import Solution

        progress, terminal = self.progress, self.progress.terminal
        if progress.answer:
            proposals = tuple(progress.proposals)
            solution = Solution(self.question.id, progress.answer, progress.cost, proposals, "error", "interrupted")
            try:
                self._give(solution)
            except OutputLost as error:
                terminal.say(error_line(error))
        terminal.say(f"interrupted{f' after {progress.line()}' if progress.samples else ''}")
        return code_of_signal(interrupt)

    def _show_error(self, error: ReasonerError) -> int:
        """Show the error in one line, with --verbose after the traceback of its cause; the exit code."""
        terminal = self.progress.terminal
        if self.verbose and error.__cause__ and not isinstance(error.__cause__, ReasonerError):
            for part in format_exception(error.__cause__):
                for line in part.splitlines():
                    terminal.say(line)
        terminal.say(error_line(error))
        return code_of(error)


def _no_answer(solution: "Solution") -> tuple[int, str]:
    """The exit code of a solution without an answer or an error, and why there is none."""
    from reasoner.cli.summary import abstained

    leader = solution.vote_state.leader
    if leader and abstained(solution):
        best = f"the best answer, {leader.text!r:.200}, is right with a probability of {solution.confidence:.2f}"
        return OTHER, f"not sure: {best}; lower --abstain-below or spend more with --effort"
    if solution.ended_by == "budget":
        way_out = "raise it" if solution.cost.samples else "raise it, or shorten the question"
        return EXHAUSTED, f"{solution.reason}: {way_out}"
    samples = solution.cost.samples
    which = "the only sample has no" if samples == 1 else f"none of {samples} samples has an"
    return OTHER, f"{which} answer: try more samples, a higher max_tokens or another --answer kind"
