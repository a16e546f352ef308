"""A model that vLLM serves inside this program: what the engines that generate and that rate have in common."""

import asyncio
import copy
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from reasoner.engine import Engine, UsageMeter
from reasoner.engines.vllm.build import Build, first_line, in_daemon, installed_build, prepare_environment, unheard
from reasoner.engines.vllm.cores import Core, CoreDied, Job
from reasoner.engines.vllm.defaults import sampling_defaults
from reasoner.engines.vllm.gpu_memory import Claim, GpuMemory, stored_weights
from reasoner.errors import EngineDied, EngineError, EngineUnavailable, ReasonerError, RequestLost, require
from reasoner.models.defaults import sampling_of
from reasoner.models.dtype import DType, resolve_dtype
from reasoner.models.geometry import read_model_info
from reasoner.models.info import ModelInfo
from reasoner.models.resolve import Resolved, resolve
from reasoner.system.extras import install_vllm
from reasoner.types import Message, Notify, TokenIds, Usage

CPU_CONTEXT = 8192
"""The longest window served on a CPU unless `max_model_len` asks for more."""
CPU_BLOCK = 32
"""Tokens per KV block on a CPU: the smallest that its attention supports, so that short prompts hit the cache."""
BATCHED_TOKENS = 8192
GIB = 2**30


class Timing(NamedTuple):
    """Seconds spent on each part of starting: finding or building the model, importing vLLM, starting it."""

    model: float
    imports: float
    engine: float


class PromptRenderer:
    """Renders chats and text for one model, by vLLM's own renderer, so that ids equal those of a vLLM server.

    `renders_chats` is False where the model has no chat template. Some models render chats by code (DeepSeek-V3.2) or
    directly to token ids (Mistral); vLLM's renderer supports each.
    """

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer
        # vLLM uses its own tokenizer in another thread, and a tokenizer is not thread-safe.
        self._tokenizer: Any = copy.deepcopy(renderer.tokenizer)
        # Decoded text must match the ids exactly.
        self._tokenizer.clean_up_tokenization_spaces = False
        self.renders_chats = self._probe()

    def _probe(self) -> bool:
        from vllm.renderers.chat_utils import ChatTemplateResolutionError

        try:
            self.chat((Message("user", "?"),))
        except ChatTemplateResolutionError:
            return False
        return True

    def chat(self, messages: Sequence[Message], *, reply: bool = True) -> TokenIds:
        """A chat up to where the model's reply begins; without `reply`, up to the end of the last turn.

        Raises:
            ValueError: the template refuses the chat, or there is none.
        """
        from vllm.renderers.params import ChatParams
        from vllm.utils.mistral import is_mistral_tokenizer

        turns = [{"role": message.role, "content": message.content} for message in messages]
        # The text of Mistral's own library is for people and must not be tokenized.
        arguments = {"add_generation_prompt": reply, "tokenize": is_mistral_tokenizer(self._renderer.tokenizer)}
        _, rendered = self._renderer.render_messages(turns, ChatParams(chat_template_kwargs=arguments))
        if "prompt_token_ids" in rendered:
            return tuple(rendered["prompt_token_ids"])
        # The template contains the special tokens: adding them again would double the first.
        return self.encode(rendered["prompt"])

    def raw(self, text: str) -> TokenIds:
        """The ids of a text that is a complete prompt, with the tokens that the tokenizer prepends."""
        return tuple(self._tokenizer.encode(text))

    def encode(self, text: str) -> TokenIds:
        """The ids of a piece of text, without prepended tokens."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: TokenIds) -> str:
        """The text of token ids, special tokens included."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    @property
    def bos(self) -> str:
        """The text of the token that begins every sequence; "" where the model has none."""
        return getattr(self._tokenizer, "bos_token", None) or ""


