"""An engine whose replicas are Ray actors, each with a model and a KV cache of its own."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from reasoner.engine import Continuation, Engine, Rendered, Replicated, SampleRequest
from reasoner.engines import SharedHeads
from reasoner.engines.mixture import MixtureEngine
from reasoner.engines.ray.fleet import Fleet, Wanted
from reasoner.engines.ray.hosts import EngineHost, Plain, packed_request
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.build import say_nothing
from reasoner.errors import EngineError, EngineUnavailable, UsageError
from reasoner.models.info import ModelInfo
from reasoner.models.parting import still_thinking
from reasoner.trace.history import RecordedEngine
from reasoner.types import Completion, Notify, Prompt, TokenIds


@dataclass(slots=True)
class RayEngine:
    """Replicas of an engine as Ray actors, on the GPUs of this machine or of a cluster.

    `engine` is the spec of the engine that each replica runs. `replicas` 0 is as many as there are GPUs for, without
    GPUs one. All requests of a question go to one replica, which has its prompt in the cache; a new question goes to
    the replica with the least to do.

    Without `address`, Ray is started on this machine and ended with the engine. `address` "auto" joins the cluster that
    this machine belongs to, HOST:PORT any other. All nodes need the same versions of Python, this package and vLLM.

    `gpus` is how many a replica takes: by default what vLLM's arguments say, such as `tensor_parallel_size`, and none
    for an engine without vLLM or on a CPU build. They are on one node. `cpus` is how many cores a replica reserves,
    and how many threads vLLM then has on a CPU: 0 is one, or on this machine an equal share of its cores.

    A replica that dies is started again; its questions continue on the others, and what was in flight is drawn again.
    If it dies a second time without a success between, it is given up.
    """

    example: ClassVar[str] = "-e ray:engine=simulated,replicas=2"

    engine: Engine = field(default_factory=VllmEngine)
    replicas: int = 0
    address: str = ""
    gpus: int | None = None
    cpus: int = 0
    notify: Notify = field(default=say_nothing, init=False, repr=False)
    stage: Notify = field(default=say_nothing, init=False, repr=False)
    """Receives the name of each stage of the start as it begins."""
    _model: ModelInfo | None = field(default=None, init=False, repr=False, compare=False)
    _fleet: Fleet | None = field(default=None, init=False, repr=False, compare=False)
    _heads: SharedHeads[Rendered] = field(default_factory=SharedHeads, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._wanted.check()
        if isinstance(self.engine, MixtureEngine):
            raise UsageError(
                "ray cannot run a mixture: its members continue their own chains: "
                "write mixture:members=[ray(...),ray(...)]"
            )
        if isinstance(self.engine, RayEngine | Replicated | RecordedEngine):
            raise UsageError(f"ray cannot run the engine {type(self.engine).__name__}: give one that serves one model")

    @property
    def _wanted(self) -> Wanted:
        return Wanted(self.replicas, self.address, self.gpus, self.cpus)

    @property
    def name(self) -> str:
        """The name of the engine in the replicas, and their number."""
        inner = self._fleet.facts[0].name if self._fleet else self.engine.name
        return f"{inner}, {self.replicas} replicas" if self.replicas > 1 else inner

    @property
    def model(self) -> ModelInfo:
        """The model that the replicas serve."""
        if self._model is None:
            raise EngineError("the engine is not started")
        return self._model

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the engine in the replicas."""
        return self._fleet.facts[0].notes if self._fleet else ()

    @property
    def capacity(self) -> int | None:
        """Tokens in the KV cache of the replica with the smallest one."""
        known = [facts.capacity for facts in self._fleet.facts if facts.capacity is not None] if self._fleet else []
        return min(known, default=None)

    @property
    def continues(self) -> Continuation | None:
        """As the engine in the replicas does."""
        return self._fleet.facts[0].continues if self._fleet else None

    @property
    def limits_thinking(self) -> bool:
        """Whether the engine in the replicas ends thinking itself at a number of tokens."""
        return self._fleet is not None and self._fleet.facts[0].limits_thinking

    async def start(self) -> None:
        """Join or start a cluster, and start a replica for each place."""
        if self._fleet is not None:
            return
        role = "the engine"
        fleet = await Fleet.start(
            EngineHost, self.engine, self._wanted, role=role, notify=self.notify, stage=self.stage, ask=_nothing
        )
        first, *others = fleet.facts
        if differing := next((facts for facts in others if facts.model != first.model), None):
            await fleet.close()
            raise EngineUnavailable(
                f"the replicas serve different models ({first.model.name} {first.model.revision}, "
                f"{differing.model.name} {differing.model.revision}): give every node the same one"
            )
        self._model = first.model
        self._fleet, self.replicas = fleet, len(fleet.replicas)

    def replica_of(self, question_id: str) -> int:
        """The replica of a question."""
        if self._fleet is None:
            raise EngineError("the engine is not started")
        return self._fleet.placement.of(question_id)

    def release(self, question_id: str) -> None:
        """The question has ended."""
        if self._fleet is not None:
            self._fleet.placement.release(question_id)

    async def render(self, prompt: Prompt) -> Rendered:
        """The head as a replica renders it, once; then the generated ids."""
        bare = replace(prompt, token_ids=(), text="", thinking="") if _grown(prompt) else prompt
        # The samples of a question begin at once, and one asks for all.
        head = await self._heads.get(bare.head_digest, lambda: self._call(bare, "render", bare))
        if not _grown(prompt):
            return head
        if head.token_ids is None:
            rendered: Rendered = await self._call(prompt, "render", prompt)
            return rendered
        ids = head.token_ids + prompt.token_ids
        in_thinking = still_thinking(prompt, self.model.thinking, opened=head.in_thinking)
        return Rendered(ids, len(ids), in_thinking)

    async def encode(self, text: str) -> TokenIds | None:
        """The ids of a piece of text that continues a reply."""
        ids: TokenIds | None = await self._call(Prompt(raw=text or "-"), "encode", text)
        return ids

    async def _call(self, prompt: Prompt, method: str, *arguments: Any) -> Any:
        """What a method returns that any replica can run: the prompt decides which one does."""
        await self.start()
        assert self._fleet is not None
        replica = self._fleet.replica(int(prompt.head_digest[:8], 16) % self.replicas)
        return await replica.call(method, *arguments)

    async def sample(self, request: SampleRequest) -> Completion:
        """Draw one sequence in the replica of the question."""
        await self.start()
        assert self._fleet is not None
        with self._fleet.placement.request(request.question_id) as index:
            streams = request.on_text is not None
            values: Plain = await self._fleet.replica(index).call(
                "sample", packed_request(request), streams, meter=request.meter, on_text=request.on_text
            )
        return Completion(request.prompt, *values)

    async def reset_caches(self) -> None:
        """Empty the prefix caches of all replicas."""
        if self._fleet is not None:
            await asyncio.gather(*(replica.call("reset_caches") for replica in self._fleet.replicas))

    async def close(self) -> None:
        """End the replicas, and Ray if it was started here."""
        fleet, self._fleet = self._fleet, None
        self._heads = SharedHeads()
        if fleet is not None:
            await fleet.close()


def _grown(prompt: Prompt) -> bool:
    return bool(prompt.token_ids or prompt.text or prompt.thinking)


async def _nothing(method: str, arguments: tuple[Any, ...]) -> Any:
    """Engines ask for nothing."""
    raise EngineError(f"an engine asked for {method} with {len(arguments)} arguments")
