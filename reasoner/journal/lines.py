"""JSON lines that are only appended to, each with a checksum, readable after their writer was killed.

A line is a JSON object; its last member, `crc32`, is the CRC-32 of the object without it, as eight hex digits.
"""

import errno
import gzip
import mmap
import os
import re
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Generic, Protocol, TypeVar, cast

from reasoner.errors import DamagedLine, RecordError, TraceError, UsageError
from reasoner.system.files import (
    NOT_REGULAR,
    check_replaceable,
    complaint_of,
    file_errors,
    open_regular,
)
from reasoner.system.foreign import described

T = TypeVar("T")
MAX_LINE_BYTES: Final = 1 << 28
"""The most bytes of one line that are read."""
DAMAGED: Final = "is damaged: its content does not match its checksum"
_GZIP: Final = b"\x1f\x8b"
_SEAL: Final = re.compile(rb',"crc32":"([0-9a-f]{8})"}\n?\Z')
_SEAL_LENGTH: Final = len(b',"crc32":"00000000"}\n')


class LineRecord(Protocol):
    """What is written as a line."""

    def model_dump_json(self) -> str:
        """The record as JSON in one line."""


@dataclass(frozen=True, slots=True)
class Format(Generic[T]):
    """What the lines of a file hold: the file's name in errors, how a line is read, and its version, 0 for none.

    `read` raises ValueError if a line is something else.
    """

    name: str
    read: Callable[[bytes], T]
    version: int = 0


def sealed(content: bytes) -> bytes:
    """The line of a JSON object, with its checksum and a line feed."""
    content = content.strip()
    return b'%b,"crc32":"%08x"}\n' % (content[:-1], zlib.crc32(content))


def sealed_line(record: LineRecord) -> bytes:
    """The line of a record. Raises ValueError: it is not valid text."""
    return sealed(record.model_dump_json().encode())


def read_lines(path: Path, form: Format[T], *, advice: str = "") -> Iterator[T]:
    """The records of a file, plain or gzipped, one by one. An incomplete last line, left by a killed run, is skipped.

    Errors end with `advice`, which says what to do.

    Raises:
        DamagedLine: a line is not what was written.
        TraceError: the file cannot be read, or a line does not have this format.
    """
    number, sealing, advice = 0, False, f": {advice}" if advice else ""
    with (
        file_errors(TraceError, f"cannot read the {form.name} {path}"),
        open_regular(path) as opened,
    ):
        packed = opened.read(len(_GZIP)) == _GZIP
        opened.seek(0)
        file = cast("BinaryIO", gzip.GzipFile(fileobj=opened)) if packed else opened
        while line := _next(file):
            number += 1
            seal = _SEAL.search(line, max(0, len(line) - _SEAL_LENGTH))
            try:
                record = form.read(_content(line, seal))
                # Once a line has a checksum, all have: this one's is damaged.
                if seal is None and sealing and line.endswith(b"\n"):
                    raise DamagedLine(DAMAGED)
            except DamagedLine as error:
                raise DamagedLine(f"{path}:{number} {error}{advice}") from None
            except ValueError as error:
                if not (seal or line.endswith(b"\n")):
                    return
                complaint, is_json = _complaint(line, error, form)
                kind = TraceError if is_json and (seal or not sealing) else DamagedLine
                raise kind(f"{path}:{number} {complaint}{advice}") from error
            sealing = sealing or seal is not None
            yield record


def read_line(line: bytes, form: Format[T], where: str) -> T:
    """The record of one line of a file. Raises DamagedLine: it is not what was written; the error names `where`."""
    try:
        return form.read(
            _content(line, _SEAL.search(line, max(0, len(line) - _SEAL_LENGTH)))
        )
    except DamagedLine as error:
        raise DamagedLine(f"{where} {error}") from None
    except ValueError as error:
        raise DamagedLine(f"{where} {_complaint(line, error, form)[0]}") from error


def _next(file: BinaryIO) -> bytes:
    """The next line; empty where the writer of a gzip file was killed. Raises OSError: it cannot be unpacked."""
    try:
        return file.readline(MAX_LINE_BYTES + 1)
    except EOFError:
        return b""
    except zlib.error as error:
        raise OSError(errno.EIO, "its gzip data are damaged") from error


def _content(line: bytes, seal: re.Match[bytes] | None) -> bytes:
    """A line without its checksum. Raises DamagedLine: it is too long, or its content does not match."""
    if len(line) > MAX_LINE_BYTES:
        raise DamagedLine(f"is too long: at most {MAX_LINE_BYTES:,} bytes are read")
    if seal is None:
        return line
    content = line[: seal.start()] + b"}"
    if zlib.crc32(content) != int(seal[1], 16):
        raise DamagedLine(DAMAGED)
    return content


