"""What an arm's journal and a run's verdicts are in memory: arrays, a few bytes a sample, without texts."""

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from reasoner.errors import TraceError
from reasoner.grades import STATUSES
from reasoner.solution import EndedBy
from reasoner_evals.runs.records import OUT_OF_RANGE, Arm, ItemRecord, Outcome, Verdict
from reasoner_evals.runs.stating import stated

OUTCOMES: Final[tuple[Outcome, ...]] = (*STATUSES, "timed_out", "error", "ungraded")
"""What became of a question; arrays hold places in this tuple."""
ENDS: Final[tuple[EndedBy, ...]] = get_args(EndedBy)
"""Who ended a question; arrays hold places in this tuple."""
UNFINISHED: Final = -1
RIGHT: Final = OUTCOMES.index("right")
UNGRADED: Final = OUTCOMES.index("ungraded")
ERROR: Final = OUTCOMES.index("error")
SILENT: Final = -1
"""The class of a reply without an answer."""
UNKNOWN: Final = -1
"""In `stated`: by which rule the answer was found is not recorded."""
COSTS: Final = ("prompt", "cached", "generated", "verifier", "cancelled", "samples")
"""The columns of `ArmData.costs`."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Ragged(NamedTuple):
    """Where each question's stretch lies in flat arrays: `[Q]` starts and lengths."""

    start: Ints
    length: Ints

    def of(self, row: int) -> slice:
        """The stretch of one question."""
        return slice(int(self.start[row]), int(self.start[row] + self.length[row]))


@dataclass(frozen=True, slots=True)
class Replies:
    """The replies of all questions, in launch order within each; flat arrays, cut by `rows`."""

    rows: Ragged
    classes: NDArray[np.int32]
    """Equal within a question where answers have one key; `SILENT` where there is none."""
    outcome: NDArray[np.int8]
    """Places in `OUTCOMES`."""
    stated: NDArray[np.int8]
    """1 where the answer was found in a stated form, 0 where it was not or there is none, or `UNKNOWN`."""
    score: NDArray[np.float32]
    """The verifier's value in [0, 1]; nan where it was not rated."""
    prompt: NDArray[np.int32]
    """Prompt tokens that were computed, without the cached ones."""
    cached: NDArray[np.int32]

    def per_question(self, hit: Bools) -> Ints:
        """[Q]: how many of a question's replies are hit."""
        upto = np.concatenate([[0], np.cumsum(hit)])
        found: Ints = upto[self.rows.start + self.rows.length] - upto[self.rows.start]
        return found


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
    """Places in `OUTCOMES`, or `UNFINISHED`."""
    stated: NDArray[np.int8]
    """As in `Replies`, of the final answer."""
    share: Floats
    ended: NDArray[np.int8]
    """Places in `ENDS`, or `UNFINISHED`."""
    confidence: Floats
    """The calibrated chance that the answer is right; nan where nothing was calibrated."""
    costs: Ints
    """`[Q, 6]` in the order of `COSTS`."""
    flops: Floats
    """nan where not known."""
    seconds: Floats
    replies: Replies
    along: Steps
    retried: int
    duplicates: int
    left_out: tuple[str, ...]
    """Questions whose record holds an impossible count: errors."""

    @property
    def tokens(self) -> Ints:
        """All tokens that each question computed; cached ones are not."""
        spent: Ints = self.costs[:, [0, 2, 3, 4]].sum(axis=1)
        return spent

    @property
    def finished(self) -> Bools:
        """Which questions are done; those that ended in an error are too."""
        done: Bools = self.outcome != UNFINISHED
        return done


@dataclass(slots=True)
class VerdictIndex:
    """The verdicts of a run by a digest of what was judged: 9 bytes each. The last line on an answer holds."""

    graders: set[str] = field(default_factory=set)
    _keys: array = field(default_factory=lambda: array("Q"))  # type: ignore[type-arg]
    _codes: array = field(default_factory=lambda: array("b"))  # type: ignore[type-arg]
    _order: Ints | None = None

    def add(self, verdict: Verdict) -> None:
        """Take in a line."""
        self._keys.append(_digest(verdict.task, verdict.question_id, verdict.answer))
        self._codes.append(OUTCOMES.index(verdict.status))
        self.graders.add(verdict.grader)
        self._order = None

    def of(self, task: str, question_id: str, answers: Sequence[str]) -> list[int]:
        """Places in `OUTCOMES`: the verdict on each answer, or that there is none."""
        keys = np.frombuffer(self._keys, dtype=np.uint64) if self._keys else np.zeros(0, dtype=np.uint64)
        if self._order is None:
            self._order = np.argsort(keys, kind="stable")
        wanted = np.array([_digest(task, question_id, answer) for answer in answers], dtype=np.uint64)
        places = np.searchsorted(keys, wanted, side="right", sorter=self._order) - 1
        found = [int(self._order[place]) if place >= 0 else -1 for place in places]
        return [
            self._codes[place] if place >= 0 and self._keys[place] == key else UNGRADED
            for place, key in zip(found, wanted.tolist(), strict=True)
        ]


def _digest(task: str, question_id: str, answer: str) -> int:
    text = f"{len(task)}:{task}\0{len(question_id)}:{question_id}\0{answer}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _stated(rule: str) -> int:
    known = stated(rule)
    return UNKNOWN if known is None else int(known)


