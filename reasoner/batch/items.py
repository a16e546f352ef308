"""The questions of a batch, one for each row of its input, or what is wrong with the row."""

import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reasoner.answers.questions import Question
from reasoner.errors import UsageError
from reasoner.execution.inputs import IdSet
from reasoner.system.tables import Located, LongRow

MAX_ID: Final = 512
"""Characters of an id."""
QUESTION: Final = "question"
ID: Final = "id"


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of the input are read: the `question`, and its `id`, empty for a column `id` if there is one.

    Of the others, those in `keep` are repeated in the output, all if it is None.
    """

    question: str = QUESTION
    id: str = ""
    keep: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One row: its `number` from 1, its id, its own columns, and its question or what is wrong with it.

    The `digest` is a fingerprint of the question and of these columns.
    """

    number: int
    id: str
    own: Mapping[str, Any] = field(default_factory=dict, repr=False)
    question: Question | None = None
    error: str = ""
    digest: str = ""


def digest_of(*parts: object) -> str:
    """A fingerprint of 64 bits of what a row holds, in whatever order its columns are."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def read_items(rows: Iterator[Located], columns: Columns, ask: Callable[[str], Question]) -> Iterator[Item]:
    """The items of the rows; `ask` makes a question of its text.

    Without an id of its own, a question has the number of its row and a hash of its content as its id.

    Raises:
        UsageError: the first row has no question, or the input cannot be read further.
    """
    seen, first = IdSet(), True
    for number, (where, values) in enumerate(rows, 1):
        try:
            if isinstance(values, UsageError):
                raise values
            item = _item(number, where, values, columns, ask)
            if not seen.add(item.id):
                raise UsageError(f"{where}: the id {item.id!r:.80} is also that of an earlier row: give each its own")
            first = False
            yield item
        except UsageError as error:
            if first and not isinstance(error, LongRow):
                raise
            own = {} if isinstance(values, UsageError) else _own(values, columns)
            yield Item(number, f"row {number}", own, error=str(error))


def _item(number: int, where: str, values: Mapping[str, Any], columns: Columns, ask: Callable[[str], Question]) -> Item:
    text = _text(where, values, columns.question, "--question-column")
    try:
        question = ask(text)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    id_column = columns.id or ID
    if columns.id or values.get(ID) is not None:
        name = _text(where, values, id_column, "--id-column").strip()
        if len(name) > MAX_ID:
            raise UsageError(f"{where}: the id has {len(name):,} characters: at most {MAX_ID} are allowed")
    else:
        name = f"q{number}-{question.id.removeprefix('q-')}"
    own = _own(values, columns)
    digest = digest_of(name, question.prompt.digest, question.space.name, own)
    return Item(number, name, own, replace(question, id=name), digest=digest)


def _text(where: str, values: Mapping[str, Any], column: str, option: str) -> str:
    """The text of a column, which must be there and not be empty."""
    value = values.get(column)
    if column not in values:
        names = [str(name)[:40] for name in values][:20]
        near = difflib.get_close_matches(column, names, n=1) or names[:1] or ["NAME"]
        listed = ", ".join(names) or "none"
        raise UsageError(f"{where} has no column {column!r} (it has {listed}): give {option} {near[0]}")
    if value is None or isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        shown = "it is empty" if value is None or not str(value).strip() else f"a {type(value).__name__} is not text"
        raise UsageError(f"{where}, column {column!r}: {shown}")
    return str(value)


def _own(values: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    return {name: value for name, value in values.items() if columns.keep is None or name in columns.keep}
