"""An arm's journal and a run's verdicts in memory: arrays of a few bytes per sample, without texts."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from reasoner.errors import TraceError
from reasoner.trace.replies import STATUSES
from reasoner.types import EndedBy
from reasoner_evals.runs.records import Arm, ItemRecord, Outcome, Verdict

OUTCOMES: Final[tuple[Outcome, ...]] = (*STATUSES, "timed_out", "error", "ungraded")
"""The outcomes of questions; arrays hold indices into this tuple."""
ENDS: Final[tuple[EndedBy, ...]] = get_args(EndedBy)
"""Who ended a question; arrays hold indices into this tuple."""
UNFINISHED: Final = -1
RIGHT: Final = OUTCOMES.index("right")
UNGRADED: Final = OUTCOMES.index("ungraded")
ERROR: Final = OUTCOMES.index("error")
NO_ANSWER: Final = OUTCOMES.index("no_answer")
SILENT: Final = -1
"""The class of a reply without an answer."""
UNKNOWN: Final = -1
"""In `stated`: the rule that found the answer is not recorded."""
COSTS: Final = ("prompt", "cached", "generated", "verifier", "cancelled", "samples", "thinking", "drawn", "cut",
                "cut_thinking")  # fmt: skip
"""The columns of `ArmData.costs`: tokens of each kind, samples that were paid, and those that were drawn, were cut at
`max_tokens`, and were cut while thinking."""

STATED: Final = frozenset({"pattern", "form", "announced", "heading", "line", "given", "likelihood"})
"""Rules that find a stated answer: a task's own pattern, a machine-readable form, a sentence that announces it, a
heading, a line of its own, or an answer that was not read from a text. All other rules find an answer by its position,
such as the last number: it may not be an answer at all. Strict accuracy counts stated answers only."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Ragged(NamedTuple):
    """The slice of each question in flat arrays: `[Q]` starts and lengths."""

    start: Ints
    length: Ints

    def of(self, row: int) -> slice:
        """The slice of one question."""
        return slice(int(self.start[row]), int(self.start[row] + self.length[row]))


@dataclass(frozen=True, slots=True)
class Replies:
    """The replies of all questions, in launch order within each; flat arrays, cut by `rows`."""

    rows: Ragged
    classes: NDArray[np.int32]
    """Equal within a question for answers of one key; `SILENT` without an answer."""
    outcome: NDArray[np.int8]
    """Indices into `OUTCOMES`."""
    stated: NDArray[np.int8]
    """1 for a stated answer, 0 for another one or none, or `UNKNOWN`."""
    score: NDArray[np.float32]
    """The verifier's value in [0, 1]; nan without a rating."""
    prompt: NDArray[np.int32]
    """Prompt tokens that were computed, without the cached ones."""
    cached: NDArray[np.int32]

    def per_question(self, selected: Bools) -> Ints:
        """[Q]: how many of a question's replies are selected."""
        totals = np.concatenate([[0], np.cumsum(selected)])
        counts: Ints = totals[self.rows.start + self.rows.length] - totals[self.rows.start]
        return counts


@dataclass(frozen=True, slots=True)
class Steps:
    """The best answers along the way; flat arrays, cut by `rows`, ascending in tokens within each question."""

    rows: Ragged
    tokens: Ints
    outcome: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class ArmData:
    """What one arm's journal holds: arrays over its task's questions in the order of `TaskItems.ids`."""

    run: str
    arm: Arm
    outcome: NDArray[np.int8]
    """Indices into `OUTCOMES`, or `UNFINISHED`."""
    stated: NDArray[np.int8]
    """As in `Replies`, for the final answer."""
    share: Floats
    ended: NDArray[np.int8]
    """Indices into `ENDS`, or `UNFINISHED`."""
    confidence: Floats
    """The calibrated chance that the answer is right; nan without a calibration."""
    costs: Ints
    """`[Q, 10]` in the order of `COSTS`."""
    flops: Floats
    """nan if unknown."""
    seconds: Floats
    replies: Replies
    along: Steps
    retried: int
    duplicates: int

    @property
    def tokens(self) -> Ints:
        """All tokens that each question computed, without cached ones."""
        spent: Ints = self.costs[:, [0, 2, 3, 4]].sum(axis=1)
        return spent

    @property
    def finished(self) -> Bools:
        """Which questions are done; those that ended in an error are too."""
        done: Bools = self.outcome != UNFINISHED
        return done

    @property
    def has_result(self) -> Bools:
        """Which questions are done without an error."""
        done: Bools = self.finished & (self.outcome != ERROR)
        return done


@dataclass(slots=True)
class VerdictIndex:
    """The verdicts of a run by a digest of what was graded, without texts. The last verdict on an answer counts."""

    graders: set[str] = field(default_factory=set)
    _codes: dict[int, int] = field(default_factory=dict)

    def add(self, verdict: Verdict) -> None:
        """Add a verdict."""
        self._codes[_digest(*verdict.key)] = OUTCOMES.index(verdict.status)
        self.graders.add(verdict.grader)

    def of(self, task: str, question_id: str, answers: Iterable[str]) -> list[int]:
        """Indices into `OUTCOMES`: the verdict on each answer, or ungraded."""
        return [self._codes.get(_digest(task, question_id, answer), UNGRADED) for answer in answers]


