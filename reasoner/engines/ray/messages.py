"""What the driver and its replicas send each other, in batches, and copies of plug-ins that can be sent."""

import dataclasses
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

from reasoner.budget import Cost
from reasoner.engine import Continuation, SampleRequest, TextPiece, UsageMeter
from reasoner.errors import (
    EngineDied,
    EngineError,
    EngineUnavailable,
    MissingExtra,
    NotRecorded,
    ReasonerError,
    RequestLost,
    UsageError,
    VerifierError,
)
from reasoner.models.info import ModelInfo
from reasoner.registry import options_of
from reasoner.system.foreign import described, where
from reasoner.types import Completion, SamplingParams, Usage
from reasoner.verifier import CostMeter

Meter = UsageMeter | CostMeter

_SENT_AS: Final = frozenset((
    ReasonerError, UsageError, MissingExtra, VerifierError, NotRecorded, EngineError, EngineUnavailable, RequestLost,
    EngineDied,
))  # fmt: skip
"""The errors that are made from their text alone."""


class Failure(NamedTuple):
    """An exception as it is sent: its nearest class that is made from a text, and the text."""

    kind: type[ReasonerError]
    text: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """The exception as a failure; a foreign one becomes an `EngineError`."""
        kind = next((kind for kind in type(error).__mro__ if kind in _SENT_AS), None)
        if kind is None:
            return cls(EngineError, f"a replica failed with {described(error)}{where(error)}")
        return cls(kind, str(error))

    @property
    def error(self) -> ReasonerError:
        """The exception."""
        return self.kind(self.text)


class Call(NamedTuple):
    """To the replica, as a plain tuple: run a method of what it hosts. The driver numbers its calls."""

    number: int
    method: str
    arguments: tuple[Any, ...]


class Cancel(NamedTuple):
    """To the replica: cancel a call; its outcome still comes, with the meter."""

    number: int


class Answer(NamedTuple):
    """To the replica: the answer to a request of its own."""

    number: int
    value: Any
    failure: Failure | None = None


class Outcome(NamedTuple):
    """To the driver, as a plain tuple: how a call ended, and the fields of its meter.

    A cancelled one has neither a value nor a failure.
    """

    number: int
    value: Any
    failure: Failure | None
    meter: tuple[Any, ...] | None


class Piece(NamedTuple):
    """To the driver: a piece of the reply to a call that still runs."""

    number: int
    piece: TextPiece


class Notice(NamedTuple):
    """To the driver: a line for people; a `stage` of a start or a note."""

    line: str
    stage: bool


class Asked(NamedTuple):
    """To the driver: a method of the policy that the replica needs."""

    number: int
    method: str
    arguments: tuple[Any, ...]


# Objects and named tuples take up to ten times as long to send as plain tuples: of what there is one for each sample,
# the values are sent.
Plain = tuple[Any, ...]
ToReplica = Cancel | Answer | Plain
ToDriver = Piece | Notice | Asked | Plain


class Facts(NamedTuple):
    """What a started replica says of its engine."""

    name: str
    model: ModelInfo
    notes: tuple[str, ...]
    capacity: int | None
    limits_thinking: bool
    continues: Continuation | None = None


@lru_cache(maxsize=256)
def _one(params: SamplingParams) -> SamplingParams:
    """Equal parameters as one object, which a batch holds once."""
    return params


def packed_request(request: SampleRequest) -> Plain:
    """The fields of a request but its meter and `on_text`, which stay here."""
    return (
        request.question_id, request.prompt, request.rendered, _one(request.params), request.index, request.seed,
        request.priority, request.watch, request.floor, request.interruptible,
    )  # fmt: skip


packed_completion: Final = attrgetter(
    *(each.name for each in dataclasses.fields(Completion) if each.init and each.name != "prompt")
)
"""The fields of a completion but its prompt, which the driver has, and whose token ids may be most of a message."""


def packed_meter(meter: Meter) -> Plain:
    """The fields of a meter."""
    return (meter.cost,) if isinstance(meter, CostMeter) else (meter.usage, meter.preemptions)


def unspent(meter: Meter) -> Plain:
    """The fields of the meter of a call that was never sent."""
    return (Cost(),) if isinstance(meter, CostMeter) else (Usage(), 0)


def write_meter(meter: Meter, values: Plain) -> None:
    """Set the fields of a meter."""
    if isinstance(meter, CostMeter):
        [meter.cost] = values
    else:
        meter.usage, meter.preemptions = values


class Copied(NamedTuple):
    """A plug-in as its class and options, without its state: it can be sent, and made again elsewhere."""

    cls: type
    options: dict[str, Any]


def copied(thing: Any) -> Any:
    """A plug-in in a form that can be sent, with the plug-ins in it; anything else unchanged."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return Copied(type(thing), {name: copied(getattr(thing, name)) for name in options_of(thing)})
    return tuple(map(copied, thing)) if type(thing) is tuple else thing


def made(thing: Any) -> Any:
    """The plug-in of `copied`."""
    if isinstance(thing, Copied):
        return thing.cls(**{name: made(value) for name, value in thing.options.items()})
    return tuple(map(made, thing)) if type(thing) is tuple else thing
