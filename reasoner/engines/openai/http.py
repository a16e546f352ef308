"""The connection to a server: its address, a session per event loop, retries, bounds, one-line errors."""

import asyncio
import hashlib
import json
import math
import os
import re
import time
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Final, NamedTuple, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from pydantic_core import to_json
from yarl import URL

from reasoner.engines.openai.values import message_of
from reasoner.errors import EngineUnavailable, RequestLost, UsageError
from reasoner.system.printing import Secrets, printable, shown_address, without_userinfo

T = TypeVar("T")
# In Python 3.11 each access to a member of an enumeration is a call.
OK: Final = HTTPStatus.OK.value
CONNECT_SECONDS = 10.0
ERROR_BYTES, REPLY_BYTES = 2**16, 2**24
GATEWAY_TIMEOUTS = frozenset({504, 524})
"""A proxy stopped waiting for an unstreamed reply, which the server continues to compute."""
LATE_SECONDS: Final = 0.25
"""A router answers an unstreamed request with 500 or 502 at once if it cannot reach its server, or later than this if
the server died while it generated."""

_DATA: Final = re.compile(rb"^data:[^\S\n]*(\S.*)", re.MULTILINE)
"""The data of a server-sent event. Only line feeds end it: text may hold U+2028."""
_DONE: Final = b"[DONE]"
_ADVICE = {
    401: "set api_key, or the environment variable OPENAI_API_KEY",
    403: "use an api_key that may use this model",
    404: "set base_url to the address that ends in /v1, and model to one that it serves",
}
BACKOFF_SECONDS, BACKOFF_CAP = 0.5, 30.0
_client_timeout = lru_cache(maxsize=16)(aiohttp.ClientTimeout)


class Notes(list[str]):
    """Notes in the order in which they were first made."""

    def add(self, *notes: str) -> None:
        """Add those that are new."""
        self += [note for note in dict.fromkeys(notes) if note not in self]


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where a server is and how it is reached; `secrets` must not be shown."""

    base_url: str
    headers: Mapping[str, str]
    proxy: str | None
    secrets: tuple[str, ...]

    @classmethod
    def of(cls, base_url: str, api_key: str) -> "Address":
        """The address with a key, which is OPENAI_API_KEY where there is none.

        Raises:
            UsageError: `base_url` is not an HTTP address or holds a password, or the key cannot be sent.
        """
        url = _split(base_url)
        if url is None:
            shown = shown_address(base_url)
            raise UsageError(
                f"base_url={shown!r} is not an HTTP address without a password: write it as in "
                "http://localhost:8000/v1, and a key as api_key"
            )
        key = api_key.strip() or os.environ.get("OPENAI_API_KEY", "").strip()
        if not (key.isascii() and key.isprintable()):
            raise UsageError(
                "the api_key has characters that an HTTP header cannot hold: copy it again"
            )
        proxies = getproxies()
        proxy = (
            None
            if proxy_bypass(url.netloc)
            else proxies.get(url.scheme) or proxies.get("all")
        )
        proxied = urlsplit(proxy or "").password or ""
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return cls(url.geturl(), headers, proxy, (key, proxied, unquote(proxied)))

    def url(self, path: str) -> URL:
        """Where a path is: those that OpenAI does not define are beside /v1 on a vLLM server."""
        return URL(
            self.base_url + path.removeprefix("/v1")
            if path.startswith("/v1/")
            else self.base_url.removesuffix("/v1") + path
        )


def _split(address: str) -> SplitResult | None:
    """The parts of an HTTP address; None where it is not one."""
    try:
        url = urlsplit(address.strip().rstrip("/"))
        # A part of a name that is too long is found by its encoding, a UnicodeError.
        host = (url.hostname or "").encode("idna")
        valid = url.scheme in ("http", "https") and host and url.port != 0
        valid = valid and not (
            url.query or url.fragment or url.username or url.password
        )
    except ValueError:
        return None
    return url if valid else None


@dataclass(slots=True)
class RetryWaits:
    """The waits between the tries of one request, for `patience` seconds in total, with a jitter fixed by `seed`.

    An unreachable server is given up after `unreachable` seconds, if that is less.
    """

    patience: float
    seed: int
    unreachable: float = math.inf
    _tries: int = 0
    _spent: float = 0.0

    def next(self, requested: float, took: float, *, reached: bool) -> float | None:
        """Seconds to wait after a try that took `took`, where the server requested `requested`; None to give up."""
        self._tries += 1
        self._spent += took
        left = (
            self.patience if reached else min(self.patience, self.unreachable)
        ) - self._spent
        if left <= 0:
            return None
        wait = min(backoff(self._tries - 1, self.seed) + requested, left)
        self._spent += wait
        return wait

    def __str__(self) -> str:
        tries = f"{self._tries} tries" if self._tries > 1 else "1 try"
        return f"{tries} over {self._spent:.0f} s" if self._spent >= 1 else tries


def backoff(attempt: int, seed: int) -> float:
    """Seconds to wait after failure number `attempt`, from 0: doubling, capped, with a jitter fixed by `seed`."""
    longest = min(BACKOFF_SECONDS * 2.0 ** min(attempt, 16), BACKOFF_CAP)
    return longest * (0.5 + zlib.crc32(f"{seed}:{attempt}".encode()) / 2**33)


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds of a Retry-After header, which holds a number or a date; 0 without one."""
    value = headers.get("retry-after", "").strip()
    try:
        return (
            float(value)
            if value[:1].isdigit()
            else max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
        )
    except (ValueError, OverflowError):
        return 0.0


