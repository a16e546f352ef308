"""The record of a run: one versioned JSON object a line, enough to replay it without a model."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, TypeVar, dataclass_transform

from reasoner.budget import Cost
from reasoner.errors import DamagedLine, TraceError
from reasoner.lines import DAMAGED, LineWriter, lines_of
from reasoner.models.card import ModelCard
from reasoner.plan import Weight
from reasoner.solution import EndedBy
from reasoner.types import (
    Answer,
    Blocks,
    Completion,
    FinishReason,
    Logprobs,
    Message,
    Prompt,
    Standing,
    TokenIds,
    Usage,
)

if TYPE_CHECKING:
    # Imported where a trace is read or written: it takes longer than all else that a question to a server needs.
    from pydantic import TypeAdapter, ValidationError

VERSION: Final = 1
T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
@dataclass(frozen=True, kw_only=True)
class _Record:
    """What all events have. Each is a frozen dataclass with the two methods of pydantic's models that are used here."""

    v: Literal[1] = VERSION
    question_id: str
    t: float
    """Seconds since the run began."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "ser_json_inf_nan": "constants"}

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)

    def model_dump_json(self) -> str:
        """The event as JSON."""
        cls: Any = type(self)
        return _adapter(cls).dump_json(self).decode()

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """The event with some fields changed."""
        return replace(self, **update)


class Began(_Record):
    """A question was taken up, with all that decides its course."""

    event: Literal["began"] = "began"
    text: str
    answer_space: str
    answer_rules: int = 1
    """The version of the answer space's rules."""
    strategy: str
    verifier: str
    engine: str
    model: ModelCard
    budget: str
    seed: int
    notes: tuple[str, ...]


class Prompted(_Record):
    """The head of a prompt, the first time the question uses it."""

    event: Literal["prompted"] = "prompted"
    prompt: str
    messages: tuple[Message, ...]
    raw: str
    tokens: int
    exact: bool
    """Whether the engine rendered token ids; else `tokens` is a bound."""


class Sampled(_Record):
    """A sequence was drawn. (`prompt`, `index`) names it; `child` is the digest of the prompt that continues it."""

    event: Literal["sampled"] = "sampled"
    op: int
    prompt: str
    index: int
    child: str
    seed: int
    text: str
    token_ids: TokenIds
    finish_reason: FinishReason
    stop: str | int | None
    usage: Usage
    logprobs: Logprobs | None
    thinking: str = ""
    answer: Answer | None = None
    """What the question's answer space read out of it, and by which rule."""
    cost: Cost


class Extended(_Record):
    """A text was put into the mouth of a reply: `prompt` was extended by it, to the prompt whose digest is `child`."""

    event: Literal["extended"] = "extended"
    prompt: str
    child: str
    text: str
    token_ids: TokenIds | None
    """The text's token ids; None where the engine has no tokenizer, and the text alone is appended."""


class Dropped(_Record):
    """A sequence did not complete: `why` is "cancelled", "deadline" or "lost". Its tokens were spent all the same."""

    event: Literal["dropped"] = "dropped"
    op: int
    prompt: str
    index: int
    why: Literal["cancelled", "deadline", "lost"]
    usage: Usage | None
    cost: Cost


class Scored(_Record):
    """A candidate was rated, or could not be; `against` names the other one where two were compared."""

    event: Literal["scored"] = "scored"
    op: int
    prompt: str
    index: int
    against: tuple[str, int] | None = None
    value: float | None
    steps: tuple[float, ...]
    parts: tuple[float, ...] = ()
    error: str
    cost: Cost


class Weighed(_Record):
    """It was asked how likely texts are to come next after `prompt`, or could not be; None is a text that did not fit.

    `cost` is that of all requests, also where there is an `error` and no weights.
    """

    event: Literal["weighed"] = "weighed"
    op: int
    prompt: str
    texts: tuple[str, ...]
    weights: tuple[Weight | None, ...]
    error: str
    cost: Cost


class Delivered(_Record):
    """The result of a started operation was handed to the plan; in what order is what a replay needs to know."""

    event: Literal["delivered"] = "delivered"
    op: int


class Cancelled(_Record):
    """The plan gave up a started operation; what ended with the run itself is not told."""

    event: Literal["cancelled"] = "cancelled"
    op: int


class Blocked(_Record):
    """Answers were put into blocks, by their keys; None where these could not be told in time."""

    event: Literal["blocked"] = "blocked"
    answers: tuple[str, ...]
    blocks: tuple[Blocks | None, ...]


class Compared(_Record):
    """Pairs of answers, by their keys, were compared that their space cannot compare at once; None: not in time."""

    event: Literal["compared"] = "compared"
    pairs: tuple[tuple[str, str], ...]
    same: tuple[bool | None, ...]


class Refused(_Record):
    """The ledger refused an operation."""

    event: Literal["refused"] = "refused"
    op: int
    unit: str
    needed: float
    free: float
    limit: float


class Noted(_Record):
    """What the plan wrote down about its search."""

    event: Literal["noted"] = "noted"
    text: str
    ends: bool = False
    """Whether it is the reason for which the plan ended by itself."""


class Proposed(_Record):
    """The plan published its best answer; `cost` is that of the results it had seen."""

    event: Literal["proposed"] = "proposed"
    answer: Answer | None
    standing: Standing
    cost: Cost


