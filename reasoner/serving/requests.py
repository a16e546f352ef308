"""The requests that the server accepts, as checked values; specs in them become objects where they are read.

JSON from a stranger becomes such a value, or an `ApiError` with status 400. What a client writes as a spec sets nothing
of the owner's, and stays small.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import lru_cache, partial
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, get_origin

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import from_json

from reasoner.answers.kinds import AnswerKind
from reasoner.budget import Budget
from reasoner.errors import UsageError, misfit, shown
from reasoner.registry import build_checked, spec_of
from reasoner.serving.errors import ApiError
from reasoner.specs import Mark, OwnerOnly, Spec, marks_of
from reasoner.strategy import StopRule, Strategy
from reasoner.system.files import parse_json
from reasoner.system.printing import valid_unicode
from reasoner.types import Message, Role, SamplingParams, ThinkingLevel

R = TypeVar("R", bound=BaseModel)
MAX_BODY: Final = 4 << 20
"""Bytes of a body."""
MAX_TURNS: Final = 2000
MAX_TOKENS: Final = 10_000_000
MAX_SPEC: Final = 4000
"""Characters of a spec, of a budget and of a kind of answer."""
MAX_COUNT: Final = 1024
"""The most samples of a request, and the most samples, rounds or branches of one of its options; those of nested
strategies are multiplied."""
PASSED: Final = "single"
"""The strategy of a request that passes through; `none` is another name of it in a request."""
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
LEVELS: Final[Mapping[str, ThinkingLevel]] = {
    "none": "none",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
"""The thinking level of each of OpenAI's efforts."""
IGNORED: Final = (
    "moderation",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "verbosity",
)
ONLY_SAMPLED: Final = (
    "only the tokens of the reply have log-probabilities: leave it out"
)

Short = Annotated[str, Field(max_length=512)]
Named = Annotated[str, Field(min_length=1, max_length=512)]
ToolName = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")]
TokenId = Annotated[str, Field(pattern="^[0-9]{1,9}$")]
TokenNumber = Annotated[int, Field(ge=0, lt=2**31)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Limit = Annotated[int | None, Field(ge=1, le=MAX_TOKENS)]


def draws(strategy: Any) -> int:
    """How many samples the options of a strategy ask for: the product of what they count, and of the strategy in it.

    A search by steps draws more: the ledger of a request ends it at `MAX_COUNT`. This is known before, and bounds the
    plans of nested strategies.
    """
    cls: type = type(strategy)
    samples = [name for name, mark in marks_of(cls).items() if mark is Mark.SAMPLES]
    inner = getattr(strategy, "of", None)
    own: int = math.prod(max(1, getattr(strategy, name)) for name in samples)
    return own * (draws(inner) if inner is not None else 1)


@lru_cache(maxsize=256)
def build_client(kind: Literal["strategy", "rule"], spec: str) -> Any:
    """The object of a client's spec; cached, as many requests ask for the same.

    Raises:
        UsageError: it cannot be built, it is too large, or it sets an option that only the owner may set.
    """
    built = build_checked(
        kind, PASSED if kind == "strategy" and spec == "none" else spec, _refuse_owners
    )
    for name, value in _counts(built):
        if value > MAX_COUNT:
            raise UsageError(
                f"{name} must be at most {MAX_COUNT:,} in a request (got {value:,})"
            )
    if (samples := draws(built)) > MAX_COUNT:
        raise UsageError(
            f"a request may draw at most {MAX_COUNT:,} samples (got {samples:,}): lower n"
        )
    return built


def _refuse_owners(cls: type, option: str) -> None:
    mark = marks_of(cls).get(option)
    if isinstance(mark, OwnerOnly):
        raise UsageError(
            f"the option {option} cannot be set by a request, as {mark.why}: the server's owner sets it in an alias of "
            "the configuration"
        )


def _counts(thing: object) -> Iterator[tuple[str, int]]:
    """The counts among the options of an object and of those in it. Raises UsageError: one is for owners only."""
    if isinstance(thing, tuple):
        for part in thing:
            yield from _counts(part)
    if not is_dataclass(thing) or isinstance(thing, type):
        return
    if isinstance(mark := getattr(thing, "owners", None), OwnerOnly):
        raise UsageError(
            f"the strategy {Spec.parse(spec_of(thing)).name} cannot be chosen by a request, as {mark.why}: "
            "the server's owner offers it in an alias of the configuration"
        )
    marks = marks_of(type(thing))
    for field in fields(thing):
        value = getattr(thing, field.name, None)
        if not field.init or field.name == "params":
            continue
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and marks.get(field.name) is not Mark.LENGTH
        ):
            yield field.name, value
        yield from _counts(value)


