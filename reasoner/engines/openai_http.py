"""The connection to an OpenAI-compatible server: a client per event loop, retries, event streams, one-line errors."""

import asyncio
import json
import os
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from reasoner.errors import EngineUnavailable, RequestLost, UsageError

CONNECTIONS = 1024
CONNECT_SECONDS = 10.0
BACKOFF_SECONDS, BACKOFF_CAP = 0.5, 30.0
MESSAGE_CHARACTERS = 300
ERROR_BYTES, REPLY_BYTES, EVENT_BYTES = 2**16, 2**26, 2**24

_BUSY = {408, 409, 425, 429}
_WAYS_OUT = {
    401: "set api_key, or the environment variable OPENAI_API_KEY",
    403: "use an api_key that may use this model",
    404: "set base_url to the address that ends in /v1, and model to one that it serves",
}


def tidy(text: str, most: int = MESSAGE_CHARACTERS) -> str:
    """Foreign text made fit for one line of an error: printable, single-spaced, at most `most` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else line[: most - 3] + "..."


def server_message(body: bytes) -> str:
    """What a server's error reply says, bounded; its raw text where it is not in a known form."""
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        found: Any = json.loads(text)
        for key in ("error", "message", "detail"):
            if isinstance(found, dict) and found.get(key):
                found = found[key]
        text = found if isinstance(found, str) else text
    return tidy(text)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply that is not worth trying again: its HTTP status and body."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the server did what it was asked."""
        return self.status == HTTPStatus.OK


