"""The files of a run, their records, all of one version, and how an arm's journal is made and read."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from reasoner.budget import NO_COST, Cost
from reasoner.execution.seen import RatingFailures
from reasoner.journal.folder import check_free, writing
from reasoner.journal.lines import Format, read_lines
from reasoner.models.info import ModelInfo
from reasoner.system.foreign import MAX_PER_QUESTION, MAX_PER_REQUEST, described
from reasoner.trace.events import (
    Began,
    Dropped,
    Ended,
    EquivalenceChecked,
    Event,
    Refused,
    Sampled,
)
from reasoner.trace.replies import GRADES, TRACE, GradeStatus
from reasoner.trace.view import QuestionView, TreeNode
from reasoner.types import Answer, CutSamples, EndedBy
from reasoner_evals.tasks.data import Source

VERSION: Final = 2

ReplyStatus = Literal["read", "no_answer", "truncated"]
ItemStatus = Literal["answered", "no_answer", "truncated", "timed_out", "error"]
Outcome = GradeStatus | Literal["timed_out", "error", "ungraded"]
"""The outcome of a question: the grade of its answer, or why there is none."""
Rule = Literal["", "majority", "best", "weighted"]
"""How a subset of a pool selects its answer."""
Count = Annotated[int, Field(ge=0, le=MAX_PER_REQUEST)]


class ArmFolder:
    """The files of one arm. A verifier can be fitted on its `trace` and `grades`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trace = path / TRACE
        """Every event, appended as it happens; a resumed run starts from it."""
        self.journal = path / "journal.jsonl"
        """One `ItemRecord` per finished question, appended as it finishes."""
        self.grades = path / GRADES
        """Grades of single sequences, derived from the verdicts."""


class RunFolder:
    """The files of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = path / "manifest.json"
        """What decides the run; written first, atomically, and never changed."""
        self.items = path / "items.jsonl"
        """The questions with their reference answers."""
        self.verdicts = path / "verdicts.jsonl"
        """Grades of answers; can be made again without a model."""

    def arm(self, name: str) -> ArmFolder:
        """The folder of one arm."""
        return ArmFolder(self.path / "arms" / name)

    def writing(self, *, fresh: bool = False) -> AbstractContextManager[None]:
        """Lock the folder as its only writer; a `fresh` one is created, and removed if it stays empty.

        Raises:
            UsageError: another process writes it; the message names it. Or a fresh folder is not empty.
            TraceError: the folder cannot be created, or its file system does not support locks.
        """
        if fresh:
            check_free(
                self.path, "resume it with --resume, or give --out another folder"
            )
        return writing(self.path, self.manifest, create=fresh)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _VersionedRecord(_Frozen):
    v: Literal[2] = VERSION


class Arm(_Frozen):
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
    seed: int
    pool: int = 0
    """The number of samples from which every smaller number is estimated; 0 if each number has to be run."""
    rule: Rule = ""

    @property
    def limit(self) -> str:
        """Its budget in words; empty if it has none."""
        return f"{self.total} in all" if self.total else self.budget

    @property
    def label(self) -> str:
        """Its strategy with what limits it, in words."""
        verifier, limit = (
            f" with {self.verifier}" if self.verifier else "",
            f", {self.limit}" if self.limit else "",
        )
        return f"{self.strategy}{verifier}{limit}"


class Machine(_Frozen):
    """The machine of a run."""

    python: str
    system: str
    cores: int
    memory_gib: float
    accelerators: tuple[str, ...]
    packages: dict[str, str]
    """Versions by distribution name."""


class Manifest(_VersionedRecord):
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
    reuse: str = ""
    """The folder of a run whose samples count for those that an arm would draw too."""


class AskedItem(_VersionedRecord):
    """A question as the run asked it, with its reference answer; a line of `items.jsonl`."""

    task: str
    question_id: str
    text: str
    gold: str
    group: str = ""
    """What questions of one source share; statistics are clustered by it."""
    subtask: str = ""
    """The part of the benchmark that it belongs to."""


class PooledReply(_Frozen):
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
    sequential_tokens: Count = 0
    """Where its last token ends on the virtual clock of the question."""
    score: float | None = None
    """The verifier's value, in [0, 1]; None if it was not rated."""


