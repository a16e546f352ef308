"""A batch, from its first row to its last answer: what `reasoner batch` runs."""

import hashlib
import io
import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TypeVar

from reasoner.batch.answering import Requests, answer_rows, is_request, read_reply, request_row
from reasoner.batch.rows import (
    FORMATS,
    QUESTION,
    AnswerLine,
    Columns,
    Line,
    check_format,
    convert,
    encoded,
    question_row,
    read_answer,
    read_rows,
)
from reasoner.batch.state import BatchFolder, Progressed, Settings, WorkTrace
from reasoner.budget import Budget, Ledger, Prices
from reasoner.cli import interrupts, options
from reasoner.cli.exits import ANSWERED, ENGINE, EXHAUSTED, OTHER, USAGE, error_line
from reasoner.cli.progress import BatchProgress
from reasoner.cli.session import EngineRun, started
from reasoner.engines import PACE
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import EngineDied, EngineUnavailable, ReasonerError, RecordError, TraceError, UsageError
from reasoner.execution.session import Session
from reasoner.journal.lines import JournalWriter
from reasoner.models.info import ModelInfo
from reasoner.registry import spec_of
from reasoner.specs import Spec
from reasoner.strategy import Strategy
from reasoner.system.files import check_replaceable
from reasoner.system.printing import printable
from reasoner.system.redaction import without_secrets
from reasoner.system.tables import Located, LongRow, Reader, count_rows, open_table, read_jsonl, reader_of
from reasoner.trace.events import Sink, tee
from reasoner.verifier import Verifier

T = TypeVar("T")
FAILURES: Final = 8
"""Questions in a row that fail because the engine is unavailable before the batch ends."""
WITHOUT_EFFECT: Final = (
    *("system", "question_column", "id_column", "keep", "n", "temperature", "max_tokens", "thinking"),
    *("effort", "profile", "abstain_below", "unsandboxed"),
)
"""Options that have no effect on OpenAI's format."""


