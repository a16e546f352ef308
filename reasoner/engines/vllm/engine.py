"""vLLM inside this program, with automatic prefix caching: the default engine."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from reasoner.engine import Rendered, SampleRequest
from reasoner.engines.vllm.build import Build, in_daemon, installed_build
from reasoner.engines.vllm.cores import SAMPLER_REPAIR, AsyncCore, InProcessCore, Job
from reasoner.engines.vllm.gpu_memory import Claim, stored_weights
from reasoner.engines.vllm.served import VllmModel
from reasoner.errors import EngineError, require
from reasoner.models.resolve import Resolved
from reasoner.types import NO_LOGPROB, Completion, Logprobs, Prompt, TokenIds, Usage

_OPTIONAL = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")
"""Sampling parameters that have the same name and a neutral default in vLLM."""
HEADS_CACHED = 10_000
"""Rendered prompt heads that are remembered."""


@dataclass(slots=True)
class VllmEngine(VllmModel):
    """One model served by vLLM, thousands of requests at once, prefixes shared.

    `model_id` is a folder, a Hugging Face id or "embedded". `max_num_seqs` is how many sequences run at once.
    `block_size` 0 and `enable_prefix_caching` are vLLM's own. `max_model_len` 0 takes the model's window, on a CPU at
    most 8,192 tokens. `kv_gib` bounds the KV cache on a CPU. `gpu_memory_utilization` is the share of a GPU's memory; 0
    takes 0.9, less what the verifier's models need. `dtype` "auto" is bfloat16 on a CPU with native support for it and
    float32 on any other; on a GPU it is the model's own type. `core` chooses who steps vLLM: "in_process" is a thread
    here, which starts fastest on a CPU; "async" is a separate process, natural on a GPU; "auto" depends on the
    installed build. `enforce_eager` False compiles the model at the start, True does not; None compiles on a GPU only.

    A core that dies is restarted once and what was in flight is drawn again; the second death is `EngineDied`. A seed
    repeats a run exactly only where batches repeat: vLLM's numerics depend on what else is in the batch, so the same
    seed next to other requests may differ after some tokens. A trace replays exactly.
    """

    way_out: ClassVar[str] = "; or use a server with --base-url URL, or no model at all with --engine simulated"

    model_id: str = "embedded"
    core: Literal["auto", "in_process", "async"] = "auto"
    max_num_seqs: int = 256
    block_size: int = 0
    enable_prefix_caching: bool = True
    enforce_eager: bool | None = None
    _heads: dict[tuple[Any, str], TokenIds] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        VllmModel.__post_init__(self)
        require(self.max_num_seqs, "max_num_seqs", at_least=1)
        require(self.block_size, "block_size", at_least=0)

    @property
    def name(self) -> str:
        """VLLM and its version."""
        build = installed_build()
        return f"{build.package} {build.version}" if build else "vllm"

    async def start(self) -> None:
        """Find the model, import vLLM and start it, or start it again after it died."""
        if self._core is None:
            await in_daemon(self.start_core)
            if not self._prompts.renders_chats:
                self.notes = ("the model has no chat template: messages are joined as text",)

    def _new_core(self, build: Build, arguments: Any) -> InProcessCore | AsyncCore:
        in_process = build.cpu if self.core == "auto" else self.core == "in_process"
        return InProcessCore(arguments, self.stage) if in_process else AsyncCore(arguments)

    def _arguments(self, build: Build, resolved: Resolved) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs

        arguments = self._common_arguments(build, resolved) | {
            "worker_extension_cls": SAMPLER_REPAIR,
            "enable_prefix_caching": self.enable_prefix_caching,
            "max_num_seqs": self.max_num_seqs,
            "scheduling_policy": "priority",
        }
        if build.cpu:
            # A seeded request whose prefill is split kills the CPU core, so no prefill is ever split.
            arguments["enable_chunked_prefill"] = False
            arguments["enforce_eager"] = self.enforce_eager is not False
        else:
            arguments["gpu_memory_utilization"] = self._gpu_share(resolved)
            if self.enforce_eager is not None:
                arguments["enforce_eager"] = self.enforce_eager
        if self.block_size:
            arguments["block_size"] = self.block_size
        return AsyncEngineArgs(**arguments)

    def _gpu_share(self, resolved: Resolved) -> float:
        if self._claim is None:
            weights = stored_weights(resolved.folder)
            self._claim = Claim("the policy's", self.gpu_memory_utilization, weights)
        return self.gpu.take(self._claim)

    async def render(self, prompt: Prompt) -> Rendered:
        """The head by the model's own chat template, once; then the generated ids."""
        key = (prompt.messages, prompt.raw)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) > HEADS_CACHED:
                self._heads.clear()
            head = self._heads[key] = self._encode(prompt)
        ids = head + prompt.token_ids
        return Rendered(ids, len(ids))

    def _encode(self, prompt: Prompt) -> TokenIds:
        if prompt.raw:
            return self._prompts.raw(prompt.raw)
        if not self._prompts.renders_chats:
            return self._prompts.raw("\n\n".join(message.content for message in prompt.messages))
        return self._chat(prompt.messages)

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
        output = await self._output(core, job, request.meter)
        sequence = output.outputs[0]
        usage = Usage(len(output.prompt_token_ids), output.num_cached_tokens or 0, len(sequence.token_ids))
        request.meter.usage = usage
        return _completion(request, sequence, usage)


