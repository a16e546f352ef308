"""The rows of a batch: each is a question, or says what is wrong with it, and becomes a line of the answers.

The lines become a CSV or parquet file, a bounded number at a time.
"""

import hashlib
import json
import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from reasoner.answers.equivalence import Equivalence
from reasoner.answers.grading import grade, is_gradable, stated
from reasoner.answers.questions import Question
from reasoner.answers.references import ReferenceKinds
from reasoner.budget import COUNTS, Cost
from reasoner.errors import TraceError, UsageError
from reasoner.solution import Solution
from reasoner.specs import written
from reasoner.system.files import parse_json, replacing
from reasoner.system.printing import printable
from reasoner.system.tables import Located, LongRow, meant_column, table_writer

MAX_ID: Final = 512
"""Characters of an id."""
QUESTION: Final = "question"
ID: Final = "id"
ANSWER: Final = "answer"
"""The column of reference answers, where a file has one: they decide the kind of answer, and whether one is right."""
COLUMNS: Final = (QUESTION, ANSWER, ID)
"""The columns that may have other names in a file."""
COST: Final = (*COUNTS, "flops", "seconds")
"""The columns of a cost, the fields of `Cost`."""
RESULTS: Final = (
    "row",
    "id",
    "answer",
    "right",
    "text",
    "confidence",
    "share",
    "ended_by",
    "reason",
    "error",
    "tokens",
    *COST,
    "digest",
)
"""The columns that a batch writes; the input's own follow."""
Outcome = Literal["answered", "unanswered", "failed"]
"""How a question ended: with an answer, without one, or with an error."""
ROWS: Final = 1 << 14
"""Rows of a row group."""
FORMATS: Final = (".jsonl", ".csv", ".parquet")
"""The suffixes of files of answers."""
_MEASURED: Final = frozenset({"confidence", "share", "seconds"})
_COUNTED: Final = frozenset({"row", "tokens", *COST} - _MEASURED)
_MAX_INT: Final = 1 << 63
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row: its `number` from 1, its id, its own columns, and its question or what is wrong with it.

    The `digest` is a fingerprint of what is asked, of the columns, whatever their order, and of the batch's settings.
    """

    number: int
    id: str
    own: Mapping[str, Any] = field(default_factory=dict, repr=False)
    question: Question | None = None
    error: str = ""
    digest: str = ""
    reference: str = field(default="", repr=False)
    """The reference answer as it is stated; empty without one that answers can be compared with."""


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """A line of the answers: its row and question, what it cost, and how it ended.

    `row` is the number of the row, and `digest` the fingerprint of what was asked. `error` is not known of a line that
    was read back.
    """

    line: Line = field(repr=False)
    id: str
    row: int
    cost: Cost
    outcome: Outcome
    ended_by: str
    digest: str
    right: bool | None = None
    """Whether it equals its reference answer; None without one, or where that could not be decided."""
    error: BaseException | None = None

    @property
    def graded(self) -> Counter[bool]:
        """Whether it is right, counted once; empty where that is not known."""
        return Counter() if self.right is None else Counter([self.right])

    def asked_again(self, *, shared: bool) -> bool:
        """Whether a batch that continues asks again: after a failure, or where a budget `shared` by all was spent.

        A row that is no question stays one.
        """
        if self.outcome == "failed":
            return not isinstance(self.error, UsageError)
        return shared and self.outcome == "unanswered" and self.ended_by == "budget"


def read_rows(
    rows: Iterator[Located],
    column: str,
    id_column: str,
    ask: Callable[[str], Question],
    settings: Mapping[str, str],
    answer: str = ANSWER,
) -> Iterator[InputRow]:
    """The rows of the input, with a question in `column` that `ask` makes of its text. An error is one of its row.

    A reference is in the column `answer`, if there is one.

    The id of a row is in `id_column`, or in a column `id` if that is empty. Without one, it is the number of the row
    and a hash of the question. The digests of rows with other `settings` differ.

    Raises:
        UsageError: the input cannot be read further, or its first row is wrong.
    """
    seen = set[int]()
    for number, (where, values) in enumerate(rows, 1):
        try:
            if isinstance(values, UsageError):
                raise values
            row = _question_row(number, where, values, column, id_column, ask, settings)
            row = replace(row, reference=_reference(row, values.get(answer)))
            if hash(row.id) in seen:
                raise UsageError(
                    f"{where}: the id {row.id!r:.80} is also the id of an earlier row: give each its own"
                )
            seen.add(hash(row.id))
            yield row
        except UsageError as error:
            if number == 1 and not isinstance(error, LongRow):
                raise
            own = {} if isinstance(values, UsageError) else values
            yield InputRow(number, f"row {number}", own, error=str(error))


def reference_kinds(
    rows: Iterator[Located], column: str, answer: str
) -> ReferenceKinds:
    """The kinds of the references in `answer` to the questions in `column`; none if the first row has no `answer`."""
    kinds = ReferenceKinds()
    for number, (_, values) in enumerate(rows):
        if isinstance(values, UsageError):
            continue
        if number == 0 and answer not in values:
            break
        if reference := values.get(answer):
            kinds.add(str(values.get(column)), str(reference))
    return kinds


def _question_row(
    number: int,
    where: str,
    values: Mapping[str, Any],
    column: str,
    id_column: str,
    ask: Callable[[str], Question],
    settings: Mapping[str, str],
) -> InputRow:
    text = _text(where, values, column, QUESTION)
    try:
        question = ask(text)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    # As in an evaluation, an empty id is none.
    given = values.get(id_column or ID)
    named = given is not None and bool(str(given).strip())
    if named or (id_column and id_column not in values):
        name = _text(where, values, id_column or ID, ID).strip()
        if len(name) > MAX_ID:
            raise UsageError(
                f"{where}: the id has {len(name):,} characters: at most {MAX_ID} are allowed"
            )
    else:
        name = f"q{number}-{question.id.removeprefix('q-')}"
    content = (name, question.prompt.digest, question.space.name, values, settings)
    digest = hashlib.blake2b(
        json.dumps(content, sort_keys=True, default=str).encode(), digest_size=8
    )
    return InputRow(
        number, name, values, replace(question, id=name), digest=digest.hexdigest()
    )


def _reference(row: InputRow, value: object) -> str:
    """The reference answer of a row, as it is stated; empty where answers cannot be compared with it."""
    if row.question is None or value is None or not str(value).strip():
        return ""
    space = row.question.space
    gold = stated(space, str(value))
    return gold if is_gradable(space, gold) else ""


def _text(where: str, values: Mapping[str, Any], column: str, wanted: str) -> str:
    """The text of a column, the `wanted` one, which must be there and not be empty."""
    value = values.get(column)
    if column not in values:
        listed = ", ".join([str(name)[:40] for name in values][:20]) or "none"
        pair = written(f"{wanted}:{meant_column(wanted, column, values) or 'NAME'}")
        raise UsageError(
            f"{where} has no column {column!r} (it has {listed}): give --columns {shlex.quote(pair)}"
        )
    if (
        value is None
        or isinstance(value, bool)
        or not isinstance(value, str | int | float)
        or not str(value).strip()
    ):
        shown = (
            "it is empty"
            if value is None or not str(value).strip()
            else f"a {type(value).__name__} is not text"
        )
        raise UsageError(f"{where}, column {column!r}: {shown}")
    return str(value)


async def is_right(
    row: InputRow, solution: Solution, equivalence: Equivalence
) -> bool | None:
    """Whether a solution equals the row's reference; None without one, or where that cannot be decided in time."""
    if not row.reference or row.question is None or solution.error:
        return None
    if solution.answer is None:
        return False
    space, answer = row.question.space, solution.answer
    status = (await grade(space, row.reference, answer, equivalence)).status
    return {"right": True, "wrong": False}.get(status)


