"""The trace of a run: one event per line as versioned JSON, enough to replay the run without a model.

To add a kind of event, write its class here, add it to `Event`, and emit it with `Recorder.write`. `indexed_by` says
how the history of a question finds it, and `repeated` whether a plan that runs again produces it again.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import fields, replace
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    Self,
    TypeVar,
    dataclass_transform,
)

from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted
from reasoner.journal.lines import Format, JournalWriter, read_lines
from reasoner.models.info import ModelInfo
from reasoner.system.values import value
from reasoner.types import (
    CANCELLED,
    Answer,
    Blocks,
    Completion,
    CutSamples,
    EndedBy,
    FinishReason,
    Logprobs,
    Message,
    Prompt,
    Rating,
    ThinkingLevel,
    TokenIds,
    Usage,
    VoteState,
)

if TYPE_CHECKING:
    # Imported only where a trace is read or written: importing pydantic takes longer than a question to a server.
    from pydantic import TypeAdapter

__all__ = [
    "AnswerExtracted",
    "Began",
    "BlocksFound",
    "Cancelled",
    "Delivered",
    "Dropped",
    "Ended",
    "EquivalenceChecked",
    "Event",
    "Executed",
    "Noted",
    "Prefilled",
    "Prompted",
    "Proposed",
    "Refused",
    "Sampled",
    "Scored",
    "Sink",
    "Thought",
    "TraceWriter",
    "read_trace",
]

T = TypeVar("T")
VERSION: Final = 3
ATTEMPTS: Final = 3
"""How often a request is tried when the engine loses it."""
_SHARED: Final = tuple(
    f.name
    for f in fields(Completion)
    if f.init and f.name not in ("prompt", "extraction")
)
_VALUES: Final = attrgetter(*_SHARED)


@cache
def adapter_of(cls: type[T]) -> "TypeAdapter[T]":
    """Reads and writes a class as JSON."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


@dataclass_transform(kw_only_default=True, frozen_default=True)
@value(frozen=True, kw_only=True)
class TraceRecord:
    """What all events have: a frozen dataclass with the two methods of pydantic's models that are used here."""

    v: Literal[3] = VERSION
    question_id: str
    t: float
    """Seconds since the run began."""
    indexed_by: ClassVar[tuple[str, ...]] = ()
    repeated: ClassVar[bool] = True
    """Whether a plan produces this event again when it is run again and gets the same replies."""
    __pydantic_config__: ClassVar = {"extra": "forbid", "ser_json_inf_nan": "constants"}

    def __init_subclass__(cls) -> None:
        value(frozen=True, kw_only=True)(cls)

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What the history of a question finds the event by: its kind, and the fields of `indexed_by`."""
        return (type(self), *(getattr(self, name) for name in self.indexed_by))

    def model_dump_json(self) -> str:
        """The event as JSON."""
        cls: Any = type(self)
        return adapter_of(cls).dump_json(self).decode()

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """The event with some fields changed."""
        return replace(self, **update)


@value(frozen=True, kw_only=True)
class Refusal:
    """How the ledger refused work: the fields of a `BudgetExhausted`."""

    unit: str
    needed: float
    free: float
    limit: float

    @classmethod
    def of(cls, error: BudgetExhausted) -> "Refusal":
        """What the error says."""
        return Refusal(
            unit=error.unit, needed=error.needed, free=error.free, limit=error.limit
        )

    def error(self) -> BudgetExhausted:
        """The error as it was raised."""
        return BudgetExhausted(
            self.unit, needed=self.needed, free=self.free, limit=self.limit
        )


class Work(TraceRecord):
    """Work that was paid for, whether it completed or not. `op` is the number of the plan's operation."""

    op: int
    prompt: str
    """The digest of the prompt."""
    cost: Cost
    repeated: ClassVar[bool] = False

    @property
    def completed(self) -> bool:
        """Whether this is the outcome, as a failure is too; a resumed run repeats what was cancelled."""
        return getattr(self, "error", "") != CANCELLED


class RefusableWork(Work):
    """Work that the ledger may refuse, or cut at the deadline: its outcome is then the `refusal`."""

    refusal: Refusal | None = None


