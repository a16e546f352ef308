"""A JSONL file that is only ever appended to, and what a killed process leaves of it."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import BaseModel

from reasoner.blame import described
from reasoner.errors import RecordError, TraceError

SYNC_SECONDS: Final = 1.0
"""How much a loss of power may take; a killed process loses nothing but the line that it was writing."""
_CHUNK: Final = 1 << 16


class LineWriter:
    """Appends records, one line each, flushed one by one. `what` names the file in errors.

    After a failed write nothing more is written: behind the torn line it would be lost with it.
    """

    def __init__(self, path: Path, *, what: str, file: BinaryIO) -> None:
        self.path = path
        self._what = what
        self._file = file
        self._synced = time.monotonic()
        self._failure = ""

    @classmethod
    def new(cls, path: Path, *, what: str) -> "LineWriter":
        """A file that is begun anew, whatever was in it.

        Raises:
            TraceError: it cannot be written.
        """
        try:
            return cls(path, what=what, file=path.open("wb"))
        except OSError as error:
            raise TraceError(f"cannot write the {what} {path}: {error.strerror}") from error

    @classmethod
    def onto(cls, path: Path, *, what: str) -> "LineWriter":
        """A file that is gone on with, from its last whole line; one that is not there is begun. Raises as `new`."""
        try:
            file = path.open("r+b" if path.exists() else "x+b")
            whole = _whole(file)
            if whole < file.seek(0, os.SEEK_END):
                file.truncate(whole)
            file.seek(whole)
            return cls(path, what=what, file=file)
        except OSError as error:
            raise TraceError(f"cannot write the {what} {path}: {error.strerror}") from error

    def write(self, record: BaseModel) -> None:
        """Append one record.

        Raises:
            RecordError: this record cannot be written, as it holds half a character; the next one can.
            TraceError: it cannot be written, as the disk is full, or an earlier one could not.
        """
        if self._failure:
            raise TraceError(self._failure)
        try:
            line = record.model_dump_json().encode() + b"\n"
        except Exception as error:
            raise RecordError(f"cannot write the {self._what} {self.path}: {described(error)}") from error
        try:
            self._file.write(line)
            self._file.flush()
            self._sync()
        except OSError as error:
            self._failure = f"cannot write the {self._what} {self.path}: {error.strerror}"
            raise TraceError(self._failure) from error

    def _sync(self) -> None:
        now = time.monotonic()
        if now - self._synced >= SYNC_SECONDS:
            self._synced = now
            # A pipe or a device cannot be synced, and needs it not.
            with suppress(OSError):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what was flushed stays. Raises as `write`."""
        try:
            self._file.close()
        except OSError as error:
            raise TraceError(f"cannot write the {self._what} {self.path}: {error.strerror}") from error


def _whole(file: BinaryIO) -> int:
    """The length of the file up to the end of its last whole line, in bytes."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _CHUNK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
