"""The journal of an arm: a line for each finished question, derived from the arm's trace."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar, overload

from reasoner.errors import DamagedLine, TraceError
from reasoner.lines import read_lines
from reasoner_evals.runs.folder import ArmFolder
from reasoner_evals.runs.records import VERSION, ItemRecord

T = TypeVar("T")


def sound_record(line: bytes) -> ItemRecord:
    """The record in a line of a journal, or an error in its place if it holds an impossible count."""
    return ItemRecord.model_validate_json(line).sound


@overload
def read_journal(files: ArmFolder) -> Iterator[ItemRecord]: ...
@overload
def read_journal(files: ArmFolder, validate: Callable[[bytes], T]) -> Iterator[T]: ...
def read_journal(files: ArmFolder, validate: Callable[[bytes], object] = sound_record) -> Iterator[object]:
    """The records of an arm's journal, streamed; empty without a journal. `validate` reads one line.

    A record with an impossible count becomes an error.

    Raises:
        DamagedLine: a line is not what was written.
        TraceError: the file cannot be read, or a line is not a record.
    """
    if files.journal.exists():
        run = files.path.parents[1]
        yield from read_lines(
            files.journal,
            validate,
            file="journal",
            record="record of the journal",
            version=VERSION,
            way_out=f"`reasoner eval --resume {run}` makes the journal again from the trace, without asking the model",
        )


def set_aside(files: ArmFolder) -> Path:
    """Rename a damaged journal, so that it can be made again from the trace; its new name.

    Raises:
        TraceError: it cannot be renamed.
    """
    kept = files.journal.with_name(f"{files.journal.name}.damaged")
    try:
        return files.journal.replace(kept)
    except OSError as error:
        raise TraceError(f"cannot rename the journal {files.journal}: {error.strerror}") from error


def journaled(files: ArmFolder) -> set[tuple[str, int]] | None:
    """The questions of a journal with their attempts; None where a line is damaged."""
    try:
        return {(record.question_id, record.attempt) for record in read_journal(files)}
    except DamagedLine:
        return None
