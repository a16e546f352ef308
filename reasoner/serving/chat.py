"""Replies of /v1/chat/completions: whole, and as chunks of a stream."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from reasoner.budget import Cost
from reasoner.serving.errors import ApiError
from reasoner.serving.replies import (
    Document,
    Reply,
    ReplyBlock,
    ReplyText,
    Result,
    Step,
    Tokens,
    logprobs_of,
    sampled_fields,
    usage,
    vendor_object,
)
from reasoner.serving.requests import ChatRequest
from reasoner.trace.events import Event


class ChatReply(Reply):
    """The reply to a request of /v1/chat/completions. Of several choices, each has its vendor object."""

    reads: ClassVar[type[ChatRequest]] = ChatRequest
    prefix = "chatcmpl-"
    last: ClassVar[bytes] = b"data: [DONE]\n\n"

    def whole(self, results: Sequence[Result]) -> Document:
        """The reply."""
        choices = []
        for index, result in enumerate(results):
            text = ReplyText.of(result)
            message: Document = {
                "role": "assistant",
                "content": text.content,
                "refusal": None,
            }
            message |= _thinking(text.thinking)
            if text.calls:
                message |= {
                    "content": text.content or None,
                    "tool_calls": self._calls(index, text.blocks),
                }
            choices.append(
                {
                    "index": index,
                    "message": message,
                    "logprobs": _logprobs(text.tokens),
                    "finish_reason": text.finish_reason,
                    "reasoner": vendor_object(result, self._prices),
                    **sampled_fields(result),
                }
            )
        vendor = choices[0]["reasoner"]
        if len(choices) == 1:
            del choices[0]["reasoner"]
        return self._frame("chat.completion", choices) | {
            "usage": _usage_of(results),
            "reasoner": vendor,
        }

    def begin(self, choices: int) -> Iterable[Document]:
        """A first chunk of each choice, without text."""
        return [
            self._chunk(index, {"role": "assistant", "content": ""})
            for index in range(choices)
        ]

    def progress(self, index: int, event: Event) -> Iterable[Document]:
        """A line about what happened, with the vendor object so far."""
        for chunk in super().progress(index, event):
            yield chunk | {"reasoner": self._streams[index].progress.report}

    def end(self, results: Sequence[Result]) -> Iterable[Document]:
        """The last chunks of each choice, and the usage of all."""
        chunks: list[Document] = []
        for index, result in enumerate(results):
            text = ReplyText.of(result)
            chunks += self._said(index, self._streams[index].rest(text.blocks))
            vendor = vendor_object(result, self._prices)
            last = self._chunk(index, {}, text.finish_reason)
            last["choices"][0] |= sampled_fields(result)
            chunks.append(
                {
                    **last,
                    "reasoner": self._noted(index, vendor, text.content),
                }
            )
        if self.asked.include_usage:
            chunks.append(
                self._frame("chat.completion.chunk", []) | {"usage": _usage_of(results)}
            )
        return chunks

    def fail(self, error: ApiError) -> Iterable[Document]:
        """The error."""
        return (error.document(),)

    def _frame(self, kind: str, choices: list[Document]) -> Document:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.asked.model,
            "choices": choices,
        }

    def _chunk(
        self,
        index: int,
        delta: Document,
        finish_reason: str | None = None,
        logprobs: Document | None = None,
    ) -> Document:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }
        chunk = self._frame("chat.completion.chunk", [choice])
        # As in OpenAI's service: null in every chunk but the last.
        return {**chunk, "usage": None} if self.asked.include_usage else chunk

    def _said(self, index: int, steps: Iterable[Step]) -> list[Document]:
        """A chunk for each further text, and one with all calls."""
        blocks = [step.block for step in steps if step.kind == "text"]
        chunks = [
            self._chunk(
                index,
                _thinking(block.text)
                if block.kind == "thinking"
                else {"content": block.text},
                logprobs=_logprobs(block.tokens),
            )
            for block in blocks
            if block.kind != "call"
        ]
        if calls := self._calls(index, blocks):
            numbered = [{"index": number, **call} for number, call in enumerate(calls)]
            chunks.append(self._chunk(index, {"tool_calls": numbered}))
        return chunks

    def _calls(self, index: int, blocks: Iterable[ReplyBlock]) -> list[Document]:
        return [
            {
                "id": f"call_{self.id}_{index}_{block.number}",
                "type": "function",
                "function": {"name": block.name, "arguments": block.text},
            }
            for block in blocks
            if block.kind == "call"
        ]


def _logprobs(tokens: Tokens) -> Document | None:
    return {"content": logprobs_of(tokens), "refusal": None} if tokens else None


def _thinking(text: str) -> dict[str, str]:
    """Thinking under both names that clients read; nothing without it."""
    return {"reasoning": text, "reasoning_content": text} if text else {}


def _usage_of(results: Sequence[Result]) -> Document:
    return usage(sum((result.solution.cost for result in results), Cost()))
