"""The records in a run's folder, all of one version, and how a journal is read."""

import itertools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from reasoner.budget import Cost
from reasoner.errors import TraceError
from reasoner.journal.lines import Format, read_lines
from reasoner.models.info import ModelInfo
from reasoner.system.foreign import MAX_PER_QUESTION, MAX_PER_REQUEST
from reasoner.trace.replies import GradeStatus
from reasoner.types import CutSamples, EndedBy
from reasoner_evals.runs.folder import ArmFolder
from reasoner_evals.tasks.data import Source

VERSION: Final = 2

ReplyStatus = Literal["read", "no_answer", "truncated"]
ItemStatus = Literal["answered", "no_answer", "truncated", "timed_out", "error"]
Outcome = GradeStatus | Literal["timed_out", "error", "ungraded"]
"""The outcome of a question: the grade of its answer, or why there is none."""
Rule = Literal["", "majority", "best", "weighted"]
"""How a subset of a pool selects its answer."""
Count = Annotated[int, Field(ge=0, le=MAX_PER_REQUEST)]
T = TypeVar("T")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Record(_Part):
    v: Literal[2] = VERSION


class Arm(_Part):
    """One curve or point of an evaluation: a strategy on a task, within a budget, under a seed."""

    name: str
    """The name of its folder, such as `gsm8k.self_consistency.2`; unique in the run."""
    task: str
    strategy: str
    verifier: str
    budget: str
    """The budget of one question, as `Budget` writes it; empty if unbounded."""
    total: str = ""
    """The budget of all questions together, divided by the controller; empty if unbounded."""
    price: float = 0.0
    """The gain in the chance of a right answer that a sample of mean cost must reach; else `total` is not used up."""
    seed: int
    pool: int = 0
    """The number of samples from which every smaller number is estimated; 0 if each number has to be run."""
    rule: Rule = ""

    @property
    def limit(self) -> str:
        """Its budget in words; empty if it has none."""
        return f"{self.total} in all" if self.total else self.budget


class Machine(_Part):
    """The machine of a run."""

    python: str
    system: str
    cores: int
    memory_gib: float
    accelerators: tuple[str, ...]
    packages: dict[str, str]
    """Versions by distribution name."""


class Manifest(_Record):
    """Everything that decides a run, frozen before its first question is asked."""

    created: str
    """ISO 8601, UTC."""
    command: str
    engine: str
    model: ModelInfo
    sources: tuple[Source, ...]
    arms: tuple[Arm, ...]
    prices: dict[str, float] | None
    """US dollars per million tokens, by the fields of `Prices`."""
    machine: Machine
    answer_rules: dict[str, int] = {}
    """The version of the rules that read answers, by the name of the answer space."""
    notes: tuple[str, ...] = ()
    """What the engine could not do exactly."""


class Item(_Record):
    """A question as the run asked it, with its reference answer; a line of `items.jsonl`."""

    task: str
    question_id: str
    text: str
    gold: str
    group: str = ""
    """What questions of one source share; statistics are clustered by it."""
    level: str = ""
    """The difficulty that the benchmark states."""
    space: str = ""


class Reply(_Part):
    """One complete reply that a question's answer could have come from."""

    index: int
    status: ReplyStatus
    answer: str = ""
    key: str = ""
    rule: str = ""
    """The rule of the answer space that found the answer."""
    prompt_tokens: Count
    cached_tokens: Count
    generated_tokens: Count
    verifier_tokens: Count = 0
    thinking_tokens: Count = 0
    score: float | None = None
    """The verifier's value, in [0, 1]; None if it was not rated."""


class Along(_Part):
    """The best answer at one moment of a question, and the cost up to then."""

    answer: str
    key: str
    share: float
    samples: int
    tokens: Annotated[int, Field(ge=0, le=MAX_PER_QUESTION)]


