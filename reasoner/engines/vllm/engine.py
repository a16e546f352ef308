"""vLLM inside this program, with automatic prefix caching: the default engine."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from reasoner.engine import (
    Continuation,
    ModelInfo,
    RenderedPrompt,
    SampleRequest,
    TextPiece,
    TokenIds,
    Usage,
)
from reasoner.engines import HEADS_CACHED, RenderedHead
from reasoner.engines.vllm.build import Build, CoreLog, installed_build
from reasoner.engines.vllm.cores import (
    WORKER_EXTENSION,
    AsyncCore,
    CoreFacts,
    CoreJob,
    InProcessCore,
)
from reasoner.engines.vllm.parts import (
    PartReader,
    SequencePrefix,
    ThinkingMarks,
    split_parts,
    with_calls,
)
from reasoner.engines.vllm.rendering import name_parser, served_profile
from reasoner.engines.vllm.served import VllmModel
from reasoner.engines.vllm.stream import EndedSequence, SequenceStream, read_logprobs
from reasoner.errors import UsageError
from reasoner.models.families import AUTO, skip_text, template_arguments
from reasoner.models.resolve import ResolvedModel
from reasoner.models.thinking import HARMONY, ThinkingProfile, still_thinking
from reasoner.system.child_processes import in_daemon
from reasoner.types import Completion, Prompt


@dataclass(slots=True)
class VllmEngine(VllmModel):
    """One model served by vLLM, thousands of requests at once, prefixes shared.

    `model_id` is a folder, a Hugging Face id or "embedded". `max_model_len` 0 takes the model's window, on a CPU at
    most 8,192 tokens, on a GPU what fits its memory. `kv_gib` bounds the KV cache on a CPU. `gpu_memory_utilization` is
    the share of a GPU's memory; 0 takes 0.9, less what the verifier's models need. `dtype` "auto" is on a CPU bfloat16
    if it has instructions for that, else float32; on a GPU it is the model's own type. `core` chooses who steps
    vLLM: "in_process" is a thread here, which starts fastest on a CPU; "async" is a separate process, natural on a GPU;
    "auto" depends on the installed build.

    Any other argument of vLLM is an option too, as in `vllm:tensor_parallel_size=2,quantization=awq`. In Python, `args`
    is a mapping of them. Without them, a CPU has `max_num_seqs` 256, `block_size` 32 and `enforce_eager` true; on a GPU
    vLLM decides.

    `reasoning_parser` is the name of the one of vLLM's that knows the markers of thinking; "auto" finds it from the
    model, "none" takes all that is generated for the answer.

    A core that dies is restarted once and what was in flight is drawn again; the second death is `EngineDied`. A seed
    repeats a run exactly only where batches repeat: vLLM's numerics depend on what else is in the batch, so the same
    seed next to other requests may differ after some tokens. A trace replays exactly.
    """

    alternative: ClassVar[str] = (
        "; or use a server with --base-url URL, or no model at all with --engine simulated"
    )

    model_id: str = "embedded"
    core: Literal["auto", "in_process", "async"] = "auto"
    reasoning_parser: str = AUTO
    _heads: dict[str, RenderedHead] = field(
        default_factory=dict, init=False, repr=False
    )
    _marks: ThinkingMarks | None = field(default=None, init=False, repr=False)

    @property
    def continues(self) -> Continuation | None:
        """By token ids."""
        return "exact"

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
                self.notes += (
                    "the model has no chat template: messages are joined as text",
                )

    def _new_core(
        self, build: Build, arguments: Any, log: CoreLog
    ) -> InProcessCore | AsyncCore:
        in_process = build.cpu if self.core == "auto" else self.core == "in_process"
        return (
            InProcessCore(arguments, log) if in_process else AsyncCore(arguments, log)
        )

    def _own_settings(self, build: Build) -> dict[str, Any]:
        own = {
            "worker_extension_cls": WORKER_EXTENSION,
            "enable_prefix_caching": True,
            "scheduling_policy": "priority",
        }
        if not build.cpu:
            return own
        if self.args.get("enable_chunked_prefill") not in (
            None,
            False,
            "false",
            "False",
        ):
            raise UsageError(
                "enable_chunked_prefill of vLLM cannot be true on a CPU: a seeded request with a split prefill ends "
                "the process: omit it"
            )
        # Sequences that run at once on a CPU unless `max_num_seqs` says otherwise
        return own | {"enable_chunked_prefill": False, "max_num_seqs": 256}

    def _arguments(self, build: Build, resolved: ResolvedModel) -> Any:
        arguments = VllmModel._arguments(self, build, resolved)
        name_parser(arguments, resolved.name, self.reasoning_parser)
        return arguments

    def _served_model_info(
        self, resolved: ResolvedModel, facts: CoreFacts
    ) -> ModelInfo:
        info = VllmModel._served_model_info(self, resolved, facts)
        profile = served_profile(
            resolved.name,
            self.reasoning_parser,
            facts.config.model_config,
            self._prompts.reader,
        )
        self._marks = (
            ThinkingMarks.of(profile, self._prompts.tokenizer) if profile else None
        )
        return replace(info, thinking=profile)

    def _gpu_share(self, resolved: ResolvedModel) -> float:
        if self._claim is None:
            self._claim = self._new_claim(resolved.folder)
            self._claim.role = "the policy's"
        return self.gpu.take(self._claim)

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        """The head by the model's own chat template, once; then the generated ids."""
        head = self._head(prompt)
        ids, marks = head.token_ids + prompt.token_ids, self._marks
        if marks and not marks.profile.end and prompt.token_ids:
            before = SequencePrefix(ids, len(prompt.token_ids), head.opened)
            thinking = PartReader(
                before, marks, self._prompts.tokenizer
            ).reading.thinking
        else:
            thinking = still_thinking(prompt, self._profile, opened=head.opened)
        return RenderedPrompt(ids, len(ids), thinking)

    def _head(self, prompt: Prompt) -> RenderedHead:
        key = prompt.head_digest
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) > HEADS_CACHED:
                self._heads.clear()
            head = self._heads[key] = self._encode(prompt)
        return head

    def _encode(self, prompt: Prompt) -> RenderedHead:
        profile = self._profile
        if prompt.raw:
            opened = profile is not None and prompt.raw.rstrip().endswith(
                profile.start_text.rstrip()
            )
            return RenderedHead(self._prompts.raw(prompt.raw), opened)
        if not self._prompts.renders_chats:
            return RenderedHead(
                self._prompts.raw(
                    "\n\n".join(message.content for message in prompt.messages)
                )
            )
        tools = prompt.tool_fields
        if profile is None:
            return RenderedHead(self._chat(prompt.messages, tools))
        arguments = {**template_arguments(profile, prompt.thinking_level), **tools}
        ids = self._chat(prompt.messages, arguments)
        opened = self._prompts.reader.opens(profile, prompt.messages, arguments)
        skip = skip_text(profile, prompt.thinking_level, opened=opened)
        return (
            RenderedHead(ids + self._prompts.marked(skip))
            if skip
            else RenderedHead(ids, opened)
        )

    @property
    def _profile(self) -> ThinkingProfile | None:
        return self._marks.profile if self._marks else None

    async def encode(self, text: str) -> TokenIds | None:
        """The ids of a piece of text that continues a reply."""
        return self._prompts.marked(text) if self._marks else self._prompts.after(text)

    async def token_texts(self, ids: TokenIds) -> tuple[str, ...]:
        """The text of each token by itself."""
        return tuple(self._prompts.decode((token,)) for token in ids)

    async def sample(self, request: SampleRequest) -> Completion:
        """Draw one sequence.

        Raises:
            UsageError: vLLM refuses a parameter, such as a token id of `logit_bias` that is not in the vocabulary; or
                the request names an adapter.
        """
        if request.params.lora:
            request.meter.usage = Usage()
            raise UsageError(
                f"lora={request.params.lora} needs a server: start `vllm serve MODEL --enable-lora --lora-modules "
                "NAME=PATH`, and use it with --base-url and lora=NAME"
            )
        await self.start()
        core = self._core
        assert core is not None
        ids = request.rendered.token_ids
        assert ids is not None
        # A request that watches tokens is a measurement: it has no parts.
        marks = None if request.watch else self._marks
        before = SequencePrefix(
            ids,
            len(request.prompt.token_ids),
            marks is not None and self._head(request.prompt).opened,
        )
        stream = self._stream(request, before, marks)
        params = _vllm_params(
            request, streams=stream is not None, thinks=marks is not None
        )
        name = f"{request.question_id}-{next(self._names)}"
        job = CoreJob(
            name, ids, params, request.priority, stream, request.meter, request.progress
        )
        output = await self._output(core, job, request.meter)
        drawn = (
            stream.drawn
            if stream
            else EndedSequence.whole(output.outputs[0], request.watch)
        )
        usage = Usage(
            len(output.prompt_token_ids), output.num_cached_tokens or 0, drawn.computed
        )
        request.meter.usage = usage
        completion = _completion(request, drawn, usage)
        if marks is None:
            return completion
        completion = _in_parts(completion, before, marks, self._prompts.tokenizer)
        if request.prompt.tools and marks.profile.parser == HARMONY:
            return with_calls(completion, before, marks, self._prompts.tokenizer)
        return completion

    def _stream(
        self,
        request: SampleRequest,
        before: SequencePrefix,
        marks: ThinkingMarks | None,
    ) -> SequenceStream | None:
        """What ends the sequence where vLLM itself cannot, and passes its text on."""
        stops = marks and request.params.stop
        if not (request.on_text or stops):
            return None
        on_text = _in_loop(request.on_text) if request.on_text else None
        # It runs in the thread in which vLLM uses its own tokenizer.
        return SequenceStream(
            request, before, marks, self._prompts.served_tokenizer, on_text
        )


