"""A batch, from its first row to its last answer: what `reasoner batch` runs."""

import hashlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, aclosing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from reasoner.answers.references import ReferenceKinds
from reasoner.batch.rows import (
    ANSWER,
    COLUMNS,
    FORMATS,
    ID,
    QUESTION,
    InputRow,
    convert,
    encoded,
    read_rows,
    reference_kinds,
)
from reasoner.batch.state import (
    BatchFolder,
    EarlierSessions,
    Settings,
    answer_rows,
    unasked_rows,
)
from reasoner.budget import Budget, Prices
from reasoner.cli import interrupts
from reasoner.cli.given import GivenOptions
from reasoner.cli.options import STANDARD
from reasoner.cli.progress import BatchProgress
from reasoner.cli.session import EngineRun, started
from reasoner.cli.terminal import ANSWERED, ENGINE, EXHAUSTED, OTHER, USAGE
from reasoner.engines import PACE
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import (
    EngineDied,
    EngineUnavailable,
    RecordError,
    TraceError,
    UsageError,
)
from reasoner.journal.lines import JournalWriter
from reasoner.registry import spec_of
from reasoner.specs import Spec
from reasoner.strategy import Strategy
from reasoner.system.files import check_replaceable, file_errors
from reasoner.system.printing import counted, printable, without_secrets
from reasoner.system.tables import (
    UNREADABLE,
    Located,
    Table,
    column_names,
    count_rows,
    open_table,
    read_jsonl,
    reader_of,
)
from reasoner.trace.events import Sink, tee
from reasoner.verifier import Verifier


