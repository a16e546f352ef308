"""What an interrupted batch continues from: the answers that were written, and the trace of unfinished questions."""

import json
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from reasoner.batch.lines import Known, Line
from reasoner.budget import Cost
from reasoner.errors import TraceError, UsageError
from reasoner.execution.inputs import IdSet
from reasoner.system.files import parse_json, read_object, replacing
from reasoner.trace.events import Ended, Event, Refused, TraceWriter, read_trace
from reasoner.trace.history import QuestionHistory, read_histories, sound
from reasoner.trace.jsonl import JsonlWriter
from reasoner.trace.locks import acquire

SEGMENT: Final = 1 << 26
"""Bytes of one file of the trace; a file goes when all of its questions have their lines."""
MAX_AHEAD: Final = 1 << 26
"""How many rows after the last one that was read a line may be."""
Settings = Mapping[str, str]


class WorkTrace:
    """The trace of the questions that are not finished, in files of a bounded size.

    A file is deleted once every question in it is finished, so that it takes no more room than the questions that are
    open.
    """

    def __init__(self, folder: Path, *, segment: int = SEGMENT) -> None:
        self._folder = folder
        self._segment = segment
        self._open: dict[Path, set[str]] = {}
        self._number = 0
        self._writer: TraceWriter | None = None

    def read(self, done: IdSet) -> dict[str, QuestionHistory]:
        """The history of each question that is not `done`. What is done is dropped. Raises TraceError."""

        def events() -> Iterator[Event]:
            for path in paths:
                known = self._open[path] = set()
                for event in sound(read_trace(path, way_out=f"delete {path} to ask its questions again")):
                    if event.question_id not in done:
                        known.add(event.question_id)
                        # A question without a line is not over, however its plan ended.
                        if not isinstance(event, Ended):
                            yield event

        paths = sorted(self._folder.glob("trace-*.jsonl"))
        self._number = max((int(path.stem.partition("-")[2]) for path in paths), default=0)
        histories = read_histories(events())
        self._drop_finished()
        for name, history in histories.items():
            if history.of(Refused):
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

    def finish(self, ids: tuple[str, ...]) -> None:
        """These questions have their lines."""
        for known in self._open.values():
            known.difference_update(ids)
        if len(self._open) > 1:
            self._drop_finished()

    def _drop_finished(self) -> None:
        current = self._writer.path if self._writer else None
        for path in [path for path, known in self._open.items() if not known and path != current]:
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
class Progressed:
    """What earlier sessions of a batch finished."""

    ids: IdSet = field(default_factory=IdSet)
    rows: "array[int]" = field(default_factory=lambda: array("Q"))
    """The fingerprint of what each row held, by the row's number less one; 0 where it is not finished."""
    count: int = 0
    answered: int = 0
    spent: Cost = field(default_factory=Cost)
    """The cost of all lines, and of those that were dropped."""
    dropped: Cost = field(default_factory=Cost)
    histories: dict[str, QuestionHistory] = field(default_factory=dict)

    def add(self, answer: Known, *, shared: bool) -> bool:
        """Count a line; True if its question is to be asked again. `shared` says whether all share a budget."""
        if answer.outcome == "failed":
            # The trace still has it, with its cost.
            return True
        self.spent += answer.cost
        if shared and answer.outcome == "unanswered" and answer.ended_by == "budget":
            self.dropped += answer.cost
            return True
        for name in answer.ids:
            self.ids.add(name)
        self.count += 1
        self.answered += answer.outcome == "answered"
        if answer.row:
            if answer.row > len(self.rows) + MAX_AHEAD:
                raise ValueError
            self.rows.extend([0] * (answer.row - len(self.rows)))
            self.rows[answer.row - 1] = IdSet.key(answer.digest)
        else:
            self.ids.add(_content(answer.ids[0], answer.digest))
        return False

    def has(self, id: str, row: int, digest: str) -> bool:
        """Whether the question of this id is finished; 0 is the `row` of one whose place does not matter.

        Raises:
            UsageError: the row was answered as another question.
        """
        if row:
            key = self.rows[row - 1] if row <= len(self.rows) else 0
            same = key == IdSet.key(digest)
        else:
            key, same = 0, _content(id, digest) in self.ids
        if same:
            return True
        if id in self.ids:
            where = f"row {row} ({id!r:.80})" if row else f"the line {id!r:.80}"
            raise UsageError(
                f"{where} has changed since it was answered: restore it, delete its line from the answers to ask it "
                "again, or start again with --overwrite"
            )
        if key:
            raise UsageError(
                f"row {row} is not the one that was answered: the input has changed; new rows may only be added at its "
                "end, or start again with --overwrite"
            )
        return False


def _content(id: str, digest: str) -> str:
    """The name of a line with this content in a set of ids."""
    return f"{digest} {id}"


