"""One question, from the start of the engine to the answer: what `reasoner solve` runs."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from traceback import format_exception
from typing import Final

from reasoner.answers.questions import Question
from reasoner.budget import Budget, Prices
from reasoner.cli import STARTED, interrupts
from reasoner.cli.exits import ANSWERED, EXHAUSTED, OTHER, code_of, error_line
from reasoner.cli.progress import QuestionProgress
from reasoner.cli.session import EngineRun, started
from reasoner.cli.summary import MAX_TOKENS_OPTION, Times, as_document, explanation, reasoning_lines, summary
from reasoner.cli.terminal import OutputLost, printable
from reasoner.errors import ReasonerError, TraceError
from reasoner.execution.runner import solve
from reasoner.solution import Solution
from reasoner.strategy import Strategy
from reasoner.system.files import replacing
from reasoner.trace.events import Event, TraceWriter
from reasoner.verifier import Verifier
from reasoner.voting import VoteSummary

MAX_ANSWER_LENGTH: Final = 2000
"""Characters of an answer that are printed; --json prints all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What is shown of a solution, and where."""

    output: Path | None
    """The file that gets the answer in place of standard output."""
    as_json: bool
    verbose: bool
    quiet: bool
    reasoning: bool


@dataclass(slots=True, kw_only=True)
class QuestionRun(EngineRun):
    """One run of what the command line describes. A trace that cannot be written ends, and the run continues."""

    display: QuestionProgress
    question: Question
    strategy: Strategy
    verifier: Verifier | None
    budget: Budget
    prices: Prices | None
    seed: int
    style: Style
    trace: TraceWriter | None
    code: int | None = field(default=None, init=False)
    """Set once the solution is shown, while the engine may still be closing."""
    untraced: TraceError | None = field(default=None, init=False)
    """Why the trace ended before the run."""

    def _follow(self, event: Event) -> None:
        self.display(event)
        if self.trace and not self.untraced:
            try:
                self.trace(event)
            except TraceError as error:
                self.untraced = error

    async def work(self) -> None:
        """Solve the question, and show the solution before the engine closes."""
        async with started(self.engine, self.verifier, [self.strategy], self.display) as verifier_start:
            self.display.begin(f"solving with {self.engine.model.name}")
            solution = await solve(
                self.question,
                self.strategy,
                self.engine,
                verifier=self.verifier,
                budget=self.budget,
                prices=self.prices,
                trace=self._follow,
                seed=self.seed,
            )
            self.display.hide()
            times = Times(verifier_start, self.display.first_sample, time.perf_counter() - STARTED)
            self.code = self._show(solution, times)

    def finish(self) -> int:
        """The exit code of the solution."""
        assert self.code is not None
        return self.code

    def interrupted(self, interrupt: KeyboardInterrupt) -> int:
        """Give the best answer so far if there is one; the exit code."""
        if self.code is not None:
            return self.code
        progress, terminal = self.display, self.display.terminal
        if progress.answer:
            proposals = tuple(progress.proposals)
            solution = Solution(self.question.id, progress.answer, progress.cost, proposals, "error", "interrupted")
            try:
                self._give(solution)
            except OutputLost as error:
                terminal.say(error_line(error))
        terminal.say(f"interrupted{f' after {progress.line()}' if progress.samples else ''}")
        return interrupts.code_of(interrupt)

    def failed(self, error: ReasonerError) -> int:
        """Show the error in one line, with --verbose after the traceback of its cause; the exit code."""
        terminal = self.display.terminal
        if self.style.verbose and error.__cause__ and not isinstance(error.__cause__, ReasonerError):
            for line in "".join(format_exception(error.__cause__)).splitlines():
                terminal.say(line)
        terminal.say(error_line(error))
        return code_of(error)

    def close(self, code: int) -> int:
        """Close the trace; the exit code."""
        if self.trace:
            try:
                self.trace.close()
            except TraceError as error:
                self.untraced = self.untraced or error
        if self.untraced:
            self.display.terminal.say(error_line(self.untraced))
            return code or OTHER
        return code

    def _show(self, solution: Solution, times: Times) -> int:
        """Show the answer, the summary and why there is no answer; the exit code."""
        terminal, style = self.display.terminal, self.style
        answer = printable(solution.answer.text, limit=MAX_ANSWER_LENGTH) if solution.answer else ""
        try:
            if solution.error is None:
                self._give(solution)
        except OutputLost:
            if answer:
                terminal.say_labelled("answer", answer)
            raise
        finally:
            for label, line in [
                *(reasoning_lines(solution) if style.reasoning else ()),
                *(() if style.quiet else summary(solution, self.budget, self.prices, self.engine, times)),
                *(explanation(self.strategy, solution) if style.verbose else ()),
            ]:
                terminal.say_labelled(label, line)
        if solution.error:
            if answer:
                votes = VoteSummary(solution.vote_state).short
                terminal.say_labelled("so far", f"{answer} ({votes}); not the final answer, as the run failed")
            return self.failed(solution.error)
        if answer and not solution.unrated:
            return ANSWERED
        unrated = f"{solution.unrated}: the answer was chosen without the verifier"
        code, why = (OTHER, unrated) if answer else _no_answer(solution)
        terminal.say(error_line(why))
        return code

    def _give(self, solution: Solution) -> None:
        """Write the answer to standard output or to the file of --output; nothing where there is none.

        Raises:
            OutputLost: it cannot be written.
        """
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
            self.display.terminal.give(line)
            return
        try:
            with replacing(self.style.output) as file:
                file.write(f"{line}\n".encode("utf-8", "replace"))
        except OSError as error:
            raise OutputLost(f"cannot write --output {self.style.output}: {error.strerror}") from error


def _no_answer(solution: Solution) -> tuple[int, str]:
    """The exit code of a solution without an answer or an error, and why there is none."""
    leader = solution.vote_state.leader
    if leader and solution.abstained:
        best = f"the best answer, {leader.text!r:.200}, is right with a probability of {solution.confidence:.2f}"
        return OTHER, f"not sure: {best}; lower --abstain-below or spend more with --effort"
    samples = solution.cost.samples
    if solution.ended_by == "budget":
        return EXHAUSTED, f"{solution.reason}: raise it{'' if samples else ', or shorten the question'}"
    which = "the only sample has no" if samples == 1 else f"none of {samples} samples has an"
    if solution.cut.cut and solution.cut.cut == solution.cut.samples:
        return OTHER, f"{which} answer: {solution.cut.line(MAX_TOKENS_OPTION)}"
    return OTHER, f"{which} answer: try more samples, a higher max_tokens or another --answer kind"
