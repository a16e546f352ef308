"""A reward model on vLLM's pooling runner, in a process of its own beside the model that it rates."""

import asyncio
import itertools
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reasoner.engines.gpu_memory import Claim, GpuMemory, stored_weights
from reasoner.engines.vllm import CPU_BLOCK, CPU_CONTEXT, VllmEngine, served_card
from reasoner.engines.vllm_build import Build, first_line, in_daemon, installed_build, prepare_environment, unheard
from reasoner.engines.vllm_cores import Core, CoreDied, Job, PoolingCore
from reasoner.engines.vllm_render import PromptRenderer
from reasoner.errors import EngineDied, EngineError, EngineUnavailable, ReasonerError, RequestLost, UsageError, require
from reasoner.models.card import ModelCard
from reasoner.models.dtype import BYTES, DType, resolve_dtype
from reasoner.models.geometry import count_parameters, read_card
from reasoner.models.resolve import Resolved, resolve
from reasoner.protocols import Engine, Meter
from reasoner.types import Notify, Prompt, TokenIds, Usage

GIB = 2**30
BESIDE_ANOTHER = 0.2
"""The share of a GPU's memory that is taken beside a policy of which nothing is known."""


class Pooled(NamedTuple):
    """What a reward model says at each position from `first` on, [positions, labels], before any activation."""

    first: int
    rows: NDArray[np.float32]
    usage: Usage


