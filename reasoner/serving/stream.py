"""Bodies in, JSON and events out: what both do when a client is slow or leaves."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reasoner.engine import TextPiece
from reasoner.execution.launching import cancel_all
from reasoner.serving.errors import ApiError, api_error
from reasoner.serving.replies import Document, Reply, Result
from reasoner.serving.service import Follow
from reasoner.trace.events import Event

T = TypeVar("T")
JSON: Final = "application/json"
LINGER: Final = 4
"""How many times its limit a body is read, and dropped, so that its client gets to read the refusal."""
KEEP_ALIVE: Final = 10.0
"""Seconds of silence after which a comment shows that a stream is alive."""
SEND_SECONDS: Final = 60.0
"""Seconds that a client may take to read what was sent; then its stream ends."""
CLOSE: Final = {"Connection": "close"}


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers of a request by their names in lower case; of several with one name, the first."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in reversed(scope["headers"])
    }


async def read_body(
    headers: Mapping[str, str],
    receive: Receive,
    *,
    limit: int,
    seconds: float,
    kind: str = JSON,
) -> bytes:
    """The body of a request, which has the media type `kind`.

    Raises:
        ApiError: 415 for another type, 413 for more than `limit` bytes, 408 where it takes more than `seconds`, 499
            where the client leaves.
    """
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != kind:
        # A page of a browser may send other types than JSON to this machine without asking it first.
        raise ApiError(
            415,
            f"the body has another media type: send it with the header `Content-Type: {kind}`",
        )
    # The parser of requests lets no other text than digits pass.
    declared = int(headers.get("content-length", "0"))
    if declared > LINGER * limit or (declared > limit and "expect" in headers):
        raise _too_large(limit)
    parts, received, more = list[bytes](), 0, True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _left()
                part, more = message.get("body", b""), message.get("more_body", False)
                received += len(part)
                if received > LINGER * limit:
                    raise _too_large(limit)
                if received <= limit:
                    parts.append(part)
    except TimeoutError:
        raise ApiError(
            408, f"the body did not arrive within {seconds:g} s", headers=CLOSE
        ) from None
    if received > limit:
        raise _too_large(limit)
    return b"".join(parts)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        f"the body is too large: at most {limit:,} bytes are allowed",
        headers=CLOSE,
    )


def encoded(document: Document) -> bytes:
    """A document as JSON in UTF-8. Text of a model that is not valid gets question marks."""
    try:
        return to_json(document, inf_nan_mode="null")
    except ValueError:
        return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def reply(
    document: Document, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON response."""
    return Response(encoded(document), status, headers, JSON)


def _left() -> ApiError:
    return ApiError(499, "the client left", code="client_left")


async def _gone(receive: Receive) -> None:
    """Wait until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_left(task: "asyncio.Task[T]", receive: Receive) -> T:
    """The result of a task, which is cancelled when the client leaves.

    Raises:
        ApiError: the client left, or the task failed, or was cancelled as the server stops.
    """
    gone = asyncio.ensure_future(_gone(receive))
    gone.add_done_callback(lambda _: task.cancel())
    try:
        return await task
    except BaseException:
        if gone.done():
            raise _left() from None
        if task.done() and (failure := _failure(task)):
            raise failure from None
        raise
    finally:
        gone.cancel()


class EventStream(Response):
    """Server-sent events of a request that `start` begins; it is given what receives the request's events.

    A refusal before the first byte is an error of its own; a later failure is the last event. When the client leaves,
    or does not read any more, the request is cancelled.
    """

    def __init__(
        self,
        start: "Callable[[Follow], asyncio.Task[list[Result]]]",
        chunks: Reply,
        choices: int,
    ) -> None:
        super().__init__(
            media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )
        del self.headers["content-length"]
        self._start = start
        self._chunks = chunks
        self._choices = choices
        self._pending: list[Document] = []
        self._changed = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream.

        Raises:
            ApiError: the request was refused at once.
        """
        task = self._start(self._follow)
        gone = asyncio.ensure_future(_gone(receive))
        for each in (task, gone):
            each.add_done_callback(lambda _: self._changed.set())
        try:
            # After one turn of the loop the request is refused, waits, or is being answered.
            await asyncio.sleep(0)
            if task.done() and (failure := _failure(task)):
                raise failure
            with suppress(TimeoutError):
                await self._send(task, gone, send)
        finally:
            await cancel_all((task, gone))

    def _follow(self, index: int, news: Event | TextPiece) -> None:
        # What waits for a slow client is no larger than the trace of the request, which is kept anyway.
        chunks = self._chunks
        if documents := list(
            chunks.text(index, news)
            if isinstance(news, TextPiece)
            else chunks.progress(index, news)
        ):
            self._pending += documents
            self._changed.set()

    async def _send(
        self, task: "asyncio.Task[list[Result]]", gone: "asyncio.Task[None]", send: Send
    ) -> None:
        async def write(body: bytes, *, more: bool = True) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(
                    {"type": "http.response.body", "body": body, "more_body": more}
                )

        await send(
            {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        )
        await write(_events(self._chunks.begin(self._choices)))
        while not gone.done() and not (task.done() and not self._pending):
            if self._pending:
                documents, self._pending = self._pending, []
                await write(_events(documents))
            elif not self._changed.is_set():
                try:
                    async with asyncio.timeout(KEEP_ALIVE):
                        await self._changed.wait()
                except TimeoutError:
                    await write(b": keep-alive\n\n")
            self._changed.clear()
        if not gone.done():
            await write(_events(self._rest(task)) + self._chunks.last, more=False)

    def _rest(self, task: "asyncio.Task[list[Result]]") -> Iterable[Document]:
        """The end of the reply of a task that has ended, or its failure."""
        try:
            if failure := _failure(task):
                raise failure
            return self._chunks.end(task.result())
        except ApiError as error:
            return self._chunks.fail(error)


def _failure(task: "asyncio.Task[Any]") -> ApiError | None:
    """The error of a task that ended; None where it has a result."""
    if task.cancelled():
        return ApiError(
            503,
            "the server is stopping: try again later",
            type="server_error",
            code="draining",
        )
    failure = task.exception()
    return api_error(failure) if failure else None


def _events(documents: Iterable[Document]) -> bytes:
    return b"".join(_event(document) for document in documents)


def _event(document: Document) -> bytes:
    # The events of /v1/responses and /v1/messages are named, and the name is their type.
    name = document.get("type")
    head = f"event: {name}\n".encode() if isinstance(name, str) else b""
    return b"%sdata: %s\n\n" % (head, encoded(document))