class ItemRecord(_Record):
    """A finished question of one arm; a line of the arm's `journal.jsonl`. Grades are kept apart.

    `cost` is all that the question cost, failed attempts included. `share` is the part of the vote behind the answer.
    `pool` is in launch order and holds complete replies only.
    """

    question_id: str
    attempt: int = 1
    status: ItemStatus
    answer: str = ""
    key: str = ""
    rule: str = ""
    """The rule of the answer space that found the answer."""
    share: float = 0.0
    confidence: float | None = None
    """The calibrated chance that the answer is right; None without a calibration."""
    ended_by: EndedBy
    reason: str
    error: str = ""
    unrated: str = ""
    """Why, if the verifier was asked and not one rating succeeded."""
    cost: Cost
    cut: CutSamples = CutSamples()
    """How many samples were cut at `max_tokens`."""
    pool: tuple[Reply, ...] = ()
    along: tuple[Along, ...] = ()

    @property
    def candidates(self) -> tuple["Reply | Along | ItemRecord", ...]:
        """Everything that has an answer, in the order in which it was given; the final answer comes last."""
        return (*self.pool, *self.along, self)

    @field_validator("cost")
    @classmethod
    def _possible(cls, cost: Cost) -> Cost:
        if fault := cost.fault(limit=MAX_PER_QUESTION):
            raise ValueError(fault)
        return cost


class Verdict(_Record):
    """The grade of one answer to one question; a line of the run's `verdicts.jsonl`."""

    task: str
    question_id: str
    answer: str
    status: GradeStatus
    grader: str
    """The grader's name and version, such as `reference@1`."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Task, question id and answer."""
        return self.task, self.question_id, self.answer


ITEM_LINES: Final = Format("questions", Item.model_validate_json, VERSION)
RECORD_LINES: Final = Format("journal", ItemRecord.model_validate_json, VERSION)
VERDICT_LINES: Final = Format("verdicts", Verdict.model_validate_json, VERSION)


def read_journal(files: ArmFolder) -> Iterator[ItemRecord]:
    """The records of an arm's journal, one by one; none without a journal. A TraceError names the line."""
    return _read(files, RECORD_LINES)


def _read(files: ArmFolder, form: Format[T]) -> Iterator[T]:
    if files.journal.exists():
        run = files.path.parents[1]
        advice = f"`reasoner eval --resume {run}` makes the journal again from the trace, without asking the model"
        yield from read_lines(files.journal, form, advice=advice)


class _Key(BaseModel):
    """The part of a journal line that says which question it is about and whether it is an error."""

    question_id: str
    status: str


def counted_records(files: ArmFolder, ids: Collection[str] | None = None) -> Iterator[ItemRecord]:
    """The records of an arm that count, of all questions or of `ids`, in the order of the journal.

    Of several on a question the first counts, unless it is an error: then the next one does.
    """
    counted: dict[str, tuple[int, bool]] = {}
    for index, key in enumerate(_read(files, RECORD_LINES.reading(_Key.model_validate_json))):
        if (ids is None or key.question_id in ids) and counted.get(key.question_id, (0, True))[1]:
            counted[key.question_id] = index, key.status == "error"
    wanted, numbers = {index for index, _ in counted.values()}, itertools.count()

    def record(line: bytes) -> ItemRecord | None:
        return ItemRecord.model_validate_json(line) if next(numbers) in wanted else None

    yield from filter(None, _read(files, RECORD_LINES.reading(record)))


def attempts_in(files: ArmFolder) -> set[tuple[str, int]] | None:
    """The questions of a journal with their attempts; None if a line is damaged or not a record."""
    try:
        return {(record.question_id, record.attempt) for record in read_journal(files)}
    except TraceError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return None


def set_aside(files: ArmFolder) -> Path:
    """Rename a damaged journal, so that it can be made again from the trace; its new name."""
    renamed = files.journal.with_name(f"{files.journal.name}.damaged")
    try:
        return files.journal.replace(renamed)
    except OSError as error:
        raise TraceError(f"cannot rename the journal {files.journal}: {error.strerror}") from error
