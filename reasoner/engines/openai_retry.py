"""When a server is asked again, and what its error replies say."""

import json
import math
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from reasoner.files import parse_json

BACKOFF_SECONDS, BACKOFF_CAP = 0.5, 30.0
MESSAGE_CHARACTERS = 300
_BUSY = {408, 409, 425, 429}


@dataclass(slots=True)
class Waits:
    """The waits between the tries of one request, for `patience` seconds in all; `seed` spreads them.

    A server that cannot be reached is given up after `unreachable` seconds, where that is less.
    """

    patience: float
    seed: int
    unreachable: float = math.inf
    _tries: int = 0
    _spent: float = 0.0

    def next(self, asked: float, took: float, *, reached: bool) -> float | None:
        """Seconds to wait after a try that took `took`, where the server asked for `asked`; None to give up."""
        self._tries += 1
        self._spent += took
        left = (self.patience if reached else min(self.patience, self.unreachable)) - self._spent
        if left <= 0:
            return None
        wait = min(backoff(self._tries - 1, self.seed) + asked, left)
        self._spent += wait
        return wait

    def __str__(self) -> str:
        tries = f"{self._tries} tries" if self._tries > 1 else "1 try"
        return f"{tries} over {self._spent:.0f} s" if self._spent >= 1 else tries


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


def worth_retrying(status: int) -> bool:
    """Whether a reply with this status may be followed by another one."""
    return status in _BUSY or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED)


def tidy(text: str, most: int = MESSAGE_CHARACTERS) -> str:
    """Foreign text made fit for one line of an error: printable, single-spaced, at most `most` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else line[: most - 3] + "..."


def message_of(body: bytes) -> str:
    """What a server's error reply says; its text without JSON's escapes where it is not in a known form."""
    text = body.decode("utf-8", "replace")
    with suppress(ValueError):
        whole = parse_json(text)
        found = whole
        for key in ("error", "message", "detail"):
            if isinstance(found, dict) and found.get(key):
                found = found[key]
        text = found if isinstance(found, str) else json.dumps(whole, ensure_ascii=False)
    return text
