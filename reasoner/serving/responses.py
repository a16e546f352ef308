"""Requests and replies of /v1/responses, the newer form of OpenAI's clients: whole, and as events of a stream."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Discriminator, Field, JsonValue, Tag, field_validator

from reasoner.budget import Cost, Prices
from reasoner.engine import TextPiece
from reasoner.errors import shown
from reasoner.serving.errors import ApiError
from reasoner.serving.messages import MessageReply
from reasoner.serving.replies import (
    ChatReply,
    Document,
    ReplyProgress,
    ReplyText,
    Result,
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
from reasoner.system.printing import valid_unicode
from reasoner.trace.events import Event

STATUS: Final = {"stop": "completed", "length": "incomplete", "tool_calls": "completed"}
REPEATED: Final = {
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
"""Fields of a request that its reply repeats."""
LOGPROBS: Final = "message.output_text.logprobs"
"""What `include` asks for log-probabilities by."""
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
            logprobs=LOGPROBS in self.include,
            response_format=self.text.format,
            tools=[tool.chat for tool in self.tools],
            tool_choice=choice.chat if isinstance(choice, FunctionChoice) else choice,
            reasoner=self.reasoner,
        )


MAX_KEPT: Final = 1000
MAX_KEPT_SIZE: Final = 16 << 20
"""Characters of all messages that are kept."""


class KeptMessages:
    """The texts of the last messages in replies, by client and id: clients may send the id instead of the message."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, str], str] = {}
        self._size = 0

    def keep(self, client: str, name: str, text: str) -> None:
        """Keep a message, and drop the oldest above a limit."""
        self._size += len(text) - len(self._texts.pop((client, name), ""))
        self._texts[client, name] = text
        while len(self._texts) > MAX_KEPT or self._size > MAX_KEPT_SIZE:
            self._size -= len(self._texts.pop(next(iter(self._texts))))

    def text(self, client: str, name: str) -> str | None:
        """The text of a message of a client; None if there is none or it was dropped."""
        return self._texts.get((client, name))