def _client_kind(text: str) -> AnswerKind:
    """The kind of answer that a client sent. Raises UsageError: it is unknown, or sets an option of the owner's."""
    kind = AnswerKind.parse(text)
    for option in kind.options:
        for cls in kind.classes:
            _refuse_owners(cls, option)
    return kind


def read_as(read: Callable[[str], object]) -> PlainValidator:
    """Makes an object of a text where it is checked; code may give an object as it is."""

    def reading(text: object) -> object:
        if text is None or is_dataclass(text):
            return text
        if not isinstance(text, str) or not 0 < len(text) <= MAX_SPEC:
            raise ValueError(
                f"it must be a text of 1 to {MAX_SPEC:,} characters (got {shown(text)})"
            )
        try:
            return read(text)
        except UsageError as error:
            raise ValueError(str(error)) from None

    return PlainValidator(reading)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _amounts(budget: object) -> object:
    """A budget that is an object, as in {"tokens": 4000}, as text."""
    return (
        ",".join(f"{unit}={amount}" for unit, amount in budget.items())
        if isinstance(budget, dict)
        else budget
    )


class StrictPart(BaseModel):
    """A part of a request: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Open(BaseModel):
    """A part of a request; fields that it does not name are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)


class LenientPart(BaseModel):
    """A part of a request; fields that it does not name have no effect, as in replies that clients send back."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class VendorOptions(StrictPart):
    """The vendor object of a request, its field `reasoner`: how the question is to be answered.

    `strategy` and `stop` are specs, as on the command line; `verifier` is a name that the server offers; `answer` is a
    kind of answer; `budget` is a text or an object.
    """

    strategy: Annotated[Strategy | None, read_as(partial(build_client, "strategy"))] = (
        None
    )
    verifier: Annotated[str | None, Field(min_length=1, max_length=MAX_SPEC)] = None
    budget: Annotated[
        Budget | None, read_as(Budget.parse), BeforeValidator(_amounts)
    ] = None
    answer: Annotated[AnswerKind | None, read_as(_client_kind)] = None
    stop: Annotated[StopRule | None, read_as(partial(build_client, "rule"))] = None


NO_OPTIONS: Final = VendorOptions()


class ContentPart(LenientPart):
    """A part of a turn's content: a text, or a refusal."""

    type: Literal["text", "input_text", "output_text", "refusal"]
    text: str = Field(validation_alias=AliasChoices("text", "refusal"))


def _is_object(text: str) -> str:
    if not isinstance(parse_json(text or "{}"), dict):
        raise ValueError("it must be a JSON object, as text")  # noqa: TRY004 the type is right
    return text or "{}"


Arguments = Annotated[str, AfterValidator(_is_object)]


class CalledFunction(LenientPart):
    """The function of a call, with its arguments as JSON."""

    name: str
    arguments: Arguments


class CalledTool(LenientPart):
    """A call of a tool that a client sends back."""

    id: Short = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class Turn(LenientPart):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: (
        str
        | Annotated[list[ContentPart], Field(max_length=1000, fail_fast=True)]
        | None
    ) = None
    tool_calls: list[CalledTool] | None = None
    tool_call_id: Short | None = None

    @property
    def message(self) -> Message:
        """The turn as the model sees it; a developer's is the system's."""
        content = self.content or ""
        text = (
            content
            if isinstance(content, str)
            else "\n".join(part.text for part in content)
        )
        role: Role = "system" if self.role == "developer" else self.role
        if not (self.tool_calls or self.tool_call_id):
            return Message(role, text)
        return Message(
            role,
            text,
            self.model_dump_json(
                include={"tool_calls", "tool_call_id"}, exclude_none=True
            ),
        )


class Function(Open):
    """A function that the model may call; its parameters are a JSON schema."""

    name: ToolName
    parameters: dict[str, JsonValue] | None = None


