"""Replies in the form of /v1/responses, whole and as events of a stream."""

from dataclasses import dataclass, field
from typing import Any, Final

from reasoner.budget import Cost, Prices
from reasoner.serving.errors import ApiError, valid_text
from reasoner.serving.replies import Result, Text, usage, vendor_object
from reasoner.serving.requests import ResponseRequest
from reasoner.serving.streaming import Progress
from reasoner.trace.events import Event

STATUS: Final = {"stop": "completed", "length": "incomplete"}


def response_object(
    request: ResponseRequest,
    result: Result,
    *,
    id: str,
    created: int,
    prices: Prices | None = None,
    trace: str | None = None,
) -> dict[str, Any]:
    """A reply of /v1/responses.

    Raises:
        ApiError: the question failed before it had any text.
    """
    job, solution = result
    text = Text.of(job, solution)
    thought = [_reasoning(id, text.thinking)] if text.thinking else []
    return {
        **_frame(request, id=id, created=created, status=STATUS[text.finish_reason]),
        "incomplete_details": {"reason": "max_output_tokens"} if text.finish_reason == "length" else None,
        "output": [*thought, _message(id, text.content, STATUS[text.finish_reason])],
        "usage": _usage(solution.cost),
        "reasoner": vendor_object(job, solution, prices=prices, trace=trace),
    }


def _frame(request: ResponseRequest, *, id: str, created: int, status: str) -> dict[str, Any]:
    """What is known of a reply from its request."""
    return {
        "id": id,
        "object": "response",
        "created_at": created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": dict(request.metadata),
        "model": request.model,
        "output": [],
        "parallel_tool_calls": False,
        "previous_response_id": None,
        "reasoning": {"effort": request.reasoning.effort, "summary": None},
        "store": False,
        "temperature": request.temperature,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
    }


def _reasoning(id: str, text: str) -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text}]
    return {"id": f"rs_{id}", "type": "reasoning", "summary": [], "content": content, "status": "completed"}


def _message(id: str, text: str, status: str) -> dict[str, Any]:
    content = [_part(text)]
    return {"id": f"msg_{id}", "type": "message", "role": "assistant", "status": status, "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(cost: Cost) -> dict[str, Any]:
    """The usage under the names of /v1/responses; nothing is paid for writing to the prefix cache."""
    counted = usage([cost])
    return {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cost.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": cost.thinking_tokens},
        "total_tokens": counted["total_tokens"],
    }


@dataclass(slots=True)
class ResponseStream:
    """The events of a streamed reply of /v1/responses, numbered in order.

    `begin` first; then `progress` with the events of the job, or `delta` with its text as it comes; at last `end`. What
    is thought is one item of the output, the message another.
    """

    request: ResponseRequest
    id: str
    created: int
    prices: Prices | None = None
    _number: int = field(default=0, init=False)
    _progress: Progress = field(default_factory=Progress, init=False)
    _thought: str = field(default="", init=False)
    _text: str = field(default="", init=False)
    _open: str = field(default="", init=False)
    """The item that is being streamed: "", "reasoning" or "message"."""

    def begin(self) -> list[dict[str, Any]]:
        """The first events."""
        frame = _frame(self.request, id=self.id, created=self.created, status="in_progress")
        return [self._event("response.created", response=frame), self._event("response.in_progress", response=frame)]

    def progress(self, event: Event) -> list[dict[str, Any]]:
        """A line about what happened, as thinking; no events if there is nothing new to say."""
        line = self._progress.line(event)
        return self.delta(f"{line}\n", thinking=True) if line else []

    def delta(self, text: str, *, thinking: bool = False) -> list[dict[str, Any]]:
        """The next text of the reply, or of what is thought before it."""
        text = valid_text(text)
        if thinking:
            self._thought += text
            return [*self._opened("reasoning"), self._piece("response.reasoning_text.delta", delta=text)]
        self._text += text
        opened = self._opened("message")
        return [*opened, self._piece("response.output_text.delta", delta=text, logprobs=[])]

    def end(self, result: Result, *, trace: str | None = None) -> list[dict[str, Any]]:
        """The last events: what was not streamed yet, and the whole reply.

        Raises:
            ApiError: the question failed before it had any text.
        """
        whole = response_object(self.request, result, id=self.id, created=self.created, prices=self.prices, trace=trace)
        text = Text.of(*result)
        events: list[dict[str, Any]] = []
        if not self._thought and text.thinking:
            events += self.delta(text.thinking, thinking=True)
        events += self._opened("message")
        if text.content.startswith(self._text) and len(text.content) > len(self._text):
            events += self.delta(text.content[len(self._text) :])
        events += self._closed(STATUS[text.finish_reason])
        if self._thought:
            # The reply holds what was streamed, which may be progress and not the winner's own thinking.
            whole["output"] = [_reasoning(self.id, self._thought), whole["output"][-1]]
        return [*events, self._event(f"response.{whole['status']}", response=whole)]

    def failed(self, error: ApiError) -> list[dict[str, Any]]:
        """The last event of a reply that failed after its stream began."""
        frame = _frame(self.request, id=self.id, created=self.created, status="failed")
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        return [self._event("response.failed", response={**frame, "error": {"code": code, "message": error.message}})]

    def _opened(self, item: str) -> list[dict[str, Any]]:
        """The events that begin an item, after those that end the one before."""
        if self._open == item:
            return []
        events = self._closed("completed")
        self._open = item
        if item == "reasoning":
            started = {**_reasoning(self.id, ""), "content": [], "status": "in_progress"}
            part: dict[str, Any] = {"type": "reasoning_text", "text": ""}
        else:
            started = {**_message(self.id, "", "in_progress"), "content": []}
            part = _part("")
        events.append(self._event("response.output_item.added", output_index=self._index, item=started))
        return [*events, self._piece("response.content_part.added", part=part)]

    def _closed(self, status: str) -> list[dict[str, Any]]:
        if not self._open:
            return []
        more: dict[str, Any] = {}
        if self._open == "reasoning":
            item, name = _reasoning(self.id, self._thought), "response.reasoning_text.done"
        else:
            item, name, more = _message(self.id, self._text, status), "response.output_text.done", {"logprobs": []}
        [part] = item["content"]
        return [
            self._piece(name, text=part["text"], **more),
            self._piece("response.content_part.done", part=part),
            self._event("response.output_item.done", output_index=self._index, item=item),
        ]

    @property
    def _index(self) -> int:
        return 1 if self._open == "message" and self._thought else 0

    def _piece(self, name: str, **fields: Any) -> dict[str, Any]:
        item = f"{'rs' if self._open == 'reasoning' else 'msg'}_{self.id}"
        return self._event(name, item_id=item, output_index=self._index, content_index=0, **fields)

    def _event(self, name: str, **fields: Any) -> dict[str, Any]:
        event = {"type": name, "sequence_number": self._number, **fields}
        self._number += 1
        return event