class ResponseReply:
    """The reply to a request of /v1/responses; its methods are those of `ChatReply`.

    The events of a stream are numbered in order. Its thinking is one item of the output, the message another, and each
    call of a function.
    """

    reads: ClassVar[type[ResponseRequest]] = ResponseRequest
    last: ClassVar[bytes] = b""

    def __init__(self, request: ResponseRequest, prices: Prices | None = None) -> None:
        self.asked = request.chat
        self.id = f"resp_{secrets.token_hex(12)}"
        self.created = int(time.time())
        self._request = request
        self._prices = prices
        self._number = 0
        self._progress = ReplyProgress()
        self._sent: dict[str, list[str]] = {"reasoning": [], "message": []}
        self._open = ""
        """The item that is being streamed: "", "reasoning" or "message"."""
        self.keep: Callable[[str, str], None] = lambda _name, _text: None
        """Receives the id and the text of the message."""
        self._index = -1
        """The place in the output of the item that was opened last."""

    def whole(self, results: Sequence[Result]) -> Document:
        """The reply. Raises ApiError: the question failed before it had any text."""
        [result] = results
        text = ReplyText.of(result)
        status = STATUS[text.finish_reason]
        # What was streamed as thinking may be progress, and not the winner's own thinking.
        thinking = "".join(self._sent["reasoning"]) or text.thinking
        thought = [_item(self.id, "reasoning", thinking)] if thinking else []
        message = _item(self.id, "message", text.content, status, text.logprobs)
        spoken = [message] if text.content or not text.calls else []
        for item in spoken:
            self.keep(item["id"], text.content)
        return {
            **self._frame(status),
            "incomplete_details": {"reason": "max_output_tokens"}
            if text.finish_reason == "length"
            else None,
            "output": [*thought, *spoken, *self._calls(text)],
            "usage": _usage(result.solution.cost),
            "reasoner": vendor_object(result, self._prices),
        }

    def _calls(self, text: ReplyText) -> list[Document]:
        """An item for each call."""
        return [
            {
                "type": "function_call",
                "id": f"fc_{self.id}_{number}",
                "call_id": f"call_{self.id}_{number}",
                "name": call.name,
                "arguments": call.arguments,
                "status": "completed",
            }
            for number, call in enumerate(text.calls)
        ]

    def begin(self, _choices: int) -> Iterable[Document]:
        """The first events."""
        frame = self._frame("in_progress")
        return [
            self._event("response.created", response=frame),
            self._event("response.in_progress", response=frame),
        ]

    def progress(self, _index: int, event: Event) -> Iterable[Document]:
        """A line about what happened, as thinking; no events if there is no news."""
        line = self._progress.line(event)
        return self._delta("reasoning", f"{line}\n") if line else ()

    def text(self, _index: int, piece: TextPiece) -> Iterable[Document]:
        """The next text of the reply, or of its thinking."""
        return self._delta(
            "reasoning" if piece.thinking else "message", valid_unicode(piece.text)
        )

    def end(self, results: Sequence[Result]) -> Iterable[Document]:
        """What was not streamed yet, and the whole reply. Raises as `whole`."""
        text = ReplyText.of(results[0])
        events: list[Document] = []
        if not self._sent["reasoning"] and text.thinking:
            events += self._delta("reasoning", text.thinking)
        sent = "".join(self._sent["message"])
        if not text.calls or text.content:
            events += self._opened("message")
        if text.content.startswith(sent) and len(text.content) > len(sent):
            events += self._delta("message", text.content[len(sent) :], text.logprobs)
        events += self._closed(STATUS[text.finish_reason], text.logprobs)
        events += chain.from_iterable(map(self._call, self._calls(text)))
        whole = self.whole(results)
        return [*events, self._event(f"response.{whole['status']}", response=whole)]

    def _call(self, call: Document) -> list[Document]:
        """The events of a call."""
        self._index += 1
        at = {"item_id": call["id"], "output_index": self._index}
        begun = {**call, "arguments": "", "status": "in_progress"}
        name, arguments = "response.function_call_arguments", call["arguments"]
        return [
            self._event(
                "response.output_item.added", output_index=self._index, item=begun
            ),
            self._event(f"{name}.delta", **at, delta=arguments),
            self._event(f"{name}.done", **at, arguments=arguments),
            self._event(
                "response.output_item.done", output_index=self._index, item=call
            ),
        ]

    def fail(self, error: ApiError) -> Iterable[Document]:
        """The last event of a reply that failed after its stream began."""
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        failure = {"code": code, "message": error.message}
        return [
            self._event(
                "response.failed", response={**self._frame("failed"), "error": failure}
            )
        ]

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
            **self._request.model_dump(include=REPEATED),
        }

    def _delta(
        self, item: str, text: str, logprobs: Sequence[Document] = ()
    ) -> list[Document]:
        """The events of a further text of an item."""
        events = self._opened(item)
        self._sent[item].append(text)
        if item == "reasoning":
            return [*events, self._piece("response.reasoning_text.delta", delta=text)]
        return [
            *events,
            self._piece("response.output_text.delta", delta=text, logprobs=[*logprobs]),
        ]

    def _opened(self, item: str) -> list[Document]:
        """The events that begin an item, after those that end the one before."""
        if self._open == item:
            return []
        events = self._closed("completed")
        self._open, self._index = item, self._index + 1
        empty = _item(self.id, item, "", "in_progress")
        part = empty.pop("content")[0]
        added = {**empty, "content": []}
        events.append(
            self._event(
                "response.output_item.added", output_index=self._index, item=added
            )
        )
        return [*events, self._piece("response.content_part.added", part=part)]

    def _closed(self, status: str, logprobs: Sequence[Document] = ()) -> list[Document]:
        if not self._open:
            return []
        thinking = self._open == "reasoning"
        text = "".join(self._sent[self._open])
        item = _item(
            self.id, self._open, text, "completed" if thinking else status, logprobs
        )
        [part] = item["content"]
        name = "reasoning_text" if thinking else "output_text"
        more: Document = {} if thinking else {"logprobs": [*logprobs]}
        return [
            self._piece(f"response.{name}.done", text=part["text"], **more),
            self._piece("response.content_part.done", part=part),
            self._event(
                "response.output_item.done", output_index=self._index, item=item
            ),
        ]

    def _piece(self, name: str, **fields: Any) -> Document:
        item = f"{PREFIXES[self._open]}{self.id}"
        return self._event(
            name, item_id=item, output_index=self._index, content_index=0, **fields
        )

    def _event(self, name: str, **fields: Any) -> Document:
        event = {"type": name, "sequence_number": self._number, **fields}
        self._number += 1
        return event


PREFIXES: Final = {"reasoning": "rs_", "message": "msg_"}
"""What the ids of items begin with."""


def _item(
    id: str,
    type: str,
    text: str,
    status: str = "completed",
    logprobs: Sequence[Document] = (),
) -> Document:
    """An item of the output."""
    item: Document = {"id": f"{PREFIXES[type]}{id}", "type": type, "status": status}
    if type == "reasoning":
        return {
            **item,
            "summary": [],
            "content": [{"type": "reasoning_text", "text": text}],
        }
    content = [
        {
            "type": "output_text",
            "text": text,
            "annotations": [],
            "logprobs": [*logprobs],
        }
    ]
    return {**item, "role": "assistant", "content": content}


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


Reply = ChatReply | ResponseReply | MessageReply
REPLIES: Final[Mapping[str, Any]] = {
    "/v1/chat/completions": ChatReply,
    "/v1/messages": MessageReply,
    "/v1/responses": ResponseReply,
}
"""The class of the replies of each route; it `reads` the route's requests."""
