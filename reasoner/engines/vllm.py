"""vLLM inside this program, with automatic prefix caching: the default engine."""

import asyncio
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from reasoner.engines.gpu_memory import Claim, GpuMemory, stored_weights
from reasoner.engines.vllm_build import Build, first_line, in_daemon, installed_build, prepare_environment, unheard
from reasoner.engines.vllm_cores import SAMPLER_REPAIR, AsyncCore, Core, CoreDied, InProcessCore, Job
from reasoner.engines.vllm_render import PromptRenderer
from reasoner.errors import EngineDied, EngineError, EngineUnavailable, ReasonerError, RequestLost, require
from reasoner.models.card import ModelCard
from reasoner.models.dtype import DType, resolve_dtype
from reasoner.models.geometry import read_card
from reasoner.models.resolve import Resolved, resolve
from reasoner.protocols import Engine, Rendered, SampleRequest
from reasoner.types import NO_LOGPROB, Completion, Logprobs, Notify, Prompt, SamplingParams, TokenIds, Usage

CPU_CONTEXT = 8192
"""The longest window served on a CPU unless `context` asks for more."""
CPU_BLOCK = 32
"""Tokens per KV block on a CPU: the smallest its attention takes, so that short prompts hit the prefix cache."""


class Timing(NamedTuple):
    """Seconds that getting ready took: finding or building the model, importing vLLM, starting it."""

    model: float
    imports: float
    engine: float


