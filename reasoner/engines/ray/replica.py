"""One replica: what runs inside its actor, and the driver's side: its calls in batches, its death and its restart."""

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from reasoner.engine import Engine, EngineUnavailable, RequestLost, SampleRequest
from reasoner.engines.ray.calls import HostCalls
from reasoner.engines.ray.host import Host, Plain, ToDriver, ToReplica, versions
from reasoner.engines.vllm.build import first_line
from reasoner.errors import EngineDied, ReasonerError
from reasoner.types import Notify

PLACE_SECONDS: Final = 300.0
"""How long Ray may take to find room for a replica."""
OPEN: Final = 2
"""Exchanges with one replica at once: a busy replica then gets fewer and larger batches."""
_DETAIL = re.compile(
    r"(?:Worker exit detail|The actor died because of): *(.+?)(?:\.\s|\.?$)",
    re.MULTILINE,
)


class EngineHost:
    """Hosts an engine of this class with these options, and runs the calls of the driver as tasks.

    An exchange takes messages of the driver and returns the news, as soon as there is any. Of two exchanges that wait,
    the older one returns without news.
    """

    def __init__(
        self, cls: type[Engine], options: dict[str, Any], threads: int
    ) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._news = asyncio.Event()
        self._host = Host(lambda: cls(**options), self._news.set)
        self._exchange = 0

    async def versions(self) -> dict[str, str]:
        """The versions that are installed here."""
        return versions()

    async def exchange(self, number: int, batch: list[ToReplica]) -> list[ToDriver]:
        """Begin and cancel calls; then wait until there is news or nothing runs. The newest exchange gets the news."""
        # Ray may run the calls of an actor in another order than they were made.
        await self._until(lambda: self._exchange == number - 1)
        self._host.take(batch)
        # Each task must run once before the next batch may cancel it.
        await asyncio.sleep(0)
        self._exchange = number
        self._news.set()
        await self._until(lambda: number != self._exchange or not self._host.waiting)
        return self._host.news() if number == self._exchange else []

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._news.clear()
            await self._news.wait()

    async def stop(self) -> None:
        """Close the engine."""
        await self._host.engine.close()


class Pacer:
    """Spaces the exchanges with all replicas evenly, so that batches grow as the load does."""

    def __init__(self) -> None:
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next exchange; at once, except for the calls of this turn of the loop, if there was a pause."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        # Exchanges that a driver makes at most, with all replicas together: each costs it some 0.5 ms.
        self._next = at + 1 / 500.0
        await asyncio.sleep(at - now)


class Setup(NamedTuple):
    """How the replicas of an engine are made: the arguments of the host, and Ray's options of the actor."""

    arguments: Plain
    options: dict[str, Any]
    pacer: Pacer


