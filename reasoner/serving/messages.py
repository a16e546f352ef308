"""Requests and replies of /v1/messages, the form of Anthropic's clients: whole, and as events of a stream."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, JsonValue, model_validator

from reasoner.budget import Cost
from reasoner.serving.errors import ApiError
from reasoner.serving.replies import (
    Document,
    Reply,
    ReplyBlock,
    ReplyText,
    Result,
    Step,
    vendor_object,
)
from reasoner.serving.requests import (
    MAX_TOKENS,
    MAX_TURNS,
    CalledFunction,
    CalledTool,
    ChatRequest,
    Effort,
    Function,
    JsonSchema,
    LenientPart,
    Named,
    ResponseFormat,
    Short,
    StrictPart,
    Tool,
    ToolName,
    Turn,
    VendorOptions,
)


class Text(LenientPart):
    """A part of a text."""

    type: Literal["text"]
    text: str


class Block(LenientPart):
    """A part of a message: a text, thinking, a call of a tool, or its result."""

    type: Literal["text", "thinking", "redacted_thinking", "tool_use", "tool_result"]
    text: str = ""
    id: Short = ""
    name: Short = ""
    input: dict[str, JsonValue] = Field(default_factory=dict)
    tool_use_id: Short = ""
    content: str | Annotated[list[Text], Field(max_length=1000)] = ""


def _text(content: str | Sequence[Block | Text]) -> str:
    """The text of some content."""
    return (
        content
        if isinstance(content, str)
        else "\n".join(part.text for part in content if part.type == "text")
    )


class AnthropicTurn(LenientPart):
    """One message: of a user, who also sends the results of tools, or of the assistant."""

    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[Block], Field(max_length=1000, fail_fast=True)]

    @property
    def turns(self) -> Iterator[Turn]:
        """The same as turns of a chat: one for each result of a tool, then the rest. Thinking is not sent again."""
        blocks = [] if isinstance(self.content, str) else self.content
        for block in blocks:
            if block.type == "tool_result":
                yield Turn(
                    role="tool",
                    content=_text(block.content),
                    tool_call_id=block.tool_use_id,
                )
        calls = [
            CalledTool(
                id=block.id,
                function=CalledFunction(
                    name=block.name, arguments=json.dumps(block.input)
                ),
            )
            for block in blocks
            if block.type == "tool_use"
        ]
        if (
            (text := _text(self.content))
            or calls
            or not any(block.type == "tool_result" for block in blocks)
        ):
            yield Turn(role=self.role, content=text, tool_calls=calls or None)


class AnthropicTool(LenientPart):
    """A tool that the model may call."""

    name: ToolName
    description: str = ""
    input_schema: dict[str, JsonValue]

    @property
    def chat(self) -> Tool:
        """The same in a chat."""
        described = {"description": self.description} if self.description else {}
        return Tool(
            type="function",
            function=Function(
                name=self.name, parameters=self.input_schema, **described
            ),
        )


class ToolChoice(LenientPart):
    """Whether tools are called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: ToolName | None = None

    @model_validator(mode="after")
    def _names_a_tool(self) -> "ToolChoice":
        if self.type == "tool" and self.name is None:
            raise ValueError("name is missing: it is required by the type tool")
        return self