def _complaint(line: bytes, error: ValueError, form: Format[T]) -> tuple[str, bool]:
    """Why a line does not have a format, and whether it is JSON."""
    if b'"v":' in line and form.version and b'"v":%d,' % form.version not in line:
        return (
            f"was written by another version: this one reads version {form.version}",
            True,
        )
    complaint = complaint_of(error)
    return f"is not a line of the {form.name}: {complaint}", not complaint.startswith(
        "invalid JSON"
    )


class JournalWriter:
    """Appends records, one line each, flushed one by one, so a killed process loses at most its last line.

    `what` names the file in errors. A name that ends in .gz makes a gzipped file. A file that is not empty is refused,
    unless it is to be replaced (`overwrite`) or continued after its last whole line (`resume`; plain files only). After
    a failed write nothing more is written: it would be lost behind the incomplete line.

    Raises:
        UsageError: the file is not empty, or its name asks for another compression.
        TraceError: it cannot be written.
    """

    def __init__(
        self, path: Path, what: str, *, overwrite: bool = False, resume: bool = False
    ) -> None:
        if path.suffix in (".bz2", ".xz", ".zst", ".zip"):
            raise UsageError(
                f"cannot write the {what} {path}: it can be compressed as .gz only"
            )
        self.path = path
        self._what = what
        self._synced = time.monotonic()
        self._failure: OSError | None = None
        try:
            self._file = (
                _opened_end(path) if resume else _opened_new(path, overwrite=overwrite)
            )
        except FileExistsError as error:
            advice = "name another file, or overwrite it with --overwrite"
            raise UsageError(f"the {what} {path} exists: {advice}") from error
        except OSError as error:
            raise self._failed(error) from error

    def write(self, record: LineRecord) -> None:
        """Append one record.

        Raises:
            RecordError: this record cannot be written because it is not valid text; the next one can.
            TraceError: it cannot be written, for example because the disk is full, or an earlier one could not.
        """
        try:
            line = sealed_line(record)
        except Exception as error:
            raise RecordError(
                f"cannot write the {self._what} {self.path}: {described(error)}"
            ) from error
        self.append(line)

    def append(self, line: bytes) -> None:
        """Append a line that ends in a line feed. Raises TraceError as `write`."""
        if self._failure:
            raise self._failed(self._failure) from self._failure
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            self._failure = error
            raise self._failed(error) from error
        # How much a power loss may destroy; a killed process only loses the line that it was writing
        if time.monotonic() - self._synced >= 1.0:
            self._synced = time.monotonic()
            # A pipe or a device cannot be synced.
            with suppress(OSError):
                os.fsync(self._file.fileno())

    def _failed(self, error: OSError) -> TraceError:
        return TraceError(
            f"cannot write the {self._what} {self.path}: {error.strerror}"
        )

    @property
    def size(self) -> int:
        """How many bytes the file has so far; 0 for a pipe."""
        try:
            return self._file.tell()
        except OSError:
            return 0

    def close(self) -> None:
        """Close the file; what was flushed stays. Raises TraceError as `write`."""
        try:
            self._file.close()
        except OSError as error:
            raise self._failed(error) from error


def _opened_new(path: Path, *, overwrite: bool) -> BinaryIO:
    """The file, opened for writing; a pipe or a character device is written as a stream.

    Raises:
        FileExistsError: it is not empty, and `overwrite` is not set.
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        about = os.fstat(descriptor)
        if stat.S_ISREG(about.st_mode):
            if about.st_size and not overwrite:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            os.ftruncate(descriptor, 0)
        elif stat.S_ISBLK(about.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        file = os.fdopen(descriptor, "wb")
    except BaseException:
        os.close(descriptor)
        raise
    if path.suffix != ".gz":
        return file
    packed = gzip.GzipFile(fileobj=file, mode="wb", mtime=0)
    # It closes the file that it opened itself, and this one as well.
    packed.myfileobj = file  # type: ignore[assignment]
    return cast("BinaryIO", packed)


def _opened_end(path: Path) -> BinaryIO:
    """The file, opened after its last whole line, or a new one. Raises OSError: it cannot be written."""
    check_replaceable(path)
    file = path.open("a+b")
    size = file.seek(0, os.SEEK_END)
    if size:
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
            end = content.rfind(b"\n") + 1
        if end < size:
            file.truncate(end)
            file.seek(end)
    return file