class BatchFolder:
    """The folder beside the answers, `ANSWERS.state`: settings, lock, trace, and answers that are not converted yet."""

    def __init__(self, answers: Path) -> None:
        self.answers = answers
        self.path = answers.with_name(f"{answers.name}.state")
        self.settings = self.path / "settings.json"
        self.lock = self.path / ".lock"
        self.dropped = self.path / "dropped.json"
        """What the lines cost that were taken out of the answers to be asked again."""
        self.lines = answers if answers.suffix == ".jsonl" else self.path / "answers.jsonl"
        """The lines of the answers, appended to as questions end."""

    @contextmanager
    def locked(self, *, overwrite: bool) -> Iterator[bool]:
        """Lock it as its only writer; whether there is an interrupted batch to continue.

        Raises:
            UsageError: another process writes it, or the answers exist and belong to no interrupted batch.
            TraceError: it cannot be created or locked.
        """
        resumes = self.settings.exists()
        if self.answers.exists() and not resumes and not overwrite:
            raise UsageError(
                f"{self.answers} exists and belongs to no interrupted batch: name another file, or replace it with "
                "--overwrite"
            )
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise TraceError(f"cannot create the folder {self.path}: {error.strerror}") from error
        with acquire(self.lock, self.answers):
            if overwrite:
                self._clear()
            try:
                yield resumes and not overwrite
            finally:
                if not self.settings.exists():
                    self.remove()

    def _clear(self) -> None:
        try:
            for path in [*self._files(), self.answers]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise TraceError(f"cannot replace {self.answers}: {error.strerror}") from error

    def remove(self) -> None:
        """The batch is complete: remove what it wrote here, and the folder if nothing else is in it."""
        with suppress(OSError):
            for path in [*self._files(), self.lock]:
                path.unlink(missing_ok=True)
            self.path.rmdir()

    def _files(self) -> list[Path]:
        """What a batch writes here. The settings go first: without them there is nothing to continue."""
        own = [self.settings, self.dropped, self.path / "answers.jsonl"]
        return [*own, *self.path.glob("trace-*.jsonl")]

    def begin(self, settings: Settings) -> None:
        """Write the settings of a new batch. Raises TraceError."""
        self._write(self.settings, settings)

    def _write(self, path: Path, content: Mapping[str, object]) -> None:
        try:
            with replacing(path) as file:
                file.write(json.dumps(content, indent=1).encode())
        except OSError as error:
            raise TraceError(f"cannot write {path}: {error.strerror}") from error

    def check(self, settings: Settings) -> None:
        """Refuse other settings than those of the batch.

        Raises:
            UsageError: one differs; the message shows it.
            TraceError: they cannot be read.
        """
        try:
            before = read_object(self.settings)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise TraceError(f"cannot read {self.settings}: {why}: start again with --overwrite") from error
        for name, value in settings.items():
            if name in before and before[name] != value:
                raise UsageError(
                    f"{self.answers} was started with other settings ({name}: {before[name] or 'none'}, now "
                    f"{value or 'none'}): use those, or start again with --overwrite"
                )

    def progressed(self, trace: WorkTrace, known: Callable[[Line], Known], *, shared: bool) -> Progressed:
        """What earlier sessions finished. Lines of questions that are asked again are taken out of the answers.

        These are those that failed and those that a budget left without an answer, if it is `shared` by all.

        Raises:
            TraceError: the answers cannot be read or written, or hold something else.
        """
        done, dropped = Progressed(dropped=self._dropped_before()), False
        done.spent += done.dropped
        if self.lines.exists():
            JsonlWriter.onto(self.lines, what="answers").close()
            for where, line in self._read():
                try:
                    answer = known(line)
                except (KeyError, TypeError, ValueError, AttributeError):
                    raise TraceError(f"{where} is not a line of this batch: start again with --overwrite") from None
                dropped |= done.add(answer, shared=shared)
            if dropped:
                self._write(self.dropped, asdict(done.dropped))
                self._drop(lambda line: Progressed().add(known(line), shared=shared))
        done.histories = trace.read(done.ids)
        return done

    def _dropped_before(self) -> Cost:
        """What the lines cost that earlier sessions dropped."""
        if not self.dropped.exists():
            return Cost()
        try:
            return Cost(**read_object(self.dropped))
        except (OSError, TypeError, ValueError) as error:
            raise TraceError(f"cannot read {self.dropped}: {error}: start again with --overwrite") from error

    def _read(self) -> Iterator[tuple[str, Line]]:
        try:
            with self.lines.open("rb") as file:
                for number, content in enumerate(file, 1):
                    where = f"{self.lines}:{number}"
                    try:
                        line = parse_json(content)
                    except ValueError:
                        raise TraceError(f"{where} is not JSON: start again with --overwrite") from None
                    yield where, line
        except OSError as error:
            raise TraceError(f"cannot read the answers {self.lines}: {error.strerror}") from error

    def _drop(self, drop: Callable[[Line], bool]) -> None:
        try:
            with self.lines.open("rb") as before, replacing(self.lines) as file:
                file.writelines(content for content in before if not drop(parse_json(content)))
        except OSError as error:
            raise TraceError(f"cannot write the answers {self.lines}: {error.strerror}") from error
