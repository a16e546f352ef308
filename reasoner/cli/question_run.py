"""One question, from what is read of it to the answer: what `reasoner solve` runs."""

import io
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from traceback import format_exception
from typing import IO, Final

from reasoner.answers.questions import Question
from reasoner.budget import UNITS, Budget, Prices, cost_line
from reasoner.cli import STARTED, interrupts
from reasoner.cli.progress import QuestionProgress, spent_of
from reasoner.cli.session import EngineRun, started
from reasoner.cli.terminal import ANSWERED, EXHAUSTED, OTHER, OutputLost, code_of
from reasoner.errors import ReasonerError, TraceError, UsageError
from reasoner.execution.runner import solve
from reasoner.registry import spec_of
from reasoner.solution import Solution
from reasoner.strategy import Strategy
from reasoner.system.files import file_errors, open_regular
from reasoner.system.printing import counted, one_line, printable
from reasoner.trace.events import Event, TraceWriter
from reasoner.trace.outline import ending
from reasoner.verifier import Verifier
from reasoner.voting import VoteSummary

MAX_ANSWER_LENGTH: Final = 2000
"""Characters of an answer that are printed; --json prints all."""
MAX_REASON_LENGTH: Final = 500
"""Characters of a reason or a choice that are shown."""
MAX_LINES: Final = 200
"""Lines of a reply that are shown."""
MAX_LINE: Final = 2000
"""Characters of such a line that are shown."""
MAX_TOKENS_OPTION: Final = "--max-tokens"
MAX_LENGTH: Final = 10_000_000
"""Bytes of a question or a file; more would not fit the context window of any model."""


def question_text(argument: str) -> str:
    """The question of the argument, or of standard input for `-`."""
    if argument == "-":
        return _decoded(sys.stdin.buffer, "the question on standard input")
    return _decoded(
        io.BytesIO(argument.encode("utf-8", "surrogatepass")), "the question"
    )


def file_text(option: str, path: Path) -> str:
    """The text of the file that an option names.

    Raises:
        UsageError: it cannot be read, is too long, is not text or is empty.
    """
    with (
        file_errors(UsageError, f"cannot read {option} {path}"),
        open_regular(path) as file,
    ):
        text = _decoded(file, f"{option} {path}")
    if not text.strip():
        raise UsageError(f"{option} {path} is empty: omit it or give a file with text")
    return text


