"""The forms in which a request comes and its reply goes: chat completions, completions, responses."""

import secrets
import time
from collections.abc import Callable, Iterable
from typing import ClassVar, Final, Protocol

from reasoner.budget import Prices
from reasoner.engine import TextPiece
from reasoner.serving.choice import Offer
from reasoner.serving.errors import ApiError
from reasoner.serving.replies import chat_completion, text_completion
from reasoner.serving.requests import (
    ChatRequest,
    CompletionRequest,
    ResponseRequest,
    read_chat,
    read_completion,
    read_response,
)
from reasoner.serving.responses import ResponseStream, response_object
from reasoner.serving.service import Answered
from reasoner.serving.streaming import ChatStream, CompletionStream
from reasoner.serving.streams import Chunks, Document
from reasoner.trace.events import Event


class Form(Chunks, Protocol):
    """One request in its form, and its reply, whole or as chunks. `asked` is what is chosen by."""

    asked: ChatRequest | CompletionRequest

    def whole(self, answered: Answered) -> Document:
        """The reply.

        Raises:
            ApiError: a question failed before it had any text.
        """


ReadForm = Callable[[bytes, Offer], Form]
"""Reads the body of a request. Raises ApiError: it is not one, or does not fit."""


class ChatForm:
    """/v1/chat/completions."""

    last: ClassVar[bytes] = b"data: [DONE]\n\n"

    def __init__(self, body: bytes, offer: Offer) -> None:
        self.asked: ChatRequest | CompletionRequest = read_chat(body)
        self._id, self._created, self._prices = _identity("chatcmpl-", offer)
        asked = self.asked
        self._chunks = ChatStream(self._id, self._created, asked.model, asked.include_usage, self._prices)

    def whole(self, answered: Answered) -> Document:
        return chat_completion(
            answered.results, id=self._id, created=self._created, prices=self._prices, traces=answered.traces
        )

    def begin(self, choices: int) -> Iterable[Document]:
        return [self._chunks.begin(index=index) for index in range(choices)]

    def progress(self, index: int, event: Event) -> Iterable[Document]:
        chunk = self._chunks.progress(event, index=index)
        return (chunk,) if chunk else ()

    def text(self, index: int, piece: TextPiece) -> Iterable[Document]:
        return (self._chunks.delta(piece.text, index=index, thinking=piece.thinking),)

    def end(self, answered: Answered) -> Iterable[Document]:
        return self._chunks.end(answered.results, traces=answered.traces)

    def fail(self, error: ApiError) -> Iterable[Document]:
        return (error.document(),)


class CompletionForm:
    """/v1/completions."""

    last: ClassVar[bytes] = ChatForm.last

    def __init__(self, body: bytes, offer: Offer) -> None:
        self.asked: ChatRequest | CompletionRequest = read_completion(body)
        self._id, self._created, self._prices = _identity("cmpl-", offer)
        asked = self.asked
        self._chunks = CompletionStream(self._id, self._created, asked.model, asked.include_usage, self._prices)

    def whole(self, answered: Answered) -> Document:
        return text_completion(
            answered.results, id=self._id, created=self._created, prices=self._prices, traces=answered.traces
        )

    def begin(self, choices: int) -> Iterable[Document]:
        return ()

    def progress(self, index: int, event: Event) -> Iterable[Document]:
        return ()

    def text(self, index: int, piece: TextPiece) -> Iterable[Document]:
        return () if piece.thinking else (self._chunks.delta(piece.text, index=index),)

    def end(self, answered: Answered) -> Iterable[Document]:
        return self._chunks.end(answered.results, traces=answered.traces)

    def fail(self, error: ApiError) -> Iterable[Document]:
        return (error.document(),)


class ResponseForm:
    """/v1/responses."""

    last: ClassVar[bytes] = b""

    def __init__(self, body: bytes, offer: Offer) -> None:
        self._request: Final[ResponseRequest] = read_response(body)
        self.asked: ChatRequest | CompletionRequest = self._request.chat
        self._id, self._created, self._prices = _identity("resp_", offer)
        self._chunks = ResponseStream(self._request, self._id, self._created, self._prices)

    def whole(self, answered: Answered) -> Document:
        [result], [trace] = answered.results, answered.traces
        return response_object(
            self._request, result, id=self._id, created=self._created, prices=self._prices, trace=trace
        )

    def begin(self, choices: int) -> Iterable[Document]:
        return self._chunks.begin()

    def progress(self, index: int, event: Event) -> Iterable[Document]:
        return self._chunks.progress(event)

    def text(self, index: int, piece: TextPiece) -> Iterable[Document]:
        return self._chunks.delta(piece.text, thinking=piece.thinking)

    def end(self, answered: Answered) -> Iterable[Document]:
        [result], [trace] = answered.results, answered.traces
        return self._chunks.end(result, trace=trace)

    def fail(self, error: ApiError) -> Iterable[Document]:
        return self._chunks.failed(error)


def _identity(prefix: str, offer: Offer) -> tuple[str, int, Prices | None]:
    """The id of a reply, when it was asked for, and the prices of its tokens."""
    return f"{prefix}{secrets.token_hex(12)}", int(time.time()), offer.prices