def answer_line(
    row: InputRow, solution: Solution, right: bool | None = None
) -> AnswerLine:
    """The line of a solution, with the input's own columns."""
    results = {**solution.row(), "right": right, "digest": row.digest}
    return _with_own(row, results, solution.error)


def error_line(row: InputRow) -> AnswerLine:
    """The line of a row that is no question."""
    return _with_own(
        row, {"ended_by": "error", "error": row.error}, UsageError(row.error)
    )


def _with_own(
    row: InputRow, results: Mapping[str, Any], error: BaseException | None
) -> AnswerLine:
    """All columns; one of the input that has the name of a result is `input_NAME`."""
    line: Line = {**dict.fromkeys(RESULTS), "row": row.number, "id": row.id, **results}
    for name, value in row.own.items():
        if name == "id" and value == row.id:
            continue
        while name in line:
            name = f"input_{name}"  # noqa: PLW2901
        line[name] = value
    return replace(read_answer(line), error=error)


def read_answer(line: Line) -> AnswerLine:
    """What a line of the answers says. Raises KeyError, TypeError or ValueError: it is none."""
    cost = Cost(**{name: line[name] for name in COST if line[name] is not None})
    outcome: Outcome = (
        "failed"
        if line["error"]
        else "unanswered"
        if line["answer"] is None
        else "answered"
    )
    return AnswerLine(
        line,
        str(line["id"]),
        int(line["row"]),
        cost,
        outcome,
        line["ended_by"],
        line["digest"],
        line.get("right"),
    )


