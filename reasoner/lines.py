"""A JSONL file that is only ever appended to: its checksums, and what a killed process leaves of it.

A line is a JSON object whose last member, `crc32`, is the CRC-32 of the object without it, as eight hex digits.
"""

import errno
import gzip
import os
import re
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol, cast

from reasoner.blame import described
from reasoner.errors import RecordError, TraceError, UsageError
from reasoner.files import NOT_REGULAR, check_replaceable, open_regular

SYNC_SECONDS: Final = 1.0
"""How much a loss of power may take; a killed process loses nothing but the line that it was writing."""
LONGEST_LINE: Final = 1 << 28
"""Bytes of one line that are read at most."""
DAMAGED: Final = "is damaged: its content does not match its checksum"
_CHUNK: Final = 1 << 16
_GZIP: Final = b"\x1f\x8b"
_SEAL: Final = re.compile(rb',"crc32":"([0-9a-f]{8})"}\n?\Z')
_SEAL_LENGTH: Final = len(b',"crc32":"00000000"}\n')
_OTHER_COMPRESSIONS: Final = (".bz2", ".xz", ".zst", ".zip")


class Line(NamedTuple):
    """One line of a file, without its checksum; `fault` says what is wrong with it, empty where nothing is."""

    number: int
    content: bytes
    whole: bool
    """Whether it ends in a line feed; the last line of a killed process may not."""
    fault: str = ""
    bare: bool = False
    """Whether it has no checksum while a line before it has one: of a whole line, its checksum was destroyed."""


class Record(Protocol):
    """What a line is made of."""

    def model_dump_json(self) -> str:
        """It as JSON, in one line."""
        ...


def sealed(record: Record) -> str:
    """A record as its line, with the checksum and without the line feed. Raises ValueError: it is not valid text."""
    content = record.model_dump_json()
    return f'{content[:-1]},"crc32":"{zlib.crc32(content.encode()):08x}"}}'


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of a file, plain or gzipped, streamed. Each checksum is compared.

    Raises:
        OSError: the file cannot be read, is not a regular file, or is damaged gzip data.
    """
    with open_regular(path) as opened:
        packed = opened.read(len(_GZIP)) == _GZIP
        opened.seek(0)
        file = cast("BinaryIO", gzip.GzipFile(fileobj=opened)) if packed else opened
        number, sealing = 0, False
        while content := _next(file):
            number += 1
            if len(content) > LONGEST_LINE:
                yield Line(number, b"", whole=True, fault=f"is too long: at most {LONGEST_LINE:,} bytes are read")
                return
            whole = content.endswith(b"\n")
            seal = _SEAL.search(content, max(0, len(content) - _SEAL_LENGTH))
            if seal is None:
                yield Line(number, content, whole, bare=sealing and whole)
                continue
            sealing = True
            content = content[: seal.start()] + b"}"
            yield Line(number, content, whole, "" if zlib.crc32(content) == int(seal[1], 16) else DAMAGED)


def _next(file: BinaryIO) -> bytes:
    """The next line; none where the writer of a gzip file was killed there.

    Raises:
        OSError: what comes next cannot be unpacked.
    """
    try:
        return file.readline(LONGEST_LINE + 1)
    except EOFError:
        return b""
    except zlib.error as error:
        raise OSError(errno.EIO, "its gzip data are damaged") from error


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
    def new(cls, path: Path, *, what: str, overwrite: bool = False) -> "LineWriter":
        """A new file, gzipped where its name ends in .gz. A pipe or a character device is written to as a stream.

        Raises:
            UsageError: the file holds something and `overwrite` is not set, or its name asks for another compression.
            TraceError: it cannot be written.
        """
        if path.suffix in _OTHER_COMPRESSIONS:
            raise UsageError(f"cannot write the {what} {path}: it can be compressed as .gz only")
        try:
            file = _opened_new(path, overwrite=overwrite)
        except FileExistsError as error:
            raise UsageError(
                f"the {what} {path} exists: name another file, or overwrite it with --overwrite"
            ) from error
        except OSError as error:
            raise TraceError(f"cannot write the {what} {path}: {error.strerror}") from error
        if path.suffix == ".gz":
            file = cast("BinaryIO", _GzipLines(file))
        return cls(path, what=what, file=file)

    @classmethod
    def onto(cls, path: Path, *, what: str) -> "LineWriter":
        """Continue a plain file after its last whole line, or begin one that does not exist. Raises as `new`."""
        try:
            check_replaceable(path)
            file = path.open("r+b" if path.exists() else "x+b")
            whole = _whole(file)
            if whole < file.seek(0, os.SEEK_END):
                file.truncate(whole)
            file.seek(whole)
            return cls(path, what=what, file=file)
        except OSError as error:
            raise TraceError(f"cannot write the {what} {path}: {error.strerror}") from error

    def write(self, record: Record) -> None:
        """Append one record.

        Raises:
            RecordError: this record cannot be written, as it holds half a character; the next one can.
            TraceError: it cannot be written, as the disk is full, or an earlier one could not.
        """
        if self._failure:
            raise TraceError(self._failure)
        try:
            line = sealed(record).encode() + b"\n"
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
            # A pipe or a device cannot be synced.
            with suppress(OSError):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what was flushed stays. Raises as `write`."""
        try:
            self._file.close()
        except OSError as error:
            raise TraceError(f"cannot write the {self._what} {self.path}: {error.strerror}") from error


class _GzipLines(gzip.GzipFile):
    """A gzip file that can be read up to the last line that was flushed, also where its writer was killed."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="wb", mtime=0)
        self._below = file

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._below.close()


def _opened_new(path: Path, *, overwrite: bool) -> BinaryIO:
    """The file, opened for writing. Raises FileExistsError: it holds something already."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        about = os.fstat(descriptor)
        if stat.S_ISREG(about.st_mode):
            if about.st_size and not overwrite:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            os.ftruncate(descriptor, 0)
        elif stat.S_ISBLK(about.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        return os.fdopen(descriptor, "wb")
    except BaseException:
        os.close(descriptor)
        raise


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
