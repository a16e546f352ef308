"""Answers the rows of a batch, and keeps what an interrupted batch continues from."""

import json
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from reasoner.answers.equivalence import Equivalence
from reasoner.answers.questions import Question
from reasoner.batch.rows import (
    AnswerLine,
    InputRow,
    answer_line,
    error_line,
    is_right,
    read_answer,
)
from reasoner.budget import NO_COST, Cost
from reasoner.errors import TraceError, UsageError
from reasoner.execution.runner import solve_each
from reasoner.journal.folder import LOCK, write_whole, writing
from reasoner.journal.lines import Format, JournalWriter, read_lines
from reasoner.system.child_processes import in_daemon
from reasoner.system.files import file_errors, parse_json, read_value
from reasoner.system.tables import open_table
from reasoner.trace.events import Began, Ended, Event, Sink, TraceWriter, read_trace
from reasoner.trace.history import QuestionHistory, read_histories, sound

RESTART: Final = "start again with --overwrite"
Settings = Mapping[str, str]
"""What decides the answers apart from the questions, by name. The budget of all may be raised: it is not part of it."""


class WorkTrace:
    """The trace of the questions that are not finished, in files of a bounded size.

    A file is deleted once every question in it is finished, so that it takes no more room than the questions that are
    open.
    """

    # Bytes of one file of the trace; a file is deleted when all of its questions have their lines
    def __init__(self, folder: Path, *, segment: int = 1 << 26) -> None:
        self._folder = folder
        self._segment = segment
        self._open: dict[Path, set[str]] = {}
        self._number = 0
        self._writer: TraceWriter | None = None

    def read(self, done: set[int]) -> dict[str, QuestionHistory]:
        """The history of each question; `done` has the hashes of the ids to leave out. Raises TraceError."""

        def events() -> Iterator[Event]:
            for path in paths:
                known = self._open[path] = set()
                for event in sound(
                    read_trace(path, advice=f"delete {path} to ask its questions again")
                ):
                    if hash(event.question_id) not in done:
                        known.add(event.question_id)
                        # A question without a line is not over, however its plan ended.
                        if not isinstance(event, Ended):
                            yield event

        paths = sorted(self._folder.glob("trace-*.jsonl"))
        self._number = max(
            (int(path.stem.partition("-")[2]) for path in paths), default=0
        )
        histories = read_histories(events())
        self._drop_finished()
        for name, history in histories.items():
            if history.refused:
                # The budget may have been raised: the question is asked from its beginning, and what it cost counts.
                histories[name] = history.without_events()
        return histories

    def __call__(self, event: Event) -> None:
        """Append an event. Raises as `TraceWriter`."""
        if self._writer is None:
            self._number += 1
            path = self._folder / f"trace-{self._number:06}.jsonl"
            self._writer, self._open[path] = TraceWriter(path), set()
        self._open[self._writer.path].add(event.question_id)
        self._writer(event)
        if self._writer.size >= self._segment:
            self._close()

    def finish(self, id: str) -> None:
        """This question has its line."""
        for known in self._open.values():
            known.discard(id)
        if len(self._open) > 1:
            self._drop_finished()

    def _drop_finished(self) -> None:
        current = self._writer.path if self._writer else None
        for path in [
            path for path, known in self._open.items() if not known and path != current
        ]:
            path.unlink(missing_ok=True)
            del self._open[path]

    def _close(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None

    def close(self) -> None:
        """Close the file; nothing is deleted. If it could not be written, that was reported."""
        with suppress(TraceError):
            self._close()


@dataclass(slots=True)
class EarlierSessions:
    """What earlier sessions of a batch finished."""

    ids: set[int] = field(default_factory=set)
    """The hashes of the ids of the lines, and of the numbers and contents of the rows."""
    count: int = 0
    answered: int = 0
    graded: Counter[bool] = field(default_factory=Counter)
    """How many answers are right, and how many wrong, of those with a reference answer."""
    spent: Cost = field(default_factory=Cost)
    """The cost of all lines, and of those that were dropped."""
    dropped: Cost = field(default_factory=Cost)
    histories: dict[str, QuestionHistory] = field(default_factory=dict)
    repeated: int = 0
    """Lines that repeated another one and were taken out."""

    def add(self, answer: AnswerLine) -> None:
        """Count a line."""
        self.ids |= {
            hash(answer.id),
            _row(answer.row),
            _row(answer.row, answer.id, answer.digest),
        }
        self.spent += answer.cost
        self.count += 1
        self.answered += answer.outcome == "answered"
        self.graded += answer.graded

    def drop(self, answer: AnswerLine) -> None:
        """Count only what a line cost, as its questions are asked again; of a failed one, the trace has the cost."""
        if answer.outcome != "failed":
            self.spent += answer.cost
            self.dropped += answer.cost

    def has(self, id: str, row: int, digest: str) -> bool:
        """Whether the question of this id is finished.

        Raises:
            UsageError: the row was answered as another question.
        """
        if _row(row, id, digest) in self.ids:
            return True
        if hash(id) in self.ids:
            raise UsageError(
                f"row {row} ({id!r:.80}) has changed since it was answered: restore it, delete its line from the "
                "answers to ask it again, or start again with --overwrite"
            )
        if _row(row) in self.ids:
            raise UsageError(
                f"row {row} is not the one that was answered: the input has changed; new rows may only be added at its "
                "end, or start again with --overwrite"
            )
        return False


def _row(number: int, *content: str) -> int:
    """The hash of a row, or of a row with this content."""
    return hash((number, *content))


@dataclass(frozen=True, slots=True)
class BatchState:
    """What is kept of a batch beside its answers and its trace."""

    settings: Settings
    dropped: Cost = NO_COST
    """What the lines cost that were taken out of the answers to be asked again."""


class BatchFolder:
    """The folder beside the answers, `ANSWERS.state`: state, lock, trace, and answers that are not converted yet."""

    def __init__(self, answers: Path) -> None:
        self.answers = answers
        self.path = answers.with_name(f"{answers.name}.state")
        self.state = self.path / "state.json"
        self.lines = (
            answers if answers.suffix == ".jsonl" else self.path / "answers.jsonl"
        )
        """The lines of the answers, appended to as questions end."""
        self.trace = WorkTrace(self.path)

    @contextmanager
    def locked(self, *, overwrite: bool) -> Iterator[bool]:
        """Lock it as its only writer; whether there is an interrupted batch to continue.

        Raises:
            UsageError: another process writes it, or the answers exist and belong to no interrupted batch.
            TraceError: it cannot be created or locked.
        """
        resumes = self.state.exists()
        if self.answers.exists() and not resumes and not overwrite:
            raise UsageError(
                f"{self.answers} exists and belongs to no interrupted batch: name another file, or replace it with "
                "--overwrite"
            )
        with writing(self.path, self.state, what=self.answers, create=True):
            with file_errors(TraceError, f"cannot replace {self.answers}"):
                if overwrite:
                    for path in [*self._files(), self.answers]:
                        path.unlink(missing_ok=True)
            try:
                yield resumes and not overwrite
            finally:
                self.trace.close()
                if not self.state.exists():
                    self.remove()

    def remove(self) -> None:
        """The batch is complete: remove what it wrote here, and the folder if nothing else is in it."""
        with suppress(OSError):
            for path in [*self._files(), self.path / LOCK]:
                path.unlink(missing_ok=True)
            self.path.rmdir()

    def _files(self) -> list[Path]:
        """What a batch writes here. The state goes first: without it there is nothing to continue."""
        return [
            self.state,
            self.path / "answers.jsonl",
            *self.path.glob("trace-*.jsonl"),
        ]

    def begin(self, settings: Settings, dropped: Cost = NO_COST) -> None:
        """Write the settings of a batch, and what its dropped lines cost. Raises TraceError."""
        state = BatchState(settings, dropped)
        write_whole(self.state, [json.dumps(asdict(state), indent=1).encode()])

    def _read(self) -> BatchState:
        return read_value(
            self.state,
            BatchState,
            what="state of a batch",
            advice=RESTART,
            error=TraceError,
        )

    def check(self, settings: Settings) -> None:
        """Refuse other settings than those of the batch.

        Raises:
            UsageError: one differs; the message shows it.
            TraceError: they cannot be read.
        """
        before = self._read().settings
        for name, value in settings.items():
            if name in before and before[name] != value:
                raise UsageError(
                    f"{self.answers} was started with other settings ({name}: {before[name] or 'none'}, now "
                    f"{value or 'none'}): use those, or {RESTART}"
                )

    def progressed(self, *, shared: bool) -> EarlierSessions:
        """What earlier sessions finished.

        Lines of questions that are asked again are taken out of the answers: those that failed, and those that a budget
        left without an answer, if it is `shared` by all. So are those that are there twice.

        Raises:
            TraceError: a file cannot be read or written, holds something else, or has two answers to one row.
        """
        state = self._read()
        done = EarlierSessions(dropped=state.dropped, spent=state.dropped)
        if self.lines.exists():
            JournalWriter(self.lines, "answers", resume=True).close()
            taken_out = 0
            for line in self._kept(shared=shared):
                if line.repeated:
                    done.repeated += 1
                elif line.again:
                    done.drop(line.answer)
                else:
                    done.add(line.answer)
                taken_out += line.repeated or line.again
            if taken_out:
                self.begin(state.settings, done.dropped)
                lines = self._kept(shared=shared)
                write_whole(
                    self.lines,
                    (
                        line.content
                        for line in lines
                        if not (line.repeated or line.again)
                    ),
                )
        done.histories = self.trace.read(done.ids)
        return done

    def _kept(self, *, shared: bool) -> "Iterator[_WrittenLine]":
        """The lines of the answers, and which of them are taken out. Raises as `progressed`."""
        rows, contents = set[int](), set[int]()

        def read(content: bytes) -> _WrittenLine:
            answer = _answer(content)
            repeated = hash(content) in contents
            contents.add(hash(content))
            again = answer.asked_again(shared=shared)
            if not repeated and not again:
                names = {_row(answer.row), hash(answer.id)}
                if not rows.isdisjoint(names):
                    raise TraceError(
                        f"{self.lines} has two answers to row {answer.row} ({answer.id!r:.80}): delete one of the "
                        f"lines, or {RESTART}"
                    )
                rows.update(names)
            return _WrittenLine(content, answer, repeated, again)

        return read_lines(self.lines, Format("answers", read), advice=RESTART)


class _WrittenLine(NamedTuple):
    """A line of the answers: whether it is there a second time, and whether its question is asked again."""

    content: bytes
    answer: AnswerLine
    repeated: bool
    again: bool


def _answer(content: bytes) -> AnswerLine:
    """What a line of the answers says. Raises ValueError: it is none."""
    try:
        return read_answer(parse_json(content))
    except (KeyError, TypeError, AttributeError):
        raise ValueError("it has other columns") from None


def unasked_rows(answers: Path, rows: Iterator[InputRow]) -> int | None:
    """How many rows of a finished batch are no questions; None where the answers are not those of these rows.

    The answers are in any format. Raises UsageError: the rows cannot be read further.
    """
    written, count = set[int](), 0
    try:
        with open_table(answers) as table:
            for _, line in table.rows():
                if isinstance(line, UsageError):
                    return None
                written.add(
                    _row(
                        int(line["row"]),
                        line["digest"] or "",
                        "failed" if line["error"] else "",
                    )
                )
                count += 1
    except (OSError, EOFError, KeyError, TypeError, ValueError, UsageError):
        return None
    unasked = 0
    for row in rows:
        count -= 1
        unasked += row.question is None
        if (
            _row(row.number, row.digest, "" if row.question else "failed")
            not in written
        ):
            return None
    return unasked if count == 0 else None


async def answer_rows(
    rows: Iterator[InputRow],
    done: EarlierSessions,
    trace: Sink | None,
    *,
    length: int | None,
    waits: bool = False,
    **options: Any,
) -> AsyncGenerator[AnswerLine, None]:
    """The lines of the rows that are not `done`, as they end; `options` and errors are those of `solve_each`.

    `length` is the number of all rows, if that is known; `waits` says that a row may take long to come.
    """
    asked: dict[str, InputRow] = {}
    wrong: deque[InputRow] = deque()
    histories, following = done.histories, partial(next, rows, None)

    async def questions() -> AsyncIterator[Question]:
        while row := await in_daemon(following) if waits else following():
            if row.question is None:
                wrong.append(row)
            elif not done.has(row.id, row.number, row.digest):
                asked[row.id] = row
                began = histories[row.id].of(Began) if row.id in histories else []
                if any(event.text != row.question.text for event in began):
                    # The row was changed before it was answered: what it cost counts, its samples do not.
                    histories[row.id] = histories[row.id].without_events()
                yield row.question

    comparer = Equivalence()
    stream = solve_each(
        questions(),
        comparer=comparer,
        history=histories,
        spent=done.spent,
        length=None if length is None else max(0, length - done.count),
        trace=trace,
        **options,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(comparer.close)
        await stack.enter_async_context(aclosing(stream))
        async for _, solution in stream:
            while wrong:
                yield error_line(wrong.popleft())
            row = asked.pop(solution.question_id)
            right = await is_right(row, solution, comparer)
            yield answer_line(row, solution, right)
    while wrong:
        yield error_line(wrong.popleft())