@dataclass(slots=True)
class PoolingEngine:
    """One reward model served by vLLM, many sequences at once, prefixes shared.

    `task` "token_classify" rates every token, "classify" the last one. `pooling` are further settings of vLLM's
    `PoolerConfig`. `context` 0 takes the model's window, on a CPU at most 8,192 tokens. It shares the machine with the
    policy: `gpu_memory` is its share of a GPU's memory, 0 what its weights need beside the policy's, `kv_gib` its KV
    cache on a CPU, and what does not fit is refused before anything starts. A core that dies is started again once.
    """

    model_id: str
    task: Literal["token_classify", "classify"] = "token_classify"
    pooling: Mapping[str, Any] = field(default_factory=dict)
    context: int = 0
    kv_gib: float = 0.5
    gpu_memory: float = 0.0
    dtype: DType = "auto"
    notify: Notify = field(default=unheard, init=False, repr=False)
    restarts: int = field(default=0, init=False, repr=False)
    notes: tuple[str, ...] = field(default=(), init=False, repr=False)
    _gpu: GpuMemory | None = field(default=None, init=False, repr=False)
    _claim: Claim | None = field(default=None, init=False, repr=False)
    _core: Core | None = field(default=None, init=False, repr=False)
    _dead: Core | None = field(default=None, init=False, repr=False)
    _card: ModelCard | None = field(default=None, init=False, repr=False)
    _capacity: int = field(default=0, init=False, repr=False)
    _renderer: PromptRenderer | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _names: Iterator[int] = field(default_factory=itertools.count, init=False, repr=False)

    def __post_init__(self) -> None:
        require(self.context, "context", at_least=0)
        require(self.kv_gib, "kv_gib", above=0)
        require(self.gpu_memory, "gpu_memory", at_least=0, below=1)

    @property
    def model(self) -> ModelCard:
        """The model being served, its revision and window included."""
        if self._card is None:
            raise EngineError("the reward model was not started")
        return self._card

    @property
    def capacity(self) -> int:
        """Tokens in its KV cache."""
        return self._capacity

    def share_gpu(self, policy: Engine) -> None:
        """Claim a part of the policy's GPU, before the policy starts. It reads the disk: call it from a thread."""
        build = installed_build()
        if build is not None and not build.cpu and isinstance(policy, VllmEngine):
            weights = stored_weights(resolve(self.model_id, self.notify).folder)
            self._gpu, self._claim = policy.gpu, Claim("the reward model's", self.gpu_memory, weights)
            self._gpu.claims.append(self._claim)

    def _gpu_share(self) -> float:
        if self._gpu is None or self._claim is None:
            return self.gpu_memory or BESIDE_ANOTHER
        return self._gpu.take(self._claim)

    async def start(self, policy: Engine | None = None) -> None:
        """Start the model beside `policy`, which is started first; or start it again after it died.

        Raises:
            UsageError: the two do not fit this machine together.
            EngineUnavailable: it cannot be started; the message says what to do.
        """
        if self._core is not None:
            return
        build = installed_build()
        if build is None:
            raise EngineUnavailable(
                "vLLM is not installed, which serves reward models: install the extra `cpu` or `gpu`"
            )
        if policy is not None:
            await policy.start()
        await in_daemon(lambda: self._start(build))

    def _start(self, build: Build) -> None:
        with self._lock:
            if self._core is not None:
                return
            if self._dead is not None:
                self._dead.close()
                self._dead = None
            resolved = resolve(self.model_id, self.notify)
            share = 0.0 if build.cpu else self._gpu_share()
            split = f"the reward model takes {share:.0%} of the GPU's memory"
            if build.cpu:
                split = check_memory(resolved.folder, self.kv_gib, self.dtype)
            self.notes = (split,)
            self.notify(split)
            prepare_environment(build)
            core = PoolingCore(self._arguments(build, resolved, share))
            try:
                facts = core.started.result()
                self._renderer = PromptRenderer(facts.renderer)
                self._card = served_card(self.model_id, resolved, facts.config, self.notify)
            except BaseException as error:
                core.close()
                if isinstance(error, ReasonerError):
                    raise
                raise EngineUnavailable(
                    f"vLLM could not serve the reward model {self.model_id!r}: {first_line(error)}"
                ) from error
            self._capacity = facts.config.cache_config.kv_cache_size_tokens or 0
            self._core = core

    def _arguments(self, build: Build, resolved: Resolved, gpu_share: float) -> Any:
        from vllm.config import PoolerConfig
        from vllm.engine.arg_utils import AsyncEngineArgs

        common: dict[str, Any] = {
            "model": resolved.source,
            "runner": "pooling",
            "pooler_config": PoolerConfig(task=self.task, **self.pooling),
            "dtype": self.dtype,
            "enable_prefix_caching": True,
            "max_num_batched_tokens": 8192,
            "use_tqdm_on_load": False,
            "disable_log_stats": True,
        }
        if not build.cpu:
            window = {"max_model_len": self.context} if self.context else {}
            return AsyncEngineArgs(**common, **window, gpu_memory_utilization=gpu_share)
        window_of = read_card(resolved.folder, name=resolved.name).context if resolved.folder else CPU_CONTEXT
        length = self.context or min(window_of or CPU_CONTEXT, CPU_CONTEXT)
        common |= {"max_model_len": length, "max_num_batched_tokens": max(length, 8192), "block_size": CPU_BLOCK}
        common |= {"enforce_eager": True, "kv_cache_memory_bytes": int(self.kv_gib * GIB)}
        common["dtype"] = resolve_dtype(self.dtype, resolved.folder)
        return AsyncEngineArgs(**common)

    @property
    def _prompts(self) -> PromptRenderer:
        if self._renderer is None:
            raise EngineError("the reward model was not started")
        return self._renderer

    @property
    def bos(self) -> str:
        """The text of the token that begins every sequence, "" where the model has none."""
        return self._prompts.bos

    async def render(self, prompt: Prompt, *, reply: bool = False) -> TokenIds:
        """A prompt's raw text, or its chat by the model's own template; with `reply` up to where the next turn begins.

        Raises:
            EngineError: it is a chat, and the model has no chat template or its template refuses the chat.
        """
        if prompt.raw:
            return self._prompts.raw(prompt.raw)
        if not self._prompts.renders_chats:
            raise EngineError(f"the reward model {self.model.name} has no chat template: choose another recipe")
        try:
            return self._prompts.chat(prompt.messages, reply=reply)
        except Exception as error:
            raise EngineError(
                f"the chat template of {self.model.name} refused the chat: {first_line(error)}"
            ) from error

    async def encode(self, text: str) -> TokenIds:
        """The ids of a piece of text, without any that a prompt would begin with."""
        return self._prompts.encode(text)

    def decode(self, ids: TokenIds) -> str:
        """The text of token ids, special tokens included."""
        return self._prompts.decode(ids)

    async def rows(self, ids: TokenIds, *, read_cache: bool, meter: Meter) -> Pooled:
        """Rate one sequence: at every position, or from the first that was not in the prefix cache with `read_cache`.

        Cancelling the awaiting task aborts it; the meter then says None, as vLLM does not tell what it computed.

        Raises:
            EngineError: it failed; the meter says what it cost.
        """
        core = self._core
        if core is None:
            await self.start()
            core = self._core
        assert core is not None
        name = f"rate-{next(self._names)}"
        job = Job(name, ids, self._params(read_cache=read_cache), 0)
        meter.usage = None
        try:
            output = await asyncio.wrap_future(core.submit(job))
        except asyncio.CancelledError:
            meter.usage = await asyncio.shield(asyncio.wrap_future(core.abort(name)))
            raise
        except CoreDied as death:
            self._bury(core, death)
            raise RequestLost(f"the reward model died: {first_line(death)}") from death
        except Exception as error:
            meter.usage = Usage()
            raise EngineError(f"vLLM refused to rate a sequence: {first_line(error)}") from error
        meter.usage = usage = Usage(len(output.prompt_token_ids), output.num_cached_tokens or 0, 0)
        rows = output.outputs.data.float().numpy()
        rows = rows.reshape(-1, rows.shape[-1])
        return Pooled(usage.prompt_tokens - len(rows), rows, usage)

    def _params(self, *, read_cache: bool) -> Any:
        from vllm import PoolingParams

        # What is read off the raw scalars is the recipe's business, so no activation is applied here.
        return PoolingParams(task=self.task, use_activation=False, skip_reading_prefix_cache=not read_cache)

    def _bury(self, core: Core, death: CoreDied) -> None:
        with self._lock:
            if self._core is not core:
                return
            if self.restarts:
                raise EngineDied(f"the reward model died again after a restart: {first_line(death)}") from death
            self.restarts += 1
            self._core, self._dead = None, core
        self.notify(f"the reward model died ({first_line(death)}): starting it again with the next rating")

    async def forget(self) -> None:
        """Empty the prefix cache."""
        if self._core is not None:
            await asyncio.wrap_future(self._core.forget())

    async def close(self) -> None:
        """Stop the model and its process."""
        core, self._core = self._core, None
        if self._gpu is not None and self._claim is not None:
            self._gpu.leave(self._claim)
        if core is not None:
            await in_daemon(core.close)


def check_memory(folder: Path | None, kv_gib: float, dtype: DType) -> str:
    """How a reward model's memory is split, as a line for people, where it fits what is free on this machine.

    Raises UsageError where it does not fit.
    """
    weights = _weight_bytes(folder, dtype) / GIB if folder else 0.0
    free = available_memory() / GIB
    split = f"the reward model takes {weights:.2f} GiB for weights and {kv_gib:g} GiB for its KV cache"
    if weights + kv_gib > free:
        raise UsageError(
            f"{split}, and {free:.2f} GiB are free: lower kv_gib, the policy's too, or take a smaller model"
        )
    return f"{split}, of {free:.1f} GiB free"


def _weight_bytes(folder: Path, dtype: DType) -> int:
    """What a model's weights take in memory; packed ones as much as on disk."""
    parameters = count_parameters(folder)
    if parameters:
        return parameters * BYTES[resolve_dtype(dtype, folder)]
    return stored_weights(folder)


def available_memory() -> int:
    """Bytes that a new process may take without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
