"""Reads rows of JSONL, JSON, CSV and parquet files, each with its location, such as `q.jsonl:17`; writes tables.

A line that is not a row is reported in its place: the reader of the rows decides whether to continue.
"""

import csv
import difflib
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from reasoner.errors import UsageError, require_name
from reasoner.system.files import parse_json
from reasoner.system.printing import no_formula, printable

Values = dict[str, Any]
Located = tuple[str, Values | UsageError]
"""Where a row is, and its values by column or what is wrong with it."""
Reader = Callable[[str, BinaryIO, int | None], Iterator[Located]]
"""Reads an open file of this name, of at most this many bytes, unpacked. Raises UsageError: the rest cannot be read."""
UNREADABLE: Final = (OSError, EOFError, zlib.error)
"""What reading a file raises beside UsageError."""
MAX_ROW: Final = 1 << 26
"""Bytes of one row."""
BATCH: Final = 256
"""Rows of a parquet file that are unpacked at once; fewer where they are long."""
_PIECE: Final = 1 << 20
_SAMPLE: Final = 1 << 16
"""Characters by which the separator of a CSV file is found."""
_SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_USUAL: Final = {
    "question": ("question", "prompt", "problem", "query", "instruction"),
    "answer": (
        "answer",
        "target",
        "solution",
        "gold",
        "ground_truth",
        "reference",
        "expected",
        "label",
    ),
}
"""Names that data sets give to the columns of questions and of answers."""


_GZIP: Final = b"\x1f\x8b"
"""The first bytes of a file that gzip made."""
_NO_CSV: Final = {
    "new-line": "a line ends with a carriage return alone: save it with line ends of Linux or Windows",
    "unexpected end": "a quote is not closed",
    "expected after": "text follows the closing quote of a field",
    "NUL": "it holds a zero byte",
    "field limit": "a field is too long",
}
"""What the csv module's words mean, by a part of them."""


class LongRow(UsageError):
    """A row has more than `MAX_ROW` bytes. It was skipped: the next one can be read."""

    def __init__(self, location: str) -> None:
        super().__init__(f"{location} is too long: a row may have {MAX_ROW >> 20} MiB")


def reader_of(path: Path) -> Reader:
    """The reader of a file, by its suffix; a `.txt` is read as JSONL."""
    kind = suffix_of(path)
    if kind not in _READERS:
        listed = ".jsonl, .json, .csv, .tsv or .parquet"
        raise UsageError(
            f"{path} is not a file of rows: its name must end in {listed}, or one of these and .gz"
        )
    return _READERS[kind]


def suffix_of(path: Path) -> str:
    """The suffix of a file in small letters, without `.gz`."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def is_table(path: Path) -> bool:
    """Whether a file of this name may have rows."""
    return suffix_of(path) in _READERS


class Table(NamedTuple):
    """An open file of rows; its text is UTF-8."""

    name: str
    reader: Reader
    file: BinaryIO

    def rows(self, limit: int | None = None) -> Iterator[Located]:
        """The rows of at most `limit` bytes. Raises UsageError: the rest cannot be read."""
        return self.reader(self.name, self.file, limit)


@contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """A file of rows, unpacked where it is compressed by gzip, whatever its name says."""
    reader = reader_of(path)
    with path.open("rb") as opened:
        packed = opened.peek(2)[:2] == _GZIP
        file = gzip.GzipFile(fileobj=opened) if packed else opened
        yield Table(path.name, reader, cast("BinaryIO", file))


def column_names(
    pairs: Sequence[str], known: Sequence[str]
) -> dict[str, Sequence[str]]:
    """A file's column names by the `known` ones, of `question:prompt|answer:target`. Raises UsageError if invalid."""
    names: dict[str, Sequence[str]] = {}
    for pair in pairs:
        name, colon, in_file = (part.strip() for part in pair.partition(":"))
        if not (name and colon and in_file):
            raise UsageError(
                f"the column {pair!r} has no name: write {known[0]}:NAME, with the name in the file"
            )
        require_name("column", name, known)
        names[name] = (in_file,)
    return names


