"""One question, from the start of the engine to the answer: what `reasoner solve` runs."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING

from reasoner.cli import STARTED
from reasoner.cli.exits import ANSWERED, ENGINE, EXHAUSTED, OTHER, code_of, error_line
from reasoner.errors import ReasonerError, TraceError

if TYPE_CHECKING:
    from reasoner.answers.questions import Question
    from reasoner.budget import Budget, Prices
    from reasoner.cli.progress import Progress
    from reasoner.engine import Engine
    from reasoner.solution import Solution
    from reasoner.strategy import Strategy
    from reasoner.trace.events import Event, Sink, TraceWriter
    from reasoner.verifier import Verifier

MAX_ANSWER_LENGTH = 2000
"""Characters of an answer that are printed; --json prints all."""


@dataclass(slots=True)
class Recording:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What is shown of a solution, and where."""

    output: Path | None
    """The file that gets the answer in place of standard output."""
    as_json: bool
    verbose: bool
    quiet: bool
    reasoning: bool


@dataclass(slots=True)
class QuestionRun:
    """One run of what the command line describes."""

    question: "Question"
    strategy: "Strategy"
    verifier: "Verifier | None"
    engine: "Engine"
    budget: "Budget"
    prices: "Prices | None"
    seed: int
    style: Style
    progress: "Progress" = field(init=False)
    code: int | None = field(default=None, init=False)
    """Set once the solution is shown, while the engine may still be closing."""

    def run(self, recording: Recording | None) -> int:
        """Solve the question and show the solution; the exit code."""
        from reasoner.cli import interrupts
        from reasoner.cli.progress import Progress
        from reasoner.cli.terminal import engine_log, own_streams
        from reasoner.trace.events import tee

        log = engine_log(self.engine)
        with own_streams(log) as terminal:
            self.progress = Progress(terminal, self.budget, quiet=self.style.quiet)
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
        from reasoner.cli.reasoning import reasoning_lines
        from reasoner.cli.summary import Times, explanation, summary
        from reasoner.cli.terminal import OutputLost, printable
        from reasoner.voting import VoteSummary

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
                *(reasoning_lines(solution) if self.style.reasoning else ()),
                *(() if self.style.quiet else summary(solution, self.budget, self.prices, self.engine, times)),
                *(explanation(self.strategy, solution) if self.style.verbose else ()),
            ]:
                terminal.say_labelled(label, line)
        if solution.error:
            if answer:
                votes = VoteSummary(solution.vote_state).short
                terminal.say_labelled("so far", f"{answer} ({votes}); not the final answer, as the run failed")
            return self._show_error(solution.error)
        if answer and solution.unrated:
            terminal.say(error_line(f"{solution.unrated}: the answer was chosen without the verifier"))
            return OTHER
        if answer:
            return ANSWERED
        code, why = _no_answer(solution)
        terminal.say(error_line(why))
        return code

    def _give(self, solution: "Solution") -> None:
        """Write the answer to standard output or to the file of --output; nothing where there is none."""
        from reasoner.cli.summary import as_document
        from reasoner.cli.terminal import printable

        if self.style.as_json:
            line = as_document(
                self.question, self.strategy, self.verifier, self.engine, self.budget, self.seed, solution
            )
        elif solution.answer:
            line = printable(solution.answer.text, limit=MAX_ANSWER_LENGTH)
        elif solution.abstained:
            line = "not sure"
        else:
            return
        if self.style.output is None:
            self.progress.terminal.give(line)
        else:
            _write(self.style.output, line)

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
        if self.style.verbose and error.__cause__ and not isinstance(error.__cause__, ReasonerError):
            for part in format_exception(error.__cause__):
                for line in part.splitlines():
                    terminal.say(line)
        terminal.say(error_line(error))
        return code_of(error)


def _no_answer(solution: "Solution") -> tuple[int, str]:
    """The exit code of a solution without an answer or an error, and why there is none."""
    from reasoner.cli.summary import MAX_TOKENS_OPTION

    leader = solution.vote_state.leader
    if leader and solution.abstained:
        best = f"the best answer, {leader.text!r:.200}, is right with a probability of {solution.confidence:.2f}"
        return OTHER, f"not sure: {best}; lower --abstain-below or spend more with --effort"
    if solution.ended_by == "budget":
        way_out = "raise it" if solution.cost.samples else "raise it, or shorten the question"
        return EXHAUSTED, f"{solution.reason}: {way_out}"
    samples = solution.cost.samples
    which = "the only sample has no" if samples == 1 else f"none of {samples} samples has an"
    if solution.cut.cut and solution.cut.cut == solution.cut.samples:
        return OTHER, f"{which} answer: {solution.cut.line(MAX_TOKENS_OPTION)}"
    return OTHER, f"{which} answer: try more samples, a higher max_tokens or another --answer kind"


def _write(path: Path, line: str) -> None:
    """Write a line to a file as a whole. Raises OutputLost if it cannot be written."""
    from reasoner.cli.terminal import OutputLost
    from reasoner.system.files import replacing

    try:
        with replacing(path) as file:
            file.write(f"{line}\n".encode("utf-8", "replace"))
    except OSError as error:
        raise OutputLost(f"cannot write --output {path}: {error.strerror}") from error
