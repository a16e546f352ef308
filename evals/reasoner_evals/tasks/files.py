"""Local files of rows: JSONL, JSON, CSV and parquet, plain or gzipped, read within size limits."""

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from reasoner.errors import UsageError
from reasoner_evals.tasks.rows import Row

MAX_BYTES = 1 << 30
"""Bytes of a file, unpacked."""
MAX_LINE = 1 << 26
"""Bytes of one line."""
MAX_ROWS = 1_000_000


def read_file(path: Path, renames: Mapping[str, str]) -> list[Row]:
    """The rows of a file, by its suffix; a `.txt` is read as JSONL.

    Raises:
        UsageError: it cannot be read; the message names the line.
    """
    name = path.name.lower()
    kind = Path(name.removesuffix(".gz")).suffix
    if kind not in _READERS:
        raise UsageError(
            f"{path} is not a file of rows: its name must end in .jsonl, .json, .csv or .parquet, or one of these and "
            ".gz"
        )
    try:
        if not path.is_file():
            raise UsageError(f"{path} does not exist or is not a file: give data=FILE")
        with gzip.open(path) if name.endswith(".gz") else path.open("rb") as file:
            return list(_rows(_READERS[kind](path.name, cast("BinaryIO", file)), path.name, renames))
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {_first_line(error)}") from None


def digest(path: Path) -> str:
    """The sha256 of a file as stored, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rows(located: Iterator[tuple[str, object]], name: str, renames: Mapping[str, str]) -> Iterator[Row]:
    index = -1
    for index, (location, values) in enumerate(located):
        if index == MAX_ROWS:
            raise UsageError(f"{name} has more than {MAX_ROWS:,} rows: split it")
        if not isinstance(values, dict):
            raise UsageError(f"{location} is not a row: write an object with a value for each column")
        yield Row(location, index, values, renames)
    if index < 0:
        raise UsageError(f"{name} has no rows")


def _lines(name: str, file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Each line with its location."""
    size = number = 0
    while line := file.readline(MAX_LINE + 1):
        number, size = number + 1, size + len(line)
        if len(line) > MAX_LINE or size > MAX_BYTES:
            raise _too_large(name)
        location = f"{name}:{number}"
        yield location, _decoded(location, line)


def _whole(name: str, file: BinaryIO) -> bytes:
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _too_large(name)
    return content


def _decoded(location: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{location} is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}") from None


def _jsonl(name: str, file: BinaryIO) -> Iterator[tuple[str, object]]:
    for location, line in _lines(name, file):
        if line.strip():
            yield location, _parsed(location, line.rstrip("\r\n"))


def _json(name: str, file: BinaryIO) -> Iterator[tuple[str, object]]:
    content = _parsed(name, _decoded(name, _whole(name, file)))
    if not isinstance(content, list):
        raise UsageError(f"{name} is not a list: write a list of objects, or one object per line in a .jsonl")
    for number, values in enumerate(content, 1):
        yield f"{name}, item {number}", values


def _csv(name: str, file: BinaryIO) -> Iterator[tuple[str, object]]:
    reader = csv.DictReader((line for _, line in _lines(name, file)), strict=True, restval=None)
    start = 2
    try:
        for values in reader:
            location, start = f"{name}:{start}", reader.line_num + 1
            if None in values:
                raise UsageError(f"{location} has more fields than the header has columns: quote commas")
            yield location, dict(values)
    except csv.Error as error:
        raise UsageError(f"{name}:{start} is not CSV: {error}") from None


def _parquet(name: str, file: BinaryIO) -> Iterator[tuple[str, object]]:
    from pyarrow import ArrowException, parquet

    number = 0
    try:
        table = parquet.ParquetFile(io.BytesIO(_whole(name, file)))
        if sum(table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups)) > MAX_BYTES:
            raise _too_large(name)
        for batch in table.iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield f"{name}, row {number}", values
    except (ArrowException, ValueError) as error:
        raise UsageError(f"{name} is not a readable parquet file: {_first_line(error)}") from None


_READERS: Mapping[str, Callable[[str, BinaryIO], Iterator[tuple[str, object]]]] = {
    ".jsonl": _jsonl,
    ".txt": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}


def _parsed(location: str, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        line = f" in line {error.lineno}" if error.lineno > 1 else ""
        raise UsageError(f"{location} is not JSON: {error.msg.lower()}{line}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{location} is not readable JSON: {_first_line(error)}") from None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _too_large(name: str) -> UsageError:
    return UsageError(
        f"{name} is too large: the limits are {MAX_BYTES >> 20:,} MiB unpacked and {MAX_LINE >> 20} MiB per line"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
