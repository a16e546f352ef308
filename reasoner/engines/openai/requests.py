"""Requests to a server with OpenAI's routes, in the dialect that it accepts, and bounds on the replies."""

import re
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from reasoner.engine import EngineUnavailable, RenderedPrompt, SampleRequest
from reasoner.engines import ReplyParts
from reasoner.errors import UsageError
from reasoner.models.families import FAMILIES, skip_text, template_arguments
from reasoner.models.thinking import PartSplitter, ThinkingProfile
from reasoner.system.files import parse_json, read_whole
from reasoner.types import NO_THINKING, Prompt, SamplingParams, ThinkingLevel

CONCURRENCY: Final = 1024
"""Concurrent requests, where the process may open as many connections."""
SECONDS_PER_TOKEN: Final = 1.0
"""The slowest generation accepted by default; `timeout` is added once, for the queue and the prompt."""
BASE_BYTES: Final = 2**18
TOKEN_BYTES: Final = 2048
"""Per generated token: its text, its part of the event, and what a server adds."""
ALTERNATIVE_BYTES: Final = 256
"""Per log-probability of a token, with the alternative's text."""
PROMPT_BYTES: Final = 16
"""Per prompt token: vLLM sends its id back."""
MESSAGE_TOKENS, TEMPLATE_TOKENS = 16, 128
"""Bounds on the tokens that a chat template adds: per message, and once. Some templates add a system turn."""
WHOLE_TOKENS = 1024
"""Replies of at most this many tokens may come unstreamed.

Proxies close a connection that is silent for 60 s (nginx, AWS load balancers); 1,024 tokens take 51 s at 20 tokens/s.
"""
LIMIT = "the server takes max_completion_tokens instead of max_tokens"
NO_OPTIONS = "the server takes no stream_options: it may report no usage"
STREAMS = (
    "the server sends no unstreamed replies, or not in time: all replies are streamed"
)
OWN = frozenset(
    {
        "model",
        "messages",
        "prompt",
        "stream",
        "stream_options",
        "n",
        "best_of",
        "use_beam_search",
        "echo",
        "seed",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "stop",
        "stop_token_ids",
        "logprobs",
        "top_logprobs",
        "prompt_logprobs",
        "logprob_token_ids",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "add_generation_prompt",
        "continue_final_message",
        "thinking_token_budget",
        "skip_special_tokens",
    }
)
"""Fields that the engine sets itself, or that would break its accounting."""
_REFUSED = re.compile(
    r"un(supported|known|expected|recogni[sz]ed)|not (supported|permitted|allowed|recogni[sz]ed|valid)|extra|does not",
    re.IGNORECASE,
)