def _vllm_params(request: SampleRequest) -> Any:
    from vllm import SamplingParams as VllmSamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = request.params
    given = {name: value for name in _OPTIONAL if (value := getattr(params, name)) is not None}
    return VllmSamplingParams(
        **given,
        max_tokens=params.limit,
        logit_bias=dict(params.logit_bias) or None,
        bad_words=list(params.bad_words) or None,
        stop=list(params.stop),
        stop_token_ids=list(params.stop_token_ids),
        # vLLM returns either the best alternatives or chosen ids; both include the sampled token.
        logprobs=None if request.watch else params.logprobs,
        logprob_token_ids=list(request.watch) or None,
        seed=request.seed,
        output_kind=RequestOutputKind.CUMULATIVE if request.floor else RequestOutputKind.FINAL_ONLY,
    )


def _cut(request: SampleRequest) -> Callable[[Any], bool]:
    """A function of the stream of one sequence; True where it fell below the floor."""
    assert request.floor is not None
    cut, top_k, read = request.floor.watch(), request.params.logprobs or 0, 0

    def watch(output: Any) -> bool:
        nonlocal read
        rows = output.outputs[0].logprobs or ()
        fresh, read = rows[read:], len(rows)
        return any(cut(_best(row, top_k)) for row in fresh)

    return watch


def _best(row: Any, top_k: int) -> tuple[float, ...]:
    return tuple(sorted((entry.logprob for entry in row.values()), reverse=True)[:top_k])


def _completion(request: SampleRequest, sequence: Any, usage: Usage) -> Completion:
    ids, stop = tuple(sequence.token_ids), sequence.stop_reason
    if isinstance(stop, int) and stop not in request.params.stop_token_ids:
        stop = None  # an end-of-sequence token of the model
    logprobs = _logprobs(ids, sequence.logprobs, request.params.logprobs, request.watch)
    finish = sequence.finish_reason
    return Completion(request.prompt, sequence.text, ids, finish, stop, usage, logprobs, request.index, request.seed)


def _logprobs(ids: TokenIds, rows: Any, top_k: int | None, watch: TokenIds) -> Logprobs | None:
    """The measured log-probabilities.

    Raises:
        EngineError: that of a sampled token or a best alternative is missing or minus infinity. A watched token may
            have it: a model can exclude tokens.
    """
    if rows is None:
        return None
    sampled = tuple(row[token].logprob for token, row in zip(ids, rows, strict=False))
    chosen = tuple(tuple(max(row[token].logprob, NO_LOGPROB) for token in watch) for row in rows)
    top = tuple(_best(row, top_k) for row in rows) if top_k and not watch else ()
    if any(len(row) < (top_k or 0) for row in top) or not all(map(math.isfinite, itertools.chain(sampled, *top))):
        raise EngineError("vLLM reported no log-probability for a sampled token or one of its best alternatives")
    return Logprobs(sampled, top, chosen if watch else ())