def meant_column(wanted: str, written: str, values: Mapping[str, Any]) -> str:
    """The column of a row that must be the `wanted` one, which was `written` so; empty where several may be.

    A usual name decides. Otherwise the question is the column that ends in a question mark, and the answer the only
    other one beside an id. A name that is a question shows that the file has no header.
    """

    def named(name: str) -> list[str]:
        return [column for column in values if _plain_name(column) == _plain_name(name)]

    def usual(name: str) -> list[str]:
        return [column for known in _USUAL.get(name, ()) for column in named(known)]

    asks = usual("question") or [
        column for column, value in values.items() if str(value).rstrip().endswith("?")
    ]
    if any(column.rstrip().endswith("?") for column in map(str, values)):
        return ""
    others = {
        "question": asks or list(values),
        "answer": [column for column in values if column not in asks + named("id")]
        if asks
        else [],
    }
    if wanted != written:
        similar = named(written) or difflib.get_close_matches(written, values, n=1)
    else:
        similar = named(wanted) or usual(wanted) or others.get(wanted, [])
    return similar[0] if len(similar) == 1 else ""


def _plain_name(column: str) -> str:
    return re.sub(r"[\W_]", "", column).casefold().removesuffix("s")


def count_rows(path: Path) -> int:
    """How many rows a file has."""
    with open_table(path) as table:
        if table.reader is read_jsonl:
            return sum(
                1
                for line in _lines(table.name, table.file, None)
                if line is None or line.strip()
            )
        return sum(1 for _ in table.rows())


def _row(location: str, values: object) -> Located:
    if not isinstance(values, dict):
        return location, UsageError(
            f"{location} is not a row: write an object with a value for each column"
        )
    if (
        sum(len(value) for value in values.values() if isinstance(value, str | bytes))
        > MAX_ROW
    ):
        return location, LongRow(location)
    return location, values


def _lines(name: str, file: BinaryIO, limit: int | None) -> Iterator[bytes | None]:
    """The lines of a file; None for one that is too long."""
    size = 0
    while line := file.readline(MAX_ROW + 1):
        size += len(line)
        long = len(line) > MAX_ROW
        while (
            long
            and line
            and not line.endswith(b"\n")
            and (limit is None or size <= limit)
        ):
            line = file.readline(_PIECE)
            size += len(line)
        if limit is not None and size > limit:
            raise _too_large(name, limit)
        yield None if long else line


def _whole(name: str, file: BinaryIO, limit: int | None) -> bytes:
    content = file.read(-1 if limit is None else limit + 1)
    if limit is not None and len(content) > limit:
        raise _too_large(name, limit)
    return content


def _decoded(location: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{location} is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}; save it as UTF-8"
        ) from None


def read_jsonl(
    name: str, file: BinaryIO, limit: int | None = None
) -> Iterator[Located]:
    """The rows of a JSONL file: a `Reader`."""
    for number, line in enumerate(_lines(name, file, limit), 1):
        location = f"{name}:{number}"
        if line is None:
            yield location, LongRow(location)
        elif line.strip():
            try:
                yield _row(
                    location, _parsed(location, _decoded(location, line).rstrip("\r\n"))
                )
            except UsageError as error:
                yield location, error


def _json(name: str, file: BinaryIO, limit: int | None) -> Iterator[Located]:
    content = _parsed(name, _decoded(name, _whole(name, file, limit)))
    if isinstance(content, dict):
        # Data sets often have a title or a version beside their rows.
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else content
    if not isinstance(content, list):
        raise UsageError(
            f"{name} is not a list: write a list of objects, or one object per line in a .jsonl"
        )
    for number, values in enumerate(content, 1):
        yield _row(f"{name}, item {number}", values)


def _csv(
    name: str,
    file: BinaryIO,
    limit: int | None,
    *,
    separators: str = "".join(_SEPARATORS),
) -> Iterator[Located]:
    def decoded() -> Iterator[str]:
        for number, line in enumerate(_lines(name, file, limit), 1):
            if line is None:
                raise LongRow(f"{name}:{number}")
            yield _decoded(f"{name}:{number}", line)

    csv.field_size_limit(MAX_ROW)
    lines = decoded()
    sample = _sample(lines)
    number = 0
    try:
        separator = _separator(sample, separators)
        reader = csv.reader(chain(sample, lines), delimiter=separator, strict=True)
        columns = [column.strip() for column in next(filter(None, reader), [])]
        number = reader.line_num
        _check_distinct(name, columns)
        for values in reader:
            location, number = f"{name}:{number + 1}", reader.line_num
            if len(values) > len(columns):
                quoted = _SEPARATORS[separator]
                yield (
                    location,
                    UsageError(
                        f"{location} has more fields than the header has columns: quote {quoted}"
                    ),
                )
            elif values:
                yield _row(location, dict(zip_longest(columns, values)))
    except csv.Error as error:
        meant = next((_NO_CSV[part] for part in _NO_CSV if part in str(error)), error)
        raise UsageError(f"{name}:{number + 1} is not CSV: {meant}") from None


