"""A model that vLLM serves inside this program: what the engines that generate and that rate have in common.

The models of a run divide each GPU's memory by their weights, or by their options.
"""

import asyncio
import itertools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from reasoner.engine import (
    Engine,
    EngineError,
    EngineUnavailable,
    ModelInfo,
    RequestLost,
    TokenIds,
    Usage,
    UsageMeter,
)
from reasoner.engines import say_nothing
from reasoner.engines.vllm.arguments import OPEN, OWNED, check_args, converted
from reasoner.engines.vllm.build import (
    Build,
    CoreLog,
    advice,
    first_line,
    installed_build,
    prepare_environment,
)
from reasoner.engines.vllm.cores import Core, CoreDied, CoreFacts, CoreJob
from reasoner.engines.vllm.rendering import NO_ARGUMENTS, PromptRenderer
from reasoner.errors import EngineDied, ReasonerError, UsageError
from reasoner.models.defaults import sampling_of
from reasoner.models.families import Arguments
from reasoner.models.geometry import DType, default_dtype, read_model_info
from reasoner.models.resolve import ResolvedModel, downloaded_bytes, resolve
from reasoner.registry import options_of
from reasoner.specs import CheckedOptions, OpenOptions, Range, Share
from reasoner.system.child_processes import in_daemon
from reasoner.system.machine import install_vllm
from reasoner.types import Message, Notify

CPU_CONTEXT = 8192
"""The longest window served on a CPU unless `max_model_len` asks for more."""
CPU_BLOCK = 32
"""Tokens per KV block on a CPU: the smallest that its attention supports, so that short prompts hit the cache."""
ALONE: Final = 0.9
"""The share of a model that has the GPU to itself."""
TOGETHER: Final = 0.95
"""The total share of several models, unless options give more."""
MIN_SHARE: Final = 0.05
"""The smallest share of a model without an option."""


@dataclass(slots=True, eq=False)
class MemoryClaim:
    """A model that needs memory: its role, its share and the bytes of its weights.

    A share of 0 is decided by `split_gpu`, weights of 0 are unknown. `devices` are the GPUs that it takes.
    """

    role: str
    share: float = 0.0
    weights: int = 0
    devices: frozenset[str] = frozenset("0")


def split_gpu(claims: Sequence[MemoryClaim]) -> tuple[float, ...]:
    """The share of each model. The part that no option fixes is divided by weights, or equally if one is unknown.

    Raises:
        UsageError: the requested shares leave too little; the message names them.
    """
    if len(claims) == 1:
        return (claims[0].share or ALONE,)
    free = [claim for claim in claims if not claim.share]
    fixed = sum(claim.share for claim in claims)
    extra = TOGETHER - fixed - MIN_SHARE * len(free)
    if fixed > 1 or (free and extra < -1e-9):
        requested = ", ".join(
            f"{claim.role} gpu_memory_utilization={claim.share:g}"
            for claim in claims
            if claim.share
        )
        others = ", ".join(claim.role for claim in free)
        trouble = (
            f"leaves too little for {others}" if others else "is more than one GPU"
        )
        raise UsageError(f"{requested} {trouble}: lower one of them")
    weights = [claim.weights for claim in free]
    weights = weights if all(weights) else [1] * len(free)
    shares = iter(
        [MIN_SHARE + max(0.0, extra) * weight / sum(weights) for weight in weights]
    )
    return tuple(claim.share or next(shares) for claim in claims)


@dataclass(slots=True)
class GpuMemory:
    """The claims of the models of a run. The share of a model, on each of its GPUs, is fixed when it starts."""

    claims: list[MemoryClaim] = field(default_factory=list)

    def take(self, claim: MemoryClaim) -> float:
        """The share of a model that starts now, fixed until its claim is removed.

        Raises:
            UsageError: as `split_gpu`.
        """
        if claim not in self.claims:
            self.claims.append(claim)
        beside = [other for other in self.claims if other.devices & claim.devices]
        claim.share = split_gpu(beside)[beside.index(claim)]
        return claim.share

    def leave(self, claim: MemoryClaim) -> None:
        """Remove the claim of a closed model, if there is one."""
        if claim in self.claims:
            self.claims.remove(claim)