_REFUSALS: Final[tuple[tuple[str, dict[str, Any], str], ...]] = (
    (
        "chat_template_kwargs",
        {"template": False},
        "the server takes no chat_template_kwargs: thinking levels are sent as reasoning_effort",
    ),
    (
        "reasoning_effort",
        {"effort": False},
        "the server takes no thinking level: the model thinks as much as it does by itself",
    ),
    ("max_tokens", {"limit": "max_completion_tokens"}, LIMIT),
    ("stream_options", {"stream_options": False}, NO_OPTIONS),
    (
        "seed",
        {"seed": False},
        "the server takes no seed: its samples cannot be repeated",
    ),
)
"""A field that a server may refuse, what the dialect then is, and a note about it."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server accepts.

    `unstreamed` are replies in one piece. `template` are arguments of the chat template, and `effort` is
    `reasoning_effort`. `by_reasoner` is `reasoner serve` on an engine that takes token ids.
    """

    vllm: bool = False
    by_reasoner: bool = False
    limit: str = "max_tokens"
    seed: bool = True
    stream_options: bool = True
    unstreamed: bool = True
    template: bool = True
    effort: bool = True

    def after(
        self, body: Mapping[str, object], message: str
    ) -> "tuple[Dialect, str] | None":
        """The dialect in which a refused request may be accepted, and a note; None if the message names no field."""
        if (
            "reasoning_effort" in body
            and _refuses(message, "reasoning_effort")
            and re.search(r"\bvalue", message)
        ):
            return None  # a value that this model does not have is the user's to change
        for field, change, note in _REFUSALS:
            if field in body and _refuses(message, field):
                return replace(self, **change), note
        if "max_tokens" in body and re.search(
            r"max_completion_tokens(?!.*(too (large|long)|context))",
            message,
            flags=re.IGNORECASE | re.DOTALL,
        ):
            return replace(self, limit="max_completion_tokens"), LIMIT
        if not body.get("stream") and re.search(r"\bstream", message):
            return replace(self, unstreamed=False), STREAMS
        return None

    def body(
        self,
        model: str,
        request: SampleRequest,
        profile: ThinkingProfile | None,
        *,
        stream: bool,
    ) -> tuple[str, dict[str, object]]:
        """The route and the body that draw a sequence.

        Raises:
            EngineUnavailable: the server cannot report what the request needs, or cannot continue its prompt.
        """
        params = request.params
        body: dict[str, object] = {
            "model": params.lora or model,
            self.limit: params.limit,
        }
        body.update(_sampling(params, vllm=self.vllm))
        if self.seed:
            body["seed"] = request.seed
        if stream:
            body["stream"] = True
            if self.stream_options:
                body["stream_options"] = {
                    "include_usage": True,
                    **({"continuous_usage_stats": True} if self.vllm else {}),
                }
        if request.watch:
            return "/v1/chat/completions", body | self._watching(request, profile)
        as_chat = self.by_reasoner or request.rendered.token_ids is None
        if as_chat and request.prompt.messages:
            return "/v1/chat/completions", body | self._chat(request, profile)
        return "/v1/completions", body | self._raw(request, profile)

    def skips(self, prompt: Prompt, profile: ThinkingProfile | None) -> str:
        """The thought that a chat begins with, so that a model that always thinks does not."""
        return (
            skip_text(profile, prompt.thinking_level, opened=False) if self.vllm else ""
        )

    def unheeded(
        self, prompt: Prompt, profile: ThinkingProfile | None, *, exact: bool
    ) -> Iterator[str]:
        """Notes on a thinking level that changes nothing."""
        level = prompt.thinking_level
        if (
            level is not None
            and profile is None
            and (self.vllm or not isinstance(level, str))
        ):
            yield "how the model thinks is unknown: set reasoning_parser, or its thinking level changes nothing"
        if not (exact or self.vllm) and skip_text(profile, level, opened=False):
            yield "thinking=none: the model always thinks, and the server takes nothing in its place"

    def _chat(
        self, request: SampleRequest, profile: ThinkingProfile | None
    ) -> dict[str, object]:
        k = request.params.logprobs
        body = self._turns(request.prompt, profile)
        if k is not None:
            # vLLM lists the sampled token first and includes it in the count, so one more shows the k best.
            body |= {
                "logprobs": True,
                "top_logprobs": min(k + 1, 20) if k and self.vllm else k,
            }
        if self.by_reasoner:
            body["return_token_ids"] = True
        return body

    def _turns(
        self, prompt: Prompt, profile: ThinkingProfile | None
    ) -> dict[str, object]:
        """The messages, the beginning of the reply if there is one, and the thinking level."""
        spoken = [message.fields for message in prompt.messages]
        if self.by_reasoner and (prompt.token_ids or not prompt.text):
            continued = (
                {"continue_token_ids": prompt.token_ids} if prompt.token_ids else {}
            )
            level = level_fields(prompt.thinking_level)
            return {"messages": spoken} | level | prompt.tool_fields | continued
        body: dict[str, object] = (
            {"messages": spoken} | self._level(prompt, profile) | prompt.tool_fields
        )
        thought = ""
        if prompt.thinking and not prompt.text:
            if profile is None or not profile.end_text:
                raise EngineUnavailable(
                    "the server shows no markers of thinking, so that a reply cannot continue within it: set "
                    "reasoning_parser, or use thinking=low, medium or high"
                )
            thought = f"{profile.start_text}{prompt.thinking}"
        earlier = prompt.text or thought or self.skips(prompt, profile)
        if earlier:
            spoken.append({"role": "assistant", "content": earlier})
            if self.vllm or thought:
                body |= {"add_generation_prompt": False, "continue_final_message": True}
        return body

    def _level(
        self, prompt: Prompt, profile: ThinkingProfile | None
    ) -> dict[str, object]:
        """The fields of a thinking level: arguments of the chat template, or what hosted models know."""
        level = prompt.thinking_level
        if level is None:
            return {}
        arguments = template_arguments(profile, level)
        effort = arguments.get("reasoning_effort")
        if not self.vllm and self.effort and arguments.keys() == {"reasoning_effort"}:
            return {"reasoning_effort": effort}
        if arguments and self.template:
            return {"chat_template_kwargs": dict(arguments)}
        if (
            not self.vllm
            and self.effort
            and isinstance(level, str)
            and (profile is None or not self.template)
        ):
            return {"reasoning_effort": level}
        return {}

    def _raw(
        self, request: SampleRequest, profile: ThinkingProfile | None
    ) -> dict[str, object]:
        prompt, k = request.prompt, request.params.logprobs
        body: dict[str, object] = {} if k is None else {"logprobs": k}
        if k is not None and self.vllm:
            # Alternatives are keyed by their text, which two tokens may share: ids keep both.
            body["return_tokens_as_token_ids"] = True
        if request.rendered.token_ids is None:
            return body | {"prompt": prompt.raw + prompt.thinking + prompt.text}
        if profile:
            # The text shows where thinking ends only with its markers.
            body["skip_special_tokens"] = False
        return body | {
            "prompt": list(request.rendered.token_ids),
            "return_token_ids": True,
        }

    def _watching(
        self, request: SampleRequest, profile: ThinkingProfile | None
    ) -> dict[str, object]:
        """Only vLLM's chat route reports the log-probabilities of chosen tokens."""
        prompt = request.prompt
        if not self.vllm or not prompt.messages or prompt.text or prompt.token_ids:
            raise EngineUnavailable(
                "the server does not report log-probabilities of chosen tokens: use a vLLM server, and a "
                "prompt of messages alone"
            )
        body: dict[str, object] = {"logprobs": True, "return_tokens_as_token_ids": True}
        return (
            body
            | self._turns(prompt, profile)
            | {"logprob_token_ids": list(request.watch)}
        )