def encoded(line: Line) -> bytes:
    """A line as JSON; what is not JSON becomes text, and a number that is not finite becomes null."""
    try:
        text = json.dumps(line, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(_finite(line), ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace") + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list) else value


def convert(lines: Path, path: Path) -> None:
    """Write the answers in `lines` to `path` in the format of its suffix, as a whole.

    Columns are those of `RESULTS`, then the input's own in the order in which they come. Values that are no text,
    number or truth value are JSON.

    Raises:
        TraceError: a file cannot be read or written.
    """
    try:
        kinds = _kinds(lines)
        rows = (
            {name: _cell(kind, line.get(name)) for name, kind in kinds.items()}
            for line in _read(lines)
        )
        with replacing(path) as file, table_writer(file, path.suffix, kinds) as write:
            while batch := list(islice(rows, ROWS)):
                write(batch)
    except Exception as error:
        why = getattr(error, "strerror", None) or printable(str(error), limit=200)
        raise TraceError(f"cannot write the answers {path}: {why}") from error


def _read(lines: Path) -> Iterator[Line]:
    with lines.open("rb") as file:
        yield from map(parse_json, file)


def _kinds(lines: Path) -> dict[str, str]:
    """Each column and what its values are: int, float, bool, str, or json where they differ."""
    types: dict[str, set[str]] = {}
    for line in _read(lines):
        for name, value in line.items():
            long = isinstance(value, int) and not -_MAX_INT <= value < _MAX_INT
            types.setdefault(name, set()).add("json" if long else type(value).__name__)
    own = {name: _kind(kinds_seen - {"NoneType"}) for name, kinds_seen in types.items()}
    results = dict.fromkeys(RESULTS, "str") | {"right": "bool"}
    results |= dict.fromkeys(_COUNTED, "int") | dict.fromkeys(_MEASURED, "float")
    return own | results


def _kind(types: set[str]) -> str:
    if types == {"int", "float"}:
        return "float"
    kind = types.pop() if len(types) == 1 else "json" if types else "str"
    return kind if kind in ("int", "float", "bool", "str") else "json"


def _cell(kind: str, value: Any) -> Any:
    if value is None or (kind == "json" and isinstance(value, str)):
        return value
    return (
        json.dumps(value, ensure_ascii=False)
        if kind == "json"
        else float(value)
        if kind == "float"
        else value
    )