class Ended(_Record):
    """The question was closed; `notes` are the engine's by then, some of which it learns from its first replies."""

    event: Literal["ended"] = "ended"
    answer: Answer | None
    ended_by: EndedBy
    reason: str
    cost: Cost
    notes: tuple[str, ...]
    confidence: float | None = None
    """The calibrated chance that the answer is right; None where nothing was calibrated."""


Event = (
    Began
    | Prompted
    | Extended
    | Sampled
    | Dropped
    | Scored
    | Weighed
    | Delivered
    | Cancelled
    | Blocked
    | Compared
    | Noted
    | Refused
    | Proposed
    | Ended
)
Sink = Callable[[Event], None]
"""Receives each event as it happens."""


@cache
def event_adapter() -> "TypeAdapter[Event]":
    """Reads events from JSON, each by its name."""
    from pydantic import Field, TypeAdapter

    return TypeAdapter(Annotated[Event, Field(discriminator="event")])


@cache
def _adapter(cls: type[T]) -> "TypeAdapter[T]":
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def tee(*sinks: Sink) -> Sink:
    """One sink that hands each event to all of these, in order."""

    def emit(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return emit


class TraceWriter:
    """A sink that appends each event to a JSONL file and flushes it, so a killed run keeps all but its last line.

    A name that ends in .gz makes a gzipped file. A file that holds something is refused, unless `overwrite` is set.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self._lines = LineWriter.new(path, what="trace", overwrite=overwrite)

    @classmethod
    def onto(cls, path: Path) -> "TraceWriter":
        """A sink that goes on with a trace, from its last whole line."""
        writer = cls.__new__(cls)
        writer._lines = LineWriter.onto(path, what="trace")
        return writer

    @property
    def path(self) -> Path:
        """The file."""
        return self._lines.path

    def __call__(self, event: Event) -> None:
        self._lines.write(event)

    def close(self) -> None:
        """Close the file; what was flushed stays."""
        self._lines.close()


def read_trace(path: Path, *, way_out: str = "") -> Iterator[Event]:
    """The events of a trace file, plain or gzipped, streamed. A torn last line, left by a killed run, is skipped.

    Raises:
        TraceError: the file cannot be read, or a line is damaged or is not an event of this version; `way_out` is
            added to the error, where the caller knows what to do.
    """
    validate = event_adapter().validate_json
    return read_lines(path, validate, file="trace", record="trace event", version=VERSION, way_out=way_out)


def read_lines(
    path: Path, validate: Callable[[bytes], T], *, file: str, record: str, version: int, way_out: str = ""
) -> Iterator[T]:
    """The records of a JSONL file, streamed. A torn last line, left by a killed run, is skipped.

    Raises:
        DamagedLine: a line is not what was written; `way_out` is added to this error and the next.
        TraceError: the file cannot be read, or a line is no such record of this version.
    """
    from pydantic import ValidationError

    advice = f": {way_out}" if way_out else ""
    try:
        for line in lines_of(path):
            if line.fault:
                raise DamagedLine(f"{path}:{line.number} {line.fault}{advice}")
            try:
                found = validate(line.content)
            except ValidationError as error:
                if not line.whole:
                    return
                kind = DamagedLine if line.bare or error.errors()[0]["type"] == "json_invalid" else TraceError
                complaint = _complaint(line.content, error, record, version)
                raise kind(f"{path}:{line.number} {complaint}{advice}") from error
            if line.bare:
                raise DamagedLine(f"{path}:{line.number} {DAMAGED}{advice}")
            yield found
    except OSError as error:
        raise TraceError(f"cannot read the {file} {path}: {error.strerror or error}") from error


def drawn(events: Iterable[Event]) -> Iterator[tuple[Sampled, Completion]]:
    """Each sequence that was drawn, as the completion that it was: its prompt is put together again.

    Raises:
        TraceError: a sequence comes before its prompt.
    """
    prompts: dict[tuple[str, str], Prompt] = {}
    for event in events:
        if isinstance(event, Prompted):
            prompts[event.question_id, event.prompt] = Prompt(event.messages, event.raw)
        if isinstance(event, Extended) and (whole := prompts.get((event.question_id, event.prompt))):
            prompts[event.question_id, event.child] = whole.extended(event.text, event.token_ids or ())
        if not isinstance(event, Sampled):
            continue
        prompt = prompts.get((event.question_id, event.prompt))
        if prompt is None:
            raise TraceError(f"the trace holds sample {event.index} of {event.question_id} without its prompt")
        completion = completed(prompt, event)
        prompts[event.question_id, event.child] = prompt.then(completion)
        yield event, completion


def completed(prompt: Prompt, event: Sampled) -> Completion:
    """A recorded sequence as the completion that it was."""
    return Completion(
        prompt,
        event.text,
        event.token_ids,
        event.finish_reason,
        event.stop,
        event.usage,
        event.logprobs,
        event.index,
        event.seed,
        event.thinking,
    )


def _complaint(line: bytes, error: "ValidationError", record: str, version: int) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "line"
    if b'"v":' in line and b'"v":%d,' % version not in line:
        return f"was written by another version: this one reads version {version}"
    return f"is no {record}: {where}: {first['msg'].lower()}"
