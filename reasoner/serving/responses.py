"""Requests and replies of /v1/responses, the newer form of OpenAI's clients: whole, and as events of a stream."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Discriminator, Field, JsonValue, Tag, field_validator

from reasoner.budget import Cost, Prices
from reasoner.errors import shown
from reasoner.serving.errors import ApiError
from reasoner.serving.replies import (
    Document,
    Reply,
    ReplyBlock,
    ReplyText,
    Result,
    Step,
    logprobs_of,
    usage,
    vendor_object,
)
from reasoner.serving.requests import (
    IGNORED,
    MAX_TURNS,
    ONLY_SAMPLED,
    Arguments,
    CalledFunction,
    CalledTool,
    ChatRequest,
    ContentPart,
    Effort,
    Function,
    LenientPart,
    Limit,
    Named,
    ResponseFormat,
    Short,
    StrictPart,
    Tool,
    ToolName,
    Turn,
    VendorOptions,
)

SEND_ALL: Final = "replies are not kept: send all messages as input"


class Reasoning(LenientPart):
    """How much a model is asked to think, in the form of /v1/responses."""

    effort: Effort | None = None


class InputMessage(Turn):
    """One message of the input of /v1/responses."""

    type: Literal["message"] = "message"


class FunctionCall(LenientPart):
    """A call of a function that a client sends back."""

    type: Literal["function_call"]
    call_id: Short
    name: str
    arguments: Arguments

    @property
    def chat(self) -> CalledTool:
        """The same in a chat."""
        return CalledTool(
            id=self.call_id,
            function=CalledFunction(name=self.name, arguments=self.arguments),
        )


class FunctionOutput(LenientPart):
    """What a function that was called gave."""

    type: Literal["function_call_output"]
    call_id: Short
    output: str | Annotated[list[ContentPart], Field(max_length=1000, fail_fast=True)]


class ItemReference(LenientPart):
    """The id of a message of an earlier reply, in its place."""

    type: Literal["item_reference"]
    id: Short


def _type_of(item: object) -> object:
    return (
        item.get("type", "message")
        if isinstance(item, dict)
        else getattr(item, "type", "message")
    )


InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionOutput, Tag("function_call_output")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(
        _type_of,
        custom_error_type="item_type",
        custom_error_message="type must be message, function_call, function_call_output or item_reference",
    ),
]


class FunctionTool(LenientPart):
    """A function that the model may call, in the form of /v1/responses."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None

    @property
    def chat(self) -> Tool:
        """The same in a chat."""
        about = {"description": self.description} if self.description else {}
        return Tool(
            type="function",
            function=Function(name=self.name, parameters=self.parameters, **about),
        )


class FunctionChoice(LenientPart):
    """The function that must be called."""

    type: Literal["function"]
    name: ToolName

    @property
    def chat(self) -> Tool:
        """The same in a chat."""
        return Tool(type="function", function=Function(name=self.name))


class TextOptions(LenientPart):
    """The form of the text of /v1/responses; its `verbosity` has no effect."""

    format: ResponseFormat = ResponseFormat(type="text")

    @field_validator("format", mode="before")
    @classmethod
    def _nested(cls, value: object) -> object:
        """The form as a chat has it."""
        if not isinstance(value, dict):
            return value
        schema = {name: part for name, part in value.items() if name != "type"}
        return {"type": value.get("type"), "json_schema": schema or None}


def _is_reasoning(item: dict[str, Any]) -> bool:
    kind, name = item.get("type"), item.get("id")
    return kind == "reasoning" or (
        kind == "item_reference" and isinstance(name, str) and name.startswith("rs_")
    )


