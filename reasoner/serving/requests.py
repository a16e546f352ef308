"""The requests that the server accepts, as checked values."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from reasoner.budget import Budget
from reasoner.errors import shown
from reasoner.serving.bodies import read_body
from reasoner.serving.calls import turn_fields
from reasoner.serving.errors import ApiError
from reasoner.types import Message, Role, SamplingParams, ThinkingLevel

MAX_TURNS: Final = 2000
MAX_CHOICES: Final = 128
MAX_TOKENS: Final = 10_000_000
MAX_STOPS: Final = 16
MAX_COMPARED: Final = 100_000
"""Characters of a question and of a reply that are compared."""
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
LEVELS: Final[Mapping[str, ThinkingLevel]] = {
    "none": "none", "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high",
}  # fmt: skip
"""The thinking level of each of OpenAI's efforts."""

IGNORED: Final = (
    "moderation", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "safety_identifier", "service_tier", "verbosity",
)  # fmt: skip
"""OpenAI's fields that have no effect here."""
NO_LOGPROBS: Final = "the reply is chosen among whole completions"
REFUSED_OF_CHAT: Final = {
    "audio": "replies are text",
    "chat_template_kwargs": "use reasoning_effort to ask for more or less thinking",
    "function_call": "use tool_choice",
    "functions": "use tools",
    "logprobs": NO_LOGPROBS,
    "prediction": "it does not speed up replies here",
    "top_logprobs": NO_LOGPROBS,
    "web_search_options": "there is no search",
}
"""OpenAI's fields of a chat request that cannot be honoured, and why."""
REFUSED_OF_COMPLETIONS: Final = {
    "echo": "the reply does not repeat the prompt",
    "logprobs": NO_LOGPROBS,
    "suffix": "a prompt is only continued",
}
REFUSED_OF_RESPONSES: Final = {
    "background": "replies are not kept",
    "conversation": "conversations are not kept: send all messages as input",
    "previous_response_id": "replies are not kept: send all messages as input",
    "prompt": "prompt templates are not kept",
    "store": "replies are not kept",
    "top_logprobs": NO_LOGPROBS,
}
IGNORED_OF_RESPONSES: Final = (
    *IGNORED, "access_programs", "background_options", "context_management", "image", "include", "max_tool_calls",
    "stream_options", "truncation",
)  # fmt: skip

