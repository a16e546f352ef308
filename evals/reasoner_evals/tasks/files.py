"""Local files of rows: JSONL, JSON, CSV and parquet, plain or gzipped, read with bounds."""

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, cast

from reasoner.errors import UsageError
from reasoner_evals.tasks.rows import Row

MAX_BYTES = 1 << 30
"""Bytes of a file, unpacked."""
MAX_LINE = 1 << 26
"""Bytes of one line."""
MAX_ROWS = 1_000_000


class _Place(NamedTuple):
    where: str
    values: object


def read_file(path: Path, renamed: Mapping[str, str]) -> list[Row]:
    """The rows of a file, by its suffix; a `.txt` is read as JSONL.

    Raises:
        UsageError: it cannot be read; the message names the line.
    """
    name = path.name.lower()
    packed = name.endswith(".gz")
    kind = Path(name.removesuffix(".gz")).suffix
    if kind not in _READERS:
        raise UsageError(
            f"{path} is no file of rows: it ends in .jsonl, .json, .csv or .parquet, or one of them and .gz"
        )
    try:
        if not path.is_file():
            raise UsageError(f"{path} is not there, or is no file: give data=FILE")
        with gzip.open(path) if packed else path.open("rb") as file:
            return list(_rows(_READERS[kind](path.name, cast("BinaryIO", file)), path.name, renamed))
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {_first(error)}") from None


def digest(path: Path) -> str:
    """The sha256 of a file as it lies there, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rows(places: Iterator[_Place], name: str, renamed: Mapping[str, str]) -> Iterator[Row]:
    index = -1
    for index, (where, values) in enumerate(places):
        if index == MAX_ROWS:
            raise UsageError(f"{name} has more than {MAX_ROWS:,} rows: cut it into parts")
        if not isinstance(values, dict):
            raise UsageError(f"{where} is no row: write an object with a value for each column")
        yield Row(where, index, values, renamed)
    if index < 0:
        raise UsageError(f"{name} has no rows")


def _lines(name: str, file: BinaryIO) -> Iterator[tuple[int, str]]:
    read = number = 0
    while line := file.readline(MAX_LINE + 1):
        number, read = number + 1, read + len(line)
        if len(line) > MAX_LINE or read > MAX_BYTES:
            raise _too_large(name)
        yield number, _decoded(f"{name}:{number}", line)


def _whole(name: str, file: BinaryIO) -> bytes:
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _too_large(name)
    return content


def _decoded(where: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}") from None


def _jsonl(name: str, file: BinaryIO) -> Iterator[_Place]:
    for number, line in _lines(name, file):
        if line.strip():
            yield _Place(f"{name}:{number}", _parsed(f"{name}:{number}", line.rstrip("\r\n")))


def _json(name: str, file: BinaryIO) -> Iterator[_Place]:
    found = _parsed(name, _decoded(name, _whole(name, file)))
    if not isinstance(found, list):
        raise UsageError(f"{name} holds no list: write a list of objects, or one object a line in a .jsonl")
    for number, values in enumerate(found, 1):
        yield _Place(f"{name}, item {number}", values)


def _csv(name: str, file: BinaryIO) -> Iterator[_Place]:
    reader = csv.DictReader((line for _, line in _lines(name, file)), strict=True, restval=None)
    begins = 2
    try:
        for values in reader:
            where, begins = f"{name}:{begins}", reader.line_num + 1
            if None in values:
                raise UsageError(f"{where} has more fields than the header has columns: quote commas")
            yield _Place(where, dict(values))
    except csv.Error as error:
        raise UsageError(f"{name}:{begins} is no CSV: {error}") from None


def _parquet(name: str, file: BinaryIO) -> Iterator[_Place]:
    from pyarrow import ArrowException, parquet

    number = 0
    try:
        table = parquet.ParquetFile(io.BytesIO(_whole(name, file)))
        if sum(table.metadata.row_group(at).total_byte_size for at in range(table.num_row_groups)) > MAX_BYTES:
            raise _too_large(name)
        for batch in table.iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield _Place(f"{name}, row {number}", values)
    except (ArrowException, ValueError) as error:
        raise UsageError(f"{name} is no parquet file that can be read: {_first(error)}") from None


_READERS: Mapping[str, Callable[[str, BinaryIO], Iterator[_Place]]] = {
    ".jsonl": _jsonl,
    ".txt": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        line = f" in line {error.lineno}" if error.lineno > 1 else ""
        raise UsageError(f"{where} is no JSON: {error.msg.lower()}{line}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is no JSON that can be read: {_first(error)}") from None


def _no_constant(written: str) -> NoReturn:
    raise ValueError(f"{written} is no number")


def _too_large(name: str) -> UsageError:
    return UsageError(
        f"{name} is too large: up to {MAX_BYTES >> 20:,} MiB unpacked and {MAX_LINE >> 20} MiB a line are read"
    )


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