@value(frozen=True, kw_only=True)
class RunFacts:
    """The settings of a run, which decide its course; specs as the registry reads them."""

    strategy: str
    resolved: str = ""
    """The strategy with the sampling parameters as they apply to the model."""
    verifier: str
    engine: str
    engine_spec: str = ""
    """The spec that builds the engine again, with its arguments."""
    model: ModelInfo
    budget: str
    seed: int
    notes: tuple[str, ...]


class Began(TraceRecord, RunFacts):
    """A question was started, with all settings that decide its course."""

    event: Literal["began"] = "began"
    text: str
    answer_space: str
    answer_rules: int = 1
    """The version of the answer space's rules."""
    repeated: ClassVar[bool] = False


class Prompted(TraceRecord):
    """The head of a prompt, the first time the question uses it."""

    event: Literal["prompted"] = "prompted"
    prompt: str
    messages: tuple[Message, ...]
    raw: str
    tokens: int
    thinking_level: ThinkingLevel | None = None
    tools: str = ""
    in_thinking: bool = False
    """Whether the prompt opens the model's thinking."""
    exact: bool
    """Whether the engine rendered token ids; otherwise `tokens` is an upper bound."""


class Generated(Work):
    """What an engine generated of a sequence. (`prompt`, `index`) names it."""

    index: int
    seed: int
    text: str
    token_ids: TokenIds
    finish_reason: FinishReason
    stop: str | int | None
    usage: Usage
    logprobs: Logprobs | None
    thinking: str = ""
    unclosed: bool = False
    indexed_by: ClassVar[tuple[str, ...]] = ("prompt", "index")

    @property
    def truncated(self) -> bool:
        """As of the completion."""
        return self.finish_reason != "stop" or self.unclosed

    def completion(self, prompt: Prompt) -> Completion:
        """What was generated from `prompt`."""
        return Completion(prompt, **completion_fields(self))


def completion_fields(generated: Completion | Generated) -> dict[str, Any]:
    """What a completion and its event share, by name; `index` is the sequence's."""
    return dict(zip(_SHARED, _VALUES(generated), strict=True))


class Thought(Generated):
    """The first request of a sequence ended at the limit of its thinking; `Sampled` has the whole sequence."""

    event: Literal["thought"] = "thought"


class Sampled(Generated):
    """A sequence was generated; `child` is the digest of the prompt that continues it.

    `usage` counts the whole sequence. `cost` counts its last request: where there is a `Thought`, the sequence
    cost both.
    """

    event: Literal["sampled"] = "sampled"
    child: str
    answer: Answer | None = None
    """What the question's answer space read in it, and by which rule."""


class Dropped(RefusableWork):
    """A sequence did not complete: `why` is "cancelled", "deadline" or "lost". Its tokens were spent all the same."""

    event: Literal["dropped"] = "dropped"
    index: int
    why: Literal["cancelled", "deadline", "lost"]
    usage: Usage | None

    @property
    def key(self) -> tuple[Hashable, ...]:
        """The key of the sequence, as if it had completed."""
        return Sampled, self.prompt, self.index

    @property
    def completed(self) -> bool:
        """Whether the deadline cut it: a resumed run has no time for it either."""
        return self.why == "deadline"


class Scored(RefusableWork):
    """A candidate was rated, or could not be."""

    event: Literal["scored"] = "scored"
    index: int
    value: float | None
    steps: tuple[float, ...]
    parts: tuple[float, ...] = ()
    error: str
    indexed_by: ClassVar[tuple[str, ...]] = ("prompt", "index")

    @property
    def rating(self) -> Rating:
        """The rating as the plan received it."""
        return Rating(
            self.value, self.cost.taking(0), self.steps, self.error, self.parts
        )


class AnswerExtracted(RefusableWork):
    """The model was asked for the answer of a sequence, named as in `Sampled`, by a probe or by a second prompt.

    `text` is what it wrote, `confidence` as in `Extraction`. `answer` is None where the text holds no answer, or there
    is an `error`.
    """

    event: Literal["answer_extracted"] = "answer_extracted"
    index: int
    text: str
    answer: Answer | None
    error: str
    confidence: float | None = None
    indexed_by: ClassVar[tuple[str, ...]] = ("prompt", "index")


class Executed(RefusableWork):
    """A program was run in the sandbox. `output` and `failure` are those of its `Execution`, `cost` has its seconds.

    With an `error`, nothing came of it.
    """

    event: Literal["executed"] = "executed"
    code: str
    output: str
    failure: str
    error: str
    indexed_by: ClassVar[tuple[str, ...]] = ("code",)


