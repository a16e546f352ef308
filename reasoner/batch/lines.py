"""The lines of a batch's answers: how they are written, and what they say when the batch continues."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from reasoner.batch.items import Item
from reasoner.budget import COUNTS, Cost
from reasoner.errors import UsageError
from reasoner.solution import Solution

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
class Answered:
    """One line of the output; `ids` are those of the questions behind it."""

    line: Line
    ids: tuple[str, ...]
    cost: Cost
    outcome: Outcome
    error: BaseException | None = None
    ended_by: str = ""

    @property
    def again(self) -> bool:
        """Whether the question failed in a way that asking it again may mend."""
        return self.outcome == "failed" and not isinstance(self.error, UsageError)

    @property
    def refused(self) -> bool:
        """Whether a budget left the question without an answer."""
        return self.outcome == "unanswered" and self.ended_by == "budget"


def answer_line(item: Item, solution: Solution) -> Answered:
    """The line of a solution, with the input's own columns."""
    answer = solution.answer.text if solution.answer else None
    results = {
        "answer": answer,
        "text": solution.text or None,
        "confidence": solution.confidence,
        "share": round(solution.vote_state.share, 6) if solution.vote_state.votes else None,
        "ended_by": solution.ended_by,
        "reason": solution.reason,
        "error": str(solution.error) if solution.error else None,
        "tokens": solution.cost.tokens,
        **asdict(solution.cost),
        "digest": item.digest,
    }
    outcome: Outcome = "failed" if solution.error else "unanswered" if answer is None else "answered"
    line = _with_own(item, results)
    return Answered(line, (item.id,), solution.cost, outcome, solution.error, solution.ended_by)


def error_line(item: Item) -> Answered:
    """The line of a row that is no question."""
    line = _with_own(item, {"ended_by": "error", "error": item.error})
    return Answered(line, (), Cost(), "failed", UsageError(item.error), "error")


def _with_own(item: Item, results: Mapping[str, Any]) -> Line:
    """All columns; one of the input that has the name of a result is `input_NAME`."""
    line: Line = {**dict.fromkeys(RESULTS), "row": item.number, "id": item.id, **results}
    for name, value in item.own.items():
        if name == "id" and value == item.id:
            continue
        while name in line:
            name = f"input_{name}"  # noqa: PLW2901
        line[name] = value
    return line


@dataclass(frozen=True, slots=True)
class Known:
    """What a line of an interrupted batch says: of which question and row it is, and how it ended.

    `ids` are that of the line, and of further questions behind it; `digest` is that of what was asked.
    """

    ids: tuple[str, ...]
    row: int
    """The number of the row; 0 where a line does not say it."""
    cost: Cost
    outcome: Outcome
    ended_by: str
    digest: str


def known_answer(line: Mapping[str, Any]) -> Known:
    """What a line of `answer_line` or `error_line` says. Raises KeyError, TypeError or ValueError: it is none."""
    cost = Cost(**{name: line[name] for name in COST if line[name] is not None})
    outcome: Outcome = "failed" if line["error"] else "unanswered" if line["answer"] is None else "answered"
    return Known((str(line["id"]),), int(line["row"]), cost, outcome, line["ended_by"], line["digest"])


def encoded(line: Line) -> bytes:
    """A line as JSON; what is not JSON becomes text, and a number that is none becomes null."""
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
