"""JSONL files that are only appended to, with a checksum per line, readable after the writer was killed.

A line is a JSON object whose last member, `crc32`, is the CRC-32 of the object without it, as eight hex digits.
"""

import errno
import gzip
import os
import re
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, Protocol, TypeVar, cast

from reasoner.errors import DamagedLine, RecordError, TraceError, UsageError
from reasoner.system.files import NOT_REGULAR, check_replaceable, open_regular
from reasoner.system.foreign import described

if TYPE_CHECKING:
    from pydantic import ValidationError

T = TypeVar("T")
SYNC_SECONDS: Final = 1.0
"""How much a power loss may destroy; a killed process only loses the line that it was writing."""
MAX_LINE_BYTES: Final = 1 << 28
"""The most bytes of one line that are read."""
DAMAGED: Final = "is damaged: its content does not match its checksum"
_CHUNK: Final = 1 << 16
_GZIP: Final = b"\x1f\x8b"
_SEAL: Final = re.compile(rb',"crc32":"([0-9a-f]{8})"}\n?\Z')
_SEAL_LENGTH: Final = len(b',"crc32":"00000000"}\n')
_OTHER_COMPRESSIONS: Final = (".bz2", ".xz", ".zst", ".zip")


class Line(NamedTuple):
    """One line of a file, without its checksum; `fault` says what is wrong with it, empty if nothing is."""

    number: int
    content: bytes
    whole: bool
    """Whether it ends in a line feed; the last line of a killed process may not end in one."""
    fault: str = ""
    bare: bool = False
    """Whether it has no checksum although a line before it has one: if the line is whole, the checksum is damaged."""


class Record(Protocol):
    """What is written as a line."""

    def model_dump_json(self) -> str:
        """The record as JSON in one line."""


def sealed_line(record: Record) -> str:
    """The line of a record, with the checksum and without the line feed. Raises ValueError: it is not valid text."""
    content = record.model_dump_json()
    return f'{content[:-1]},"crc32":"{zlib.crc32(content.encode()):08x}"}}'


def resealed(content: bytes) -> bytes:
    """The line of a JSON object as `read_sealed` gave it, with the checksum and the line feed."""
    content = content.strip()
    return b'%b,"crc32":"%08x"}\n' % (content[:-1], zlib.crc32(content))


