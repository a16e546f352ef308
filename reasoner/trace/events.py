"""The trace of a run: one event per line as versioned JSON, enough to replay the run without a model.

To add a kind of event, write its class here, add it to `Event`, and emit it with `Recorder.write`. `indexed_by` says
how the history of a question finds it, and `repeated` whether a plan that runs again produces it again.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, ClassVar, Final, Literal, Self

from reasoner.budget import Cost
from reasoner.models.info import ModelInfo
from reasoner.strategy import NOT_MEASURED, TextLikelihood
from reasoner.trace.jsonl import JsonlWriter, open_end, open_new, read_lines
from reasoner.trace.record import VERSION, Record, Work
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
)  # fmt: skip

if TYPE_CHECKING:
    # Imported only where a trace is read or written: importing pydantic takes longer than a question to a server.
    from pydantic import TypeAdapter

__all__ = [
    "AnswerExtracted", "AnswersCompared", "Began", "BlocksFound", "Cancelled", "Delivered", "Dropped", "Ended",
    "EquivalenceChecked", "Event", "LikelihoodsMeasured", "Noted", "Prefilled", "Prompted", "Proposed", "Refused",
    "Sampled", "Scored", "Sink", "Thought", "TraceWriter", "read_trace",
]  # fmt: skip

ATTEMPTS: Final = 3
"""How often a request is tried when the engine loses it."""
COMPLETION_FIELDS: Final = tuple(
    f.name for f in fields(Completion) if f.init and f.name not in ("prompt", "extraction")
)


class Began(Record):
    """A question was started, with all settings that decide its course."""

    event: Literal["began"] = "began"
    text: str
    answer_space: str
    answer_rules: int = 1  # the version of the answer space's rules
    strategy: str
    resolved: str = ""  # the strategy with the sampling parameters as they apply to the model
    verifier: str
    engine: str
    engine_spec: str = ""
    """The spec that builds the engine again, with its arguments; empty in older traces."""
    model: ModelInfo
    budget: str
    seed: int
    notes: tuple[str, ...]
    repeated: ClassVar[bool] = False


class Prompted(Record):
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
    def completed(self) -> bool:
        """True: it is recorded when it is complete."""
        return True

    @property
    def truncated(self) -> bool:
        """As of the completion."""
        return self.finish_reason != "stop" or self.unclosed

    def completion(self, prompt: Prompt) -> Completion:
        """What was generated from `prompt`."""
        return Completion(prompt, **{name: getattr(self, name) for name in COMPLETION_FIELDS})


class Thought(Generated):
    """The first request of a sequence ended at the limit of its thinking; `Sampled` has the whole sequence."""

    event: Literal["thought"] = "thought"


class Sampled(Generated):
    """A sequence was generated; `child` is the digest of the prompt that continues it.

    `usage` is that of the whole sequence. `cost` is that of its last request: where there is a `Thought`, the sequence
    cost both.
    """

    event: Literal["sampled"] = "sampled"
    child: str
    answer: Answer | None = None
    """What the question's answer space read in it, and by which rule."""


class Dropped(Work):
    """A sequence did not complete: `why` is "cancelled", "deadline" or "lost". Its tokens were spent all the same."""

    event: Literal["dropped"] = "dropped"
    index: int
    why: Literal["cancelled", "deadline", "lost"]
    usage: Usage | None

    @property
    def key(self) -> tuple[Hashable, ...]:
        """That of the sequence, as if it had completed."""
        return Sampled, self.prompt, self.index

    @property
    def completed(self) -> bool:
        """Whether the deadline cut it: a resumed run has no time for it either."""
        return self.why == "deadline"


class Scored(Work):
    """A candidate was rated, or could not be; `against` names the other candidate of a comparison."""

    event: Literal["scored"] = "scored"
    index: int
    against: tuple[str, int] | None = None
    value: float | None
    steps: tuple[float, ...]
    parts: tuple[float, ...] = ()
    error: str
    indexed_by: ClassVar[tuple[str, ...]] = ("prompt", "index", "against")

    @property
    def completed(self) -> bool:
        """Whether it was not cancelled; a failed rating is an outcome too."""
        return self.error != CANCELLED

    @property
    def rating(self) -> Rating:
        """The rating as the plan received it."""
        return Rating(self.value, self.cost.taking(0), self.steps, self.error, self.parts)


class LikelihoodsMeasured(Work):
    """The log-likelihood of texts after `prompt` was computed, or could not be; None is a text that did not fit.

    `cost` is that of all requests, also where there is an `error` and no likelihoods.
    """

    event: Literal["likelihoods_measured"] = "likelihoods_measured"
    texts: tuple[str, ...]
    likelihoods: tuple[TextLikelihood | None, ...]
    error: str
    indexed_by: ClassVar[tuple[str, ...]] = ("prompt", "texts")

    @property
    def completed(self) -> bool:
        """Whether it was measured, or refused by the budget."""
        return not self.error or self.error.startswith(NOT_MEASURED)