class ItemRecord(_VersionedRecord):
    """A finished question of one arm; a line of the arm's `journal.jsonl`. Grades are kept apart.

    `cost` is all that the question cost, failed attempts included; `redrawn` is the part of it for sequences that were
    cut and drawn again, as an interruption cuts them, which no strategy asks for. `share` is the part of the vote
    behind the answer. `pool` is in launch order and holds complete replies only.
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
    redrawn: Cost = NO_COST
    cut: CutSamples = CutSamples()
    """How many samples were cut at `max_tokens`."""
    probed: Cost = NO_COST
    """What the probes cost, a part of `cost`."""
    pool: tuple[PooledReply, ...] = ()

    @property
    def strategy_cost(self) -> Cost:
        """What its strategy alone cost; its `seconds` include former attempts."""
        cost, redrawn = self.cost, self.redrawn
        return replace(
            cost,
            prompt_tokens=cost.prompt_tokens - redrawn.prompt_tokens,
            cancelled_tokens=cost.cancelled_tokens - redrawn.cancelled_tokens,
            samples=cost.samples - redrawn.samples,
            requests=cost.requests - redrawn.requests,
            flops=None
            if cost.flops is None or redrawn.flops is None
            else cost.flops - redrawn.flops,
            thinking_tokens=cost.thinking_tokens - redrawn.thinking_tokens,
        )

    @property
    def candidates(self) -> tuple["PooledReply | ItemRecord", ...]:
        """Everything that has an answer, in the order in which it was given; the final answer comes last."""
        return (*self.pool, self)

    @field_validator("cost")
    @classmethod
    def _possible(cls, cost: Cost) -> Cost:
        if fault := cost.fault(limit=MAX_PER_QUESTION):
            raise ValueError(fault)
        return cost


class GradedAnswer(_VersionedRecord):
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


ITEM_LINES: Final = Format("questions", AskedItem.model_validate_json, VERSION)
RECORD_LINES: Final = Format("journal", ItemRecord.model_validate_json, VERSION)
VERDICT_LINES: Final = Format("verdicts", GradedAnswer.model_validate_json, VERSION)


def read_journal(files: ArmFolder) -> Iterator[ItemRecord]:
    """The records of an arm's journal, one by one; none without a journal. A TraceError names the line."""
    if files.journal.exists():
        run = files.path.parents[1]
        advice = f"`reasoner eval --resume {run}` makes the journal again from the trace, without asking the model"
        yield from read_lines(files.journal, RECORD_LINES, advice=advice)


def counted_records(
    files: ArmFolder, ids: Collection[str] | None = None
) -> Iterator[ItemRecord]:
    """The records of an arm that count, of all questions or of `ids`; those of errors come last.

    A question has another record only after an error, so its last one counts.
    """
    errors: dict[str, ItemRecord] = {}
    for record in read_journal(files):
        if ids is not None and record.question_id not in ids:
            continue
        errors.pop(record.question_id, None)
        if record.status == "error":
            errors[record.question_id] = record
        else:
            yield record
    yield from errors.values()


