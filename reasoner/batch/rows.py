"""The rows of a batch: each is a question, or says what is wrong with it, and becomes a line of the answers."""

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from reasoner.answers.questions import Question
from reasoner.budget import COUNTS, Cost
from reasoner.errors import UsageError
from reasoner.execution.inputs import IdSet
from reasoner.solution import Solution
from reasoner.system.tables import Located, LongRow

MAX_ID: Final = 512
"""Characters of an id."""
QUESTION: Final = "question"
ID: Final = "id"
COST: Final = (*COUNTS, "flops", "seconds")
"""The columns of a cost, the fields of `Cost`."""
RESULTS: Final = (
    "row", "id", "answer", "text", "confidence", "share", "ended_by", "reason", "error", "tokens", *COST, "digest",
)  # fmt: skip
"""The columns that a batch writes; the input's own follow."""
Outcome = Literal["answered", "unanswered", "failed"]
"""How a question ended: with an answer, without one, or with an error."""
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of the input are read: the `question`, and its `id`, empty for a column `id` if there is one.

    Of the others, those in `keep` are repeated in the output, all if it is None.
    """

    question: str = QUESTION
    id: str = ""
    keep: tuple[str, ...] | None = None

    def own(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of a row that are repeated."""
        return {name: value for name, value in values.items() if self.keep is None or name in self.keep}


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row: its `number` from 1, its id, its own columns, and its question or what is wrong with it.

    The `digest` is a fingerprint of the question and of these columns.
    """

    number: int
    id: str
    own: Mapping[str, Any] = field(default_factory=dict, repr=False)
    question: Question | None = None
    error: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """A line of the answers: of which row and questions it is, what they cost, and how they ended.

    `ids` are that of the line, and of further questions behind it. `row` is the number of the row, 0 where a line does
    not say it. `digest` is that of what was asked. `error` is not known of a line that was read back.
    """

    line: Line = field(repr=False)
    ids: tuple[str, ...]
    row: int
    cost: Cost
    outcome: Outcome
    ended_by: str
    digest: str
    error: BaseException | None = None

    def asked_again(self, *, shared: bool) -> bool:
        """Whether a batch that continues asks again: after a failure, or where a budget `shared` by all was spent.

        A row that is no question stays one.
        """
        if self.outcome == "failed":
            return not isinstance(self.error, UsageError)
        return shared and self.outcome == "unanswered" and self.ended_by == "budget"


def digest_of(*parts: object) -> str:
    """A fingerprint of 64 bits of what a row holds, in whatever order its columns are."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def read_rows(rows: Iterator[Located], columns: Columns, ask: Callable[[str], Question]) -> Iterator[InputRow]:
    """The rows of the input; `ask` makes a question of its text.

    Without an id of its own, a question has the number of its row and a hash of its content as its id.

    Raises:
        UsageError: the first row has no question, or the input cannot be read further.
    """
    seen, first = IdSet(), True
    for number, (where, values) in enumerate(rows, 1):
        try:
            if isinstance(values, UsageError):
                raise values
            row = _row(number, where, values, columns, ask)
            if not seen.add(row.id):
                raise UsageError(f"{where}: the id {row.id!r:.80} is also that of an earlier row: give each its own")
            first = False
            yield row
        except UsageError as error:
            if first and not isinstance(error, LongRow):
                raise
            own = {} if isinstance(values, UsageError) else columns.own(values)
            yield InputRow(number, f"row {number}", own, error=str(error))


def _row(
    number: int, where: str, values: Mapping[str, Any], columns: Columns, ask: Callable[[str], Question]
) -> InputRow:
    text = _text(where, values, columns.question, "--question-column")
    try:
        question = ask(text)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    if columns.id or values.get(ID) is not None:
        name = _text(where, values, columns.id or ID, "--id-column").strip()
        if len(name) > MAX_ID:
            raise UsageError(f"{where}: the id has {len(name):,} characters: at most {MAX_ID} are allowed")
    else:
        name = f"q{number}-{question.id.removeprefix('q-')}"
    own = columns.own(values)
    digest = digest_of(name, question.prompt.digest, question.space.name, own)
    return InputRow(number, name, own, replace(question, id=name), digest=digest)


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


def answer_line(row: InputRow, solution: Solution) -> AnswerLine:
    """The line of a solution, with the input's own columns."""
    results = {
        "answer": solution.answer.text if solution.answer else None,
        "text": solution.text or None,
        "confidence": solution.confidence,
        "share": round(solution.vote_state.share, 6) if solution.vote_state.votes else None,
        "ended_by": solution.ended_by,
        "reason": solution.reason,
        "error": str(solution.error) if solution.error else None,
        "tokens": solution.cost.tokens,
        **asdict(solution.cost),
        "digest": row.digest,
    }
    return replace(read_answer(_with_own(row, results)), error=solution.error)


def error_line(row: InputRow) -> AnswerLine:
    """The line of a row that is no question."""
    line = _with_own(row, {"ended_by": "error", "error": row.error})
    return replace(read_answer(line), error=UsageError(row.error))


def _with_own(row: InputRow, results: Mapping[str, Any]) -> Line:
    """All columns; one of the input that has the name of a result is `input_NAME`."""
    line: Line = {**dict.fromkeys(RESULTS), "row": row.number, "id": row.id, **results}
    for name, value in row.own.items():
        if name == "id" and value == row.id:
            continue
        while name in line:
            name = f"input_{name}"  # noqa: PLW2901
        line[name] = value
    return line


def read_answer(line: Line) -> AnswerLine:
    """What a line of the answers says. Raises KeyError, TypeError or ValueError: it is none."""
    cost = Cost(**{name: line[name] for name in COST if line[name] is not None})
    outcome: Outcome = "failed" if line["error"] else "unanswered" if line["answer"] is None else "answered"
    return AnswerLine(line, (str(line["id"]),), int(line["row"]), cost, outcome, line["ended_by"], line["digest"])


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