Short = Annotated[str, Field(max_length=512)]
Spec = Annotated[str, Field(min_length=1, max_length=4000)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class Strict(BaseModel):
    """A part of a request: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Limits(Strict):
    """A budget as an object, in the units of `Budget`."""

    tokens: int | None = Field(default=None, ge=1, le=10**12)
    generated: int | None = Field(default=None, ge=1, le=10**12)
    samples: int | None = Field(default=None, ge=1, le=10**6)
    seconds: float | None = Field(default=None, gt=0, le=10**6)
    flops: float | None = Field(default=None, gt=0, le=10**24)
    usd: float | None = Field(default=None, gt=0, le=10**6)


class Options(Strict):
    """The vendor object of a request, its field `reasoner`: how the question is to be answered.

    `strategy` and `stop` are specs, as on the command line; `verifier` is a name that the server offers; `answer` is a
    kind of answer; `effort` is that of the strategy `auto`; `abstain_below` a probability, 0 to 1.
    """

    strategy: Spec | None = None
    verifier: Spec | None = None
    budget: Limits | Spec | None = None
    answer: Spec | None = None
    effort: Literal["low", "medium", "high"] | None = None
    abstain_below: float | None = Field(default=None, ge=0, le=1)
    stop: Spec | None = None

    @property
    def limits(self) -> Budget | None:
        """The budget.

        Raises:
            UsageError: it is text that is not a budget.
        """
        if self.budget is None:
            return None
        return Budget.parse(self.budget) if isinstance(self.budget, str) else Budget(**self.budget.model_dump())


class StreamOptions(Strict):
    """What a stream holds beside its text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampling(Strict):
    """What all forms of request have in common: the model, sampling parameters, the number of choices.

    Sampling parameters are those of `SamplingParams`; `max_tokens` is the limit of each sequence, thinking included.
    """

    model: Annotated[str, Field(min_length=1, max_length=512)]
    n: int = Field(default=1, ge=1, le=MAX_CHOICES)
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, le=2**31 - 1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    stop: Annotated[list[Annotated[Short, Field(min_length=1)]], Field(max_length=MAX_STOPS)] = []
    bad_words: Annotated[list[Annotated[Short, Field(min_length=1)]], Field(max_length=256)] = []
    logit_bias: Annotated[dict[str, Bias], Field(max_length=1024)] = {}
    user: Short | None = None
    reasoner: Options = Options()

    @field_validator("stop", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("logit_bias")
    @classmethod
    def _token_ids(cls, value: dict[str, float]) -> dict[str, float]:
        for token in value:
            if not (token.isascii() and token.isdecimal() and len(token) < 10):
                raise ValueError(f"a key of logit_bias must be a token id, as in 50256 (got {token!r:.40})")
        return value

    @model_validator(mode="after")
    def _streamed(self) -> "Sampling":
        if self.stream_options and not self.stream:
            raise ValueError("stream_options has no effect without stream: set stream to true")
        return self

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def limit(self) -> int | None:
        """The most tokens of a sequence."""
        return self.max_tokens

    @property
    def thinking(self) -> ThinkingLevel | None:
        """How much the model is asked to think; None where the request does not say it."""
        return None

    @property
    def params(self) -> SamplingParams:
        """The sampling parameters that the request gives, without thinking."""
        return SamplingParams(
            temperature=self.temperature,
            max_tokens=self.limit,
            top_p=self.top_p,
            top_k=0 if self.top_k == -1 else self.top_k,
            min_p=self.min_p,
            stop=tuple(self.stop),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=tuple(sorted((int(token), bias) for token, bias in self.logit_bias.items())),
            bad_words=tuple(self.bad_words),
        )


class Part(BaseModel):
    """A part of a turn's content."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: Annotated[str, Field(max_length=64)]
    text: str | None = None
    refusal: str | None = None

    @model_validator(mode="after")
    def _is_text(self) -> "Part":
        if self.type == "refusal" and self.refusal is not None:
            return self
        if self.type not in ("text", "input_text", "output_text"):
            raise ValueError(f"content of type {self.type!r:.40} is not supported: this server reads text only")
        if self.text is None:
            raise ValueError(f"content of type {self.type} needs a text")
        return self


class Turn(BaseModel):
    """One message of a chat, as a client sends it; other fields of replies that it sends back are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[Part], Field(max_length=1000, fail_fast=True)] | None = None
    tool_calls: list[dict[str, JsonValue]] | None = None
    tool_call_id: Short | None = None

    @property
    def text(self) -> str:
        """The text of all parts."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text or part.refusal or "" for part in self.content or [])

    @property
    def message(self) -> Message:
        """The turn as the model sees it; a developer's is the system's."""
        roles: dict[str, Role] = {"user": "user", "assistant": "assistant", "tool": "tool"}
        return Message(roles.get(self.role, "system"), self.text, turn_fields(self.tool_calls, self.tool_call_id))


class ResponseFormat(Strict):
    """The form that a reply must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, JsonValue] | None = None


class ChatRequest(Sampling):
    """A request of /v1/chat/completions."""

    messages: Annotated[list[Turn], Field(min_length=1, max_length=MAX_TURNS, fail_fast=True)]
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    modalities: list[Literal["text"]] = []
    reasoning_effort: Effort | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[dict[str, JsonValue]], Field(max_length=256)] = []
    tool_choice: str | dict[str, JsonValue] | None = None

    @property
    def limit(self) -> int | None:
        """The most tokens of a sequence, by either of its names."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def thinking(self) -> ThinkingLevel | None:
        """How much the model is asked to think."""
        return LEVELS[self.reasoning_effort] if self.reasoning_effort else None

    @property
    def turns(self) -> tuple[Message, ...]:
        """The messages as the model sees them."""
        return tuple(turn.message for turn in self.messages)


class CompletionRequest(Sampling):
    """A request of /v1/completions: a raw prompt, or several."""

    prompt: Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES)]
    best_of: Literal[1] = 1

    @field_validator("prompt", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and value and isinstance(value[0], int | list):
            raise ValueError("a prompt of token ids is not supported: send its text")
        return value

    @field_validator("prompt")
    @classmethod
    def _not_empty(cls, value: list[str]) -> list[str]:
        if "" in value:
            raise ValueError("a prompt must have at least one character")
        return value


class Reasoning(BaseModel):
    """How much a model is asked to think, in the form of /v1/responses."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    effort: Effort | None = None