def devices_of(args: Mapping[str, Any]) -> frozenset[str]:
    """The GPUs that a model with these arguments of vLLM takes: those of `device_ids`, or else the first ones."""
    if given := args.get("device_ids"):
        return frozenset(map(str, given if isinstance(given, list) else [given]))
    sizes = (
        str(args.get(f"{kind}_parallel_size", 1))
        for kind in ("tensor", "pipeline", "data")
    )
    return frozenset(map(str, range(math.prod(int(size) for size in sizes))))


@dataclass(slots=True)
class VllmModel(CheckedOptions):
    """One model and the core that serves it. A core that dies is started again once; the second death is final."""

    role: ClassVar[str] = "the engine"
    """How messages call it."""
    claimed_as: ClassVar[str] = "the verifier's"
    """How the division of a GPU calls it when it runs next to the policy."""
    alternative: ClassVar[str] = ""
    """What else to do where vLLM is not installed."""
    open_options: ClassVar[OpenOptions] = OPEN
    owned: ClassVar[Mapping[str, str]] = OWNED
    """The arguments of vLLM that `args` cannot set, each with the reason."""

    model_id: str
    max_model_len: Annotated[int, Range(at_least=-1)] = 0
    kv_gib: Annotated[float, Range(above=0)] = 2.0
    gpu_memory_utilization: Share = 0.0
    dtype: DType = "auto"
    args: Mapping[str, Any] = field(default_factory=dict)
    notify: Notify = field(default=say_nothing, init=False, repr=False)
    stage: Notify = field(default=say_nothing, init=False, repr=False)
    """Receives the name of each stage of the start as it begins, from any thread."""
    restarts: int = field(default=0, init=False, repr=False)
    notes: tuple[str, ...] = field(default=(), init=False, repr=False)
    gpu: GpuMemory = field(
        default_factory=GpuMemory, init=False, repr=False, compare=False
    )
    _claim: MemoryClaim | None = field(
        default=None, init=False, repr=False, compare=False
    )
    _core: Core | None = field(default=None, init=False, repr=False)
    _log: CoreLog | None = field(default=None, init=False, repr=False, compare=False)
    _dead: Core | None = field(default=None, init=False, repr=False)
    _model: ModelInfo | None = field(default=None, init=False, repr=False)
    _capacity: int = field(default=0, init=False, repr=False)
    _renderer: PromptRenderer | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(
        default_factory=threading.Lock, init=False, repr=False
    )
    _names: Iterator[int] = field(
        default_factory=itertools.count, init=False, repr=False
    )

    def complete(self) -> None:
        check_args(self.args, options_of(type(self)), self.owned)

    @property
    def model(self) -> ModelInfo:
        """The model being served, with its window and revision."""
        if self._model is None:
            raise EngineError(f"{self.role} is not started")
        return self._model

    @property
    def capacity(self) -> int:
        """Tokens in the KV cache; 0 before the start."""
        return self._capacity

    def start_core(self) -> None:
        """Find the model, import vLLM and start the core, or start it again after it died. Blocks."""
        with self._lock:
            if self._core is not None:
                return
            if self._dead is not None:
                # vLLM keeps state for the whole process, so the dead core must be gone before the next one starts.
                self._dead.close()
                self._dead = None
            build = installed_build()
            if build is None:
                raise EngineUnavailable(
                    f"{self.role} needs vLLM, which is not installed: run `{install_vllm()}`{self.alternative}"
                )
            self.notes = ()
            resolved = self._resolved()
            prepare_environment(build)
            self.stage("importing vLLM")
            arguments = self._arguments(build, resolved)
            self.stage(f"loading {resolved.name}")
            self._close_log()
            self._log = log = CoreLog()
            core = self._new_core(build, arguments, log)
            try:
                facts = self._await_start(core, resolved)
                self._renderer = PromptRenderer(facts.renderer)
                # vLLM counts the tokens of one replica.
                replicas = facts.config.parallel_config.data_parallel_size
                self._capacity = (
                    facts.config.cache_config.kv_cache_size_tokens or 0
                ) * replicas
                self._model = replace(
                    self._served_model_info(resolved, facts), room=self._capacity
                )
                self._note_window(build, facts.config.model_config)
                if build.cpu and self.dtype == "auto":
                    choice = default_dtype(resolved.folder)
                    self.notes += (f"numbers are {choice.dtype}: {choice.why}",)
            except BaseException as error:
                core.close()
                cause = log.cause(error)
                self._close_log()
                if isinstance(error, ReasonerError):
                    raise
                raise EngineUnavailable(
                    f"vLLM could not serve {self.model_id!r}: {cause}{advice(cause, cpu=build.cpu)}"
                ) from error
            self._core = core

    def _resolved(self) -> ResolvedModel:
        return resolve(self.model_id, self.notify, str(self.args.get("revision") or ""))

    def _await_start(self, core: Core, resolved: ResolvedModel) -> CoreFacts:
        """The facts of a core once it runs; until then reports how much was downloaded."""
        fetched = None if resolved.folder else downloaded_bytes(resolved.source)
        while True:
            # Seconds between two looks at what is downloaded
            done = wait([core.started], timeout=0.2).done
            if done:
                return core.started.result()
            if (
                fetched is not None
                # How much more of a model is downloaded before that is shown again
                and (now := downloaded_bytes(resolved.source)) - fetched >= 10**8
            ):
                fetched = now
                self.stage(f"loading {resolved.name}, {now / 1e9:.1f} GB downloaded")

    def _arguments(self, build: Build, resolved: ResolvedModel) -> Any:
        """The `AsyncEngineArgs` of this model."""
        from vllm.engine.arg_utils import AsyncEngineArgs

        return AsyncEngineArgs(**converted(self.settings(build, resolved)))

    def settings(self, build: Build, resolved: ResolvedModel) -> dict[str, Any]:
        """The arguments of vLLM for this model, as plain data: the defaults for the device, and `args` over them.

        Raises:
            UsageError: they do not fit the machine.
        """
        common: dict[str, Any] = {
            "model": resolved.source,
            "use_tqdm_on_load": False,
            "disable_log_stats": True,
        }
        if not build.cpu:
            # A window that is not given fits what memory is left. vLLM decides about batches: it knows the GPU.
            common |= {"max_model_len": self.max_model_len or -1, "dtype": self.dtype}
            common |= {"gpu_memory_utilization": self._gpu_share(resolved)}
            return common | self._own_settings(build) | dict(self.args)
        window = (
            read_model_info(resolved.folder, name=resolved.name).context
            if resolved.folder
            else 0
        )
        length = self.max_model_len or min(window or CPU_CONTEXT, CPU_CONTEXT)
        common |= {
            "max_model_len": length,
            "max_num_batched_tokens": max(length, 8192),
            "kv_cache_memory_bytes": int(self.kv_gib * 2**30),
            "dtype": default_dtype(resolved.folder).dtype
            if self.dtype == "auto"
            else self.dtype,
            "block_size": CPU_BLOCK,
            # Compiling takes longer than it saves.
            "enforce_eager": True,
        }
        return common | self._own_settings(build) | dict(self.args)

    def _own_settings(self, build: Build) -> dict[str, Any]:
        """The arguments of vLLM that models of this class need."""
        raise NotImplementedError

    def _gpu_share(self, resolved: ResolvedModel) -> float:
        """The share of a GPU's memory for this model."""
        raise NotImplementedError

    def _new_core(self, build: Build, arguments: Any, log: CoreLog) -> Core:
        raise NotImplementedError

    def _note_window(self, build: Build, model: Any) -> None:
        """Note a window that nobody chose and that is less than the model's."""
        full = getattr(model.hf_text_config, "max_position_embeddings", None) or 0
        if not self.max_model_len and model.max_model_len < full:
            why = "as always on a CPU" if build.cpu else "which fits the GPU's memory"
            note = f"the window is {model.max_model_len:,} of the model's {full:,} tokens, {why}"
            self.notes += (f"{note}: max_model_len changes it",)

    def _served_model_info(
        self, resolved: ResolvedModel, facts: CoreFacts
    ) -> ModelInfo:
        """The model's facts with the window and the revision of vLLM's own."""
        from vllm.utils.torch_utils import kv_cache_dtype_str_to_dtype

        model, kv_dtype = (
            facts.config.model_config,
            facts.config.cache_config.cache_dtype,
        )
        size = kv_cache_dtype_str_to_dtype(kv_dtype, model).itemsize
        folder = resolved.folder or self._resolved().folder
        # `max_tokens` is how long a reply may be, not how it is sampled.
        own_sampling = {
            name: value
            for name, value in model.get_diff_sampling_param().items()
            if name != "max_tokens"
        }
        info = ModelInfo(resolved.name, kv_bytes_per_element=size, plain=False)
        if folder:
            info = read_model_info(
                folder, name=resolved.name, kv_bytes_per_element=size
            )
        return replace(
            info,
            context=model.max_model_len,
            revision=model.revision or info.revision,
            sampling=sampling_of(own_sampling),
        )

    def share_gpu(self, policy: Engine) -> None:
        """Claim a part of the policy's GPU, before the policy starts. It reads the disk: call it from a thread."""
        build = installed_build()
        if build is not None and not build.cpu and isinstance(policy, VllmModel):
            self.gpu, self._claim = policy.gpu, self._new_claim(self._resolved().folder)
            self.gpu.claims.append(self._claim)

    def _new_claim(self, folder: Path | None) -> MemoryClaim:
        """What this model needs of each of its GPUs."""
        devices = devices_of(self.args)
        files = folder.glob("*.safetensors") if folder else ()
        weights = sum(file.stat().st_size for file in files) // len(devices)
        return MemoryClaim(
            self.claimed_as, self.gpu_memory_utilization, weights, devices
        )

    @property
    def _prompts(self) -> PromptRenderer:
        if self._renderer is None:
            raise EngineError(f"{self.role} is not started")
        return self._renderer

    def _chat(
        self,
        messages: tuple[Message, ...],
        arguments: Arguments = NO_ARGUMENTS,
        *,
        reply: bool = True,
    ) -> TokenIds:
        try:
            return self._prompts.chat(messages, arguments, reply=reply)
        except Exception as error:
            raise EngineError(
                f"the chat template of {self.model.name} refused the chat: {first_line(error)}"
            ) from error

    async def _output(self, core: Core, job: CoreJob, meter: UsageMeter) -> Any:
        """The finished output of a job. The meter holds what an aborted or refused one cost; None if unknown.

        Raises:
            RequestLost: the core died.
            UsageError: a parameter cannot work, such as a token id of `logit_bias` that is not in the vocabulary.
            EngineError: vLLM refused the job.
        """
        try:
            return await asyncio.wrap_future(core.submit(job))
        except asyncio.CancelledError:
            meter.usage = await asyncio.shield(
                asyncio.wrap_future(core.abort(job.request_id))
            )
            raise
        except CoreDied as death:
            self._note_death(core, death)
            raise RequestLost(f"{self.role} died: {self._why(death)}") from death
        except ReasonerError:
            raise
        except Exception as error:
            from vllm.exceptions import VLLMClientError

            meter.usage = Usage()
            if isinstance(error, VLLMClientError):
                # Its text ends with the whole value.
                raise UsageError(
                    f"vLLM refused the request: {first_line(Exception(*error.args[:1]))}"
                ) from error
            raise EngineError(
                f"vLLM refused the request: {first_line(error)}"
            ) from error

    def _note_death(self, core: Core, death: CoreDied) -> None:
        with self._lock:
            if self._core is not core:
                return
            if self.restarts:
                raise EngineDied(
                    f"{self.role} died again after a restart: {self._why(death)}"
                ) from death
            self.restarts += 1
            self._core, self._dead = None, core
        self.notify(
            f"{self.role} died ({self._why(death)}): it is restarted, and what was in flight is repeated"
        )

    def _why(self, death: CoreDied) -> str:
        return self._log.cause(death) if self._log else first_line(death)

    async def reset_caches(self) -> None:
        """Empty the prefix cache."""
        if self._core is not None:
            await asyncio.wrap_future(self._core.reset_caches())

    async def close(self) -> None:
        """Stop the core and release the GPU claim."""
        core, self._core = self._core, None
        if self._claim is not None:
            self.gpu.leave(self._claim)
            self._claim = None
        if core is not None:
            await in_daemon(core.close)
        self._close_log()

    def _close_log(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.close()