@dataclass(frozen=True, slots=True)
class Files:
    """The input and the output, each a file or `-`."""

    questions: Path
    answers: Path
    overwrite: bool = field(kw_only=True)

    def check(self) -> None:
        """Refuse files that cannot be read or written before anything runs.

        Raises:
            UsageError: the message names the file.
        """
        if self.questions != options.STANDARD:
            reader_of(self.questions)
            check_format(Path(self.questions.name.removesuffix(".gz")))
            if not self.questions.is_file():
                raise UsageError(f"cannot read {self.questions}: it does not exist or is not a file")
        if self.answers == options.STANDARD:
            return
        if self.answers.suffix not in FORMATS:
            raise UsageError(f"--output {self.answers} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
        check_format(self.answers)
        if self.answers.exists() and self.questions != options.STANDARD and self.answers.samefile(self.questions):
            raise UsageError(f"--output {self.answers} is the file of the questions: give another name")
        try:
            check_replaceable(self.answers)
        except OSError as error:
            raise UsageError(f"cannot write --output {self.answers}: {error.strerror}") from error

    @contextmanager
    def rows(self) -> Iterator[Iterator[Located]]:
        """The rows of the input.

        Raises:
            UsageError: it cannot be read, or has no rows.
        """
        try:
            with ExitStack() as stack:
                reader: Reader = read_jsonl
                if self.questions == options.STANDARD:
                    name, file = "standard input", stack.enter_context(_standard_input())
                else:
                    name, reader, file = stack.enter_context(open_table(self.questions))
                rows = _readable(name, reader(name, file, None))
                first = next(rows, None)
                if first is None:
                    raise UsageError(f"{name} has no rows")
                yield chain([first], rows)
        except OSError as error:
            raise UsageError(
                f"cannot read {self.questions}: {error.strerror or printable(str(error), limit=200)}"
            ) from error

    def count(self) -> int | None:
        """How many rows there are; None where only reading them tells."""
        try:
            return None if self.questions == options.STANDARD else count_rows(self.questions)
        except (OSError, UsageError):
            return None


def _readable(name: str, rows: Iterator[Located]) -> Iterator[Located]:
    """The rows; what the file system or gzip raises is an error of the input."""
    try:
        yield from rows
    except (OSError, EOFError) as error:
        raise UsageError(f"{name} cannot be read further: {printable(str(error), limit=200)}") from None


@contextmanager
def _standard_input() -> Iterator[BinaryIO]:
    """Standard input with a buffer of its own: that of Python is locked while a thread waits for it."""
    try:
        descriptor = os.dup(sys.stdin.fileno())
    except io.UnsupportedOperation:
        yield sys.stdin.buffer
        return
    # Closing it would wait for the thread, and it ends with the process.
    yield os.fdopen(descriptor, "rb", closefd=False)


class _Source(NamedTuple):
    """How the rows of a batch are answered."""

    strategy: Strategy
    verifier: Verifier | None
    settings: Settings
    """What decides the answers, apart from the questions."""
    answers: Callable[[Progressed], AsyncGenerator[AnswerLine, None]]
    read: Callable[[Line], AnswerLine]
    """Reads a line that an earlier session wrote."""


@dataclass(slots=True, kw_only=True)
class BatchRun(EngineRun):
    """One session of a batch that the command line describes."""

    display: BatchProgress
    files: Files
    given: options.Given
    budget: Budget
    each: Budget
    prices: Prices | None
    concurrency: int
    _source: _Source = field(init=False)
    _folder: BatchFolder | None = field(default=None, init=False)
    _trace: WorkTrace | None = field(default=None, init=False)
    _resumes: bool = field(default=False, init=False)
    _to_retry: int = field(default=0, init=False)
    """Questions that the same command asks again."""

    @property
    def _shared(self) -> bool:
        """Whether all questions share a budget."""
        return bool(str(self.budget))

    @property
    def _sink(self) -> Sink | None:
        """What follows the events of the questions."""
        sinks = [sink for sink in (None if self.given.quiet else self.display, self._trace) if sink]
        return tee(*sinks) if sinks else None

    def run(self) -> int:
        """Answer the questions; the exit code.

        Raises:
            UsageError: a file or an option does not fit.
        """
        self.files.check()
        if isinstance(self.engine, ReplayEngine):
            raise UsageError("--engine replay cannot answer a batch, as it samples nothing new: choose another engine")
        with ExitStack() as stack:
            rows = stack.enter_context(self.files.rows())
            # The first row that can be read tells the format.
            first = _up_to(rows, lambda row: not isinstance(row[1], LongRow))
            requests = is_request(first[-1][1])
            self._source = (self._requests if requests else self._questions)(chain(first, rows))
            if self.files.answers != options.STANDARD:
                self._folder = BatchFolder(self.files.answers)
                if requests and self.files.answers.suffix != ".jsonl":
                    raise UsageError(f"--output {self.files.answers} must end in .jsonl for OpenAI's batch format")
                self._resumes = stack.enter_context(self._folder.locked(overwrite=self.files.overwrite))
                self._trace = WorkTrace(self._folder.path)
                stack.callback(self._trace.close)
                if self._resumes:
                    self._folder.check(self._source.settings)
            # `super()` does not work in a dataclass with slots.
            return EngineRun.run(self)

    async def work(self) -> None:
        """Answer the rows that no earlier session finished, and write the lines as they come.

        Raises:
            TraceError: a file cannot be written.
            EngineError: the engine answers no more.
        """
        source = self._source
        async with started(self.engine, source.verifier, [source.strategy], self.display):
            done = self._begin()
            failures = 0
            writer = JournalWriter(self._folder.lines, "answers", resume=True) if self._folder else None
            try:
                async with aclosing(source.answers(done)) as answers:
                    async for answered in answers:
                        error = answered.error
                        if isinstance(error, TraceError) and not isinstance(error, RecordError):
                            raise error
                        if writer:
                            writer.append(encoded(answered.line))
                        else:
                            self.display.terminal.give(encoded(answered.line).decode().rstrip("\n"))
                        if self._trace and answered.outcome != "failed":
                            self._trace.finish(answered.ids)
                        self._to_retry += answered.asked_again(shared=self._shared)
                        self.display.add(answered)
                        failures = failures + 1 if isinstance(error, EngineUnavailable) else 0
                        if isinstance(error, EngineDied) or (failures >= FAILURES and error):
                            raise error
            finally:
                if writer:
                    writer.close()

    def _begin(self) -> Progressed:
        """What earlier sessions finished; the settings of a new batch are written, those of an old one compared."""
        done = Progressed()
        if self._folder and self._trace:
            settings = {**self._source.settings, "the model": _fingerprint(self.engine.model)}
            if self._resumes:
                self._folder.check(settings)
                done = self._folder.progressed(self._trace, self._source.read, shared=self._shared)
            else:
                self._folder.begin(settings)
        self.display.resume(done, self.files.count())
        self.display.begin(f"answering with {self.engine.model.name}")
        return done

    def finish(self) -> int:
        """Write the table of answers if it is one, and say how it ended; the exit code."""
        progress, terminal = self.display, self.display.terminal
        if self._folder and self._folder.lines != self.files.answers:
            progress.begin(f"writing {self.files.answers}")
            convert(self._folder.lines, self.files.answers)
        if not self.given.quiet:
            terminal.say(progress.line())
        if self._folder and not self._to_retry:
            self._folder.remove()
        again = "; the same command asks them again" if self._folder and self._to_retry else ""
        if progress.failed:
            terminal.say(error_line(f"{_rows(progress.failed)} ended in an error, which the answers name{again}"))
            return ENGINE if self._to_retry else OTHER
        if self._to_retry:
            left = f"the budget left {_rows(self._to_retry)} without an answer"
            terminal.say(error_line(f"{left}{again}, and the budget may be raised"))
            return EXHAUSTED
        return ANSWERED

    def interrupted(self, interrupt: KeyboardInterrupt) -> int:
        """Say what is done, and how to continue; the exit code."""
        done = f"after {self.display.line()}" if self.display.done else "before any row was answered"
        self.display.terminal.say(f"interrupted {done}")
        return self._continued(interrupts.code_of(interrupt))

    def failed(self, error: ReasonerError) -> int:
        """Show an error in one line, and how to continue; the exit code."""
        return self._continued(EngineRun.failed(self, error))

    def _continued(self, code: int) -> int:
        if self._folder and self._folder.state.exists() and (code != USAGE or self.display.done):
            so_far = f"the answers so far are in {self._folder.lines}; " if self.display.done else ""
            self.display.terminal.say(f"{so_far}the same command continues")
        return code

    def _questions(self, rows: Iterator[Located]) -> _Source:
        """Rows with a question each, answered by one strategy."""
        strategy, ask, columns = self.given.to_strategy(), self.given.to_question(), self._columns()
        verifier = self.given.to_verifier(strategy, self.engine)
        items = read_rows(rows, partial(question_row, columns=columns, ask=ask), columns, strict=True)
        # The first row is checked before the engine starts.
        items = chain(_up_to(items, lambda item: item.question is not None), items)

        def answers(done: Progressed) -> AsyncGenerator[AnswerLine, None]:
            return answer_rows(
                items,
                done,
                self._sink,
                length=self.display.total,
                strategy=strategy,
                engine=self.engine,
                verifier=verifier,
                budget=self.budget if self._shared else None,
                each=self.each if str(self.each) else None,
                prices=self.prices,
                seed=self.given.seed,
                concurrency=self.concurrency,
            )

        settings = {
            **self._settings(spec_of(strategy), spec_of(verifier) if verifier else ""),
            "--answer": ask.keywords["space"],
            "--system": ask.keywords["system"],
            "the columns": f"{columns.question},{columns.id},{'all' if columns.keep is None else columns.keep}",
        }
        return _Source(strategy, verifier, settings, answers, read_answer)

    def _columns(self) -> Columns:
        """The columns that are read and kept."""
        keep = self.given.keep
        kept = None if keep is None else tuple(name.strip() for name in keep.split(",") if name != "none")
        return Columns(self.given.question_column or QUESTION, self.given.id_column or "", kept)

    def _requests(self, rows: Iterator[Located]) -> _Source:
        """Lines of OpenAI's format, answered as a server does."""
        from reasoner.serving.choose import Offer
        from reasoner.serving.config import Settings as ServerSettings
        from reasoner.serving.config import choose_default

        given = self.given
        self._check_requests()
        own = ServerSettings()
        default, verifiers = choose_default(own, strategy=given.strategy, verifier=given.verifier, answer=given.answer)
        offered = Offer(default, own.aliases, verifiers, self.prices, self.each)
        offered.check()
        lines = read_rows(rows, request_row, Columns(keep=()))

        async def answers(done: Progressed) -> AsyncGenerator[AnswerLine, None]:
            async with AsyncExitStack() as stack:
                session = await stack.enter_async_context(
                    Session(self.engine, verifiers=tuple(verifiers.values()), prices=self.prices)
                )
                spent = sum((history.spent for history in done.histories.values()), done.spent)
                ledger = Ledger(self.budget, prices=self.prices, spent=spent)
                offer = offered.serving(self.engine.model)
                requests = Requests(session, offer, ledger, done, self._sink, given.seed, self.prices)
                stream = requests.answer(lines, concurrency=self.concurrency)
                async with aclosing(stream):
                    async for answered in stream:
                        yield answered

        settings = {**self._settings(spec_of(default.strategy), given.verifier or ""), "--answer": given.answer or ""}
        return _Source(default.strategy, None, settings, answers, read_reply)

    def _check_requests(self) -> None:
        """Refuse options that have no effect on OpenAI's format.

        Raises:
            UsageError: the message names the option.
        """
        for name in WITHOUT_EFFECT:
            value = getattr(self.given, name)
            if value is not None and value is not False:
                raise UsageError(
                    f"{options.flag(name)} has no effect on OpenAI's batch format, where each line says what it asks: "
                    "omit it"
                )

    def _settings(self, strategy: str, verifier: str) -> dict[str, str]:
        """What decides the answers, apart from the questions. The budget of all is not part of it: it may be raised."""
        return {
            "the questions": str(self.files.questions),
            "--strategy": strategy,
            "--verifier": verifier,
            "--each": str(self.each),
            "--seed": str(self.given.seed),
            "--engine": without_secrets(str(Spec.parse(spec_of(self.engine)).without(*PACE))),
        }


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _up_to(items: Iterator[T], wanted: Callable[[T], bool]) -> list[T]:
    """The first items, up to one that is wanted."""
    taken: list[T] = []
    for item in items:
        taken.append(item)
        if wanted(item):
            break
    return taken


def _fingerprint(model: ModelInfo) -> str:
    """The model's name and a fingerprint of what is known of it."""
    digest = hashlib.blake2b(repr(asdict(model)).encode(), digest_size=6).hexdigest()
    return f"{model.name} ({digest})"
