"""Where questions come from: rows of a benchmark, read within size limits from a file or from the hub at a revision.

Every row knows its location, so that errors name file, line and column.
"""

import hashlib
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from reasoner.errors import UsageError, shown
from reasoner.specs import written
from reasoner.system.printing import printable
from reasoner.system.tables import UNREADABLE, Located, meant_column, open_table


class Source(BaseModel):
    """Where a task's questions come from; two runs with equal sources ask the same questions."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: str
    """The task's full spec, such as `gsm8k:path=test.jsonl`."""
    origin: str
    """A data set with its revision, a file, or `made on the spot`."""
    data_hash: str
    """sha256 over the canonical JSON of all items: id, text, reference answer."""
    prompt: str
    """The prompt's name and version, such as `gsm8k-steps@1`."""
    prompt_hash: str
    licence: str
    items: int
    subset: str
    """How the items were chosen: `all`, or `first 100 in the order of seed 0`."""
    shareable: bool = True
    """Whether a report may show the questions and their answers."""
    notes: tuple[str, ...] = ()
    """What was guessed in reading them, a line each."""


Renames = Mapping[str, Sequence[str]]
"""The names that files have for a column, by the task's own name for it."""


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row: its location, such as `test.jsonl:17`, its index from 0, and its values.

    Columns have the task's names; `renames` maps them to names that files have for them; the first counts.
    """

    location: str
    index: int
    values: Mapping[str, Any] = field(repr=False)
    renames: Renames = field(default_factory=dict)

    def named(self, column: str) -> str:
        """The file's name of a column: one with a value, else one that exists, else the first."""
        names = self.renames.get(column, (column,))
        return max(
            names,
            key=lambda name: (
                (self.values.get(name) is not None) + (name in self.values)
            ),
        )

    def knows(self, column: str) -> bool:
        """Whether the column exists, with a value or without one."""
        return self.named(column) in self.values

    def has(self, column: str) -> bool:
        """Whether the column exists and is not null."""
        return self.values.get(self.named(column)) is not None

    def value(self, column: str) -> Any:
        """A value. Raises UsageError if there is no such column or it is empty."""
        name = self.named(column)
        if self.values.get(name) is not None:
            return self.values[name]
        if name in self.values:
            raise self.error(column, "it is empty")
        pair = shlex.quote(written(f"{column}:{self.meant(column)}"))
        raise UsageError(
            f"{self.location} has no column {name!r}: it has {self.listed}; name it with --columns {pair}"
        )

    @property
    def listed(self) -> str:
        """Its columns, in words."""
        return ", ".join([str(name)[:40] for name in self.values][:20]) or "none"

    def meant(self, column: str) -> str:
        """The file's name of a column that it lacks, or `NAME` where several may be meant."""
        return meant_column(column, self.named(column), self.values) or "NAME"

    def filled(self, column: str) -> bool:
        """Whether the column has a value other than blanks."""
        value = self.values.get(self.named(column))
        return bool(value.strip() if isinstance(value, str) else value is not None)

    def text(self, column: str) -> str:
        """A value as text without surrounding blanks. Raises UsageError if it is empty or not text."""
        return self._text(column, self.value(column))

    def optional(self, column: str) -> str:
        """As `text`, or "" if the column is missing or empty."""
        return self.text(column) if self.filled(column) else ""

    def texts(self, column: str) -> tuple[str, ...]:
        """The values of a column that holds a list. Raises UsageError as `text`."""
        value = self.value(column)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self.error(column, f"{shown(value)} is not a list")
        return tuple(self._text(column, element) for element in value)

    def having(self, column: str, value: Any) -> "DataRow":
        """The row with another value of a column."""
        return replace(self, values={**self.values, self.named(column): value})

    def error(self, column: str, reason: str) -> UsageError:
        """The error about a value."""
        return UsageError(f"{self.location}, column {self.named(column)!r}: {reason}")

    def _text(self, column: str, value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.error(column, f"{shown(value)} is not text")
        try:
            text = str(value).strip()
            text.encode()
        except ValueError:
            raise self.error(column, "it is not valid text") from None
        if not text:
            raise self.error(column, "it is empty")
        return text


MAX_BYTES = 1 << 30
"""Bytes of a file, unpacked."""
MAX_ROWS = 1_000_000


class Rows(NamedTuple):
    """The rows of a file or a data set, and where they are from."""

    rows: Iterable[DataRow]
    origin: str


def _rows(located: Iterator[Located], name: str, renames: Renames) -> Iterator[DataRow]:
    index = -1
    for index, (location, values) in enumerate(located):
        if index == MAX_ROWS:
            raise UsageError(f"{name} has more than {MAX_ROWS:,} rows: split it")
        if isinstance(values, UsageError):
            raise values
        yield DataRow(location, index, values, renames)
    if index < 0:
        raise UsageError(f"{name} has no rows")


@dataclass(frozen=True, slots=True)
class Publication:
    """Where a benchmark is published: its data set on the hub, and a public file that can be downloaded without it."""

    hub: str
    split: str
    licence: str
    revision: str = "main"
    config: str = ""
    file: str = ""

    def alternative(self, task: str) -> str:
        """What to do if the hub does not provide it."""
        file = f"fetch {self.file}" if self.file else "get the file from its authors"
        return f"{file}, and give it as {task}:path=FILE"


@cache
def published(name: str) -> Publication:
    """Where a benchmark is published, by `benchmarks.toml`. Raises UsageError if it is not there."""
    tables = tomllib.loads(
        Path(__file__).with_name("benchmarks.toml").read_text(encoding="utf-8")
    )
    if name not in tables:
        raise UsageError(
            f"the benchmark {name} does not say where it is published: give its class `published`"
        )
    return Publication(**tables[name])


def from_file(path: Path, renames: Renames) -> Rows:
    """The rows of a local file, by its suffix; a `.txt` is read as JSONL. The origin names its hash.

    Raises:
        UsageError: it cannot be read; the message names the line.
    """
    if not path.is_file():
        raise UsageError(
            f"{path} is not a file: give a file of questions"
            if path.exists()
            else f"{path} does not exist"
        )
    try:
        with open_table(path) as table:
            rows = list(_rows(table.rows(MAX_BYTES), table.name, renames))
        with path.open("rb") as file:
            origin = (
                f"{path} (sha256 {hashlib.file_digest(file, 'sha256').hexdigest()})"
            )
    except UNREADABLE as error:
        raise UsageError(
            f"{path} cannot be read: {printable(str(error), limit=200)}"
        ) from None
    return Rows(rows, origin)


def from_hub(source: Publication, renames: Renames, *, instead: str) -> Rows:
    """The rows of a data set on the hub, or of a local folder of that form; the origin names the commit.

    Raises:
        UsageError: it cannot be loaded; the message says what to do `instead`.
    """
    name = f"{source.hub} ({source.config})" if source.config else source.hub
    try:
        records, commit = _load(source)
    except Exception as error:
        raise UsageError(_explain(source, error, instead)) from None
    if len(records) > MAX_ROWS:
        raise UsageError(
            f'{name} has more than {MAX_ROWS:,} rows: name a part of it, as in split="test[:10000]"'
        )
    if not len(records):
        raise UsageError(f"{name} has no rows at revision {source.revision}: {instead}")
    rows = (
        DataRow(f"{name}, row {number}", number - 1, values, renames)
        for number, values in enumerate(records, 1)
    )
    return Rows(rows, f"hub {name} {source.split} @ {commit}")


def _load(source: Publication) -> tuple[Any, str]:
    """The records, and the commit that they are from; a local folder has none."""
    import datasets  # type: ignore[import-untyped]
    import huggingface_hub as hub

    local = Path(source.hub).exists()
    if not (local or hub.constants.HF_HUB_OFFLINE):
        try:
            # The hub is unreachable if it does not answer within this time; `datasets` alone would try
            # for half a minute. The kind of error depends on the version of the hub's client.
            hub.utils.get_session().head(hub.constants.ENDPOINT, timeout=5.0)
        except Exception as error:
            raise ConnectionError(str(error)) from None
    builder = datasets.load_dataset_builder(
        source.hub, source.config or None, revision=source.revision
    )
    builder.download_and_prepare()
    return builder.as_dataset(source.split), "a local folder" if local else builder.hash


def _explain(source: Publication, error: Exception, instead: str) -> str:
    """One line about what failed and what to do."""
    reason = printable(str(error), limit=200)
    if "gated" in str(error).lower():
        return f"{source.hub} is gated: accept its terms and log in with `hf auth login`, or {instead}"
    if isinstance(error, ConnectionError):
        return (
            f"the hub cannot be reached for {source.hub} ({reason}): {instead}; if it was loaded before, set "
            "HF_HUB_OFFLINE=1"
        )
    return f"{source.hub} cannot be loaded at revision {source.revision} ({reason}): {instead}"
