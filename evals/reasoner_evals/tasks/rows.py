"""Rows of a data set, which know their location, so that every error names file, line and column."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reasoner.errors import UnknownName, UsageError


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its location, such as `test.jsonl:17`, its index from 0, and its values.

    Columns have the benchmark's names; `renames` maps them to the file's names where those differ.
    """

    location: str
    index: int
    values: Mapping[str, Any] = field(repr=False)
    renames: Mapping[str, str] = field(default_factory=dict)

    def has(self, column: str) -> bool:
        """Whether the column exists and is not null."""
        return self.values.get(self.renames.get(column, column)) is not None

    def value(self, column: str, *alternatives: str) -> Any:
        """The value of the first of these columns that exists.

        Raises:
            UsageError: there is none, or it is empty.
        """
        existing = next((name for name in (column, *alternatives) if self.has(name)), None)
        if existing is not None:
            return self.values[self.renames.get(existing, existing)]
        name = self.renames.get(column, column)
        if name in self.values:
            raise self.error(column, "it is empty")
        columns = [str(name)[:40] for name in self.values][:20]
        similar = difflib.get_close_matches(name, columns, n=1) or columns[-1:] or ["COLUMN"]
        raise UsageError(
            f"{self.location} has no column {name!r}: it has {', '.join(columns) or 'none'}; "
            f"map it with columns={column}:{similar[0]}"
        )

    def text(self, column: str, *alternatives: str) -> str:
        """A value as text without surrounding blanks; numbers are converted.

        Raises:
            UsageError: it is missing, empty, or not text.
        """
        return self._text(column, self.value(column, *alternatives))

    def optional(self, column: str) -> str:
        """As `text`, or "" if the column is missing or empty."""
        return self.text(column) if self.has(column) and self.values[self.renames.get(column, column)] != "" else ""

    def texts(self, column: str) -> tuple[str, ...]:
        """The values of a column that holds a list.

        Raises:
            UsageError: it is missing or not a list, or one of its values is empty or not text.
        """
        value = self.value(column)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self.error(column, f"{_shown(value)} is not a list")
        return tuple(self._text(column, element) for element in value)

    def error(self, column: str, reason: str) -> UsageError:
        """The error about a value."""
        return UsageError(f"{self.location}, column {self.renames.get(column, column)!r}: {reason}")

    def _text(self, column: str, value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.error(column, f"{_shown(value)} is not text")
        try:
            text = str(value).strip()
            text.encode()
        except ValueError:
            raise self.error(column, "it is not valid text") from None
        if not text:
            raise self.error(column, "it is empty")
        return text


def _shown(value: object) -> str:
    return f"{value!r:.40}" if isinstance(value, bool | int | float | str) else f"a {type(value).__name__}"


def parse_renames(columns: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """The file's column names by the benchmark's, from `columns=question:prompt|answer:target`.

    Raises:
        UsageError: the syntax is wrong, or the task does not read such a column.
    """
    renames: dict[str, str] = {}
    for pair in columns:
        name, colon, in_file = (part.strip() for part in pair.partition(":"))
        if not (name and colon and in_file):
            raise UsageError(f"columns={pair!r} renames nothing: write columns={known[0]}:NAME|{known[-1]}:NAME")
        if name not in known:
            raise UnknownName("column", name, known)
        renames[name] = in_file
    return renames
