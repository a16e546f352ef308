"""Requests to a server with OpenAI's routes, in the dialect that it accepts, and bounds on the replies."""

import re
import resource
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from reasoner.engine import SampleRequest
from reasoner.errors import EngineUnavailable, UsageError
from reasoner.system.files import parse_json, read_whole
from reasoner.types import Message, SamplingParams

CONCURRENCY: Final = 1024
"""Concurrent requests, where the process may open as many connections."""
OTHER_FILES: Final = 256
"""Open files that the rest of the process may need."""
SECONDS_PER_TOKEN: Final = 1.0
"""The slowest generation accepted by default; `timeout` is added once, for the queue and the prompt."""
BASE_BYTES: Final = 2**18
TOKEN_BYTES: Final = 2048
"""Per generated token: its text, its part of the event, and what a server adds."""
ALTERNATIVE_BYTES: Final = 256
"""Per log-probability of a token, with the alternative's text."""
PROMPT_BYTES: Final = 16
"""Per prompt token: vLLM sends its id back."""
WHOLE_TOKENS = 1024
"""Replies of up to so many tokens may come unstreamed. Proxies close a connection that is silent for 60 s (nginx, AWS
load balancers), and 1,024 tokens take 51 s at 20 tokens/s."""
LIMIT = "the server takes max_completion_tokens instead of max_tokens"
NO_SEED = "the server takes no seed: its samples cannot be repeated"
NO_OPTIONS = "the server takes no stream_options: it may report no usage"
ONE_EACH = "the server draws one sequence per request: several samples of a prompt are as many requests"
STREAMS = "the server sends no unstreamed replies, or not in time: all replies are streamed"
OWN = frozenset({
    "model", "messages", "prompt", "stream", "stream_options", "n", "best_of", "use_beam_search", "echo", "seed",
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "stop_token_ids",
    "logprobs", "top_logprobs", "prompt_logprobs", "logprob_token_ids", "return_token_ids",
    "return_tokens_as_token_ids", "add_generation_prompt", "continue_final_message",
})  # fmt: skip
"""Fields that the engine sets itself, or that would break its accounting."""
_REFUSED = re.compile(
    r"un(supported|known|expected|recogni[sz]ed)|not (supported|permitted|allowed|recogni[sz]ed|valid)|extra|does not",
    re.IGNORECASE,
)
_NEUTRAL: Final[Mapping[str, float | None]] = {
    "temperature": None, "top_p": None, "presence_penalty": 0, "frequency_penalty": 0, "top_k": 0, "min_p": 0,
    "repetition_penalty": 1,
}  # fmt: skip
"""Sampling options by the value that changes nothing; None where every server takes the option."""
_WANTED = re.compile(r"max_completion_tokens(?!.*(too (large|long)|context))", re.IGNORECASE | re.DOTALL)


