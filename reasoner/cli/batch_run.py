"""A batch, from its first row to its last answer: what `reasoner batch` runs."""

import hashlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, Final, TypeVar

from reasoner.batch.answering import Requests, answer_rows, is_request, read_reply, read_requests
from reasoner.batch.rows import AnswerLine, Line, encoded, read_answer, read_rows
from reasoner.batch.state import BatchFolder, Progressed, Settings, WorkTrace
from reasoner.batch.tables import convert
from reasoner.budget import Budget, Ledger, Prices
from reasoner.cli import interrupts, options
from reasoner.cli.batch_files import STANDARD, Choices, Files
from reasoner.cli.batch_progress import BatchProgress
from reasoner.cli.exits import ANSWERED, ENGINE, EXHAUSTED, OTHER, USAGE, code_of_run, error_line
from reasoner.cli.progress import started
from reasoner.cli.terminal import ReaderLeft, Terminal, engine_log, own_streams
from reasoner.engine import Engine
from reasoner.engines import PACE
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import EngineDied, EngineUnavailable, ReasonerError, RecordError, TraceError, UsageError
from reasoner.execution.session import Session
from reasoner.journal.lines import JournalWriter
from reasoner.models.info import ModelInfo
from reasoner.registry import spec_of
from reasoner.specs import Spec
from reasoner.strategy import Strategy
from reasoner.system.redaction import without_secrets
from reasoner.system.tables import Located, LongRow
from reasoner.trace.events import Sink, tee
from reasoner.verifier import Verifier

T = TypeVar("T")
FAILURES: Final = 8
"""Questions in a row that fail because the engine is unavailable before the batch ends."""
Answers = Callable[[Progressed], AsyncGenerator[AnswerLine, None]]