@dataclass(slots=True)
class VllmEngine:
    """One model served by vLLM, thousands of requests at once, prefixes shared.

    `core` chooses who steps vLLM: "in_process", a thread here, which starts soonest on a CPU; "async", a process of its
    own, natural on a GPU; "auto" goes by the build that is installed. `context` 0 takes the model's window, on a CPU at
    most 8,192 tokens. `kv_gib` bounds the KV cache on a CPU, `gpu_memory` is its share of a GPU's memory: 0 takes
    0.9, less what the models of a verifier beside it need.

    `dtype` "auto" is bfloat16 on a CPU that computes it natively and float32 on any other; on a GPU it is the model's
    own type. `enforce_eager` False compiles the model when it starts, True does not; None compiles on a GPU alone.

    A core that dies is started again once and what was in flight is drawn anew; the second death is `EngineDied`.
    Seeds repeat a run exactly only where batches repeat: vLLM's numerics depend on what else is in the batch, so the
    same seed beside other requests may differ after some tokens. A trace replays exactly.
    """

    model_id: str = "embedded"
    core: Literal["auto", "in_process", "async"] = "auto"
    context: int = 0
    max_sequences: int = 256
    block_size: int = 0
    prefix_caching: bool = True
    kv_gib: float = 2.0
    gpu_memory: float = 0.0
    dtype: DType = "auto"
    enforce_eager: bool | None = None
    notify: Notify = field(default=unheard, init=False, repr=False)
    stage: Notify = field(default=unheard, init=False, repr=False)
    """Receives the name of each stage of getting ready as it begins, from any thread."""
    timing: Timing | None = field(default=None, init=False, repr=False)
    restarts: int = field(default=0, init=False, repr=False)
    notes: tuple[str, ...] = field(default=(), init=False, repr=False)
    gpu: GpuMemory = field(default_factory=GpuMemory, init=False, repr=False, compare=False)
    _claim: Claim | None = field(default=None, init=False, repr=False, compare=False)
    _core: Core | None = field(default=None, init=False, repr=False)
    _dead: Core | None = field(default=None, init=False, repr=False)
    _card: ModelCard | None = field(default=None, init=False, repr=False)
    _capacity: int | None = field(default=None, init=False, repr=False)
    _renderer: PromptRenderer | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _names: Iterator[int] = field(default_factory=itertools.count, init=False, repr=False)
    _heads: dict[tuple[Any, str], TokenIds] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        require(self.context, "context", at_least=0)
        require(self.block_size, "block_size", at_least=0)
        require(self.max_sequences, "max_sequences", at_least=1)
        require(self.kv_gib, "kv_gib", above=0)
        require(self.gpu_memory, "gpu_memory", at_least=0, at_most=1)

    @property
    def name(self) -> str:
        """VLLM and its version."""
        build = installed_build()
        return f"{build.package} {build.version}" if build else "vllm"

    @property
    def model(self) -> ModelCard:
        """The model being served."""
        if self._card is None:
            raise EngineError("the engine was not started")
        return self._card

    @property
    def capacity(self) -> int | None:
        """Tokens in the KV cache."""
        return self._capacity

    async def start(self) -> None:
        """Find the model, import vLLM and start it, or start it again after it died."""
        if self._core is None:
            await in_daemon(self._start)

    def _start(self) -> None:
        with self._lock:
            if self._core is not None:
                return
            if self._dead is not None:
                # vLLM keeps state for the whole process, so the dead core must be gone before the next one comes.
                self._dead.close()
                self._dead = None
            began = time.monotonic()
            build = installed_build()
            if build is None:
                raise EngineUnavailable(
                    "vLLM is not installed: install the extra `cpu` or, with an NVIDIA GPU, `gpu`; or name a server by "
                    "--base-url URL"
                )
            resolved = resolve(self.model_id, self.notify)
            found = time.monotonic()
            prepare_environment(build)
            self.stage("importing vLLM")
            arguments = self._arguments(build, resolved)
            imported = time.monotonic()
            self.stage(f"loading {resolved.name}")
            in_process = build.cpu if self.core == "auto" else self.core == "in_process"
            core: InProcessCore | AsyncCore = (
                InProcessCore(arguments, self.stage) if in_process else AsyncCore(arguments)
            )
            try:
                facts = core.started.result()
                self._adopt(resolved, facts.config, PromptRenderer(facts.renderer))
            except BaseException as error:
                core.close()
                if isinstance(error, ReasonerError):
                    raise
                raise EngineUnavailable(
                    f"vLLM could not serve {self.model_id!r}: {first_line(error)}{_way_out(error)}"
                ) from error
            self._core = core
            self.timing = Timing(found - began, imported - found, time.monotonic() - imported)

    def _arguments(self, build: "Build", resolved: Resolved) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs

        common: dict[str, Any] = {
            "model": resolved.source,
            "dtype": self.dtype,
            "worker_extension_cls": SAMPLER_REPAIR,
            "enable_prefix_caching": self.prefix_caching,
            "max_num_seqs": self.max_sequences,
            "scheduling_policy": "priority",
            "use_tqdm_on_load": False,
            "disable_log_stats": True,
        }
        if self.block_size:
            common["block_size"] = self.block_size
        if not build.cpu:
            common["gpu_memory_utilization"] = self._gpu_share(resolved)
            common["max_num_batched_tokens"] = 8192
            if self.context:
                common["max_model_len"] = self.context
            if self.enforce_eager is not None:
                common["enforce_eager"] = self.enforce_eager
            return AsyncEngineArgs(**common)
        window = read_card(resolved.folder, name=resolved.name).context if resolved.folder else CPU_CONTEXT
        length = self.context or min(window or CPU_CONTEXT, CPU_CONTEXT)
        # A seeded request whose prefill is split kills the CPU core, so no prefill is ever split.
        common |= {
            "max_model_len": length,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(length, 8192),
        }
        common |= {"enforce_eager": self.enforce_eager is not False}
        common |= {
            "kv_cache_memory_bytes": int(self.kv_gib * 2**30),
            "dtype": resolve_dtype(self.dtype, resolved.folder),
        }
        common.setdefault("block_size", CPU_BLOCK)
        return AsyncEngineArgs(**common)

    def share_gpu(self, policy: Engine) -> None:
        """Claim a part of the policy's GPU, before the policy starts. It reads the disk: call it from a thread."""
        build = installed_build()
        if build is not None and not build.cpu and isinstance(policy, VllmEngine):
            weights = stored_weights(resolve(self.model_id, self.notify).folder)
            self.gpu, self._claim = policy.gpu, Claim("the verifier's", self.gpu_memory, weights)
            self.gpu.claims.append(self._claim)

    def _gpu_share(self, resolved: Resolved) -> float:
        if self._claim is None:
            self._claim = Claim("the policy's", self.gpu_memory, stored_weights(resolved.folder))
        return self.gpu.take(self._claim)

    def _adopt(self, resolved: Resolved, config: Any, renderer: PromptRenderer) -> None:
        self._card = served_card(self.model_id, resolved, config, self.notify)
        self._capacity = config.cache_config.kv_cache_size_tokens
        self._renderer = renderer
        self.notes = () if renderer.renders_chats else ("the model has no chat template: messages are joined as text",)

    @property
    def _prompts(self) -> PromptRenderer:
        if self._renderer is None:
            raise EngineError("the engine was not started")
        return self._renderer

    async def render(self, prompt: Prompt) -> Rendered:
        """The head by the model's own chat template, once; then the generated ids."""
        key = (prompt.messages, prompt.raw)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) > 10_000:
                self._heads.clear()
            head = self._heads[key] = self._encode(prompt)
        ids = head + prompt.token_ids
        return Rendered(ids, len(ids))

    def _encode(self, prompt: Prompt) -> TokenIds:
        if prompt.raw:
            return self._prompts.raw(prompt.raw)
        if not self._prompts.renders_chats:
            return self._prompts.raw("\n\n".join(message.content for message in prompt.messages))
        try:
            return self._prompts.chat(prompt.messages)
        except Exception as error:
            raise EngineError(
                f"the chat template of {self.model.name} refused the chat: {first_line(error)}"
            ) from error

    async def encode(self, text: str) -> TokenIds | None:
        """The ids of a piece of text."""
        return self._prompts.encode(text)

    async def sample(self, request: SampleRequest) -> Completion:
        """Draw one sequence."""
        await self.start()
        core = self._core
        assert core is not None
        assert request.rendered.token_ids is not None
        name = f"{request.question_id}-{next(self._names)}"
        cut = _cut(request) if request.floor else None
        job = Job(name, request.rendered.token_ids, _vllm_params(request), request.priority, cut)
        try:
            output = await asyncio.wrap_future(core.submit(job))
        except asyncio.CancelledError:
            request.meter.usage = await asyncio.shield(asyncio.wrap_future(core.abort(name)))
            raise
        except CoreDied as death:
            self._bury(core, death)
            raise RequestLost(f"the engine died: {first_line(death)}") from death
        except ReasonerError:
            raise
        except Exception as error:
            request.meter.usage = Usage()
            raise EngineError(f"vLLM refused the request: {first_line(error)}") from error
        request.meter.usage = _usage(output)
        return _completion(request, output)

    def _bury(self, core: Core, death: CoreDied) -> None:
        with self._lock:
            if self._core is not core:
                return
            if self.restarts:
                raise EngineDied(f"the engine died again after a restart: {first_line(death)}") from death
            self.restarts += 1
            self._core, self._dead = None, core
        self.notify(f"the engine died ({first_line(death)}): starting it again, then drawing anew what was in flight")

    async def forget(self) -> None:
        """Empty the prefix cache."""
        if self._core is not None:
            await asyncio.wrap_future(self._core.forget())

    async def close(self) -> None:
        """Stop the core."""
        core, self._core = self._core, None
        if self._claim is not None:
            self.gpu.leave(self._claim)
            self._claim = None
        if core is not None:
            await in_daemon(core.close)