class AnswersCompared(Work):
    """The model was asked whether two answers are the same, in one order and, after a yes, in the other.

    `pair` are their keys, sorted, and `prompt` is the digest of the question's. `yes` are the probabilities of yes in
    the orders that were asked, 0 to 1. `same` is None where there is an `error`. `cost` is that of all requests.
    """

    event: Literal["answers_compared"] = "answers_compared"
    pair: tuple[str, str]
    same: bool | None
    yes: tuple[float, ...]
    error: str
    indexed_by: ClassVar[tuple[str, ...]] = ("pair",)

    @property
    def completed(self) -> bool:
        """Whether it was not cut off; a failure is an outcome too."""
        return self.error != CANCELLED


class AnswerExtracted(Work):
    """The model was asked for the answer in a complete sequence, named as in `Sampled`, that no rule could read.

    `text` is what it wrote. `answer` is None where that holds no answer, or there is an `error`.
    """

    event: Literal["answer_extracted"] = "answer_extracted"
    index: int
    text: str
    answer: Answer | None
    error: str
    indexed_by: ClassVar[tuple[str, ...]] = ("prompt", "index")

    @property
    def completed(self) -> bool:
        """Whether it was not cut off; a failure is an outcome too."""
        return self.error != CANCELLED


class Prefilled(Record):
    """A text was appended to a reply: it extends `prompt` to the prompt whose digest is `child`."""

    event: Literal["prefilled"] = "prefilled"
    prompt: str
    child: str
    text: str
    thinking: str = ""
    token_ids: TokenIds | None
    """The token ids of both; None where the engine has no tokenizer, and only the text is appended."""


class Delivered(Record):
    """The result of a started operation was sent to the plan. A replay delivers in the same order."""

    event: Literal["delivered"] = "delivered"
    op: int


class Cancelled(Record):
    """The plan cancelled a started operation. What ended together with the run has no such event."""

    event: Literal["cancelled"] = "cancelled"
    op: int
    indexed_by: ClassVar[tuple[str, ...]] = ("op",)


class BlocksFound(Record):
    """The blocks of answers, by their keys, were found because their space cannot; None where that took too long."""

    event: Literal["blocks_found"] = "blocks_found"
    answers: tuple[str, ...]
    blocks: tuple[Blocks | None, ...]


class EquivalenceChecked(Record):
    """Pairs of answers, by their keys, were compared because their space cannot; None where that took too long."""

    event: Literal["equivalence_checked"] = "equivalence_checked"
    pairs: tuple[tuple[str, str], ...]
    same: tuple[bool | None, ...]


class Refused(Record):
    """The ledger refused an operation."""

    event: Literal["refused"] = "refused"
    op: int
    unit: str
    needed: float
    free: float
    limit: float


class Noted(Record):
    """A remark of the plan about its search."""

    event: Literal["noted"] = "noted"
    text: str
    ends: bool = False
    """Whether it is the reason why the plan ended by itself."""


class Proposed(Record):
    """The plan published its best answer; `cost` is that of the results it had received."""

    event: Literal["proposed"] = "proposed"
    answer: Answer | None
    vote_state: VoteState
    cost: Cost


class Ended(Record):
    """The question ended; `notes` are the engine's at that time, some of which it adds after its first replies."""

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
    Began | Prompted | Prefilled | Thought | Sampled | Dropped | Scored | LikelihoodsMeasured | AnswersCompared
    | AnswerExtracted | Delivered | Cancelled | BlocksFound | EquivalenceChecked | Noted | Refused | Proposed | Ended
)  # fmt: skip
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


class TraceWriter(JsonlWriter):
    """A sink that appends each event to a JSONL file and flushes it, so a killed run keeps all but its last line.

    A name ending in .gz makes a gzipped file. A file that is not empty is refused unless `overwrite` is set.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, file: BinaryIO | None = None) -> None:
        super().__init__(path, what="trace", file=file or open_new(path, what="trace", overwrite=overwrite))

    @classmethod
    def onto(cls, path: Path, *, what: str = "trace") -> Self:
        """A sink that continues a trace after its last whole line."""
        return cls(path, file=open_end(path, what=what))

    def __call__(self, event: Event) -> None:
        self.write(event)


def read_trace(path: Path, *, way_out: str = "") -> Iterator[Event]:
    """The events of a trace file, plain or gzipped, streamed. A torn last line, left by a killed run, is skipped.

    Raises:
        TraceError: the file cannot be read, or a line is damaged or is not an event of this version. The error ends
            with `way_out`, which says what to do.
    """
    validate = event_adapter().validate_json
    return read_lines(path, validate, file="trace", record="trace event", version=VERSION, way_out=way_out)