def read_sealed(path: Path) -> Iterator[Line]:
    """The lines of a file, plain or gzipped, streamed. Each checksum is verified.

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
            if len(content) > MAX_LINE_BYTES:
                yield Line(number, b"", whole=True, fault=f"is too long: at most {MAX_LINE_BYTES:,} bytes are read")
                return
            whole = content.endswith(b"\n")
            seal = _SEAL.search(content, max(0, len(content) - _SEAL_LENGTH))
            if seal is None:
                yield Line(number, content, whole, bare=sealing and whole)
                continue
            sealing = True
            content = content[: seal.start()] + b"}"
            yield Line(number, content, whole, "" if zlib.crc32(content) == int(seal[1], 16) else DAMAGED)


def read_lines(
    path: Path, validate: Callable[[bytes], T], *, file: str, record: str, version: int, way_out: str = ""
) -> Iterator[T]:
    """The records of a JSONL file, streamed. A torn last line, left by a killed run, is skipped.

    Raises:
        DamagedLine: a line is not what was written. This error and the next end with `way_out`.
        TraceError: the file cannot be read, or a line is not such a record of this version.
    """
    from pydantic import ValidationError

    advice = f": {way_out}" if way_out else ""
    try:
        for line in read_sealed(path):
            if line.fault:
                raise DamagedLine(f"{path}:{line.number} {line.fault}{advice}")
            try:
                entry = validate(line.content)
            except ValidationError as error:
                if not line.whole:
                    return
                kind = DamagedLine if line.bare or error.errors()[0]["type"] == "json_invalid" else TraceError
                complaint = _complaint(line.content, error, record, version)
                raise kind(f"{path}:{line.number} {complaint}{advice}") from error
            if line.bare:
                raise DamagedLine(f"{path}:{line.number} {DAMAGED}{advice}")
            yield entry
    except OSError as error:
        raise TraceError(f"cannot read the {file} {path}: {error.strerror or error}") from error


def _complaint(line: bytes, error: "ValidationError", record: str, version: int) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "line"
    if b'"v":' in line and b'"v":%d,' % version not in line:
        return f"was written by another version: this one reads version {version}"
    return f"is not a {record}: {where}: {first['msg'].lower()}"


def _next(file: BinaryIO) -> bytes:
    """The next line; empty where the writer of a gzip file was killed.

    Raises:
        OSError: the data cannot be unpacked.
    """
    try:
        return file.readline(MAX_LINE_BYTES + 1)
    except EOFError:
        return b""
    except zlib.error as error:
        raise OSError(errno.EIO, "its gzip data are damaged") from error


def open_new(path: Path, *, what: str, overwrite: bool = False) -> BinaryIO:
    """A new file, gzipped if its name ends in .gz; a pipe or a character device is written as a stream.

    Raises:
        UsageError: the file is not empty and `overwrite` is not set, or its name asks for another compression.
        TraceError: it cannot be written.
    """
    if path.suffix in _OTHER_COMPRESSIONS:
        raise UsageError(f"cannot write the {what} {path}: it can be compressed as .gz only")
    try:
        file = _opened_new(path, overwrite=overwrite)
    except FileExistsError as error:
        raise UsageError(f"the {what} {path} exists: name another file, or overwrite it with --overwrite") from error
    except OSError as error:
        raise TraceError(f"cannot write the {what} {path}: {error.strerror}") from error
    return cast("BinaryIO", _GzipLines(file)) if path.suffix == ".gz" else file


def open_end(path: Path, *, what: str) -> BinaryIO:
    """A plain file to continue after its last whole line, or a new one. Raises `TraceError`: it cannot be written."""
    try:
        check_replaceable(path)
        file = path.open("r+b" if path.exists() else "x+b")
        end = _last_line_end(file)
        if end < file.seek(0, os.SEEK_END):
            file.truncate(end)
        file.seek(end)
    except OSError as error:
        raise TraceError(f"cannot write the {what} {path}: {error.strerror}") from error
    return file


class JsonlWriter:
    """Appends records, one line each, flushed one by one. `what` names the file in errors.

    After a failed write nothing more is written: it would be lost behind the torn line.
    """

    def __init__(self, path: Path, *, what: str, file: BinaryIO) -> None:
        self.path = path
        self._what = what
        self._file = file
        self._synced = time.monotonic()
        self._failure: OSError | None = None

    @classmethod
    def onto(cls, path: Path, *, what: str) -> "JsonlWriter":
        """Continue a plain file after its last whole line, or begin a new one. Raises as `open_end`."""
        return cls(path, what=what, file=open_end(path, what=what))

    def write(self, record: Record) -> None:
        """Append one record.

        Raises:
            RecordError: this record cannot be written because it is not valid text; the next one can.
            TraceError: it cannot be written, for example because the disk is full, or an earlier one could not.
        """
        try:
            line = sealed_line(record).encode() + b"\n"
        except Exception as error:
            raise RecordError(f"cannot write the {self._what} {self.path}: {described(error)}") from error
        self.append(line)

    def append(self, line: bytes) -> None:
        """Append a line that ends in a line feed. Raises TraceError as `write`."""
        if self._failure:
            raise self._failed(self._failure) from self._failure
        try:
            self._file.write(line)
            self._file.flush()
            self._sync()
        except OSError as error:
            self._failure = error
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> TraceError:
        return TraceError(f"cannot write the {self._what} {self.path}: {error.strerror}")

    def _sync(self) -> None:
        now = time.monotonic()
        if now - self._synced >= SYNC_SECONDS:
            self._synced = now
            # A pipe or a device cannot be synced.
            with suppress(OSError):
                os.fsync(self._file.fileno())

    @property
    def size(self) -> int:
        """How many bytes the file has so far; 0 where it is a pipe."""
        try:
            return self._file.tell()
        except OSError:
            return 0

    def close(self) -> None:
        """Close the file; what was flushed stays. Raises as `write`."""
        try:
            self._file.close()
        except OSError as error:
            raise self._failed(error) from error


class _GzipLines(gzip.GzipFile):
    """A gzip file that is readable up to the last flushed line, even after its writer was killed."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="wb", mtime=0)
        self._raw_file = file

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._raw_file.close()


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


def _last_line_end(file: BinaryIO) -> int:
    """The length of the file up to the end of its last whole line, in bytes."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _CHUNK)
        file.seek(start)
        feed = file.read(end - start).rfind(b"\n")
        if feed >= 0:
            return start + feed + 1
        end = start
    return 0