class Thinking(LenientPart):
    """How a model thinks: at most `budget_tokens`, as it does by itself, or not at all."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)


class OutputFormat(LenientPart):
    """The JSON schema of a reply."""

    type: Literal["json_schema"]
    given: dict[str, JsonValue] = Field(alias="schema")


class OutputConfig(LenientPart):
    """How much work a reply is, and its form."""

    effort: Effort | None = None
    format: OutputFormat | None = None


class MessageRequest(StrictPart):
    """A request of /v1/messages; `chat` is the same request as a chat."""

    ignored: ClassVar[Sequence[str]] = (
        "cache_control",
        "context_management",
        "diagnostics",
        "inference_geo",
        "metadata",
        "service_tier",
        "speed",
        "user_profile_id",
        "workspace_id",
    )
    refused: ClassVar[Mapping[str, str]] = {
        "container": "there are no containers here",
        "mcp_servers": "the model calls no tools by itself: offer them as tools",
    }

    model: Named
    messages: Annotated[
        list[AnthropicTurn], Field(min_length=1, max_length=MAX_TURNS, fail_fast=True)
    ]
    max_tokens: int = Field(ge=1, le=MAX_TOKENS)
    system: str | Annotated[list[Text], Field(max_length=1000)] = ""
    stream: bool = False
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, le=2**31 - 1)
    stop_sequences: Annotated[list[Named], Field(max_length=16)] = Field(
        default_factory=list
    )
    tools: Annotated[list[AnthropicTool], Field(max_length=256)] = Field(
        default_factory=list
    )
    tool_choice: ToolChoice = ToolChoice(type="auto")
    thinking: Thinking = Thinking(type="adaptive")
    output_config: OutputConfig = OutputConfig()
    reasoner: VendorOptions = VendorOptions()

    @property
    def chat(self) -> ChatRequest:
        """The same request as a chat."""
        system = (
            [Turn(role="system", content=text)] if (text := _text(self.system)) else []
        )
        choice: Any = {"auto": None, "any": "required", "none": "none"}.get(
            self.tool_choice.type
        )
        if self.tool_choice.type == "tool" and self.tool_choice.name:
            choice = Tool(
                type="function", function=Function(name=self.tool_choice.name)
            )
        form = self.output_config.format
        return ChatRequest(
            model=self.model,
            messages=[
                *system,
                *(turn for message in self.messages for turn in message.turns),
            ],
            max_tokens=self.max_tokens,
            stream=self.stream,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            stop=self.stop_sequences,
            tools=[tool.chat for tool in self.tools],
            tool_choice=choice,
            reasoning_effort="none"
            if self.thinking.type == "disabled"
            else self.output_config.effort,
            thinking_token_budget=self.thinking.budget_tokens,
            response_format=ResponseFormat(
                type="json_schema", json_schema=JsonSchema(schema=form.given)
            )
            if form
            else None,
            reasoner=self.reasoner,
        )


class CountRequest(MessageRequest):
    """A request of /v1/messages/count_tokens: the same, but only the prompt is counted."""

    max_tokens: int = Field(default=1, ge=1, le=MAX_TOKENS)


class MessageReply(Reply):
    """The reply to a request of /v1/messages: each block is a block of its content."""

    reads: ClassVar[type[MessageRequest]] = MessageRequest
    prefix = "msg_"

    def whole(self, results: Sequence[Result]) -> Document:
        """The reply."""
        [result] = results
        text = ReplyText.of(result)
        return {
            **self._frame(result.solution.cost),
            "content": [self._block(block) for block in _shown(text)],
            "stop_reason": {
                "stop": "end_turn",
                "length": "max_tokens",
                "tool_calls": "tool_use",
            }[text.finish_reason],
            "reasoner": vendor_object(result, self._prices),
        }

    def begin(self, _choices: int) -> Iterable[Document]:
        """The first event."""
        return [{"type": "message_start", "message": self._frame(Cost())}]

    def end(self, results: Sequence[Result]) -> Iterable[Document]:
        """The last events."""
        text, whole = ReplyText.of(results[0]), self.whole(results)
        events = self._said(0, self._streams[0].rest(_shown(text)))
        ended = {
            "type": "message_delta",
            "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
            "usage": whole["usage"],
            "reasoner": self._noted(0, whole["reasoner"], text.content),
        }
        return [*events, ended, {"type": "message_stop"}]

    def fail(self, error: ApiError) -> Iterable[Document]:
        """The last event of a reply that failed after its stream began."""
        return [self.refusal(error)]

    @staticmethod
    def refusal(error: ApiError) -> Document:
        """The body of an error."""
        # The type of an error by its status; others are of the request below 500, and of the API from there
        kind = {
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            413: "request_too_large",
            429: "rate_limit_error",
            503: "overloaded_error",
        }.get(
            error.status, "invalid_request_error" if error.status < 500 else "api_error"
        )
        return {"type": "error", "error": {"type": kind, "message": error.message}}

    def _frame(self, cost: Cost) -> Document:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.asked.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": cost.prompt_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": cost.cached_tokens,
                "output_tokens": cost.generated_tokens
                + cost.verifier_tokens
                + cost.cancelled_tokens,
            },
        }

    def _said(self, _index: int, steps: Iterable[Step]) -> list[Document]:
        return [self._event(*step) for step in steps]

    def _event(self, step: str, block: ReplyBlock, position: int) -> Document:
        event: Document = {"type": EVENTS[step], "index": position}
        if step == "begin":
            event["content_block"] = self._block(block)
        if step == "text":
            kind, field = DELTAS[block.kind]
            event["delta"] = {"type": kind, field: block.text}
        return event

    def _block(self, block: ReplyBlock) -> Document:
        """A block of the content; thinking has the empty signature of a model that signs nothing."""
        if block.kind == "call":
            return {
                "type": "tool_use",
                "id": f"toolu_{self.id}_{block.number}",
                "name": block.name,
                "input": json.loads(block.text or "{}"),
            }
        signed = {"signature": ""} if block.kind == "thinking" else {}
        return {"type": block.kind, block.kind: block.text, **signed}


EVENTS: Final = {
    "begin": "content_block_start",
    "text": "content_block_delta",
    "end": "content_block_stop",
}
DELTAS: Final = {
    "thinking": ("thinking_delta", "thinking"),
    "text": ("text_delta", "text"),
    "call": ("input_json_delta", "partial_json"),
}
"""The type of a further text of a block, and its field."""


def _shown(text: ReplyText) -> list[ReplyBlock]:
    """The blocks of a reply, without a text that is empty, unless that is all."""
    return [block for block in text.blocks if block.text] or text.blocks
