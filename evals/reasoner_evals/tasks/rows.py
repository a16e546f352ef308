"""Rows of a data set, which know where they stand, so that every complaint names file, line and column."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reasoner.errors import UnknownName, UsageError


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its place, such as `test.jsonl:17`, its number from 0 on, and its values.

    A column goes by the name that the benchmark gave it; `renamed` says what the file calls it where that differs.
    """

    place: str
    index: int
    values: Mapping[str, Any] = field(repr=False)
    renamed: Mapping[str, str] = field(default_factory=dict)

    def has(self, column: str) -> bool:
        """Whether there is such a column with a value in it."""
        return self.values.get(self.renamed.get(column, column)) is not None

    def value(self, column: str, *others: str) -> Any:
        """The value of a column, or of the first of its `others` names that is there.

        Raises:
            UsageError: there is none, or it is empty.
        """
        found = next((name for name in (column, *others) if self.has(name)), None)
        if found is not None:
            return self.values[self.renamed.get(found, found)]
        name = self.renamed.get(column, column)
        if name in self.values:
            raise self.wrong(column, "it is empty")
        there = [str(one)[:40] for one in self.values][:20]
        near = difflib.get_close_matches(name, there, n=1) or there[-1:] or ["COLUMN"]
        raise UsageError(
            f"{self.place} has no column {name!r}: it has {', '.join(there) or 'none'}; "
            f"map it with columns={column}:{near[0]}"
        )

    def text(self, column: str, *others: str) -> str:
        """A value as text, without blanks around it; numbers are written out.

        Raises:
            UsageError: it is missing, empty, or no text.
        """
        return self._text(column, self.value(column, *others))

    def maybe(self, column: str) -> str:
        """As `text`, or "" where there is no such column or nothing in it."""
        return self.text(column) if self.has(column) and self.values[self.renamed.get(column, column)] != "" else ""

    def texts(self, column: str, *others: str) -> tuple[str, ...]:
        """The values of a column that holds a list.

        Raises:
            UsageError: it is missing or no list, or one of its values is empty or no text.
        """
        value = self.value(column, *others)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self.wrong(column, f"{_shown(value)} is no list")
        return tuple(self._text(column, one) for one in value)

    def wrong(self, column: str, why: str) -> UsageError:
        """The complaint about a value."""
        return UsageError(f"{self.place}, column {self.renamed.get(column, column)!r}: {why}")

    def _text(self, column: str, value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.wrong(column, f"{_shown(value)} is no text")
        try:
            text = str(value).strip()
            text.encode()
        except ValueError:
            raise self.wrong(column, "it is not valid text") from None
        if not text:
            raise self.wrong(column, "it is empty")
        return text


def _shown(value: object) -> str:
    if isinstance(value, bool | int | float | str):
        return f"{value!r:.40}"
    return f"a {type(value).__name__}"


def renaming(columns: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """What `columns=[question:prompt,answer:target]` says: the file's names by the benchmark's.

    Raises:
        UsageError: it is written otherwise, or names a column that the task does not read.
    """
    renamed: dict[str, str] = {}
    for pair in columns:
        name, colon, written = (part.strip() for part in pair.partition(":"))
        if not (name and colon and written):
            raise UsageError(f"columns={pair!r} renames nothing: write columns=[{known[0]}:NAME,{known[-1]}:NAME]")
        if name not in known:
            raise UnknownName("column", name, known)
        renamed[name] = written
    return renamed