def _check_distinct(name: str, columns: Sequence[str]) -> None:
    """Refuse a header in which a name stands twice: one of the columns would be lost."""
    if twice := [each for each in columns if each and columns.count(each) > 1]:
        raise UsageError(f"{name} has two columns named {twice[0]!r:.80}: rename one")


def _sample(lines: Iterator[str]) -> list[str]:
    """The first lines, `_SAMPLE` characters or a little more, if there are that many."""
    sample, size = list[str](), 0
    while size < _SAMPLE and (line := next(lines, None)) is not None:
        sample.append(line)
        size += len(line)
    return sample


def _separator(sample: Sequence[str], allowed: str) -> str:
    """What separates most columns, in the first row as in the header; of equals the first that is allowed."""

    def columns(separator: str) -> tuple[bool, int]:
        rows = [*islice(filter(None, csv.reader(sample, delimiter=separator)), 2)]
        counts = [len(row) for row in rows] or [0]
        return max(counts) > 1 and len(set(counts)) == 1, counts[0]

    return max(allowed, key=columns)


def _parquet(name: str, file: BinaryIO, limit: int | None) -> Iterator[Located]:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.ParquetFile(
            file if file.seekable() else io.BytesIO(_whole(name, file, limit))
        )
        size = sum(
            table.metadata.row_group(group).total_byte_size
            for group in range(table.num_row_groups)
        )
        if limit is not None and size > limit:
            raise _too_large(name, limit)
        _check_distinct(name, table.schema_arrow.names)
        rows = max(1, min(BATCH, MAX_ROW * table.metadata.num_rows // max(1, size)))
        rows_read = (
            values
            for batch in table.iter_batches(batch_size=rows)
            for values in batch.to_pylist()
        )
        yield from (
            _row(f"{name}, row {number}", values)
            for number, values in enumerate(rows_read, 1)
        )
    except (ArrowException, ValueError, OSError) as error:
        raise UsageError(
            f"{name} is not a readable parquet file: {printable(str(error), limit=200)}"
        ) from None


_READERS: Final[Mapping[str, Reader]] = {
    ".jsonl": read_jsonl,
    ".txt": read_jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": partial(_csv, separators="\t"),
    ".parquet": _parquet,
}


def _parsed(location: str, text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise UsageError(f"{location} is not JSON: {error}") from None


def _too_large(name: str, limit: int) -> UsageError:
    return UsageError(f"{name} is too large: it may have {limit >> 20:,} MiB unpacked")


@contextmanager
def table_writer(
    file: BinaryIO, suffix: str, kinds: Mapping[str, str]
) -> Iterator[Callable[[list[Values]], object]]:
    """Writes batches of rows to a `.csv` or `.parquet` file; a column is "int", "float", "bool" or text.

    A text that a spreadsheet would run as a formula gets a leading apostrophe in a CSV.
    """
    if suffix == ".csv":
        text = io.TextIOWrapper(
            file, "utf-8", "backslashreplace", newline="", write_through=True
        )
        writer = csv.DictWriter(text, kinds, restval="", lineterminator="\n")
        writer.writeheader()
        yield lambda rows: writer.writerows(
            {name: _plain(value) for name, value in row.items()} for row in rows
        )
        text.detach()
        return
    import pyarrow as pa
    from pyarrow import parquet

    schema = arrow_schema(kinds)
    with parquet.ParquetWriter(file, schema) as table:
        yield lambda rows: table.write_table(pa.Table.from_pylist(rows, schema=schema))


def arrow_schema(kinds: Mapping[str, str]) -> Any:
    """The schema of a table with these columns, each "int", "float", "bool" or text."""
    import pyarrow as pa

    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return pa.schema(
        [(name, types.get(kind, pa.string())) for name, kind in kinds.items()]
    )


def _plain(value: Any) -> Any:
    return (
        no_formula(value)
        if isinstance(value, str)
        else json.dumps(value)
        if isinstance(value, bool)
        else value
    )