class Item(Turn):
    """One message of the input of /v1/responses."""

    type: Literal["message"] = "message"


class TextFormat(BaseModel):
    """The form of the text of /v1/responses; how many words it has is left to the model."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    format: dict[str, JsonValue] | None = None


class ResponseRequest(Strict):
    """A request of /v1/responses for text; `chat` is the same request as a chat."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    input: str | Annotated[list[Item], Field(min_length=1, max_length=MAX_TURNS, fail_fast=True)]
    instructions: str | None = None
    reasoning: Reasoning = Reasoning()
    max_output_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    stream: bool = False
    user: Short | None = None
    metadata: Annotated[dict[str, Short], Field(max_length=16)] = {}
    text: TextFormat = TextFormat()
    tools: Annotated[list[dict[str, JsonValue]], Field(max_length=256)] = []
    tool_choice: str | dict[str, JsonValue] | None = None
    reasoner: Options = Options()

    @field_validator("input", mode="before")
    @classmethod
    def _without_reasoning(cls, value: object) -> object:
        """Clients send back what a reply thought; models do not read it again."""
        if not isinstance(value, list):
            return value
        return [item for item in value if not (isinstance(item, dict) and item.get("type") == "reasoning")]

    @property
    def chat(self) -> ChatRequest:
        """The same request as a chat."""
        turns = [Turn(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        first = [Turn(role="system", content=self.instructions)] if self.instructions else []
        if self.tools:
            raise ApiError(400, "tools are not supported here: send the request to /v1/chat/completions", param="tools")
        form = dict(self.text.format or {"type": "text"})
        kind = form.pop("type", None)
        if kind not in ("text", "json_object", "json_schema"):
            raise ApiError(400, f"text.format.type must be text, json_object or json_schema (got {shown(kind)})",
                           param="text.format.type")  # fmt: skip
        return ChatRequest(
            model=self.model,
            messages=[*first, *turns],
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stream=self.stream,
            user=self.user,
            reasoning_effort=self.reasoning.effort,
            response_format=ResponseFormat.model_validate({"type": kind, "json_schema": form or None}),
            tools=self.tools,
            tool_choice=self.tool_choice,
            reasoner=self.reasoner,
        )


class CompareRequest(Strict):
    """A request of /v1/reasoner/compare: two replies to one question. `answer` is their kind of answer."""

    question: Annotated[str, Field(max_length=MAX_COMPARED)]
    replies: Annotated[list[Annotated[str, Field(max_length=MAX_COMPARED)]], Field(min_length=2, max_length=2)]
    answer: Spec = "auto"


def read_chat(body: bytes) -> ChatRequest:
    """The request in the body of /v1/chat/completions. Raises as `read_body`."""
    return read_body(body, ChatRequest, ignored=(*IGNORED, "metadata", "store"), refused=REFUSED_OF_CHAT)


def read_completion(body: bytes) -> CompletionRequest:
    """The request in the body of /v1/completions. Raises as `read_body`."""
    return read_body(body, CompletionRequest, refused=REFUSED_OF_COMPLETIONS)


def read_response(body: bytes) -> ResponseRequest:
    """The request in the body of /v1/responses. Raises as `read_body`."""
    return read_body(body, ResponseRequest, ignored=IGNORED_OF_RESPONSES, refused=REFUSED_OF_RESPONSES)