def holds(former: ItemRecord | None) -> bool:
    """Whether a further line on a question replaces what there is: only an error is tried again."""
    return former is None or former.status == "error"


class ArmArrays:
    """The arrays of an arm while its journal is read."""

    def __init__(self, run: str, arm: Arm, ids: Sequence[str], verdicts: VerdictIndex) -> None:
        self.run, self.arm, self.verdicts = run, arm, verdicts
        self.rows = {question_id: row for row, question_id in enumerate(ids)}
        n = len(self.rows)
        self.outcome = np.full(n, UNFINISHED, dtype=np.int8)
        self.stated = np.zeros(n, dtype=np.int8)
        self.costs = np.zeros((n, len(COSTS)), dtype=np.int64)
        self.share, self.flops, self.seconds = np.zeros(n), np.full(n, np.nan), np.zeros(n)
        self.ended, self.confidence = np.full(n, UNFINISHED, dtype=np.int8), np.full(n, np.nan)
        self.reply_rows, self.along_rows = (Ragged(np.zeros(n, np.int64), np.zeros(n, np.int64)) for _ in range(2))
        self.classes, self.prompt, self.cached = array("i"), array("i"), array("i")
        self.outcomes, self.reply_stated, self.along_outcomes = array("b"), array("b"), array("b")
        self.score, self.along_tokens = array("f"), array("q")
        self.retried = self.duplicates = 0
        self.left_out: dict[str, None] = {}

    def add(self, record: ItemRecord, journal: Path) -> None:
        """Take in a line of `journal`."""
        row = self.rows.get(record.question_id)
        if row is None:
            raise TraceError(f"{journal} holds question {record.question_id!r}, which the run does not ask")
        if self.outcome[row] not in (UNFINISHED, ERROR):
            self.duplicates += 1
            return
        self.retried += int(self.outcome[row] == ERROR)
        self.left_out.pop(record.question_id, None)
        if record.error.startswith(OUT_OF_RANGE):
            self.left_out[record.question_id] = None
        texts = [record.answer, *(one.answer for one in record.pool), *(one.answer for one in record.along)]
        distinct = sorted(set(texts))
        verdict = dict(zip(distinct, self.verdicts.of(self.arm.task, record.question_id, distinct), strict=True))
        self.outcome[row] = verdict[record.answer] if record.status == "answered" else OUTCOMES.index(record.status)
        self.stated[row] = _stated(record.rule) if record.status == "answered" else 0
        cost = record.cost
        self.costs[row] = (cost.prompt_tokens, cost.cached_tokens, cost.generated_tokens, cost.verifier_tokens,
                           cost.cancelled_tokens, cost.samples)  # fmt: skip
        self.share[row], self.seconds[row] = record.share, cost.seconds
        self.flops[row] = np.nan if cost.flops is None else cost.flops
        self.ended[row] = ENDS.index(record.ended_by)
        self.confidence[row] = np.nan if record.confidence is None else record.confidence
        self._add_replies(row, record, verdict, journal)
        self._add_along(row, record, verdict)

    def _add_replies(self, row: int, record: ItemRecord, verdict: Mapping[str, int], journal: Path) -> None:
        # A subset's cost is made of its replies' costs, which would be wrong if a token stood in two fields.
        if self.arm.pool and sum(one.prompt_tokens for one in record.pool) > record.cost.prompt_tokens:
            raise TraceError(
                f"{journal}: the replies to {record.question_id!r} computed more prompt tokens than it cost"
            )
        self.reply_rows.start[row], self.reply_rows.length[row] = len(self.classes), len(record.pool)
        numbers: dict[str, int] = {}
        for one in record.pool:
            read = one.status == "read"
            self.classes.append(numbers.setdefault(one.key or one.answer, len(numbers)) if read else SILENT)
            self.outcomes.append(verdict[one.answer] if read else OUTCOMES.index(one.status))
            self.reply_stated.append(_stated(one.rule) if read else 0)
            self.score.append(np.nan if one.score is None else one.score)
            self.prompt.append(one.prompt_tokens)
            self.cached.append(one.cached_tokens)

    def _add_along(self, row: int, record: ItemRecord, verdict: Mapping[str, int]) -> None:
        self.along_rows.start[row], self.along_rows.length[row] = len(self.along_tokens), len(record.along)
        for one in record.along:
            self.along_tokens.append(one.tokens)
            self.along_outcomes.append(verdict[one.answer] if one.answer else OUTCOMES.index("no_answer"))

    def done(self) -> ArmData:
        """The arrays, as they are now."""
        replies = Replies(
            self.reply_rows,
            np.array(self.classes, dtype=np.int32),
            np.array(self.outcomes, dtype=np.int8),
            np.array(self.reply_stated, dtype=np.int8),
            np.array(self.score, dtype=np.float32),
            np.array(self.prompt, dtype=np.int32),
            np.array(self.cached, dtype=np.int32),
        )
        along = Steps(self.along_rows, np.array(self.along_tokens, np.int64), np.array(self.along_outcomes, np.int8))
        return ArmData(self.run, self.arm, self.outcome, self.stated, self.share, self.ended, self.confidence,
                       self.costs, self.flops, self.seconds, replies, along, self.retried,
                       self.duplicates, tuple(self.left_out))  # fmt: skip