@dataclass(slots=True)
class _Question:
    """A question, and which of its answers are equivalent."""

    view: QuestionView
    representatives: dict[str, str] = field(default_factory=dict)
    """By key of an answer the key of an equivalent one, which may have another representative in turn."""

    def merge(self, event: EquivalenceChecked) -> None:
        """Give equivalent answers one representative."""
        for (first, second), same in zip(event.pairs, event.same, strict=True):
            if same and self.key(first) != self.key(second):
                self.representatives[self.key(second)] = self.key(first)

    def key(self, key: str) -> str:
        """The key of the first member of its equivalence class."""
        while (representative := self.representatives.get(key)) is not None:
            key = representative
        return key

    def named(self, answer: Answer | None) -> dict[str, Any]:
        """The answer as written and the key of its class; empty without an answer."""
        return {
            "answer": answer.text if answer else "",
            "key": self.key(answer.key) if answer else "",
        }

    def reply(self, node: TreeNode) -> PooledReply:
        cost, rated = node.drawn, node.rating
        return PooledReply(
            index=node.event.index,
            status="read"
            if node.answer
            else "truncated"
            if is_cut(node)
            else "no_answer",
            **self.named(node.answer),
            rule=node.answer.rule if node.answer else "",
            prompt_tokens=cost.prompt_tokens,
            cached_tokens=cost.cached_tokens,
            generated_tokens=cost.generated_tokens + cost.cancelled_tokens,
            verifier_tokens=cost.verifier_tokens
            + (rated.cost.verifier_tokens if rated and rated.value is not None else 0),
            thinking_tokens=cost.thinking_tokens,
            sequential_tokens=cost.sequential_tokens,
            score=node.score,
        )

    def status(self, ended: Ended, drawn: Collection[TreeNode]) -> ItemStatus:
        """What came of the question for which these sequences were drawn."""
        if ended.ended_by == "error":
            return "error"
        if ended.answer is not None:
            return "answered"
        if any(
            isinstance(event, Refused) and event.unit == "seconds"
            for event in self.view.asides
        ):
            return "timed_out"
        return "truncated" if drawn and all(map(is_cut, drawn)) else "no_answer"


def is_cut(node: TreeNode) -> bool:
    """Whether a sequence is not what the model would have said in full."""
    return isinstance(node.event, Sampled) and node.event.truncated


@dataclass(slots=True)
class RecordBuilder:
    """The unfinished questions of an arm; a question's record is complete when it ends."""

    arm: Arm
    _questions: dict[str, _Question] = field(default_factory=dict)

    def take_in(self, event: Event) -> ItemRecord | None:
        """Process one event; the record of the question that it ended, or None."""
        if isinstance(event, Began) and event.question_id not in self._questions:
            self._questions[event.question_id] = _Question(QuestionView(event))
        question = self._questions[event.question_id]
        question.view.take_in(event)
        if isinstance(event, EquivalenceChecked):
            question.merge(event)
        if not isinstance(event, Ended):
            return None
        if event.ended_by != "error":
            del self._questions[event.question_id]
        try:
            return self._record(question, event)
        except ValidationError as failure:
            return ItemRecord(
                question_id=event.question_id,
                attempt=question.view.attempts,
                status="error",
                ended_by="error",
                reason="its record cannot be kept",
                error=f"its record cannot be kept: {described(failure)}",
                cost=event.cost,
            )

    def _record(self, question: _Question, ended: Ended) -> ItemRecord:
        # All complete replies of a pool in launch order, truncated ones too; else those that the model ended.
        view, failures = question.view, RatingFailures()
        for event in view.ratings:
            failures.add(event.rating)
        samples = [node for node in view.by_name.values() if node.finish]
        if self.arm.pool:
            # By index alone: the operations of reused samples are those of the arm that drew them.
            complete = [
                node for node in samples if node.parent is None and not node.prefill
            ]
            complete.sort(key=lambda node: node.event.index)
        else:
            complete = [node for node in samples if node.complete]
            complete.sort(key=lambda node: (node.event.op, node.event.index))
        return ItemRecord(
            question_id=ended.question_id,
            attempt=question.view.attempts,
            # An arm that is no pool keeps no truncated reply, but a question with all replies cut is truncated.
            status=question.status(ended, complete if self.arm.pool else samples),
            **question.named(ended.answer),
            rule=ended.answer.rule if ended.answer else "",
            # A strategy that abstains has a vote too.
            share=view.proposals[-1].vote_state.share
            if view.proposals and (ended.answer or ended.confidence is not None)
            else 0.0,
            confidence=ended.confidence,
            ended_by=ended.ended_by,
            reason=ended.reason,
            error=ended.reason if ended.ended_by == "error" else "",
            unrated=failures.unrated,
            cost=ended.cost,
            redrawn=sum(
                (
                    node.event.cost
                    for node in view.nodes
                    if isinstance(node.event, Dropped)
                    and view.by_name[node.event.prompt, node.event.index] is not node
                ),
                NO_COST,
            ),
            cut=ended.cut,
            probed=view.probed,
            pool=tuple(map(question.reply, complete)),
        )