def _digest(task: str, question_id: str, answer: str) -> int:
    text = f"{len(task)}:{task}\0{len(question_id)}:{question_id}\0{answer}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def stated_code(rule: str) -> int:
    """1 for a rule that finds stated answers, 0 for any other, `UNKNOWN` without a rule."""
    return int(rule in STATED) if rule else UNKNOWN


_ITEM: Final = np.dtype([
    ("outcome", np.int8), ("stated", np.int8), ("ended", np.int8), ("share", np.float64), ("confidence", np.float64),
    ("flops", np.float64), ("seconds", np.float64),
])  # fmt: skip
_REPLY: Final = np.dtype([
    ("classes", np.int32), ("outcome", np.int8), ("stated", np.int8), ("score", np.float32), ("prompt", np.int32),
    ("cached", np.int32),
])  # fmt: skip
_STEP: Final = np.dtype([("tokens", np.int64), ("outcome", np.int8)])


class _Parts:
    """Flat arrays of one structured type, made of a part per question."""

    def __init__(self, dtype: np.dtype[Any], questions: int) -> None:
        self.dtype = dtype
        self.rows = Ragged(np.zeros(questions, np.int64), np.zeros(questions, np.int64))
        self.content = bytearray()

    def add(self, row: int, values: Sequence[tuple[float, ...]]) -> None:
        self.rows.start[row], self.rows.length[row] = len(self.content) // self.dtype.itemsize, len(values)
        self.content += np.array(values, dtype=self.dtype).tobytes()

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        return _columns(np.frombuffer(self.content, dtype=self.dtype))


def _columns(table: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {name: table[name].copy() for name in table.dtype.names or ()}


class ArmArrays:
    """The arrays of an arm while its journal is read."""

    def __init__(self, run: str, arm: Arm, ids: Sequence[str], verdicts: VerdictIndex) -> None:
        self.run, self.arm, self.verdicts = run, arm, verdicts
        self.rows = {question_id: row for row, question_id in enumerate(ids)}
        self.items = np.zeros(len(ids), dtype=_ITEM)
        self.items["outcome"] = self.items["ended"] = UNFINISHED
        self.items["flops"] = self.items["confidence"] = np.nan
        self.costs = np.zeros((len(ids), len(COSTS)), dtype=np.int64)
        self.replies, self.along = _Parts(_REPLY, len(ids)), _Parts(_STEP, len(ids))
        self.retried = self.duplicates = 0

    def add(self, record: ItemRecord, journal: Path) -> None:
        """Add a line of `journal`. Raises TraceError for an unknown question or contradictory counts."""
        row = self.rows.get(record.question_id)
        if row is None:
            raise TraceError(f"{journal} holds question {record.question_id!r}, which the run does not ask")
        if self.items["outcome"][row] not in (UNFINISHED, ERROR):
            self.duplicates += 1
            return
        self.retried += int(self.items["outcome"][row] == ERROR)
        cost = record.cost
        # The cost of a subset is the sum of its replies' costs, so no token may be in two fields.
        if self.arm.pool and sum(reply.prompt_tokens for reply in record.pool) > cost.prompt_tokens:
            raise TraceError(
                f"{journal}: the replies to {record.question_id!r} computed more prompt tokens than the question cost"
            )
        answers = sorted({source.answer for source in record.candidates})
        verdicts = dict(zip(answers, self.verdicts.of(self.arm.task, record.question_id, answers), strict=True))
        answered = record.status == "answered"
        self.items[row] = (
            verdicts[record.answer] if answered else OUTCOMES.index(record.status),
            stated_code(record.rule) if answered else 0,
            ENDS.index(record.ended_by),
            record.share,
            np.nan if record.confidence is None else record.confidence,
            np.nan if cost.flops is None else cost.flops,
            cost.seconds,
        )
        self.costs[row] = (cost.prompt_tokens, cost.cached_tokens, cost.generated_tokens, cost.verifier_tokens,
                           cost.cancelled_tokens, cost.samples, cost.thinking_tokens, record.cut.samples,
                           record.cut.cut, record.cut.thinking)  # fmt: skip
        self.replies.add(row, _reply_rows(record, verdicts))
        steps = [(step.tokens, verdicts[step.answer] if step.answer else NO_ANSWER) for step in record.along]
        self.along.add(row, steps)

    def done(self) -> ArmData:
        """The arrays so far."""
        return ArmData(
            self.run,
            self.arm,
            **_columns(self.items),
            costs=self.costs,
            replies=Replies(self.replies.rows, **self.replies.columns),
            along=Steps(self.along.rows, **self.along.columns),
            retried=self.retried,
            duplicates=self.duplicates,
        )


def _reply_rows(record: ItemRecord, verdicts: Mapping[str, int]) -> list[tuple[float, ...]]:
    classes: dict[str, int] = {}
    rows: list[tuple[float, ...]] = []
    for reply in record.pool:
        read = reply.status == "read"
        rows.append((
            classes.setdefault(reply.key or reply.answer, len(classes)) if read else SILENT,
            verdicts[reply.answer] if read else OUTCOMES.index(reply.status),
            stated_code(reply.rule) if read else 0,
            np.nan if reply.score is None else reply.score,
            reply.prompt_tokens,
            reply.cached_tokens,
        ))  # fmt: skip
    return rows