def _is_busy(status: int) -> bool:
    return status != OK and (
        status in {408, 409, 425, 429}
        or (status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED)
    )


@dataclass(frozen=True, slots=True)
class ServerReply:
    """A complete reply, which is not retried: its HTTP status and body, and the address of the server."""

    status: int
    body: bytes
    where: str

    @property
    def ok(self) -> bool:
        """Whether the request succeeded."""
        return self.status == OK


@dataclass(slots=True, kw_only=True)
class RequestLimits:
    """Limits of one request: `seconds` and `size` in bytes for the complete reply.

    `sent` is called with True when the request is sent, and with False when that try failed and cost nothing. `limit`
    names in errors what the size was derived from. A router sends requests of the same `question_id` to the same
    replica. `late_errors_cost` says whether tokens may have been generated for an unstreamed request that ends in an
    error after a while.
    """

    seconds: float
    size: int
    limit: str
    seed: int = 0
    sent: Callable[[bool], None] = lambda _: None
    question_id: str = ""
    late_errors_cost: bool = False


@lru_cache(maxsize=4096)
def session_id(question_id: str) -> str:
    """The value of the session header: a digest, as a question's id may hold what no header can."""
    return hashlib.sha256(question_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _json_of(body: Mapping[str, object]) -> bytes:
    try:
        return to_json(body)
    except ValueError:
        # A lone surrogate in a prompt does not fail here: in ASCII, the server decides about it.
        return json.dumps(body).encode("ascii")


class _LoopSession(NamedTuple):
    session: aiohttp.ClientSession
    slots: asyncio.Semaphore
    holder: "AsyncGenerator[aiohttp.ClientSession, None]"


@dataclass(slots=True, eq=False, repr=False)
class ServerConnection:
    """Sends requests to a server, at most `max_concurrency` at once, in their order.

    `timeout` is the longest silence in seconds; `sleep` waits between tries. A failure that cannot have cost anything
    is retried for `patience` seconds, each wait twice as long as the one before plus what the server requests. `notes`
    are the engine's.
    """

    address: Address
    timeout: float
    patience: float
    max_concurrency: int
    notes: Notes
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    secrets: Secrets = field(init=False)
    _clients: dict[asyncio.AbstractEventLoop, _LoopSession] = field(
        init=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        self.secrets = Secrets.of(*self.address.secrets)

    @property
    def where(self) -> str:
        """The address of the server."""
        return self.address.base_url

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        starting: bool = False,
        patience: float | None = None,
    ) -> ServerReply:
        """The reply, of any status, to a request that costs no tokens. While `starting`, few seconds are waited."""
        terms = RequestLimits(seconds=self.timeout, size=REPLY_BYTES, limit="a reply")
        waits = RetryWaits(
            self.patience if patience is None else patience,
            0,
            # How long an unreachable server is retried at the start: a wrong address is reported soon
            5.0 if starting else math.inf,
        )
        read = partial(self._received, terms)
        try:
            return await self._answer(
                method, path, body, terms, waits, read, idle=self.timeout, free=True
            )
        except RequestLost as error:
            raise EngineUnavailable(str(error)) from error

    async def unstreamed(
        self, path: str, body: Mapping[str, object], terms: RequestLimits
    ) -> ServerReply:
        """The reply to a sampling request that is not streamed.

        Raises:
            EngineUnavailable: the server cannot be reached, or is busy, for longer than the patience.
            RequestLost: it accepted the request, and its cost is unknown.
        """
        waits = RetryWaits(self.patience, terms.seed)
        return await self._answer(
            "POST", path, body, terms, waits, partial(self._whole, terms), idle=None
        )

    async def _whole(
        self, terms: RequestLimits, response: aiohttp.ClientResponse
    ) -> ServerReply:
        try:
            return await self._received(terms, response)
        except aiohttp.ClientError as error:
            raise RequestLost(
                f"the reply from {self.where} was cut: {self._reason(error)}"
            ) from error

    async def _received(
        self, terms: RequestLimits, response: aiohttp.ClientResponse
    ) -> ServerReply:
        ok = response.status == OK
        read = await self._read(response, terms.size if ok else ERROR_BYTES)
        if ok and len(read) >= terms.size:
            raise RequestLost(self._too_large(terms))
        return ServerReply(response.status, read, self.address.base_url)

    async def stream(
        self,
        path: str,
        body: Mapping[str, object],
        terms: RequestLimits,
        take: Callable[[Sequence[bytes]], None],
    ) -> ServerReply | None:
        """Stream the reply to a sampling request; the refusal where there is one.

        `take` receives no events when the request is accepted, and then those of each block that arrives.

        Raises:
            EngineUnavailable: the server cannot be reached, or is busy, for longer than the patience.
            RequestLost: it sends nothing, or the stream is cut.
        """
        waits, read = (
            RetryWaits(self.patience, terms.seed),
            partial(self._events, terms, take),
        )
        return await self._answer(
            "POST", path, body, terms, waits, read, idle=self.timeout
        )

    def refusal(self, reply: ServerReply) -> EngineUnavailable:
        """The error for a reply that a retry would not change."""
        advice = _ADVICE.get(
            reply.status, "change what it names, or choose another model or server"
        )
        return EngineUnavailable(
            f"{reply.where} answered {self._status(reply.status, reply.body)}: {advice}"
        )

    def request_refusal(self, reply: ServerReply) -> UsageError | EngineUnavailable:
        """The error for a request that is refused: the caller's where the server says that it cannot work.

        A client of `reasoner serve` may read it, so it does not name the address.
        """
        if reply.status not in (
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        ):
            return self.refusal(reply)
        return UsageError(
            f"the model's server answered {self._status(reply.status, reply.body)}: change what it names"
        )

    def _status(self, status: int, body: bytes) -> str:
        message = self.message(body)
        return f"{status} ({message})" if message else str(status)

    def message(self, body: bytes) -> str:
        """The message of an error reply on one line, without secrets."""
        return self.show(message_of(body))

    def show(self, text: str, maximum: int = 300) -> str:
        """Foreign text as one line of an error: bounded, printable, without secrets."""
        return printable(self.secrets.hide(without_userinfo(text)), limit=maximum)

    async def close(self) -> None:
        """Close this loop's session; the others close with their loops."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client:
            await client.holder.aclose()

    async def _answer(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        terms: RequestLimits,
        waits: RetryWaits,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        *,
        idle: float | None,
        free: bool = False,
    ) -> T:
        """What `read` makes of the last reply within the terms; failures that cannot have cost anything are retried.

        `idle` is the longest silence; None allows any up to the deadline, as an unstreamed reply comes all at once. A
        `free` request costs nothing however it fails.
        """
        client = await self._client()
        content = None if body is None else _json_of(body)
        allowed = _client_timeout(
            total=terms.seconds,
            sock_connect=min(self.timeout, CONNECT_SECONDS),
            sock_read=idle,
        )
        session = (
            # Routers send requests with the same value to the same replica
            {"x-session-id": session_id(terms.question_id)} if terms.question_id else {}
        )
        while True:
            requested, reached, began = 0.0, False, time.monotonic()
            async with client.slots:
                terms.sent(True)
                sent = time.monotonic()
                try:
                    response = await client.session.request(
                        method,
                        self.address.url(path),
                        data=content,
                        headers={**self.address.headers, **session},
                        proxy=self.address.proxy,
                        timeout=allowed,
                        allow_redirects=False,
                    )
                    reached = True
                    try:
                        if not _is_busy(response.status) or (
                            idle is None and response.status in GATEWAY_TIMEOUTS
                        ):
                            return await read(response)
                        failure = self._status(
                            response.status, await self._error_body(response)
                        )
                        late = time.monotonic() - sent > LATE_SECONDS
                        if (
                            late
                            and terms.late_errors_cost
                            and idle is None
                            and response.status in {500, 502}
                        ):
                            raise RequestLost(
                                f"{self.where} answered {failure}: its server may have died"
                            )
                        requested = retry_after(response.headers)
                        advice = "try later, set patience to wait longer, or set max_concurrency"
                    finally:
                        response.close()
                except aiohttp.ClientError as error:
                    failure, advice = self._failed(
                        error, unstreamed=idle is None, free=free
                    )
                except TimeoutError as error:
                    raise RequestLost(
                        f"{self.where} did not finish a reply within {terms.seconds:g} s: set deadline"
                    ) from error
            terms.sent(False)
            wait = waits.next(requested, time.monotonic() - began, reached=reached)
            if wait is None:
                raise EngineUnavailable(
                    f"no answer from {self.where} in {waits}, the last: {failure}: {advice}"
                )
            await self.sleep(wait)

    def _failed(
        self, error: aiohttp.ClientError, *, unstreamed: bool, free: bool
    ) -> tuple[str, str]:
        """The failure and what to do, where it cannot have cost anything."""
        unsent = isinstance(
            error,
            aiohttp.ClientConnectorError
            | aiohttp.ConnectionTimeoutError
            | aiohttp.InvalidURL,
        )
        if not (free or unsent) and (
            unstreamed or isinstance(error, aiohttp.ServerTimeoutError)
        ):
            raise RequestLost(
                f"{self.where} accepted a request and sent nothing: {self._reason(error)}"
            ) from error
        return self._reason(
            error
        ), "start the server there, or set base_url to where it runs"

    async def _client(self) -> _LoopSession:
        """This loop's session: connections belong to the loop that opened them."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            for old in [other for other in self._clients if other.is_closed()]:
                del self._clients[old]
            holder = _hold()
            self._clients[loop] = _LoopSession(
                await anext(holder),
                asyncio.Semaphore(self.max_concurrency),
                holder,
            )
        return self._clients[loop]

    def _reason(self, error: Exception) -> str:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"no connection within {min(self.timeout, CONNECT_SECONDS):g} s"
        if isinstance(error, TimeoutError):
            return f"no byte within {self.timeout:g} s"
        if isinstance(error, aiohttp.ClientResponseError):
            return self.show(f"its reply is not HTTP: {error.message}")
        cause = getattr(error, "os_error", error)
        strerror = (
            "connection refused"
            if isinstance(cause, ConnectionRefusedError)
            else getattr(cause, "strerror", None)
        )
        return self.show(strerror or str(error)) or type(error).__name__

    async def _error_body(self, response: aiohttp.ClientResponse) -> bytes:
        with suppress(aiohttp.ClientError):
            return await self._read(response, ERROR_BYTES)
        return b""

    async def _read(self, response: aiohttp.ClientResponse, maximum: int) -> bytes:
        blocks, size = list[bytes](), 0
        while (
            size <= maximum
            and not response.content.at_eof()
            and (block := await response.content.readany())
        ):
            blocks.append(block)
            size += len(block)
        return b"".join(blocks)[:maximum]

    def _too_large(self, terms: RequestLimits) -> str:
        return f"{self.where} sent more than {terms.size:,} bytes for {terms.limit}"

    async def _events(
        self,
        terms: RequestLimits,
        take: Callable[[Sequence[bytes]], None],
        response: aiohttp.ClientResponse,
    ) -> ServerReply | None:
        """Pass on the data of server-sent events up to [DONE] or the end, all of a block at once; or the refusal."""
        if response.status != OK:
            refused = await self._error_body(response)
            terms.sent(False)
            return ServerReply(response.status, refused, self.where)
        try:
            pending, size = b"", 0
            take(())
            while block := await response.content.readany():
                size += len(block)
                if size > terms.size:
                    raise RequestLost(self._too_large(terms))
                lines, end, pending = (pending + block).rpartition(b"\n")
                events = _DATA.findall(lines + end)
                marks = (at for at, data in enumerate(events) if data.strip() == _DONE)
                ended = next(marks, None) if _DONE in lines else None
                take(events if ended is None else events[:ended])
                if ended is not None:
                    # Only a connection that was read to its end can be reused.
                    with suppress(TimeoutError, aiohttp.ClientError):
                        async with asyncio.timeout(1.0):
                            await response.content.readany()
                    break
        except aiohttp.ClientError as error:
            raise RequestLost(
                f"the stream from {self.where} was cut: {self._reason(error)}"
            ) from error
        return None


async def _hold() -> AsyncGenerator[aiohttp.ClientSession, None]:
    # An event loop closes its unfinished async generators before it ends, and with this one the session, even if it was
    # dropped, as long as nothing that it holds refers to it.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session
