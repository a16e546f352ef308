"""Who may ask, and in which turn: keys, and the queue in front of the engine."""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
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
                raise UsageError(
                    f"the key {name} must be printable ASCII without blanks, to be sent in a header"
                )
            if len(text) < MIN_KEY:
                raise UsageError(
                    f"the key {name} has {len(text)} characters: it must have at least {MIN_KEY}"
                )
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
        known = [
            name
            for name, digest in self._digests.items()
            if hmac.compare_digest(digest, given)
        ]
        if known:
            return known[0]
        what = (
            "the API key is not known to this server" if text else "no API key is given"
        )
        raise ApiError(
            401,
            f"{what}: send the header `Authorization: Bearer KEY`",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


class Turns:
    """Who is answered next: `concurrent` requests at once, `queue` more wait in the order in which they came."""

    def __init__(self, concurrent: int, queue: int) -> None:
        self.queue = queue
        self.running = 0
        self.queued = 0
        """How many requests wait."""
        self._free = asyncio.Semaphore(concurrent)

    async def __aenter__(self) -> None:
        """Wait for a turn, which the block then holds.

        Raises:
            ApiError: 429 at once, where the queue is full.
        """
        if self._free.locked() and self.queued >= self.queue:
            raise ApiError(
                429,
                f"the queue is full, with {self.queued} waiting: try again in {RETRY_SECONDS} s",
                type="rate_limit_error",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self.queued += 1
        try:
            await self._free.acquire()
        finally:
            self.queued -= 1
        self.running += 1

    async def __aexit__(self, *_failure: object) -> None:
        self.running -= 1
        self._free.release()