def level_fields(level: ThinkingLevel | None) -> dict[str, object]:
    """A thinking level as `reasoner serve` takes it."""
    if level is None:
        return {}
    return {
        "reasoning_effort" if isinstance(level, str) else "thinking_token_budget": level
    }


def _refuses(message: str, name: str) -> bool:
    return (
        re.search(rf"\b{name}\b", message) is not None
        and _REFUSED.search(message) is not None
    )


def merged(
    body: Mapping[str, object], extra: Mapping[str, object]
) -> dict[str, object]:
    """A body with the fields of `extra_body`; where both have arguments of the chat template, those of the body win."""
    if not extra:
        return dict(body)
    both = {**body, **extra}
    ours, theirs = body.get("chat_template_kwargs"), extra.get("chat_template_kwargs")
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        both["chat_template_kwargs"] = {**theirs, **ours}
    return both


@lru_cache(maxsize=256)
def _sampling(params: SamplingParams, *, vllm: bool) -> Mapping[str, object]:
    """The sampling options that are given; the server has values of its own for the others.

    Only vLLM knows all of them: another server is not sent what changes nothing.
    """
    body: dict[str, object] = {}
    # Sampling options by the value that changes nothing; None where every server takes the option
    for name, neutral in {
        "temperature": None,
        "top_p": None,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "top_k": 0,
        "min_p": 0,
        "repetition_penalty": 1,
    }.items():
        value = getattr(params, name)
        if value is not None and (vllm or value != neutral):
            body[name] = value
    for name in ("stop", "stop_token_ids", "bad_words"):
        if listed := getattr(params, name):
            body[name] = list(listed)
    if params.json_schema:
        schema = {
            "name": "reply",
            "schema": parse_json(params.json_schema),
            "strict": True,
        }
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if params.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in params.logit_bias}
    return body


def read_extra(text: str) -> dict[str, Any]:
    """The fields of `extra_body`: a JSON object, or the path of a file that holds one.

    Raises:
        UsageError: it is neither, or sets a field that the engine sets itself.
    """
    if not text.strip():
        return {}
    try:
        fields = parse_json(
            text
            if text.lstrip().startswith("{")
            else read_whole(Path(text).expanduser())
        )
    except (OSError, ValueError) as error:
        raise UsageError(
            f"extra_body={text[:80]!r} is neither a JSON object nor a file that holds one: write it as in "
            'extra_body={"chat_template_kwargs": {"enable_thinking": false}}'
        ) from error
    if not isinstance(fields, dict):
        raise UsageError(
            f"extra_body={text[:80]!r} does not hold a JSON object: write the fields in braces"
        )
    if taken := sorted(OWN & fields.keys()):
        raise UsageError(
            f"extra_body sets {', '.join(taken)}, which the engine sets itself: leave it out, and use the strategy's "
            "own options"
        )
    return fields