@dataclass(slots=True)
class BatchRun:
    """One session of a batch that the command line describes."""

    files: Files
    choices: Choices
    engine: Engine
    budget: Budget
    each: Budget
    prices: Prices | None
    seed: int
    concurrency: int
    quiet: bool = field(kw_only=True)
    _progress: BatchProgress = field(init=False)
    _folder: BatchFolder | None = field(default=None, init=False)
    _trace: WorkTrace | None = field(default=None, init=False)
    _to_retry: int = field(default=0, init=False)
    """Questions that the same command asks again."""

    @property
    def _shared(self) -> bool:
        """Whether all questions share a budget."""
        return bool(str(self.budget))

    @property
    def _sink(self) -> Sink | None:
        """What follows the events of the questions."""
        sinks = [sink for sink in (None if self.quiet else self._progress, self._trace) if sink]
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
            source = self._requests if requests else self._questions
            strategy, verifier, settings, answers = source(chain(first, rows))
            resumes = False
            if self.files.answers != STANDARD:
                self._folder = BatchFolder(self.files.answers)
                if requests and self.files.answers.suffix != ".jsonl":
                    raise UsageError(f"--output {self.files.answers} must end in .jsonl for OpenAI's batch format")
                resumes = stack.enter_context(self._folder.locked(overwrite=self.files.overwrite))
                self._trace = WorkTrace(self._folder.path)
                stack.callback(self._trace.close)
                if resumes:
                    self._folder.check(settings)
            log = engine_log(self.engine)
            terminal = stack.enter_context(own_streams(log))
            self._progress = BatchProgress(terminal, self.budget, self.prices, quiet=self.quiet)
            read = read_reply if requests else read_answer

            async def session() -> None:
                async with started(self.engine, verifier, [strategy], self._progress):
                    done = self._begin(settings, read, resumes=resumes)
                    await self._answer(answers(done), terminal)

            return self._shown(session, terminal)

    def _shown(self, session: Callable[[], Coroutine[Any, Any, None]], terminal: Terminal) -> int:
        """Run the session; the exit code. An error is one line, followed by how to continue."""
        progress = self._progress
        try:
            with progress.shown():
                interrupts.run(session)
            if self._folder and self._folder.lines != self.files.answers:
                progress.begin(f"writing {self.files.answers}")
                convert(self._folder.lines, self.files.answers)
            return self._finish(terminal)
        except KeyboardInterrupt as interrupt:
            terminal.say(
                f"interrupted {f'after {progress.line()}' if progress.done else 'before any row was answered'}"
            )
            code = interrupts.code_of(interrupt)
        except ReaderLeft:
            return ANSWERED
        except ReasonerError as error:
            terminal.say(error_line(error))
            code = code_of_run(error)
        if self._folder and self._folder.settings.exists() and (code != USAGE or progress.done):
            so_far = f"the answers so far are in {self._folder.lines}; " if progress.done else ""
            terminal.say(f"{so_far}the same command continues")
        if code == ENGINE:
            terminal.point_to(engine_log(self.engine))
        return code

    def _begin(self, settings: Settings, read: Callable[[Line], AnswerLine], *, resumes: bool) -> Progressed:
        """What earlier sessions finished; the settings of a new batch are written, those of an old one compared."""
        done = Progressed()
        if self._folder and self._trace:
            settings = {**settings, "the model": _described(self.engine.model)}
            if resumes:
                self._folder.check(settings)
                done = self._folder.progressed(self._trace, read, shared=self._shared)
            else:
                self._folder.begin(settings)
        self._progress.resume(done, self.files.count())
        self._progress.begin(f"answering with {self.engine.model.name}")
        return done

    async def _answer(self, answers: AsyncGenerator[AnswerLine, None], terminal: Terminal) -> None:
        """Write the lines as they come.

        Raises:
            TraceError: a file cannot be written.
            EngineError: the engine answers no more.
        """
        failures = 0
        writer = JournalWriter(self._folder.lines, "answers", resume=True) if self._folder else None
        try:
            async with aclosing(answers):
                async for answered in answers:
                    error = answered.error
                    if isinstance(error, TraceError) and not isinstance(error, RecordError):
                        raise error
                    if writer:
                        writer.append(encoded(answered.line))
                    else:
                        terminal.give(encoded(answered.line).decode().rstrip("\n"))
                    if self._trace and answered.outcome != "failed":
                        self._trace.finish(answered.ids)
                    self._to_retry += answered.asked_again(shared=self._shared)
                    self._progress.add(answered)
                    failures = failures + 1 if isinstance(error, EngineUnavailable) else 0
                    if isinstance(error, EngineDied) or (isinstance(error, EngineUnavailable) and failures >= FAILURES):
                        raise error
        finally:
            if writer:
                writer.close()

    def _finish(self, terminal: Terminal) -> int:
        """Say how it ended; the exit code."""
        progress = self._progress
        if not self.quiet:
            terminal.say(progress.line())
        if self._folder and not self._to_retry:
            self._folder.remove()
        again = "" if not self._folder or not self._to_retry else "; the same command asks them again"
        if progress.failed:
            rows = f"{progress.failed:,} row{'s' if progress.failed != 1 else ''}"
            terminal.say(error_line(f"{rows} ended in an error, which the answers name{again}"))
            return ENGINE if self._to_retry else OTHER
        if self._to_retry:
            rows = f"{self._to_retry:,} row{'s' if self._to_retry != 1 else ''}"
            terminal.say(error_line(f"the budget left {rows} without an answer{again}, and the budget may be raised"))
            return EXHAUSTED
        return ANSWERED

    def _questions(self, rows: Iterator[Located]) -> tuple[Strategy, Verifier | None, Settings, Answers]:
        """What answers rows with a question each, by one strategy."""
        strategy, asker, columns = self.choices.chosen(), self.choices.asker(), self.choices.columns()
        unsandboxed = self.choices.unsandboxed
        verifier = options.choose_verifier(self.choices.verifier, [strategy], self.engine, unsandboxed=unsandboxed)
        items = read_rows(rows, columns, asker)
        # The first row is checked before the engine starts.
        items = chain(_up_to(items, lambda item: item.question is not None), items)

        def answers(done: Progressed) -> AsyncGenerator[AnswerLine, None]:
            return answer_rows(
                items,
                done,
                self._sink,
                length=self._progress.total,
                strategy=strategy,
                engine=self.engine,
                verifier=verifier,
                budget=self.budget if self._shared else None,
                each=self.each if str(self.each) else None,
                prices=self.prices,
                seed=self.seed,
                concurrency=self.concurrency,
            )

        settings = {
            **self._settings(spec_of(strategy), spec_of(verifier) if verifier else ""),
            "--answer": asker.answer,
            "--system": asker.system,
            "--few-shot": asker.digest,
            "the columns": f"{columns.question},{columns.id},{'all' if columns.keep is None else columns.keep}",
        }
        return strategy, verifier, settings, answers

    def _requests(self, rows: Iterator[Located]) -> tuple[Strategy, Verifier | None, Settings, Answers]:
        """What answers the lines of OpenAI's format, as a server would."""
        from reasoner.serving.choose import Offer
        from reasoner.serving.config import Settings as ServerSettings
        from reasoner.serving.config import choose_default

        self.choices.check_requests()
        own = ServerSettings()
        default, verifiers = choose_default(
            own,
            strategy=self.choices.strategy,
            verifier=self.choices.verifier,
            answer=self.choices.answer,
        )
        offered = Offer(default, own.aliases, verifiers, self.prices, self.each)
        offered.check()
        lines = read_requests(rows)

        async def answers(done: Progressed) -> AsyncGenerator[AnswerLine, None]:
            async with AsyncExitStack() as stack:
                session = await stack.enter_async_context(
                    Session(self.engine, verifiers=tuple(verifiers.values()), prices=self.prices)
                )
                spent = sum((history.spent for history in done.histories.values()), done.spent)
                ledger = Ledger(self.budget, prices=self.prices, spent=spent)
                offer = offered.serving(self.engine.model)
                requests = Requests(session, offer, ledger, done, self._sink, self.seed, self.prices)
                stream = requests.answer(lines, concurrency=self.concurrency)
                async with aclosing(stream):
                    async for answered in stream:
                        yield answered

        settings = {
            **self._settings(spec_of(default.strategy), self.choices.verifier or ""),
            "--answer": self.choices.answer or "",
        }
        return default.strategy, None, settings, answers

    def _settings(self, strategy: str, verifier: str) -> dict[str, str]:
        """What decides the answers, apart from the questions. The budget of all may be raised."""
        return {
            "the questions": str(self.files.questions),
            "--strategy": strategy,
            "--verifier": verifier,
            "--each": str(self.each),
            "--seed": str(self.seed),
            "--engine": without_secrets(str(Spec.parse(spec_of(self.engine)).without(*PACE))),
        }


def _up_to(items: Iterator[T], wanted: Callable[[T], bool]) -> list[T]:
    """The items up to the first that is wanted."""
    taken: list[T] = []
    for item in items:
        taken.append(item)
        if wanted(item):
            break
    return taken


def _described(model: ModelInfo) -> str:
    """The model's name and a fingerprint of what is known of it."""
    digest = hashlib.blake2b(repr(asdict(model)).encode(), digest_size=6).hexdigest()
    return f"{model.name} ({digest})"