@dataclass(slots=True, eq=False)
class Connection:
    """Sends requests to one server. `timeout` is seconds without a byte; `sleep` waits between tries.

    A failure that cannot have cost anything is tried again up to `retries` times, each wait twice as long as the one
    before, or as long as the server asks for.

    Raises:
        UsageError: `base_url` is no HTTP address, or the key cannot be sent.
    """

    base_url: str
    api_key: str
    timeout: float
    retries: int
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    where: str = field(init=False)
    _clients: dict[asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, AsyncGenerator[httpx.AsyncClient, None]]] = (
        field(init=False, default_factory=dict)
    )

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.base_url.rstrip("/"))
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in ("http", "https") or not url.host or url.query:
            raise UsageError(f"base_url={self.base_url!r} is no http address: write it as in http://localhost:8000/v1")
        self.base_url = str(url)
        self.where = str(url.copy_with(userinfo=b"", query=None))

    @property
    def root(self) -> str:
        """The address without /v1, where vLLM has what OpenAI does not define."""
        return self.base_url.removesuffix("/v1")

    async def call(self, method: str, url: str, body: Mapping[str, object] | None = None) -> Reply:
        """The whole reply to a request that costs no tokens, whatever its status."""
        response = await self._send(method, url, body, seed=0, free=True)
        try:
            most = REPLY_BYTES if response.is_success else ERROR_BYTES
            return Reply(response.status_code, await _read(response, most))
        except httpx.RequestError as error:
            raise EngineUnavailable(f"the reply from {self.where} was cut: {self._reason(error)}") from error
        finally:
            await response.aclose()

    @asynccontextmanager
    async def stream(
        self, path: str, body: Mapping[str, object], *, seed: int
    ) -> AsyncGenerator[AsyncGenerator[bytes, None], None]:
        """The events of a request that the server accepted; leaving the block closes the connection if it is not over.

        Raises:
            EngineUnavailable: the server refuses, or stays out of reach for every try.
            RequestLost: it says nothing at all, or the stream is cut.
        """
        response = await self._send("POST", self.base_url + path, body, seed=seed, free=False)
        try:
            if response.status_code != HTTPStatus.OK:
                raise self.refusal(Reply(response.status_code, await _error_body(response)))
            async with aclosing(_events(response)) as events:
                yield events
        except httpx.RequestError as error:
            raise RequestLost(f"the stream from {self.where} was cut: {self._reason(error)}") from error
        finally:
            await response.aclose()

    def refusal(self, reply: Reply) -> EngineUnavailable:
        """The error for a reply that trying again would not change."""
        said = server_message(reply.body)
        way_out = _WAYS_OUT.get(reply.status, "change what it names, or choose another model or server")
        return EngineUnavailable(f"{self.where} answered {reply.status}{f' ({said})' if said else ''}: {way_out}")

    async def close(self) -> None:
        """Close this loop's client; those of other loops close with their loops."""
        _, holder = self._clients.pop(asyncio.get_running_loop(), (None, None))
        if holder:
            await holder.aclose()

    async def _send(
        self, method: str, url: str, body: Mapping[str, object] | None, *, seed: int, free: bool
    ) -> httpx.Response:
        client = await self._client()
        # Plain ASCII JSON: a lone surrogate in a prompt is then the server's to judge and no crash here.
        content = None if body is None else json.dumps(body).encode("ascii")
        for attempt in range(self.retries + 1):
            asked = 0.0
            try:
                request = client.build_request(method, url, content=content, headers=self._headers())
                response = await client.send(request, stream=True)
            except httpx.RequestError as error:
                if isinstance(error, httpx.ReadTimeout) and not free:
                    raise RequestLost(f"{self.where} took a request and sent nothing: {self._reason(error)}") from error
                failure, way_out = self._reason(error), "start the server there, or set base_url to where it runs"
            else:
                if not _worth_retrying(response.status_code):
                    return response
                failure, asked = await self._busy(response)
                way_out = "try later, or send fewer requests at once"
            if attempt < self.retries:
                await self.sleep(backoff(attempt, seed) + min(asked, self.timeout))
        tries = f"{self.retries + 1} tries" if self.retries else "1 try"
        raise EngineUnavailable(f"no answer from {self.where} in {tries}, the last: {failure}: {way_out}")

    async def _busy(self, response: httpx.Response) -> tuple[str, float]:
        try:
            said = server_message(await _error_body(response))
        finally:
            await response.aclose()
        return f"{response.status_code}{f' ({said})' if said else ''}", retry_after(response.headers)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        key = (self.api_key or os.environ.get("OPENAI_API_KEY", "")).strip()
        if not (key.isascii() and key.isprintable()):
            raise UsageError("the api_key has characters that no header can carry: copy it again")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return headers

    async def _client(self) -> httpx.AsyncClient:
        """This loop's client: connections belong to the loop that opened them."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            for old in [other for other in self._clients if other.is_closed()]:
                del self._clients[old]
            holder = self._hold()
            self._clients[loop] = (await anext(holder), holder)
        return self._clients[loop][0]

    async def _hold(self) -> AsyncGenerator[httpx.AsyncClient, None]:
        # An event loop closes its unfinished async generators before it ends, and with this one the client.
        timeout = httpx.Timeout(self.timeout, connect=min(self.timeout, CONNECT_SECONDS), pool=None)
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        client = httpx.AsyncClient(timeout=timeout, limits=limits)
        try:
            yield client
        finally:
            await client.aclose()

    def _reason(self, error: httpx.RequestError) -> str:
        if isinstance(error, httpx.ConnectTimeout):
            return f"no connection within {min(self.timeout, CONNECT_SECONDS):g} s"
        if isinstance(error, httpx.TimeoutException):
            return f"no byte within {self.timeout:g} s"
        return tidy(str(error)) or type(error).__name__


def backoff(attempt: int, seed: int) -> float:
    """Seconds to wait after failure number `attempt` (from 0): doubling, capped, spread by a jitter fixed by `seed`."""
    longest = min(BACKOFF_SECONDS * 2.0 ** min(attempt, 16), BACKOFF_CAP)
    return longest * (0.5 + zlib.crc32(f"{seed}:{attempt}".encode()) / 2**33)


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that a Retry-After header asks for, as a number or a date; 0 where it asks for none."""
    value = headers.get("retry-after", "").strip()
    try:
        return float(value) if value[:1].isdigit() else max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0


def _worth_retrying(status: int) -> bool:
    return status in _BUSY or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED)


async def _read(response: httpx.Response, most: int) -> bytes:
    body = bytearray()
    async for block in response.aiter_bytes():
        body += block
        if len(body) > most:
            break
    return bytes(body[:most])


async def _error_body(response: httpx.Response) -> bytes:
    with suppress(httpx.RequestError):
        return await _read(response, ERROR_BYTES)
    return b""


async def _events(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event up to [DONE] or the end.

    Lines are split as bytes: text may hold other characters that count as line ends, such as U+2028.
    """
    blocks: AsyncIterator[bytes] = response.aiter_bytes()
    pending = b""
    async for block in blocks:
        *lines, pending = (pending + block).split(b"\n")
        if len(pending) > EVENT_BYTES:
            raise RequestLost(f"the server sent an event above {EVENT_BYTES:,} bytes")
        for line in lines:
            data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
            if data == b"[DONE]":
                # Only a connection that was read to its end can serve the next request.
                with suppress(TimeoutError, StopAsyncIteration, httpx.RequestError):
                    async with asyncio.timeout(1.0):
                        await anext(blocks)
                return
            if data:
                yield data