@dataclass(slots=True)
class VllmModel:
    """One model and the core that serves it. A core that dies is started again once; the second death is final."""

    role: ClassVar[str] = "the engine"
    """How messages call it."""
    claimed_as: ClassVar[str] = "the verifier's"
    """How the division of a GPU calls it when it runs next to the policy."""
    way_out: ClassVar[str] = ""
    """What else to do where vLLM is not installed."""

    model_id: str
    max_model_len: int = 0
    kv_gib: float = 2.0
    gpu_memory_utilization: float = 0.0
    dtype: DType = "auto"
    notify: Notify = field(default=unheard, init=False, repr=False)
    stage: Notify = field(default=unheard, init=False, repr=False)
    """Receives the name of each stage of the start as it begins, from any thread."""
    timing: Timing | None = field(default=None, init=False, repr=False)
    restarts: int = field(default=0, init=False, repr=False)
    notes: tuple[str, ...] = field(default=(), init=False, repr=False)
    gpu: GpuMemory = field(default_factory=GpuMemory, init=False, repr=False, compare=False)
    _claim: Claim | None = field(default=None, init=False, repr=False, compare=False)
    _core: Core | None = field(default=None, init=False, repr=False)
    _dead: Core | None = field(default=None, init=False, repr=False)
    _model: ModelInfo | None = field(default=None, init=False, repr=False)
    _capacity: int = field(default=0, init=False, repr=False)
    _renderer: PromptRenderer | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _names: Iterator[int] = field(default_factory=itertools.count, init=False, repr=False)

    def __post_init__(self) -> None:
        require(self.max_model_len, "max_model_len", at_least=0)
        require(self.kv_gib, "kv_gib", above=0)
        require(self.gpu_memory_utilization, "gpu_memory_utilization", at_least=0, at_most=1)

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
                    f"{self.role} needs vLLM, which is not installed: run `{install_vllm()}`{self.way_out}"
                )
            began = time.monotonic()
            resolved = resolve(self.model_id, self.notify)
            resolved_at = time.monotonic()
            prepare_environment(build)
            self.stage("importing vLLM")
            arguments = self._arguments(build, resolved)
            imported = time.monotonic()
            self.stage(f"loading {resolved.name}")
            core = self._new_core(build, arguments)
            try:
                facts = core.started.result()
                self._renderer = PromptRenderer(facts.renderer)
                self._model = self._served_model_info(resolved, facts.config)
                self._capacity = facts.config.cache_config.kv_cache_size_tokens or 0
            except BaseException as error:
                core.close()
                if isinstance(error, ReasonerError):
                    raise
                raise EngineUnavailable(
                    f"vLLM could not serve {self.model_id!r}: {first_line(error)}{_advice(error)}"
                ) from error
            self._core = core
            self.timing = Timing(resolved_at - began, imported - resolved_at, time.monotonic() - imported)

    def _arguments(self, build: Build, resolved: Resolved) -> Any:
        """The `AsyncEngineArgs` of this model."""
        raise NotImplementedError

    def _common_arguments(self, build: Build, resolved: Resolved) -> dict[str, Any]:
        common: dict[str, Any] = {"model": resolved.source, "use_tqdm_on_load": False, "disable_log_stats": True}
        if not build.cpu:
            if self.max_model_len:
                common["max_model_len"] = self.max_model_len
            return common | {"dtype": self.dtype, "max_num_batched_tokens": BATCHED_TOKENS}
        window = read_model_info(resolved.folder, name=resolved.name).context if resolved.folder else 0
        length = self.max_model_len or min(window or CPU_CONTEXT, CPU_CONTEXT)
        return common | {
            "max_model_len": length,
            "max_num_batched_tokens": max(length, BATCHED_TOKENS),
            "kv_cache_memory_bytes": int(self.kv_gib * GIB),
            "dtype": resolve_dtype(self.dtype, resolved.folder),
            "block_size": CPU_BLOCK,
        }

    def _new_core(self, build: Build, arguments: Any) -> Core:
        raise NotImplementedError

    def _served_model_info(self, resolved: Resolved, config: Any) -> ModelInfo:
        """The model's facts with the window, the revision and the KV cache type of vLLM's `config`."""
        from vllm.utils.torch_utils import kv_cache_dtype_str_to_dtype

        model, kv_dtype = config.model_config, config.cache_config.cache_dtype
        folder = resolved.folder or resolve(self.model_id, self.notify).folder
        info = read_model_info(folder, name=resolved.name) if folder else ModelInfo(resolved.name)
        return replace(
            info,
            context=model.max_model_len,
            revision=model.revision or info.revision,
            kv_bytes_per_element=kv_cache_dtype_str_to_dtype(kv_dtype, model).itemsize,
            sampling=sampling_of(sampling_defaults(config)),
        )

    def share_gpu(self, policy: Engine) -> None:
        """Claim a part of the policy's GPU, before the policy starts. It reads the disk: call it from a thread."""
        build = installed_build()
        if build is not None and not build.cpu and isinstance(policy, VllmModel):
            weights = stored_weights(resolve(self.model_id, self.notify).folder)
            self.gpu, self._claim = policy.gpu, Claim(self.claimed_as, self.gpu_memory_utilization, weights)
            self.gpu.claims.append(self._claim)

    @property
    def _prompts(self) -> PromptRenderer:
        if self._renderer is None:
            raise EngineError(f"{self.role} is not started")
        return self._renderer

    def _chat(self, messages: tuple[Message, ...], *, reply: bool = True) -> TokenIds:
        try:
            return self._prompts.chat(messages, reply=reply)
        except Exception as error:
            raise EngineError(
                f"the chat template of {self.model.name} refused the chat: {first_line(error)}"
            ) from error

    async def _output(self, core: Core, job: Job, meter: UsageMeter) -> Any:
        """The finished output of a job. The meter holds what an aborted or refused one cost; None if unknown.

        Raises:
            RequestLost: the core died.
            EngineError: vLLM refused the job.
        """
        try:
            return await asyncio.wrap_future(core.submit(job))
        except asyncio.CancelledError:
            meter.usage = await asyncio.shield(asyncio.wrap_future(core.abort(job.request_id)))
            raise
        except CoreDied as death:
            self._bury(core, death)
            raise RequestLost(f"{self.role} died: {first_line(death)}") from death
        except ReasonerError:
            raise
        except Exception as error:
            meter.usage = Usage()
            raise EngineError(f"vLLM refused the request: {first_line(error)}") from error

    def _bury(self, core: Core, death: CoreDied) -> None:
        with self._lock:
            if self._core is not core:
                return
            if self.restarts:
                raise EngineDied(f"{self.role} died again after a restart: {first_line(death)}") from death
            self.restarts += 1
            self._core, self._dead = None, core
        self.notify(f"{self.role} died ({first_line(death)}): it is restarted, and what was in flight is repeated")

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


def _advice(error: BaseException) -> str:
    """What to do about an error of vLLM's start, where that is known."""
    if "KV cache" in str(error):
        return "; change the engine's options kv_gib or max_model_len"
    return "; change the engine's option dtype" if "dtype" in str(error) or "torch.float" in str(error) else ""
