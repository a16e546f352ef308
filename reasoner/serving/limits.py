"""Who may ask, and in which turn: keys, and the queue in front of the engine."""

import asyncio
import hashlib
import hmac
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from reasoner.errors import UsageError, require
from reasoner.serving.errors import ApiError

Clock = Callable[[], float]
MIN_KEY: Final = 8
"""Characters that a key has at least: a shorter one is guessed."""
MAX_WAIT: Final = 60
"""The most seconds that a refusal asks a client to wait."""
ANYONE: Final = "anyone"
"""The name of the client of a server without keys."""


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """Who asks: the name of a key."""

    name: str


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A key as it is checked: only its digest is kept."""

    digest: bytes
    client: Client

    @classmethod
    def of(cls, text: object, name: str) -> "Key":
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

    def __init__(self, keys: Iterable[Key] = ()) -> None:
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

    def __init__(self, concurrent: int, queue: int, *, clock: Clock = time.monotonic) -> None:
        require(concurrent, "max_concurrent", at_least=1, whole=True)
        require(queue, "queue", at_least=0, whole=True)
        self.concurrent = concurrent
        self.queue = queue
        self.running = 0
        self._waiting: dict[Client, deque[asyncio.Future[None]]] = {}
        self._clock = clock
        self._seconds = 1.0

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
            raise self._full()
        began = self._clock()
        try:
            yield
        finally:
            self._seconds += (self._clock() - began - self._seconds) / 8
            self._pass_on()

    def _full(self) -> ApiError:
        """The error of a full queue, with the seconds after which to ask again."""
        seconds = max(1, math.ceil(min(self._seconds * (self.queued + 1) / self.concurrent, MAX_WAIT)))
        return ApiError(
            429,
            f"the queue is full, with {self.queued} waiting: try again in {seconds} s",
            type="rate_limit_error",
            code="rate_limit_exceeded",
            headers={"Retry-After": str(seconds)},
        )

    async def _wait(self, client: Client) -> None:
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self._pass_on()
            else:
                self._leave(client, ticket)
            raise

    def _leave(self, client: Client, ticket: "asyncio.Future[None]") -> None:
        waiting = self._waiting.get(client)
        if waiting and ticket in waiting:
            waiting.remove(ticket)
            if not waiting:
                del self._waiting[client]

    def _pass_on(self) -> None:
        """Give a turn that ended to the client that has waited longest since its last one."""
        while self._waiting:
            client = next(iter(self._waiting))
            tickets = self._waiting.pop(client)
            ticket = tickets.popleft()
            if tickets:
                self._waiting[client] = tickets
            # One that was cancelled may not have run yet to leave.
            if not ticket.done():
                ticket.set_result(None)
                return
        self.running -= 1