def _in_loop(on_text: Callable[[TextPiece], None]) -> Callable[[TextPiece], None]:
    """The function for another thread: it is called in the loop that runs here, unless that has ended."""
    loop = asyncio.get_running_loop()

    def pass_on(piece: TextPiece) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(on_text, piece)

    return pass_on


def _vllm_params(request: SampleRequest, *, streams: bool, thinks: bool) -> Any:
    from vllm import SamplingParams as VllmSamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    params = request.params
    given = {
        name: value
        # Sampling parameters that have the same name and a neutral default in vLLM
        for name in (
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
        )
        if (value := getattr(params, name)) is not None
    }
    return VllmSamplingParams(
        **given,
        max_tokens=params.limit,
        logit_bias=dict(params.logit_bias) or None,
        bad_words=list(params.bad_words) or None,
        structured_outputs=StructuredOutputsParams(json=params.json_schema)
        if params.json_schema
        else None,
        stop=[] if thinks else list(params.stop),
        stop_token_ids=list(params.stop_token_ids),
        # vLLM returns either the best alternatives or chosen ids, both after the sampled token.
        logprobs=None if request.watch else params.logprobs,
        logprob_token_ids=list(request.watch) or None,
        seed=request.seed,
        flat_logprobs=True,
        # The parts of a model that thinks are decoded here, each by itself.
        detokenize=not thinks,
        output_kind=RequestOutputKind.DELTA
        if streams
        else RequestOutputKind.FINAL_ONLY,
    )