def text_bound(
    prompt: Prompt, profile: ThinkingProfile | None, dialect: Dialect
) -> RenderedPrompt:
    """A prompt that is sent as text, with a bound on its tokens: one for each byte, and those of the template."""
    spoken = [message.content for message in prompt.messages] or [prompt.raw]
    earlier = prompt.thinking + prompt.text or dialect.skips(prompt, profile)
    size = sum(
        len(text.encode("utf-8", "surrogatepass")) for text in (*spoken, earlier)
    )
    size += len(profile.start_text) if profile and prompt.thinking else 0
    in_thinking = bool(prompt.thinking and profile) and not closed(prompt, profile)
    return RenderedPrompt(
        None,
        size + MESSAGE_TOKENS * (len(spoken) + bool(earlier)) + TEMPLATE_TOKENS,
        in_thinking,
    )


def reply_bytes(request: SampleRequest) -> int:
    """A limit on the bytes of a reply, in proportion to the requested tokens and log-probabilities."""
    each = (
        TOKEN_BYTES
        + (1 + max(request.params.logprobs or 0, len(request.watch)))
        * ALTERNATIVE_BYTES
    )
    return (
        BASE_BYTES
        + request.params.limit * each
        + PROMPT_BYTES * request.rendered.tokens
    )


def at_once() -> int:
    """Concurrent requests for which this process may open connections."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return CONCURRENCY
    # Open files that the rest of the process may need
    return max(1, min(CONCURRENCY, allowed - 256))


GENERIC: Final = ThinkingProfile(
    "on_request",
    (),
    (),
    "<think>",
    "</think>",
    "\n</think>\n\n",
    "<think>\n\n</think>\n\n",
)
"""The markers of most models that think, for a model of unknown name."""
_SHOWN: Final = {
    start.strip(): each.profile
    for each in reversed(FAMILIES)
    if (start := each.profile.start_text)
}
"""How models think that show it, by what their thinking begins with; of several families, the first."""
_STARTS: Final = ("<", *_SHOWN)
_BEGUN: Final = frozenset(
    start[:length] for start in _SHOWN for length in range(len(start))
)


def closed(prompt: Prompt, profile: ThinkingProfile | None) -> bool:
    """Whether a prompt has ended thinking, or skipped it, so that a final part follows."""
    end = profile.end_text if profile else ""
    return (
        bool(prompt.text)
        or prompt.thinking_level == NO_THINKING
        or bool(end and end in prompt.thinking)
    )


def may_think(beginning: str) -> bool:
    """Whether a reply of a model of unknown name may begin with thinking, by what it begins with."""
    return beginning in _BEGUN or beginning.startswith(_STARTS)


def by_text(
    text: str, profile: ThinkingProfile | None, *, opened: bool, cut: bool
) -> ReplyParts:
    """The parts of a text with markers; `cut` says that a limit ended it.

    `opened` says whether it continues thinking. A closing marker alone ends thinking that the prompt opened. A text
    without a marker is final, unless it was cut and the model always thinks. Without a profile, an opening marker
    counts only at the beginning of the text; there a marker of any family counts.
    """
    known, beginning = profile is not None, text.lstrip()
    if profile is None:
        if (
            GENERIC.end_text not in text
            and not beginning.startswith(_STARTS)
            and not opened
        ):
            return ReplyParts("", text)
        profile = next(
            (_SHOWN[start] for start in _SHOWN if beginning.startswith(start)), GENERIC
        )
        if (
            GENERIC.end_text not in text
            and not beginning.startswith(profile.start_text.strip())
            and not opened
        ):
            return ReplyParts("", text)
    if not profile.end_text:
        return ReplyParts("", text)
    reading = PartSplitter(profile, opened=opened)
    pieces = reading.add(text, last=True)
    unclosed = reading.thinking or (
        cut and not reading.closed and known and profile.when == "always"
    )
    thought = unclosed or reading.end > 0
    texts = {True: "", False: ""}
    for piece, thinking in pieces:
        texts[thought if thinking is None else thinking] += piece
    return ReplyParts(texts[True], texts[False], unclosed)