class Tool(Open):
    """A tool that the model may call, or must call as the choice of one."""

    type: Literal["function"]
    function: Function


class JsonSchema(Open):
    """A JSON schema; its name and description have no effect."""

    given: dict[str, JsonValue] = Field(alias="schema")


class ResponseFormat(StrictPart):
    """The form that a reply must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing: it is required by this type")
        return self

    @property
    def schema_given(self) -> dict[str, Any] | None:
        """The JSON schema of the reply; None for a text."""
        if self.type == "json_object":
            return {"type": "object"}
        return (
            self.json_schema.given
            if self.type == "json_schema" and self.json_schema
            else None
        )


class ChatRequest(StrictPart):
    """A request of /v1/chat/completions.

    Sampling parameters are those of `SamplingParams`; `max_tokens` is the limit of each sequence, thinking included.
    Fields in `ignored` have no effect; those in `refused` cannot be honoured: the value says why.
    """

    ignored: ClassVar[Sequence[str]] = (
        *IGNORED,
        "metadata",
        "store",
    )
    refused: ClassVar[Mapping[str, str]] = {
        "budget": "name a vote, as MODEL@vote8, or a strategy in the object reasoner",
        "chat_template_kwargs": "use reasoning_effort to ask for more or less thinking",
        "extra_body": "put its fields into the body itself",
        "function_call": "use tool_choice",
        "functions": "use tools",
    }

    model: Named
    messages: Annotated[
        list[Turn], Field(min_length=1, max_length=MAX_TURNS, fail_fast=True)
    ]
    n: int = Field(default=1, ge=1, le=128)
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stream: bool = False
    stream_options: dict[
        Literal["include_usage", "include_obfuscation"], bool | None
    ] = Field(default_factory=dict)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, le=2**31 - 1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    max_tokens: Limit = None
    max_completion_tokens: Limit = None
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    stop: Annotated[list[Named], Field(max_length=16), BeforeValidator(_as_list)] = (
        Field(default_factory=list)
    )
    bad_words: Annotated[list[Named], Field(max_length=256)] = Field(
        default_factory=list
    )
    logit_bias: Annotated[dict[TokenId, Bias], Field(max_length=1024)] = Field(
        default_factory=dict
    )
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=20)
    continue_token_ids: Annotated[list[TokenNumber], Field(fail_fast=True)] = Field(
        default_factory=list
    )
    """What the reply begins with: the model continues after it."""
    return_token_ids: bool = False
    modalities: list[Literal["text"]] = Field(default_factory=list)
    reasoning_effort: Effort | None = None
    thinking_token_budget: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=256)] = Field(default_factory=list)
    tool_choice: Literal["none", "auto", "required"] | Tool | None = None
    user: Short | None = None
    reasoner: VendorOptions = Field(default_factory=lambda: NO_OPTIONS)

    @model_validator(mode="after")
    def _streamed(self) -> "ChatRequest":
        if self.stream_options and not self.stream:
            raise ValueError(
                "stream_options has no effect without stream: set stream to true"
            )
        return self

    @property
    def by_ids(self) -> bool:
        """Whether it gives or wants token ids."""
        return bool(self.return_token_ids or self.continue_token_ids)

    @property
    def chat(self) -> "ChatRequest":
        """This request: those of other forms become one."""
        return self

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options.get("include_usage"))

    @property
    def turns(self) -> tuple[Message, ...]:
        """The messages as the model sees them."""
        return tuple(turn.message for turn in self.messages)

    @property
    def thinking(self) -> ThinkingLevel | None:
        """How much the model is asked to think; None where the request does not say it."""
        return (
            LEVELS[self.reasoning_effort]
            if self.reasoning_effort
            else self.thinking_token_budget
        )

    @property
    def params(self) -> SamplingParams:
        """The sampling parameters that the request gives, without thinking."""
        return SamplingParams(
            temperature=self.temperature,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            top_p=self.top_p,
            top_k=0 if self.top_k == -1 else self.top_k,
            min_p=self.min_p,
            stop=tuple(self.stop),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=tuple(
                sorted((int(token), bias) for token, bias in self.logit_bias.items())
            ),
            bad_words=tuple(self.bad_words),
        )


class TokenizeRequest(LenientPart):
    """A request of /tokenize, as a vLLM server takes it: a chat as the model reads it, or a text."""

    model: Named
    messages: Annotated[list[Turn], Field(max_length=MAX_TURNS, fail_fast=True)] = (
        Field(default_factory=list)
    )
    prompt: str = ""
    add_special_tokens: bool = True
    tools: Annotated[list[Tool], Field(max_length=256)] = Field(default_factory=list)
    reasoning_effort: Effort | None = None
    thinking_token_budget: int | None = Field(default=None, ge=1, le=MAX_TOKENS)

    @property
    def chat(self) -> ChatRequest:
        """The chat."""
        return ChatRequest(
            model=self.model,
            messages=self.messages,
            tools=self.tools,
            reasoning_effort=self.reasoning_effort,
            thinking_token_budget=self.thinking_token_budget,
            reasoner=VendorOptions(strategy=build_client("strategy", PASSED)),
        )


def read(body: bytes, model: type[R]) -> R:
    """The request in a body of JSON; a field that is null counts as left out.

    Raises:
        ApiError: 400, it is not JSON or does not fit the model.
    """
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ApiError(400, f"the body must be a JSON object (got {shown(document)})")
    fields = {name: value for name, value in document.items() if value is not None}
    ignored, refused = getattr(model, "ignored", ()), getattr(model, "refused", {})
    if not fields.keys().isdisjoint((*ignored, *refused)):
        for name in ignored:
            fields.pop(name, None)
        for name, why in refused.items():
            if fields.pop(name, False) not in (False, [], {}, ""):
                raise ApiError(
                    400,
                    f"{name} is not supported: {why}",
                    code="unsupported_parameter",
                    param=name,
                )
    with checked(model):
        return model.model_validate(fields, strict=True)


@contextmanager
def checked(model: type[BaseModel]) -> Iterator[None]:
    """What does not fit the model in this block is a 400: all that clients send becomes values in such blocks."""
    try:
        yield
    except ValidationError as error:
        raise problem_of(error, model) from None


def problem_of(error: ValidationError, model: type[BaseModel]) -> ApiError:
    """The most specific problem, in one line; of a union's problems, the one of the form that fits best."""
    # Problems of a body; of more, only the number is said
    if error.error_count() > 2048:
        return ApiError(
            400,
            f"the body has {error.error_count():,} fields that are unknown or do not fit",
        )
    problem = max(
        error.errors(include_url=False, include_context=False),
        key=lambda each: (
            len(each["loc"]),
            each["type"] in ("extra_forbidden", "value_error"),
        ),
    )
    where: list[int | str] = []
    fields = dict(model.model_fields)
    keyed = False
    for part in problem["loc"]:
        # Parts that are no field, index or key are the names of a union's forms.
        if keyed or isinstance(part, int):
            where.append(part)
            keyed = False
        elif part in fields:
            where.append(part)
            annotation = fields[part].annotation
            fields, keyed = _fields_in(annotation), get_origin(annotation) is dict
    param = _param(where)
    match problem["type"]:
        case "extra_forbidden":
            name, known = str(problem["loc"][-1]), sorted(fields)
            near = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.6)
            guess = (
                f": did you mean {near[0]}?"
                if near
                else f" (there are: {', '.join(known)})"
            )
            param = _param([*where, name])
            return ApiError(
                400,
                f"unknown field {shown(param)}{guess}",
                code="unknown_parameter",
                param=param,
            )
        case "missing":
            return ApiError(
                400,
                f"{param} is missing: it is required",
                code="missing_required_parameter",
                param=param,
            )
    given = f" (got {shown(problem['input'])})"
    if problem["type"] == "value_error" or isinstance(problem["input"], dict | list):
        given = ""
    return ApiError(
        400,
        f"{param or 'the body'}: {misfit(problem)}{given}",
        param=param or None,
    )


def _fields_in(annotation: Any) -> dict[str, FieldInfo]:
    """The fields of all models in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return dict(annotation.model_fields)
    return {
        name: each
        for part in getattr(annotation, "__args__", ())
        for name, each in _fields_in(part).items()
    }


def _param(where: list[int | str]) -> str:
    """A position as in `messages[0].content`, at most 200 characters of it."""
    text = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in where
    )
    return valid_unicode(text.removeprefix("."))[:200]