def _completion(
    request: SampleRequest, drawn: EndedSequence, usage: Usage
) -> Completion:
    ids, stop = drawn.token_ids, drawn.stop_reason
    if isinstance(stop, int) and stop not in request.params.stop_token_ids:
        stop = None  # an end-of-sequence token of the model
    logprobs = read_logprobs(drawn.rows, request.params.logprobs, request.watch)
    finish = drawn.finish_reason
    return Completion(
        request.prompt,
        drawn.text,
        ids,
        finish,
        stop,
        usage,
        logprobs,
        request.index,
        request.seed,
    )


def _in_parts(
    whole: Completion, before: SequencePrefix, marks: ThinkingMarks, tokenizer: Any
) -> Completion:
    """A completion with its text split into thinking and final part."""
    parts = split_parts(whole.continuation, before, marks, tokenizer)
    thinking, final = parts.thinking, parts.final
    if whole.boundary and parts.unclosed:
        thinking = thinking.partition(whole.boundary)[0]
    elif whole.boundary:
        final = final.partition(whole.boundary)[0]
    usage = replace(
        whole.usage,
        thinking_tokens=len(whole.token_ids) if parts.unclosed else parts.tokens or 0,
    )
    return replace(
        whole, text=final, usage=usage, thinking=thinking, unclosed=parts.unclosed
    )