def served_card(model_id: str, resolved: Resolved, config: Any, notify: Notify) -> ModelCard:
    """The card of a model as vLLM serves it: with the window, the revision and the KV cache's type of its `config`."""
    from vllm.utils.torch_utils import kv_cache_dtype_str_to_dtype

    model, cached_as = config.model_config, config.cache_config.cache_dtype
    size = kv_cache_dtype_str_to_dtype(cached_as, model).itemsize
    folder = resolved.folder or resolve(model_id, notify).folder
    card = read_card(folder, name=resolved.name) if folder else ModelCard(resolved.name)
    revision = model.revision or card.revision
    return replace(card, context=model.max_model_len, revision=revision, kv_bytes_per_element=size)


def _way_out(error: BaseException) -> str:
    """What to do about an error of vLLM's start, where that is known."""
    if "KV cache" in str(error):
        return "; the engine's options kv_gib and context decide"
    return "; the engine's option dtype decides" if "dtype" in str(error) or "torch.float" in str(error) else ""


def _vllm_params(request: SampleRequest) -> Any:
    from vllm import SamplingParams as VllmSamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = request.params
    return VllmSamplingParams(
        temperature=params.temperature,
        max_tokens=params.max_tokens,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        stop=list(params.stop),
        stop_token_ids=list(params.stop_token_ids),
        # vLLM gives either the best alternatives or chosen ids; the sampled token's own comes with both.
        logprobs=None if request.watch else params.logprobs,
        logprob_token_ids=list(request.watch) or None,
        seed=request.seed,
        output_kind=RequestOutputKind.CUMULATIVE if request.floor else RequestOutputKind.FINAL_ONLY,
    )