class Learned(NamedTuple):
    """The dialect to use after a refusal, and a note about it."""

    dialect: "Dialect"
    note: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server accepts. `batches` are several sequences per request, `unstreamed` are replies in one piece."""

    vllm: bool = False
    limit: str = "max_tokens"
    seed: bool = True
    stream_options: bool = True
    batches: bool = True
    unstreamed: bool = True

    def after(self, body: Mapping[str, object], message: str) -> Learned | None:
        """The dialect in which a refused request may be accepted; None where the message names no known field."""
        if "max_tokens" in body and (_refuses(message, "max_tokens") or _WANTED.search(message)):
            return Learned(replace(self, limit="max_completion_tokens"), LIMIT)
        if "stream_options" in body and "stream_options" in message:
            return Learned(replace(self, stream_options=False), NO_OPTIONS)
        if "seed" in body and _refuses(message, "seed"):
            return Learned(replace(self, seed=False), NO_SEED)
        if not body.get("stream") and re.search(r"\bstream", message):
            return Learned(replace(self, unstreamed=False), STREAMS)
        if "n" in body:
            return Learned(replace(self, batches=False), ONE_EACH)
        return None

    def body(self, model: str, request: SampleRequest, *, n: int, stream: bool) -> tuple[str, dict[str, object]]:
        """The route and the body that draw `n` sequences.

        Raises:
            EngineUnavailable: the server cannot report what the request needs.
        """
        body: dict[str, object] = {"model": model, self.limit: request.params.limit}
        body |= _sampling(request.params, vllm=self.vllm)
        if self.seed:
            body["seed"] = request.seed
        if n > 1:
            body["n"] = n
        if stream:
            body["stream"] = True
            if self.stream_options:
                extra = {"continuous_usage_stats": True} if self.vllm else {}
                body["stream_options"] = {"include_usage": True, **extra}
        if request.watch:
            return "/chat/completions", body | self._watching(request)
        if request.rendered.token_ids is None and request.prompt.messages:
            return "/chat/completions", body | self._chat(request)
        return "/completions", body | self._raw(request)

    def _chat(self, request: SampleRequest) -> dict[str, object]:
        spoken, k = turns(request.prompt.messages), request.params.logprobs
        body: dict[str, object] = {"messages": spoken}
        if request.prompt.text:
            spoken.append({"role": "assistant", "content": request.prompt.text})
            if self.vllm:
                body |= {"add_generation_prompt": False, "continue_final_message": True}
        if k is not None:
            # vLLM lists the sampled token first and includes it in the count, so one more shows the k best.
            body |= {"logprobs": True, "top_logprobs": min(k + 1, 20) if k and self.vllm else k}
        return body

    def _raw(self, request: SampleRequest) -> dict[str, object]:
        prompt, k = request.prompt, request.params.logprobs
        body: dict[str, object] = {} if k is None else {"logprobs": k}
        if k is not None and self.vllm:
            # Alternatives are keyed by their text, which two tokens may share: ids keep both.
            body["return_tokens_as_token_ids"] = True
        if request.rendered.token_ids is None:
            return body | {"prompt": prompt.raw + prompt.text}
        return body | {"prompt": list(request.rendered.token_ids), "return_token_ids": True}

    def _watching(self, request: SampleRequest) -> dict[str, object]:
        """Only vLLM's chat route reports the log-probabilities of chosen tokens."""
        prompt = request.prompt
        if not self.vllm or not prompt.messages or prompt.text or prompt.token_ids:
            raise EngineUnavailable(
                "the server does not report log-probabilities of chosen tokens: use a vLLM server, and a "
                "prompt of messages alone"
            )
        body: dict[str, object] = {"logprobs": True, "return_tokens_as_token_ids": True}
        return body | {"messages": turns(prompt.messages), "logprob_token_ids": list(request.watch)}


def _refuses(message: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", message) is not None and _REFUSED.search(message) is not None


def turns(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    """Messages as the chat route takes them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def _sampling(params: SamplingParams, *, vllm: bool) -> dict[str, object]:
    """The sampling options that are given; the server has values of its own for the others.

    Only vLLM knows all of them: another server is not sent what changes nothing.
    """
    body: dict[str, object] = {}
    for name, neutral in _NEUTRAL.items():
        value = getattr(params, name)
        if value is not None and (vllm or value != neutral):
            body[name] = value
    for name in ("stop", "stop_token_ids", "bad_words"):
        if listed := getattr(params, name):
            body[name] = list(listed)
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
        fields = parse_json(text if text.lstrip().startswith("{") else read_whole(Path(text).expanduser()))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"extra_body={text[:80]!r} is neither a JSON object nor a file that holds one: write it as in "
            'extra_body={"chat_template_kwargs": {"enable_thinking": false}}'
        ) from error
    if not isinstance(fields, dict):
        raise UsageError(f"extra_body={text[:80]!r} does not hold a JSON object: write the fields in braces")
    if taken := sorted(OWN & fields.keys()):
        raise UsageError(
            f"extra_body sets {', '.join(taken)}, which the engine sets itself: leave it out, and use the strategy's "
            "own options"
        )
    return fields


def longest(request: SampleRequest, timeout: float) -> float:
    """Seconds that one reply may take in total, by the requested tokens."""
    return timeout + request.params.limit * SECONDS_PER_TOKEN


def largest(request: SampleRequest, sequences: int) -> int:
    """Bytes that one reply with `sequences` may have, by the requested tokens and log-probabilities."""
    logprobs = 1 + max(request.params.logprobs or 0, len(request.watch))
    each = request.params.limit * (TOKEN_BYTES + logprobs * ALTERNATIVE_BYTES)
    return BASE_BYTES + sequences * (each + PROMPT_BYTES * request.rendered.tokens)


def at_once() -> int:
    """Concurrent requests for which this process may open connections."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return CONCURRENCY
    return max(1, min(CONCURRENCY, allowed - OTHER_FILES))