class ResponseRequest(StrictPart):
    """A request of /v1/responses; `chat` is the same request as a chat."""

    ignored: ClassVar[Sequence[str]] = (
        *IGNORED,
        "access_programs",
        "background_options",
        "context_management",
        "image",
        "max_tool_calls",
        "stream_options",
        "truncation",
    )
    refused: ClassVar[Mapping[str, str]] = {
        "background": SEND_ALL,
        "conversation": SEND_ALL,
        "previous_response_id": SEND_ALL,
        "store": SEND_ALL,
        "top_logprobs": ONLY_SAMPLED,
    }

    model: Named
    input: (
        str
        | Annotated[
            list[InputItem], Field(min_length=1, max_length=MAX_TURNS, fail_fast=True)
        ]
    )
    include: Annotated[list[Short], Field(max_length=16)] = Field(default_factory=list)
    """Of what may be asked for, only log-probabilities have an effect."""
    instructions: str | None = None
    reasoning: Reasoning = Reasoning()
    max_output_tokens: Limit = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    stream: bool = False
    user: Short | None = None
    metadata: Annotated[dict[str, Short], Field(max_length=16)] = Field(
        default_factory=dict
    )
    text: TextOptions = TextOptions()
    tools: Annotated[list[FunctionTool], Field(max_length=256)] = Field(
        default_factory=list
    )
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice = "auto"
    reasoner: VendorOptions = VendorOptions()

    @field_validator("input", mode="before")
    @classmethod
    def _without_reasoning(cls, value: object) -> object:
        """Clients send back what a reply thought, or its id; models do not read it again."""
        if not isinstance(value, list):
            return value
        return [
            item
            for item in value
            if not (isinstance(item, dict) and _is_reasoning(item))
        ]

    def completed(self, kept: Callable[[str], str | None]) -> "ResponseRequest":
        """The same request with the messages that it refers to; `kept` has their texts by id.

        Raises:
            ApiError: 400, one is not kept.
        """
        if isinstance(self.input, str):
            return self
        items = list(self.input)
        for index, item in enumerate(items):
            if isinstance(item, ItemReference):
                text = kept(item.id)
                if text is None:
                    problem = f"no message {shown(item.id)} of yours is kept: send it as a whole, as with store=false"
                    raise ApiError(400, problem, param=f"input[{index}].id")
                items[index] = InputMessage(role="assistant", content=text)
        return self.model_copy(update={"input": items})

    @property
    def turns(self) -> list[Turn]:
        """The input, `completed`, as turns of a chat; calls and a message of the assistant before them are one turn."""
        if isinstance(self.input, str):
            return [Turn(role="user", content=self.input)]
        turns: list[Turn] = []
        for item in self.input:
            match item:
                case FunctionCall():
                    turn = (
                        turns.pop()
                        if turns and turns[-1].role == "assistant"
                        else Turn(role="assistant")
                    )
                    turns.append(
                        turn.model_copy(
                            update={"tool_calls": [*(turn.tool_calls or ()), item.chat]}
                        )
                    )
                case FunctionOutput():
                    turns.append(
                        Turn(
                            role="tool", content=item.output, tool_call_id=item.call_id
                        )
                    )
                case InputMessage():
                    turns.append(item)
        return turns

    @property
    def chat(self) -> ChatRequest:
        """The same request as a chat."""
        first = (
            [Turn(role="system", content=self.instructions)]
            if self.instructions
            else []
        )
        choice = self.tool_choice
        return ChatRequest(
            model=self.model,
            messages=[*first, *self.turns],
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stream=self.stream,
            user=self.user,
            reasoning_effort=self.reasoning.effort,
            # What `include` asks for log-probabilities by
            logprobs="message.output_text.logprobs" in self.include,
            response_format=self.text.format,
            tools=[tool.chat for tool in self.tools],
            tool_choice=choice.chat if isinstance(choice, FunctionChoice) else choice,
            reasoner=self.reasoner,
        )


MAX_KEPT: Final = 1000


