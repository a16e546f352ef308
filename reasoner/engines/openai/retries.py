"""When a failed request is tried again."""

import math
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

BACKOFF_SECONDS, BACKOFF_CAP = 0.5, 30.0


@dataclass(slots=True)
class Waits:
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
        left = (self.patience if reached else min(self.patience, self.unreachable)) - self._spent
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
        return float(value) if value[:1].isdigit() else max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0