def _decoded(file: IO[bytes], name: str) -> str:
    data = file.read(MAX_LENGTH + 1)
    if len(data) > MAX_LENGTH:
        raise UsageError(f"{name} is too long: the limit is {MAX_LENGTH:,} bytes")
    if b"\0" in data:
        raise UsageError(f"{name} is binary: convert it to plain text first")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text: convert it first") from error


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
    as_json: bool
    verbose: bool
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
        async with started(self.engine, self.verifier, [self.strategy], self.display):
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
            self.code = self._show(solution)

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
            solution = Solution(
                self.question.id,
                progress.answer,
                progress.cost,
                proposals,
                "error",
                "interrupted",
            )
            try:
                self._give(solution)
            except OutputLost as error:
                terminal.fail(error)
        terminal.say(
            f"interrupted{f' after {progress.line()}' if progress.samples else ''}"
        )
        return interrupts.code_of(interrupt)

    def failed(self, error: ReasonerError) -> int:
        """Show the error in one line, with --verbose after the traceback of its cause; the exit code."""
        terminal = self.display.terminal
        if (
            self.verbose
            and error.__cause__
            and not isinstance(error.__cause__, ReasonerError)
        ):
            for line in "".join(format_exception(error.__cause__)).splitlines():
                terminal.say(line)
        terminal.fail(error)
        return code_of(error)

    def close(self, code: int) -> int:
        """Close the trace; the exit code."""
        if self.trace:
            try:
                self.trace.close()
            except TraceError as error:
                self.untraced = self.untraced or error
        if self.untraced:
            self.display.terminal.fail(self.untraced)
            return code or OTHER
        return code

    def _show(self, solution: Solution) -> int:
        """Show the answer, the summary and why there is no answer; the exit code."""
        elapsed = time.perf_counter() - STARTED
        terminal = self.display.terminal
        answer = (
            printable(solution.answer.text, limit=MAX_ANSWER_LENGTH)
            if solution.answer
            else ""
        )
        try:
            if solution.error is None:
                self._give(solution)
        except OutputLost:
            if answer:
                terminal.say_labelled("answer", answer)
            raise
        finally:
            for label, line in [
                *(_reasoning(solution) if self.verbose else ()),
                *(() if self.display.quiet else self._summary(solution, elapsed)),
                *(self._explanation(solution) if self.verbose else ()),
            ]:
                terminal.say_labelled(label, line)
        if solution.error:
            if answer:
                votes = VoteSummary(solution.vote_state).short
                terminal.say_labelled(
                    "so far",
                    f"{answer} ({votes}); not the final answer, as the run failed",
                )
            return self.failed(solution.error)
        if answer and not solution.unrated:
            return ANSWERED
        unrated = f"{solution.unrated}: the answer was chosen without the verifier"
        code, why = (OTHER, unrated) if answer else _no_answer(solution)
        terminal.fail(why)
        return code

    def _give(self, solution: Solution) -> None:
        """Write the answer to standard output; nothing where there is none. Raises OutputLost: it cannot be written."""
        if self.as_json:
            # In ASCII, which no terminal interprets.
            line = json.dumps(self._document(solution))
        elif solution.answer:
            line = printable(solution.answer.text, limit=MAX_ANSWER_LENGTH)
        elif solution.abstained:
            line = "not sure"
        else:
            return
        self.display.terminal.give(line)

    def _document(self, solution: Solution) -> dict[str, object]:
        """The whole solution for a program."""
        return {
            **solution.to_dict(),
            "question": self.question.text,
            "budget": {
                unit: limit
                for unit in UNITS
                if (limit := getattr(self.budget, unit)) is not None
            },
            "strategy": spec_of(self.strategy),
            "verifier": spec_of(self.verifier) if self.verifier else None,
            "engine": self.engine.name,
            "model": self.engine.model.name,
            "seed": self.seed,
        }

    def _summary(self, solution: Solution, elapsed: float) -> Iterator[tuple[str, str]]:
        """The vote, the cost, the budget, the time and the engine's notes, with a label each."""
        vote_state, cost = solution.vote_state, solution.cost
        if vote_state.samples or vote_state.votes:
            yield "vote", VoteSummary(vote_state).line
        if cut := solution.cut.line(MAX_TOKENS_OPTION):
            yield "cut", cut
        yield "cost", cost_line(cost, self.prices)
        if str(self.budget):
            yield (
                "budget",
                f"{spent_of(self.budget, cost, self.prices)}; {solution.reason}",
            )
        yield "time", f"{elapsed:.1f} s, {cost.seconds:.1f} s of it for the question"
        yield from (("note", note) for note in solution.notes)

    def _explanation(self, solution: Solution) -> Iterator[tuple[str, str]]:
        """What was run and why, what ended it, and how reliable the answer is, with a label each."""
        cost = solution.cost
        choice = next(
            (remark for remark in solution.remarks if remark.startswith("chose ")),
            spec_of(self.strategy),
        )
        ran = printable(choice, limit=MAX_REASON_LENGTH)
        yield "ran", f"{ran}; {counted(cost.samples, 'sample')}, {cost.tokens:,} tokens"
        remarks = [
            each for each in solution.remarks if each not in (choice, solution.reason)
        ]
        yield from (
            ("search", printable(each, limit=MAX_REASON_LENGTH))
            # Remarks of a search that are shown, the last ones
            for each in remarks[-12:]
        )
        yield (
            "stopped",
            ending(
                solution.ended_by, printable(solution.reason, limit=MAX_REASON_LENGTH)
            ),
        )
        votes = VoteSummary(solution.vote_state)
        if solution.confidence is None:
            trust = f"not calibrated: {votes.leading}" + (
                f"; {votes.tie}" if votes.tied else ""
            )
        else:
            trust = f"right with a probability of {solution.confidence:.2f}"
            if questions := getattr(self.strategy, "calibrated_on", 0):
                trust += f", calibrated on {counted(questions, 'question')}"
        yield "trust", trust


def _reasoning(solution: Solution) -> Iterator[tuple[str, str]]:
    """The thinking that a server returned apart from the reply, and the reply, with a label each."""
    if not solution.text:
        yield "reply", "no single reply states the answer"
    thinking = (
        reply.completion.thinking
        for reply in solution.samples
        if reply.text == solution.text
    )
    for label, text in (("thinking", next(thinking, "")), ("reply", solution.text)):
        lines = text.strip().splitlines()
        for index, line in enumerate(lines[:MAX_LINES]):
            cut = "…" if len(line) > MAX_LINE else ""
            yield "" if index else label, one_line(line[:MAX_LINE]).rstrip() + cut
        if len(lines) > MAX_LINES:
            yield (
                "",
                f"[{counted(len(lines) - MAX_LINES, 'more line')}; --json holds all]",
            )


def _no_answer(solution: Solution) -> tuple[int, str]:
    """The exit code of a solution without an answer or an error, and why there is none."""
    leader = solution.vote_state.leader
    if leader and solution.abstained:
        best = f"the best answer, {leader.text!r:.200}, is right with a probability of {solution.confidence:.2f}"
        return (
            OTHER,
            f"not sure: {best}; lower abstain_below or raise abstain_risk",
        )
    samples = solution.cost.samples
    if solution.ended_by == "budget":
        return (
            EXHAUSTED,
            f"{solution.reason}: raise it{'' if samples else ', or shorten the question'}",
        )
    which = (
        "the only sample has no"
        if samples == 1
        else f"none of {samples} samples has an"
    )
    if solution.cut.cut and solution.cut.cut == solution.cut.samples:
        return OTHER, f"{which} answer: {solution.cut.line(MAX_TOKENS_OPTION)}"
    return (
        OTHER,
        f"{which} answer: try more samples, a higher max_tokens or another --answer kind",
    )