def _cut(request: SampleRequest) -> Callable[[Any], bool]:
    """Watches the stream of one sequence; True where it fell below the floor."""
    assert request.floor is not None
    cut, kept, seen = request.floor.watch(), request.params.logprobs or 0, 0

    def watch(output: Any) -> bool:
        nonlocal seen
        rows = output.outputs[0].logprobs or ()
        fresh, seen = rows[seen:], len(rows)
        return any(cut(_best(row, kept)) for row in fresh)

    return watch


def _best(row: Any, kept: int) -> tuple[float, ...]:
    return tuple(sorted((entry.logprob for entry in row.values()), reverse=True)[:kept])


def _usage(output: Any) -> Usage:
    return Usage(len(output.prompt_token_ids), output.num_cached_tokens or 0, len(output.outputs[0].token_ids))


def _completion(request: SampleRequest, output: Any) -> Completion:
    sequence = output.outputs[0]
    ids = tuple(sequence.token_ids)
    return Completion(
        request.prompt,
        sequence.text,
        ids,
        sequence.finish_reason,
        _matched(request.params, sequence.stop_reason),
        _usage(output),
        _logprobs(ids, sequence.logprobs, request.params.logprobs, request.watch),
        request.index,
        request.seed,
    )


def _matched(params: SamplingParams, reason: str | int | None) -> str | int | None:
    """The stop that was asked for; an id that was not is one more end-of-sequence token of the model."""
    return None if isinstance(reason, int) and reason not in params.stop_token_ids else reason


def _logprobs(ids: TokenIds, rows: Any, kept: int | None, watch: TokenIds) -> Logprobs | None:
    """What vLLM measured.

    Raises:
        EngineError: of the sampled token or a best alternative it measured nothing, or minus infinity. A watched token
            may have that: a model can exclude tokens.
    """
    if rows is None:
        return None
    sampled = tuple(row[token].logprob for token, row in zip(ids, rows, strict=False))
    chosen = tuple(tuple(max(row[token].logprob, NO_LOGPROB) for token in watch) for row in rows)
    top = tuple(_best(row, kept) for row in rows) if kept and not watch else ()
    if any(len(row) < (kept or 0) for row in top) or not all(map(math.isfinite, itertools.chain(sampled, *top))):
        raise EngineError("vLLM reported no log-probability for a sampled token or one of its best alternatives")
    return Logprobs(sampled, top, chosen if watch else ())
