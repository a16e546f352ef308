"""Makes a CSV, parquet or Arrow file of the JSON lines of a batch, a bounded number of rows at a time."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from reasoner.batch.rows import COST, RESULTS, Line
from reasoner.errors import TraceError
from reasoner.system.files import parse_json, replacing
from reasoner.system.machine import require_extra
from reasoner.system.tables import first_line

ROWS: Final = 1 << 14
"""Rows of a row group."""
FORMATS: Final = (".jsonl", ".csv", ".parquet", ".arrow")
"""The suffixes of files of answers."""
_MEASURED: Final = frozenset({"confidence", "share", "seconds"})
_COUNTED: Final = frozenset({"row", "tokens", *COST} - _MEASURED)
_MAX_INT: Final = 1 << 63


def check_format(path: Path) -> None:
    """Refuse a file that needs a package that is not installed.

    Raises:
        MissingExtra: the message names the command to run.
    """
    if path.suffix in (".parquet", ".arrow", ".feather"):
        require_extra("parquet", f"{path.suffix} files")


def convert(lines: Path, path: Path) -> None:
    """Write the answers in `lines` to `path` in the format of its suffix, as a whole.

    Columns are those of `RESULTS`, then the input's own in the order in which they come. Values that are no text,
    number or truth value are JSON.

    Raises:
        TraceError: a file cannot be read or written.
    """
    try:
        kinds = _kinds(lines)
        rows = ({name: _cell(kind, line.get(name)) for name, kind in kinds.items()} for line in _read(lines))
        with replacing(path) as file, _table(path.suffix, file, kinds) as write:
            while batch := list(islice(rows, ROWS)):
                write(batch)
    except Exception as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise TraceError(f"cannot write the answers {path}: {why}") from error


def _read(lines: Path) -> Iterator[Line]:
    with lines.open("rb") as file:
        yield from map(parse_json, file)


def _kinds(lines: Path) -> dict[str, str]:
    """Each column and what its values are: int, float, bool, str, or json where they differ."""
    kinds = {name: "int" if name in _COUNTED else "float" if name in _MEASURED else "str" for name in RESULTS}
    for line in _read(lines):
        for name in [name for name in line if name not in RESULTS]:
            kinds[name] = _joined(kinds.get(name, ""), line[name])
    return {name: kind or "str" for name, kind in kinds.items()}


def _joined(kind: str, value: Any) -> str:
    """The kind of a column of this kind with one more value."""
    if value is None:
        return kind
    own = type(value).__name__
    if own == "int" and not -_MAX_INT <= value < _MAX_INT:
        own = "json"
    if kind in ("", own):
        return own if own in ("int", "float", "bool", "str") else "json"
    return "float" if {kind, own} == {"int", "float"} else "json"


def _cell(kind: str, value: Any) -> Any:
    if value is None or (kind == "json" and isinstance(value, str)):
        return value
    return json.dumps(value, ensure_ascii=False) if kind == "json" else float(value) if kind == "float" else value


@contextmanager
def _table(suffix: str, file: BinaryIO, kinds: Mapping[str, str]) -> Iterator[Callable[[list[Line]], object]]:
    """Writes rows to a file of this format."""
    if suffix == ".csv":
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        writer = csv.DictWriter(text, kinds)
        writer.writeheader()
        yield lambda rows: writer.writerows({name: _plain(cell) for name, cell in row.items()} for row in rows)
        text.detach()
        return
    import pyarrow as pa
    from pyarrow import ipc, parquet

    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "str": pa.string(), "json": pa.string()}
    schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
    with parquet.ParquetWriter(file, schema) if suffix == ".parquet" else ipc.new_file(file, schema) as table:
        yield lambda rows: table.write_table(pa.Table.from_pylist(rows, schema=schema))


def _plain(cell: Any) -> Any:
    return json.dumps(cell) if isinstance(cell, bool) else cell