class Replica:
    """One actor, which is made again when it dies; the second death without a success between is final.

    `answers` receives whether it works: True after each start, False when it dies.

    It is used from one event loop at a time. While nothing is in flight, no task of it runs.
    """

    def __init__(
        self, name: str, setup: Setup, notify: Notify, answers: Callable[[bool], None]
    ) -> None:
        self.name = name
        self._setup = setup
        self._notify = notify
        self._answers = answers
        self._actor: Any = None
        self._ready = False
        self._deaths = 0
        self._final: ReasonerError | None = None
        self._starting: asyncio.Task[Any] | None = None
        self._due = False
        """Whether an exchange waits for its turn."""
        self._exchanges = 0
        """With this actor, so far."""
        self._open = 0
        """Exchanges that wait for an answer: one that waits for news, and one that takes its place."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.calls = HostCalls(self._wake)

    @property
    def given_up(self) -> bool:
        """Whether it died too often, or could not be started again."""
        return self._final is not None

    async def start(self) -> Any:
        """Make the actor and start its engine; what its start returned. A second call waits for the first.

        Raises:
            EngineUnavailable: it cannot be placed or started, or has other versions than the driver.
        """
        if self._starting is None or self._starting.done():
            self._starting = asyncio.ensure_future(self._start())
        return await asyncio.shield(self._starting)

    async def call(
        self, method: str, *arguments: Any, request: SampleRequest | None = None
    ) -> Any:
        """What a method returns, as `HostCalls.send` says.

        Raises:
            RequestLost: the replica died; it is started again with the next call.
            EngineDied: it died again.
            ReasonerError: the method raised it.
        """
        if self._final:
            raise self._final
        if not self._ready:
            await self.start()
        return await self._send(method, *arguments, request=request)

    async def stop(self) -> None:
        """Close the engine and end the actor. A second call does nothing."""
        if self._starting and not self._starting.done():
            self._starting.cancel()
        actor, self._actor, self._ready = self._actor, None, False
        self.calls.lose(RequestLost(f"{self.name} was closed"))
        if actor is not None:
            with suppress(Exception):
                # How long a replica may take to close; then it is killed
                await asyncio.wait_for(actor.stop.remote(), 10.0)
            _kill(actor)

    async def _start(self) -> Any:
        setup = self._setup
        options = {
            "num_cpus": 0,
            "num_gpus": 0,
            "max_restarts": 0,
            "max_concurrency": 1000,
        } | setup.options
        actor = self._actor = new_actor(options).remote(*setup.arguments)
        self._ready, self._exchanges = False, 0
        try:
            theirs = await asyncio.wait_for(actor.versions.remote(), PLACE_SECONDS)
            if theirs != (ours := versions()):
                raise EngineUnavailable(
                    f"{self.name} has {theirs}, not {ours}: install the same versions on every node"
                )
            facts = await self._send("start")
        except BaseException as error:
            self._actor = None
            _kill(actor)
            refused = self._refusal(error)
            if self._deaths and isinstance(refused, ReasonerError):
                self._final = refused
            raise refused from error
        self._ready = True
        self._answers(True)
        return facts

    def _refusal(self, error: BaseException) -> BaseException:
        if isinstance(error, TimeoutError):
            wanted = ", ".join(
                f"{amount:g} {name[4:].upper()}"
                for name, amount in self._setup.options.items()
            )
            return EngineUnavailable(
                f"Ray found no room for {self.name} within {PLACE_SECONDS:g} s ({wanted})"
            )
        if isinstance(error, RequestLost):
            return EngineUnavailable(f"{self.name} died while it started: {error}")
        if isinstance(error, ReasonerError) or not isinstance(error, Exception):
            return error
        return EngineUnavailable(f"Ray could not start {self.name}: {_cause(error)}")

    async def _send(
        self, method: str, *arguments: Any, request: SampleRequest | None = None
    ) -> Any:
        outcome = await self.calls.send(method, *arguments, request=request)
        try:
            value = outcome.result()
        except EngineDied as error:
            # The engine in it gave up; the replica as a whole is made again.
            raise self._died(self._actor, str(error)) from None
        if request:
            # A replica that dies of its work still renders prompts in between.
            self._deaths = 0
        return value

    def _wake(self) -> None:
        """Make an exchange as soon as it is this replica's turn, and has answered all but one."""
        if self._open < OPEN and not self._due:
            self._due = True
            task = asyncio.ensure_future(self._exchange())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _exchange(self) -> None:
        """Send what there is to send, and receive what there is once something has ended in the replica."""
        try:
            await self._setup.pacer.turn()
        finally:
            self._due = False
        actor, calls = self._actor, self.calls
        batch = calls.take()
        if not batch and not calls.pending:
            return
        self._exchanges = number = self._exchanges + 1
        self._open += 1
        received: list[ToDriver] = []
        try:
            if actor is None:
                raise RequestLost("it was closed")
            received = await actor.exchange.remote(number, batch)
        except asyncio.CancelledError:
            # The event loop ends, and nobody must wait for what nobody will collect.
            self.calls.lose(RequestLost(f"the event loop of {self.name} ended"))
            raise
        except Exception as error:
            self._died(actor, _cause(error))
        finally:
            self._open -= 1
        calls.receive(received)
        newest = actor is self._actor and number == self._exchanges
        if calls.unsent or (calls.pending and newest):
            self._wake()

    def _died(self, actor: Any, cause: str) -> ReasonerError:
        """Note the death of an actor, once; the error of what was in flight."""
        lost = RequestLost(f"{self.name} died: {cause}")
        if actor is None or actor is not self._actor:
            return self._final or lost
        self._actor, ready, self._ready = None, self._ready, False
        _kill(actor)
        if ready:
            self._deaths += 1
            self._answers(False)
            end = "it is restarted, and what was in flight is repeated"
            if self._deaths > 1:
                self._final = EngineDied(
                    f"{self.name} died again after a restart: {cause}"
                )
                end = "again after a restart, so it is given up"
            else:
                self._starting = asyncio.ensure_future(self._start())
                self._starting.add_done_callback(self._restarted)
            self._notify(f"{self.name} died ({cause}): {end}")
        self.calls.lose(lost)
        return lost

    def _restarted(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and (error := task.exception()):
            self._notify(f"{self.name} could not be restarted: {error}")


def new_actor(options: dict[str, Any]) -> Any:
    """What makes an actor with a host, by its `remote`."""
    import ray

    return ray.remote(EngineHost).options(**options)


def _kill(actor: Any) -> None:
    import ray

    with suppress(Exception):
        ray.kill(actor)


def _cause(error: Exception) -> str:
    """Why Ray says that an actor ended, in one line."""
    detail = _DETAIL.search(str(error))
    return detail[1] if detail else first_line(error)
