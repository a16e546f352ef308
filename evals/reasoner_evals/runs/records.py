"""The lines and files of a run's folder, as records of one version."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from reasoner.blame import MOST_IN_A_QUESTION, MOST_IN_A_REQUEST, fault_in
from reasoner.budget import Cost
from reasoner.grades import GradeStatus
from reasoner.models.card import ModelCard
from reasoner.solution import EndedBy

VERSION: Final = 1

ReplyStatus = Literal["read", "no_answer", "truncated"]
ItemStatus = Literal["answered", "no_answer", "truncated", "timed_out", "error"]
REPLY_COUNTS: Final = ("prompt_tokens", "cached_tokens", "generated_tokens", "verifier_tokens")
OUT_OF_RANGE: Final = "left out"
"""Begins the error of a record that holds an impossible count."""
Outcome = GradeStatus | Literal["timed_out", "error", "ungraded"]
"""What became of a question: the grade of its answer, or why there is none to grade."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Record(_Part):
    v: Literal[1] = VERSION


class Source(_Part):
    """Where a task's questions come from, so that two runs can be told to be about the same ones."""

    task: str
    """The task's spec as the catalog reads it, such as `gsm8k:data=test.jsonl`."""
    origin: str
    """A data set with its revision, a file, or `made on the spot`."""
    data_hash: str
    """sha256 over the canonical JSON of all items: id, text, reference answer."""
    prompt: str
    """The prompt's name and version, such as `gsm8k-cot@1`."""
    prompt_hash: str
    licence: str
    items: int
    subset: str
    """How the items were chosen: `all`, or `first 100 in the order of seed 0`."""
    shareable: bool = True
    """Whether a report may show the questions and their answers."""


class Arm(_Part):
    """One curve or point of an evaluation: a strategy on a task, within a budget, under a seed."""

    name: str
    """The name of its folder, such as `gsm8k.self_consistency.2`; unique in the run."""
    task: str
    strategy: str
    verifier: str
    budget: str
    """What one question may spend, as `Budget` writes it; empty where unbounded."""
    total: str = ""
    """What all questions together may spend, divided by the controller; empty where that is not bounded."""
    price: float = 0.0
    """What a sample of mean cost must gain in the chance of a right answer, or the rest of `total` is given back."""
    seed: int
    pool: int = 0
    """The number of samples that every size below it is estimated from; 0 where each size has to be run."""
    rule: Literal["", "majority", "best", "weighted"] = ""
    """How a subset of the pool selects its answer."""

    @property
    def limit(self) -> str:
        """Its budget in words; empty where it has none."""
        return f"{self.total} in all" if self.total else self.budget


class Machine(_Part):
    """What a run ran on."""

    python: str
    system: str
    cores: int
    memory_gib: float
    accelerators: tuple[str, ...]
    packages: dict[str, str]
    """Versions by distribution name."""


class Manifest(_Record):
    """All that decides a run, frozen before its first question is asked."""

    created: str
    """ISO 8601, UTC."""
    command: str
    engine: str
    model: ModelCard
    sources: tuple[Source, ...]
    arms: tuple[Arm, ...]
    prices: dict[str, float] | None
    """US dollars per million tokens, by the fields of `Prices`."""
    machine: Machine
    answer_rules: dict[str, int] = {}
    """The version of the rules by which answers are read, by the name of the answer space."""
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
    """One whole reply that a question's answer could have come from."""

    index: int
    status: ReplyStatus
    answer: str = ""
    key: str = ""
    rule: str = ""
    """By which rule of the answer space the answer was found."""
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    verifier_tokens: int = 0
    score: float | None = None
    """The verifier's value, in [0, 1]; None where it was not rated."""


class Along(_Part):
    """The best answer at one moment of a run, for what had been spent until then."""

    answer: str
    key: str
    share: float
    samples: int
    tokens: int


class ItemRecord(_Record):
    """A finished question of one arm; a line of the arm's `journal.jsonl`. Grades are kept apart.

    `cost` is all that the question cost, failed attempts included. `share` is the part of the vote behind the answer,
    the strategy's confidence. `pool` is in launch order and holds whole replies only.
    """

    question_id: str
    attempt: int = 1
    status: ItemStatus
    answer: str = ""
    key: str = ""
    rule: str = ""
    """By which rule of the answer space the answer was found."""
    share: float = 0.0
    confidence: float | None = None
    """The calibrated chance that the answer is right; None where nothing was calibrated."""
    ended_by: EndedBy
    reason: str
    error: str = ""
    cost: Cost
    pool: tuple[Reply, ...] = ()
    along: tuple[Along, ...] = ()

    @property
    def sound(self) -> "ItemRecord":
        """The record, or an error in its place if it holds an impossible count.

        Such counts are refused now; an older journal may hold one.
        """
        replies = (
            fault_in([(name, getattr(one, name)) for name in REPLY_COUNTS], most=MOST_IN_A_REQUEST) for one in self.pool
        )
        steps = (fault_in([("tokens", one.tokens)], most=MOST_IN_A_QUESTION) for one in self.along)
        faults = (self.cost.fault(most=MOST_IN_A_QUESTION), *replies, *steps)
        fault = next((one for one in faults if one), "")
        if not fault:
            return self
        return ItemRecord(
            question_id=self.question_id,
            attempt=self.attempt,
            status="error",
            ended_by="error",
            reason=fault,
            error=f"{OUT_OF_RANGE}: {fault}",
            cost=Cost(),
        )


class Verdict(_Record):
    """The grade of one answer to one question, whoever gave it; a line of the run's `verdicts.jsonl`."""

    task: str
    question_id: str
    answer: str
    status: GradeStatus
    grader: str
    """The grader's name and version, such as `reference@1`."""
