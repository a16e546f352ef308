"""The input, the output and the choices of a batch."""

import hashlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

from reasoner.answers.questions import Question
from reasoner.batch.rows import Columns
from reasoner.batch.tables import FORMATS, check_format
from reasoner.cli import options
from reasoner.cli.inputs import read_shots
from reasoner.errors import UsageError
from reasoner.strategy import Strategy
from reasoner.system.files import check_replaceable
from reasoner.system.tables import Located, Reader, count_rows, first_line, open_table, read_jsonl, reader_of

STANDARD: Final = Path("-")
"""Standard input, or standard output."""


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
        if self.questions != STANDARD:
            reader_of(self.questions)
            check_format(Path(self.questions.name.removesuffix(".gz")))
            if not self.questions.is_file():
                raise UsageError(f"cannot read {self.questions}: it does not exist or is not a file")
        if self.answers == STANDARD:
            return
        if self.answers.suffix not in FORMATS:
            raise UsageError(f"--output {self.answers} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
        check_format(self.answers)
        if self.answers.exists() and self.questions != STANDARD and self.answers.samefile(self.questions):
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
                if self.questions == STANDARD:
                    name, file = "standard input", stack.enter_context(_standard_input())
                else:
                    name, reader, file = stack.enter_context(open_table(self.questions))
                rows = _readable(name, reader(name, file, None))
                first = next(rows, None)
                if first is None:
                    raise UsageError(f"{name} has no rows")
                yield chain([first], rows)
        except OSError as error:
            raise UsageError(f"cannot read {self.questions}: {error.strerror or first_line(error)}") from error

    def count(self) -> int | None:
        """How many rows there are; None where only reading them tells."""
        try:
            return None if self.questions == STANDARD else count_rows(self.questions)
        except (OSError, UsageError):
            return None


def _readable(name: str, rows: Iterator[Located]) -> Iterator[Located]:
    """The rows; what the file system or gzip raises is an error of the input."""
    try:
        yield from rows
    except (OSError, EOFError) as error:
        raise UsageError(f"{name} cannot be read further: {first_line(error)}") from None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The options as they were typed; None where they were left out."""

    strategy: str | None
    sampling: Mapping[str, Any]
    auto: Mapping[str, Any]
    verifier: str | None
    unsandboxed: bool
    answer: str | None
    system: str | None
    few_shot: Path | None
    question_column: str | None
    id_column: str | None
    keep: str | None

    def chosen(self) -> Strategy:
        """The strategy. Raises UsageError: see `choose_strategy`."""
        return options.choose_strategy(self.strategy, **self.auto, **self.sampling)

    def columns(self) -> Columns:
        """The columns that are read and kept."""
        kept = None if self.keep is None else tuple(name.strip() for name in self.keep.split(",") if name != "none")
        default = Columns()
        return Columns(self.question_column or default.question, self.id_column or "", kept)

    def check_requests(self) -> None:
        """Refuse what has no effect on OpenAI's format, where each line says it.

        Raises:
            UsageError: the message names the option.
        """
        given = {name: getattr(self, name) for name in ("system", "few_shot", "question_column", "id_column", "keep")}
        given |= {**self.sampling, **self.auto, "unsandboxed": self.unsandboxed or None}
        for name, value in given.items():
            if value is not None:
                raise UsageError(
                    f"{options.flag(name)} has no effect on OpenAI's batch format, where each line says what it asks: "
                    "omit it"
                )

    def asker(self) -> "Asker":
        """Makes questions of their texts."""
        if self.system is not None and not self.system.strip():
            raise UsageError("--system is empty: omit it or give a text")
        shots = read_shots(self.few_shot) if self.few_shot else ()
        return Asker(self.answer or "auto", self.system or "", shots)


@dataclass(frozen=True, slots=True)
class Asker:
    """Makes questions that have a kind of answer and what comes before them in common."""

    answer: str
    system: str
    shots: tuple[tuple[str, str], ...]

    def __call__(self, text: str) -> Question:
        """The question of a text. Raises UsageError: it is no text, or the kind of answer does not fit."""
        return Question.of(text, space=self.answer, system=self.system, shots=self.shots)

    @property
    def digest(self) -> str:
        """A fingerprint of the worked examples; empty without any."""
        return hashlib.blake2b(repr(self.shots).encode(), digest_size=8).hexdigest() if self.shots else ""
