"""Makes a CSV, parquet or Arrow file of the JSON lines of a batch, a bounded number of rows at a time."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from reasoner.batch.lines import COST, RESULTS, Line
from reasoner.errors import TraceError
from reasoner.system.files import parse_json, replacing
from reasoner.system.machine import require_extra
from reasoner.system.tables import first_line

ROWS: Final = 1 << 14
"""Rows of a row group."""
_COUNTED: Final = frozenset({"row", "tokens", *COST} - {"seconds"})
_MEASURED: Final = frozenset({"confidence", "share", "seconds"})
_MAX_INT: Final = 1 << 63
FORMATS: Final = (".jsonl", ".csv", ".parquet", ".arrow")
"""The suffixes of files of answers."""


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
    write = _write_csv if path.suffix == ".csv" else _write_arrow if path.suffix == ".arrow" else _write_parquet
    try:
        kinds = _kinds(lines)
        with replacing(path) as file:
            write(lines, file, kinds)
    except Exception as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise TraceError(f"cannot write the answers {path}: {why}") from error


def _read(lines: Path) -> Iterator[Line]:
    with lines.open("rb") as file:
        for content in file:
            yield parse_json(content)


def _kinds(lines: Path) -> dict[str, str]:
    """Each column and what its values are: int, float, bool, str, or json where they differ."""
    kinds: dict[str, str] = {name: _result_kind(name) for name in RESULTS}
    for line in _read(lines):
        for name in [name for name in line if name not in RESULTS]:
            kinds[name] = _joined(kinds.get(name, ""), line[name])
    return {name: kind or "str" for name, kind in kinds.items()}


def _result_kind(name: str) -> str:
    return "int" if name in _COUNTED else "float" if name in _MEASURED else "str"


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
    if value is None:
        return None
    if kind == "json":
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return float(value) if kind == "float" else value


def _write_csv(lines: Path, file: BinaryIO, kinds: Mapping[str, str]) -> None:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(kinds)
    for line in _read(lines):
        cells = [_cell(kind, line.get(name)) for name, kind in kinds.items()]
        writer.writerow(json.dumps(cell) if isinstance(cell, bool) else cell for cell in cells)
    text.detach()


def _write_parquet(lines: Path, file: BinaryIO, kinds: Mapping[str, str]) -> None:
    from pyarrow import parquet

    schema = _schema(kinds)
    with parquet.ParquetWriter(file, schema) as writer:
        _write_batches(lines, kinds, schema, writer.write_table)


def _write_arrow(lines: Path, file: BinaryIO, kinds: Mapping[str, str]) -> None:
    from pyarrow import ipc

    schema = _schema(kinds)
    with ipc.new_file(file, schema) as writer:
        _write_batches(lines, kinds, schema, writer.write_table)


def _write_batches(lines: Path, kinds: Mapping[str, str], schema: Any, write: Callable[[Any], object]) -> None:
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    for line in _read(lines):
        rows.append({name: _cell(kind, line.get(name)) for name, kind in kinds.items()})
        if len(rows) == ROWS:
            write(pa.Table.from_pylist(rows, schema=schema))
            rows = []
    if rows:
        write(pa.Table.from_pylist(rows, schema=schema))


def _schema(kinds: Mapping[str, str]) -> Any:
    import pyarrow as pa

    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "str": pa.string(), "json": pa.string()}
    return pa.schema([(name, types[kind]) for name, kind in kinds.items()])
