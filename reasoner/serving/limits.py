"""Who may ask, and in which turn: keys, and the queue in front of the engine."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from reasoner.errors import UsageError
from reasoner.serving.errors import ApiError

MIN_KEY: Final = 8
"""Characters that a key has at least: a shorter one is guessed."""
RETRY_SECONDS: Final = 5
"""The value of `Retry-After` for a client that is refused."""
ANYONE: Final = "anyone"
"""The name of the client of a server without keys."""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Keys:
    """The keys of a server by the names of their clients; without any, everybody is one client.

    Raises:
        UsageError: a key is too short, cannot be sent in a header, or is given twice. The message names the key, and
            does not hold it.
    """

    def __init__(self, keys: Mapping[str, object] | None = None) -> None:
        self._digests: dict[str, bytes] = {}
        for name, text in (keys or {}).items():
            if not isinstance(text, str):
                raise UsageError(f"the key {name} must be a text")
            if not (text.isascii() and text.isprintable()) or " " in text:
                raise UsageError(f"the key {name} must be printable ASCII without blanks, to be sent in a header")
            if len(text) < MIN_KEY:
                raise UsageError(f"the key {name} has {len(text)} characters: it must have at least {MIN_KEY}")
            if _digest(text) in self._digests.values():
                raise UsageError("two keys are the same: give each client its own")
            self._digests[name] = _digest(text)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def client(self, authorization: str | None) -> str:
        """The name of the client of a header `Authorization: Bearer KEY`. All keys are compared, in constant time.

        Raises:
            ApiError: 401, there is no key or it is not known.
        """
        if not self._digests:
            return ANYONE
        scheme, _, text = (authorization or "").partition(" ")
        given = _digest(text.strip() if scheme.lower() == "bearer" else "")
        known = [name for name, digest in self._digests.items() if hmac.compare_digest(digest, given)]
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
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._served: dict[str, int] = {}
        """When each client had its last turn, as a number that grows."""

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return sum(not ticket.done() for _, ticket in self._waiting)

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
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

    async def _wait(self, client: str) -> None:
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((client, ticket))
        try:
            await ticket
        except asyncio.CancelledError:
            if not ticket.cancelled():
                self._pass_on()
            raise
        finally:
            self._waiting.remove((client, ticket))

    def _pass_on(self) -> None:
        """Give a turn that ended to the client that has waited longest since its last one."""
        waiting = [each for each in self._waiting if not each[1].done()]
        if not waiting:
            self.running -= 1
            return
        client, ticket = min(waiting, key=lambda each: self._served.get(each[0], 0))
        self._served[client] = max(self._served.values(), default=0) + 1
        ticket.set_result(None)