class Prefilled(TraceRecord):
    """A text was appended to a reply: it extends `prompt` to the prompt with the digest `child`."""

    event: Literal["prefilled"] = "prefilled"
    prompt: str
    child: str
    text: str
    thinking: str = ""
    token_ids: TokenIds | None
    """The token ids of both; None where the engine has no tokenizer, and only the text is appended."""


class Delivered(TraceRecord):
    """The result of a started operation was sent to the plan. A replay delivers in the same order."""

    event: Literal["delivered"] = "delivered"
    op: int


class Cancelled(TraceRecord):
    """The plan cancelled a started operation. What ended together with the run has no such event."""

    event: Literal["cancelled"] = "cancelled"
    op: int
    indexed_by: ClassVar[tuple[str, ...]] = ("op",)


class BlocksFound(TraceRecord):
    """The blocks of answers, by their keys, were found because their space cannot; None where that took too long."""

    event: Literal["blocks_found"] = "blocks_found"
    answers: tuple[str, ...]
    blocks: tuple[Blocks | None, ...]


class EquivalenceChecked(TraceRecord):
    """Pairs of answers, by their keys, were compared because their space cannot; None where that took too long."""

    event: Literal["equivalence_checked"] = "equivalence_checked"
    pairs: tuple[tuple[str, str], ...]
    same: tuple[bool | None, ...]


class Refused(TraceRecord, Refusal):
    """The ledger refused an operation."""

    event: Literal["refused"] = "refused"
    op: int


class Noted(TraceRecord):
    """A remark of the plan about its search."""

    event: Literal["noted"] = "noted"
    text: str
    ends: bool = False
    """Whether it is the reason why the plan ended by itself."""


class Proposed(TraceRecord):
    """The plan published its best answer; `cost` counts the results it had received."""

    event: Literal["proposed"] = "proposed"
    answer: Answer | None
    vote_state: VoteState
    cost: Cost


class Ended(TraceRecord):
    """The question ended; `notes` are the engine's at that time; it adds some after its first replies."""

    event: Literal["ended"] = "ended"
    answer: Answer | None
    ended_by: EndedBy
    reason: str
    cost: Cost
    notes: tuple[str, ...]
    confidence: float | None = None
    """The calibrated probability that the answer is right; None without a calibration."""
    cut: CutSamples = CutSamples()
    repeated: ClassVar[bool] = False


Event = (
    Began
    | Prompted
    | Prefilled
    | Thought
    | Sampled
    | Dropped
    | Scored
    | AnswerExtracted
    | Executed
    | Delivered
    | Cancelled
    | BlocksFound
    | EquivalenceChecked
    | Noted
    | Refused
    | Proposed
    | Ended
)
"""What a trace holds, one of these to a line."""
Sink = Callable[[Event], None]
"""Receives each event as it happens."""


@cache
def event_adapter() -> "TypeAdapter[Event]":
    """Reads events from JSON, each by its name."""
    from pydantic import Field, TypeAdapter

    return TypeAdapter(Annotated[Event, Field(discriminator="event")])


def tee(*sinks: Sink) -> Sink:
    """One sink that hands each event to all of these, in order."""

    def emit(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return emit


EVENT_LINES: Final[Format[Event]] = Format(
    "trace", lambda line: event_adapter().validate_json(line), VERSION
)
"""The lines of a trace."""


class TraceWriter(JournalWriter):
    """A sink that appends each event to a JSONL file and flushes it, so a killed run keeps all but its last line.

    The options and the errors are those of `JournalWriter`: a name that ends in .gz makes a gzipped file, and a file
    that is not empty is refused, unless it is to be replaced (`overwrite`) or continued (`resume`).
    """

    def __init__(
        self, path: Path, *, overwrite: bool = False, resume: bool = False
    ) -> None:
        super().__init__(path, "trace", overwrite=overwrite, resume=resume)

    def __call__(self, event: Event) -> None:
        self.write(event)


def read_trace(path: Path, *, advice: str = "") -> Iterator[Event]:
    """The events of a trace file, one by one. An incomplete last line, left by a killed run, is skipped.

    Raises:
        TraceError: the file cannot be read, or a line is damaged or is not an event of this version. The error ends
            with `advice`, which says what to do.
    """
    return read_lines(path, EVENT_LINES, advice=advice)