class KeptMessages:
    """The texts of the last messages in replies, by client and id: clients may send the id instead of the message."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, str], str] = {}
        self._size = 0

    def keep(self, client: str, name: str, text: str) -> None:
        """Keep a message, and drop the oldest above a limit."""
        self._size += len(text) - len(self._texts.pop((client, name), ""))
        self._texts[client, name] = text
        # Characters of all messages that are kept
        while len(self._texts) > MAX_KEPT or self._size > 16 << 20:
            self._size -= len(self._texts.pop(next(iter(self._texts))))

    def text(self, client: str, name: str) -> str | None:
        """The text of a message of a client; None if there is none or it was dropped."""
        return self._texts.get((client, name))


class ResponseReply(Reply):
    """The reply to a request of /v1/responses: each block is an item of its output.

    The events of a stream are numbered in order. `keep` receives the id and the text of the message.
    """

    reads: ClassVar[type[ResponseRequest]] = ResponseRequest
    prefix = "resp_"

    def __init__(self, request: ResponseRequest, prices: Prices | None = None) -> None:
        super().__init__(request, prices)
        self._number = 0
        self.keep: Callable[[str, str], None] = lambda _name, _text: None

    def whole(self, results: Sequence[Result]) -> Document:
        """The reply."""
        [result] = results
        text = ReplyText.of(result)
        # What was streamed as thinking may be progress, and not the winner's own thinking.
        thinking = self._streams[0].sent("thinking") or text.thinking
        output = [
            _item(self.id, block) for block in replace(text, thinking=thinking).blocks
        ]
        for item in output:
            if item["type"] == "message":
                self.keep(item["id"], text.content)
        cut = text.finish_reason == "length"
        return {
            **self._frame("incomplete" if cut else "completed"),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": output,
            "usage": _usage(result.solution.cost),
            "reasoner": vendor_object(result, self._prices),
        }

    def begin(self, _choices: int) -> Iterable[Document]:
        """The first events."""
        return [
            self._event(name, response=self._frame("in_progress"))
            for name in ("response.created", "response.in_progress")
        ]

    def end(self, results: Sequence[Result]) -> Iterable[Document]:
        """The last events, and the whole reply."""
        text = ReplyText.of(results[0])
        events = self._said(0, self._streams[0].rest(text.blocks))
        whole = self.whole(results)
        self._noted(0, whole["reasoner"], text.content)
        return [*events, self._event(f"response.{whole['status']}", response=whole)]

    def fail(self, error: ApiError) -> Iterable[Document]:
        """The last event of a reply that failed after its stream began."""
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        failed = {
            **self._frame("failed"),
            "error": {"code": code, "message": error.message},
        }
        return [self._event("response.failed", response=failed)]

    def _frame(self, status: str) -> Document:
        """What is known of a reply from its request."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "reasoning": {"effort": self._request.reasoning.effort, "summary": None},
            "store": False,
            "text": {"format": {"type": "text"}},
            "truncation": "disabled",
            "usage": None,
            # Fields of a request that its reply repeats
            **self._request.model_dump(
                include={
                    "instructions",
                    "max_output_tokens",
                    "metadata",
                    "model",
                    "temperature",
                    "tool_choice",
                    "tools",
                    "top_p",
                    "user",
                }
            ),
        }

    def _said(self, _index: int, steps: Iterable[Step]) -> list[Document]:
        return [event for step in steps for event in self._events(*step)]

    def _events(
        self, step: str, block: ReplyBlock, position: int
    ) -> Iterator[Document]:
        """The events of a step: items hold one part of content each, and calls none."""
        name, field = STREAMED[block.kind]
        item = _item(self.id, block, "in_progress" if step == "begin" else "")
        [part] = item.get("content", [None])
        at = {
            "item_id": item["id"],
            "output_index": position,
            **({"content_index": 0} if part else {}),
        }
        more = {"logprobs": logprobs_of(block.tokens)} if block.kind == "text" else {}
        match step:
            case "begin":
                yield self._event(
                    "response.output_item.added",
                    output_index=position,
                    item=item | ({"content": []} if part else {}),
                )
                if part:
                    yield self._event("response.content_part.added", **at, part=part)
            case "text":
                yield self._event(f"{name}.delta", **at, delta=block.text, **more)
            case "end":
                yield self._event(f"{name}.done", **at, **{field: block.text}, **more)
                if part:
                    yield self._event("response.content_part.done", **at, part=part)
                yield self._event(
                    "response.output_item.done", output_index=position, item=item
                )

    def _event(self, name: str, **fields: Any) -> Document:
        event = {"type": name, "sequence_number": self._number, **fields}
        self._number += 1
        return event


STREAMED: Final = {
    "thinking": ("response.reasoning_text", "text"),
    "text": ("response.output_text", "text"),
    "call": ("response.function_call_arguments", "arguments"),
}
"""What the events of a block's text are called, and the field of the last one that has it."""


def _item(reply: str, block: ReplyBlock, status: str = "") -> Document:
    """A block as an item of the output, at its end unless it has another status."""
    status = status or ("incomplete" if block.cut else "completed")
    if block.kind == "call":
        return {
            "type": "function_call",
            "id": f"fc_{reply}_{block.number}",
            "call_id": f"call_{reply}_{block.number}",
            "name": block.name,
            "arguments": block.text,
            "status": status,
        }
    if block.kind == "thinking":
        return {
            "id": f"rs_{reply}",
            "type": "reasoning",
            "status": status,
            "summary": [],
            "content": [{"type": "reasoning_text", "text": block.text}],
        }
    part = {
        "type": "output_text",
        "text": block.text,
        "annotations": [],
        "logprobs": logprobs_of(block.tokens),
    }
    return {
        "id": f"msg_{reply}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [part],
    }


def _usage(cost: Cost) -> Document:
    """The usage under the names of /v1/responses; writes to the prefix cache are free."""
    counted = usage(cost)
    return {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": cost.cached_tokens,
            "cache_write_tokens": 0,
        },
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": cost.thinking_tokens},
        "total_tokens": counted["total_tokens"],
    }
