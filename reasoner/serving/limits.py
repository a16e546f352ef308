"""Who may ask, and in which turn: keys, and the queue in front of the engine."""

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from reasoner.errors import UsageError
from reasoner.serving.errors import ApiError

MIN_KEY: Final = 8
"""Characters that a key has at least: a shorter one is guessed."""
RETRY_SECONDS: Final = 5
"""Seconds after which a client that was refused is to ask again."""
ANYONE: Final = "anyone"
"""The name of the client of a server without keys."""


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """Who asks: the name of a key."""

    name: str


@dataclass(frozen=True, slots=True, repr=False)
class ApiKey:
    """A key as it is checked: only its digest is kept."""

    digest: bytes
    client: Client

    @classmethod
    def of(cls, text: object, name: str) -> "ApiKey":
        """The key that clients send as `text`.

        Raises:
            UsageError: it is too short, or cannot be sent in a header. The message names the key, and does not hold it.
        """
        if not isinstance(text, str):
            raise UsageError(f"the key {name} must be a text")
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise UsageError(f"the key {name} must be printable ASCII without blanks, to be sent in a header")
        if len(text) < MIN_KEY:
            raise UsageError(f"the key {name} has {len(text)} characters: it must have at least {MIN_KEY}")
        return cls(_digest(text), Client(name))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Keys:
    """The keys of a server; without any, everybody is one client."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = tuple(keys)
        self._anyone = Client(ANYONE)
        if len({key.digest for key in self._keys}) < len(self._keys):
            raise UsageError("two keys are the same: give each client its own")

    def __bool__(self) -> bool:
        return bool(self._keys)

    def client(self, authorization: str | None) -> Client:
        """The client of a header `Authorization: Bearer KEY`. All keys are compared, each in constant time.

        Raises:
            ApiError: 401, there is no key or it is not known.
        """
        if not self._keys:
            return self._anyone
        scheme, _, text = (authorization or "").partition(" ")
        given = _digest(text.strip() if scheme.lower() == "bearer" else "")
        known = [key.client for key in self._keys if hmac.compare_digest(key.digest, given)]
        if known:
            return known[0]
        what = "the API key is not known to this server" if text else "no API key is given"
        raise ApiError(
            401,
            f"{what}: send the header `Authorization: Bearer KEY`",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


class Turns:
    """Who is answered next: `concurrent` requests at once, `queue` more wait, in turns between their clients.

    A client that has just been served is served again only after each other client that waits.
    """

    def __init__(self, concurrent: int, queue: int) -> None:
        self.concurrent = concurrent
        self.queue = queue
        self.running = 0
        self._waiting: dict[Client, deque[asyncio.Future[None]]] = {}

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, client: Client) -> AsyncIterator[None]:
        """Wait for the client's turn and hold it in the body.

        Raises:
            ApiError: 429 at once, where the queue is full.
        """
        if self.running < self.concurrent:
            self.running += 1
        elif self.queued < self.queue:
            await self._wait(client)
        else:
            raise ApiError(
                429,
                f"the queue is full, with {self.queued} waiting: try again in {RETRY_SECONDS} s",
                type="rate_limit_error",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, client: Client) -> None:
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self._pass_on()
            elif ticket in self._waiting.get(client, ()):
                self._waiting[client].remove(ticket)
            raise

    def _pass_on(self) -> None:
        """Give a turn that ended to the client that has waited longest since its last one."""
        for client in [*self._waiting]:
            tickets = self._waiting.pop(client)
            while tickets:
                # One that was cancelled may not have run yet to leave.
                if (ticket := tickets.popleft()).done():
                    continue
                if tickets:
                    self._waiting[client] = tickets
                ticket.set_result(None)
                return
        self.running -= 1