def check_files(questions: Path, answers: Path) -> None:
    """Refuse files that cannot be read or written before anything runs; each is a file or `-`.

    Raises:
        UsageError: the message names the file.
    """
    if questions != STANDARD:
        reader_of(questions)
    if answers == STANDARD:
        return
    if answers.suffix not in FORMATS:
        raise UsageError(
            f"--out {answers} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        )
    if answers.exists() and questions.exists() and answers.samefile(questions):
        raise UsageError(
            f"--out {answers} is the file of the questions: give another name"
        )
    with file_errors(UsageError, f"cannot write --out {answers}"):
        check_replaceable(answers)


@contextmanager
def open_rows(path: Path) -> Iterator[Iterator[Located]]:
    """The rows of the input.

    Raises:
        UsageError: it cannot be read, or has no rows.
    """
    with ExitStack() as stack:
        if path == STANDARD:
            table = Table(
                "standard input", read_jsonl, stack.enter_context(_standard_input())
            )
        else:
            try:
                table = stack.enter_context(open_table(path))
            except UNREADABLE as error:
                raise UsageError(
                    f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
                ) from error
        rows = _readable(table)
        first = next(rows, None)
        if first is None:
            raise UsageError(f"{table.name} has no rows")
        yield chain([first], rows)


def _readable(table: Table) -> Iterator[Located]:
    """The rows; what the file system or gzip raises is an error of the input."""
    try:
        yield from table.rows()
    except UNREADABLE as error:
        raise UsageError(
            f"{table.name} cannot be read further: {printable(str(error), limit=200)}"
        ) from None


def _reference_kinds(path: Path, column: str, answer: str) -> ReferenceKinds:
    """The kinds of the reference answers of a file; none where only reading it once is possible, or it is damaged."""
    if path.is_file():
        with suppress(*UNREADABLE, UsageError), open_table(path) as table:
            return reference_kinds(table.rows(), column, answer)
    return ReferenceKinds()


def _count(path: Path) -> int | None:
    """How many rows there are; None where only reading them tells."""
    try:
        return None if path == STANDARD else count_rows(path)
    except (*UNREADABLE, UsageError):
        return None


@contextmanager
def _standard_input() -> Iterator[BinaryIO]:
    """Standard input with a buffer of its own: Python's own is locked while a thread waits for it."""
    try:
        descriptor = os.dup(sys.stdin.fileno())
    except io.UnsupportedOperation:
        yield sys.stdin.buffer
        return
    # Closing it would wait for the thread, and it ends with the process.
    yield os.fdopen(descriptor, "rb", closefd=False)


@dataclass(slots=True, kw_only=True)
class BatchRun(EngineRun):
    """One session of a batch that the command line describes."""

    display: BatchProgress
    questions: Path
    answers: Path
    overwrite: bool
    given: GivenOptions
    budget: Budget
    total: Budget
    prices: Prices | None
    concurrency: int
    _rows: Iterator[InputRow] = field(init=False)
    _strategy: Strategy = field(init=False)
    _verifier: Verifier | None = field(init=False)
    _settings: Settings = field(init=False)
    _folder: BatchFolder | None = field(default=None, init=False)
    _resumes: bool = field(default=False, init=False)
    _to_retry: int = field(default=0, init=False)
    """Questions that the same command asks again."""
    """Of the questions that ended, in all sessions."""

    @property
    def _shared(self) -> bool:
        """Whether all questions share a budget."""
        return bool(str(self.total))

    @property
    def _sink(self) -> Sink | None:
        """What follows the events of the questions."""
        sinks: list[Sink] = [
            *([] if self.given.quiet else [self.display]),
            *([self._folder.trace] if self._folder else []),
        ]
        return tee(*sinks) if sinks else None

    def run(self) -> int:
        """Answer the questions; the exit code.

        Raises:
            UsageError: a file or an option does not fit.
        """
        check_files(self.questions, self.answers)
        if isinstance(self.engine, ReplayEngine):
            raise UsageError(
                "--engine replay cannot answer a batch, as it samples nothing new: choose another engine"
            )
        with ExitStack() as stack:
            rows = stack.enter_context(open_rows(self.questions))
            kind = self._prepare(rows)
            if self.answers != STANDARD:
                self._folder = BatchFolder(self.answers)
                if self.answers.exists() and not (
                    self._folder.state.exists() or self.overwrite
                ):
                    unasked = unasked_rows(self.answers, self._rows)
                    if unasked is not None:
                        return self._nothing_to_do(unasked)
                self._resumes = stack.enter_context(
                    self._folder.locked(overwrite=self.overwrite)
                )
                if self._resumes:
                    self._folder.check(self._settings)
            if kind:
                self.display.note(f"note: {kind}")
            # `super()` does not work in a dataclass with slots.
            return EngineRun.run(self)

    def _nothing_to_do(self, unasked: int) -> int:
        """Say that the answers are complete; the exit code is the one with which the batch finished."""
        terminal = self.display.terminal
        if not self.given.quiet:
            terminal.say(
                f"nothing to do: {self.answers} has a line for each row; --overwrite answers them again"
            )
        if unasked:
            terminal.fail(
                f"{counted(unasked, 'row')} ended in an error, which the answers name"
            )
        return OTHER if unasked else ANSWERED

    async def work(self) -> None:
        """Answer the rows that no earlier session finished, and write the lines as they come.

        Raises:
            TraceError: a file cannot be written.
            EngineError: the engine answers no more.
        """
        async with started(self.engine, self._verifier, [self._strategy], self.display):
            done = self._begin()
            failures = 0
            writer = (
                JournalWriter(self._folder.lines, "answers", resume=True)
                if self._folder
                else None
            )
            try:
                stream = answer_rows(
                    self._rows,
                    done,
                    self._sink,
                    length=self.display.total,
                    waits=self.questions == STANDARD,
                    strategy=self._strategy,
                    engine=self.engine,
                    verifier=self._verifier,
                    budget=self.total if self._shared else None,
                    each=self.budget if str(self.budget) else None,
                    prices=self.prices,
                    seed=self.given.seed,
                    concurrency=self.concurrency,
                )
                async with aclosing(stream) as answers:
                    async for answered in answers:
                        error = answered.error
                        if isinstance(error, TraceError) and not isinstance(
                            error, RecordError
                        ):
                            raise error
                        if writer:
                            writer.append(encoded(answered.line))
                        else:
                            self.display.terminal.give(
                                encoded(answered.line).decode().rstrip("\n")
                            )
                        if self._folder and answered.outcome != "failed":
                            self._folder.trace.finish(answered.id)
                        self._to_retry += answered.asked_again(shared=self._shared)
                        self.display.add(answered)
                        failures = (
                            failures + 1 if isinstance(error, EngineUnavailable) else 0
                        )
                        if isinstance(error, EngineDied) or (
                            # Questions in a row that fail because the engine is
                            # unavailable before the batch ends
                            failures >= 8 and error
                        ):
                            raise error
            finally:
                if writer:
                    writer.close()

    def _begin(self) -> EarlierSessions:
        """What earlier sessions finished; the settings of a new batch are written, those of an old one compared."""
        done = EarlierSessions()
        if self._folder:
            model = self.engine.model
            digest = hashlib.blake2b(
                repr(asdict(model)).encode(), digest_size=6
            ).hexdigest()
            settings = {**self._settings, "the model": f"{model.name} ({digest})"}
            if self._resumes:
                self._folder.check(settings)
                done = self._folder.progressed(shared=self._shared)
                if done.repeated:
                    lines = f"{done.repeated:,} line{'s were' if done.repeated > 1 else ' was'}"
                    self.display.note(
                        f"warning: {lines} in {self._folder.lines} twice: one of each is kept"
                    )
            else:
                self._folder.begin(settings)
        self.display.resume(done, _count(self.questions))
        self.display.begin(f"answering with {self.engine.model.name}")
        return done

    def finish(self) -> int:
        """Write the table of answers if it is one, and say how it ended; the exit code."""
        progress, terminal = self.display, self.display.terminal
        if self._folder and self._folder.lines != self.answers:
            progress.begin(f"writing {self.answers}")
            convert(self._folder.lines, self.answers)
        if not self.given.quiet:
            terminal.say(progress.line())
        if self._folder and not self._to_retry:
            self._folder.remove()
        again = (
            "the same command asks them again"
            if self._folder and self._to_retry
            else ""
        )
        if progress.failed:
            again = f"; {again}" if again else ""
            terminal.fail(
                f"{counted(progress.failed, 'row')} ended in an error, which the answers name{again}"
            )
            return ENGINE if self._to_retry else OTHER
        if self._to_retry:
            left = f"the budget left {counted(self._to_retry, 'row')} without an answer"
            terminal.fail(f"{left}: raise it, and {again}" if again else left)
            return EXHAUSTED
        return ANSWERED

    def interrupted(self, interrupt: KeyboardInterrupt) -> int:
        """Say what is done, and how to continue; the exit code."""
        done = (
            f"after {self.display.line()}"
            if self.display.done
            else "before any row was answered"
        )
        self.display.terminal.say(f"interrupted {done}")
        return self.continued(interrupts.code_of(interrupt))

    def continued(self, code: int) -> int:
        """Say where the answers so far are, and how to continue; the exit code."""
        if self._folder and self._folder.state.exists():
            parts = (
                [f"the answers so far are in {self._folder.lines}"]
                if self.display.done
                else []
            )
            # A usage error says itself what to do; without that the same command fails again.
            parts += ["the same command continues"] if code != USAGE else []
            if parts:
                self.display.terminal.say("; ".join(parts))
        return code

    def _prepare(self, rows: Iterator[Located]) -> str:
        """Make the questions of the rows, the strategy and the settings; what reference answers say of their kind.

        The first row is checked.
        """
        given = self.given
        strategy, ask = given.to_strategy(), given.to_question()
        verifier = given.to_verifier([strategy], self.engine)
        named = {
            name: in_file
            for name, (in_file,) in column_names(given.column_pairs, COLUMNS).items()
        }
        column, id_column = named.get(QUESTION, QUESTION), named.get(ID, "")
        answer = named.get(ANSWER, ANSWER)
        kinds = (
            _reference_kinds(self.questions, column, answer)
            if given.answer is None
            else ReferenceKinds()
        )
        if kinds.kind:
            ask = partial(ask, space=kinds.kind)
        decisive = {
            "--strategy": spec_of(strategy),
            "--verifier": spec_of(verifier) if verifier else "",
            "--budget": str(self.budget),
            "--seed": str(given.seed),
            "--engine": without_secrets(
                str(Spec.parse(spec_of(self.engine)).without(*PACE))
            ),
            "--answer": ask.keywords["space"],
            "--system": ask.keywords["system"],
            "the columns": f"{column},{id_column}",
        }
        self._settings = {"the questions": str(self.questions), **decisive}
        items = read_rows(rows, column, id_column, ask, decisive, answer)
        self._rows, self._strategy, self._verifier = (
            chain([next(items)], items),
            strategy,
            verifier,
        )
        return kinds.note("-a KIND")
