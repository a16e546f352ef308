"""An engine of replicas that are Ray actors, each with a model and a KV cache of its own."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, ClassVar

from reasoner.engine import (
    Continuation,
    Engine,
    EngineError,
    EngineUnavailable,
    ModelInfo,
    RenderedPrompt,
    SampleRequest,
    TokenIds,
)
from reasoner.engines import SharedHeads, say_nothing
from reasoner.engines.ray import cluster
from reasoner.engines.ray.host import HostFacts, Plain
from reasoner.engines.ray.placement import Placement
from reasoner.engines.ray.replica import Pacer, Replica, Setup
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.build import installed_build
from reasoner.engines.vllm.served import devices_of
from reasoner.errors import UsageError, shown
from reasoner.models.thinking import still_thinking
from reasoner.registry import options_of
from reasoner.specs import CheckedOptions, Range
from reasoner.system.child_processes import in_daemon
from reasoner.system.machine import usable_cores
from reasoner.trace.history import RecordedEngine
from reasoner.types import Completion, Notify, Prompt


@dataclass(slots=True)
class RayEngine(CheckedOptions):
    """Replicas of an engine as Ray actors, on the GPUs of this machine or of a cluster.

    `engine` is the spec of the engine that each replica runs. `replicas` 0 is as many as there are GPUs for, without
    GPUs one. All requests of a question go to one replica, which has its prompt in the cache; a new question goes to
    the replica with the least to do.

    Without `address`, Ray is started on this machine and ended with the engine. `address` "auto" joins the cluster that
    this machine belongs to; of several, the one in the environment variable RAY_ADDRESS. All nodes need the same
    versions of Python, this package and vLLM.

    `gpus` is how many a replica takes: by default what vLLM's arguments say, such as `tensor_parallel_size`, and none
    for an engine without vLLM or on a CPU build. They are on one node. `cpus` is how many cores a replica reserves,
    and how many threads vLLM then has on a CPU: 0 is one, or on this machine an equal share of its cores.

    A replica that dies is started again; its questions continue on the others, and what was in flight is drawn again.
    If it dies a second time without a success between, it is given up.
    """

    example: ClassVar[str] = "-e ray:engine=simulated,replicas=2"

    engine: Engine = field(default_factory=VllmEngine)
    replicas: Annotated[int, Range(at_least=0, at_most=1024)] = 0
    address: str = ""
    gpus: Annotated[int, Range(at_least=0)] | None = None
    cpus: Annotated[int, Range(at_least=0)] = 0
    notify: Notify = field(default=say_nothing, init=False, repr=False)
    stage: Notify = field(default=say_nothing, init=False, repr=False)
    """Receives the name of each stage of the start as it begins."""
    _facts: tuple[HostFacts, ...] = field(
        default=(), init=False, repr=False, compare=False
    )
    """What each replica said when its engine had started; empty before the start."""
    _heads: SharedHeads[RenderedPrompt] = field(
        default_factory=SharedHeads, init=False, repr=False, compare=False
    )
    _replicas: tuple[Replica, ...] = field(
        default=(), init=False, repr=False, compare=False
    )
    _placement: Placement = field(
        default_factory=lambda: Placement(0), init=False, repr=False, compare=False
    )
    _joined: bool = field(default=False, init=False, repr=False, compare=False)

    def complete(self) -> None:
        if self.address not in ("", "auto"):
            raise UsageError(
                f"address must be auto (got {shown(self.address)}): run the command on a machine of the cluster, and "
                "choose one of several by the environment variable RAY_ADDRESS=HOST:PORT"
            )
        if isinstance(self.engine, RayEngine | RecordedEngine):
            raise UsageError(
                f"ray cannot run the engine {type(self.engine).__name__}: give one that runs a model itself"
            )

    @property
    def name(self) -> str:
        """The name of the engine in the replicas, and their number."""
        inner = self._facts[0].name if self._facts else self.engine.name
        return f"{inner}, {self.replicas} replicas" if self.replicas > 1 else inner

    @property
    def model(self) -> ModelInfo:
        """The model that the replicas serve."""
        if not self._facts:
            raise EngineError("the engine is not started")
        return self._facts[0].model

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the engine in the replicas."""
        return self._facts[0].notes if self._facts else ()

    @property
    def capacity(self) -> int | None:
        """Tokens in the KV caches of all replicas."""
        known = [facts.capacity for facts in self._facts if facts.capacity is not None]
        return sum(known) if known else None

    @property
    def continues(self) -> Continuation | None:
        """As the engine in the replicas does."""
        return self._facts[0].continues if self._facts else None

    @property
    def limits_thinking(self) -> bool:
        """Whether the engine in the replicas ends thinking itself at a number of tokens."""
        return bool(self._facts) and self._facts[0].limits_thinking

    async def start(self) -> None:
        """Join or start a cluster, and start all replicas at once.

        Raises:
            MissingExtra: Ray is not installed.
            EngineUnavailable: there is no cluster, it has too few GPUs, or a replica cannot be started.
        """
        if self._facts:
            return
        self.stage("joining the Ray cluster" if self.address else "starting Ray")
        await in_daemon(partial(cluster.join, self.address))
        self._joined = True
        try:
            self._replicas = self._new_replicas()
            count = len(self._replicas)
            self.stage(f"starting {count} replica{'s' * (count > 1)}")
            self._facts = await self._started()
            self.replicas = count
        except BaseException:
            await self.close()
            raise

    def _new_replicas(self) -> tuple[Replica, ...]:
        gpus = _gpus_of(self.engine) if self.gpus is None else self.gpus
        available = cluster.gpus()
        count = self.replicas or (int(available // gpus) if gpus else 1)
        if gpus * count > available or not count:
            raise EngineUnavailable(
                f"{max(count, 1)} replicas of the engine need {gpus * max(count, 1)} GPUs and the cluster has "
                f"{available:g}: lower replicas or gpus"
            )
        own = cluster.is_own()
        threads = self.cpus or (
            max(1, usable_cores() // count) if own and not gpus else 1
        )
        # The cores of a machine that is ours are not reserved: Ray keeps an idle process for each.
        reserved = {"num_gpus": gpus, "num_cpus": 0 if own else threads}
        made_of = (
            type(self.engine),
            {name: getattr(self.engine, name) for name in options_of(self.engine)},
            threads,
        )
        setup, placement = Setup(made_of, reserved, Pacer()), Placement(count)
        self._placement = placement

        def replica(index: int) -> Replica:
            name = f"replica {index} of {count} of the engine"
            return Replica(
                name,
                setup,
                self.notify,
                lambda answers: placement.mark(index, answers=answers),
            )

        return tuple(map(replica, range(count)))

    async def _started(self) -> tuple[HostFacts, ...]:
        starts = [asyncio.ensure_future(replica.start()) for replica in self._replicas]
        try:
            first, *others = await asyncio.gather(*starts)
        finally:
            for task in starts:
                task.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
        if differing := next(
            (facts for facts in others if facts.model != first.model), None
        ):
            raise EngineUnavailable(
                f"the replicas serve different models ({first.model.name} {first.model.revision}, "
                f"{differing.model.name} {differing.model.revision}): give every node the same one"
            )
        return first, *others

    def release(self, question_id: str) -> None:
        """The question has ended."""
        self._placement.release(question_id)

    def _answering(self, index: int) -> Replica:
        """The replica of this number; if it does not answer, the next one that does, or will."""
        if lost := self._placement.lost:
            numbers = [*range(index, self.replicas), *range(index)]
            index = min(
                numbers,
                key=lambda number: (self._replicas[number].given_up, number in lost),
            )
        return self._replicas[index]

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        """The head as a replica renders it, once; then the generated ids."""
        grown = bool(prompt.token_ids or prompt.text or prompt.thinking)
        bare = replace(prompt, token_ids=(), text="", thinking="") if grown else prompt
        # The samples of a question begin at once, and one asks for all.
        head = await self._heads.get(
            bare.head_digest, lambda: self._call(bare, "render", bare)
        )
        if not grown:
            return head
        if head.token_ids is None:
            rendered: RenderedPrompt = await self._call(prompt, "render", prompt)
            return rendered
        ids = head.token_ids + prompt.token_ids
        in_thinking = still_thinking(
            prompt, self.model.thinking, opened=head.in_thinking
        )
        return RenderedPrompt(ids, len(ids), in_thinking)

    async def encode(self, text: str) -> TokenIds | None:
        """The ids of a piece of text that continues a reply."""
        ids: TokenIds | None = await self._call(Prompt(raw=text or "-"), "encode", text)
        return ids

    async def _call(self, prompt: Prompt, method: str, *arguments: Any) -> Any:
        """What a method returns that any replica can run: the prompt decides which one does."""
        await self.start()
        replica = self._answering(int(prompt.head_digest[:8], 16) % self.replicas)
        return await replica.call(method, *arguments)

    async def sample(self, request: SampleRequest) -> Completion:
        """Draw one sequence in the replica of the question."""
        await self.start()
        with self._placement.request(request.question_id) as index:
            values: Plain = await self._answering(index).call("sample", request=request)
        return Completion(request.prompt, *values)

    async def reset_caches(self) -> None:
        """Empty the prefix caches of all replicas."""
        await asyncio.gather(
            *(replica.call("reset_caches") for replica in self._replicas)
        )

    async def close(self) -> None:
        """End the replicas, and Ray if it was started here and nothing else uses it."""
        replicas, self._replicas, self._facts = self._replicas, (), ()
        self._heads = SharedHeads()
        if self._joined:
            self._joined = False
            with suppress(Exception):
                await asyncio.gather(*(replica.stop() for replica in replicas))
            await in_daemon(cluster.leave)


def _gpus_of(engine: Engine) -> int:
    """The GPUs that an engine takes: as many as its arguments of vLLM say."""
    build = installed_build()
    return (
        len(devices_of(engine.args))
        if isinstance(engine, VllmEngine) and build and not build.cpu
        else 0
    )
