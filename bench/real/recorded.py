"""What the benches of real models share: the records of a recording, and shares with their intervals."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reasoner_evals.stats.intervals import Interval


def records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a recording, a reply each; none where there is no file."""
    if file.exists():
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def percent(value: Interval, sign: str = "") -> str:
    """A share or a difference in per cent with its interval."""
    mean, low, high = (
        f"{100 * number:{sign}.1f}" for number in (value.mean, value.low, value.high)
    )
    return f"{mean} ({low} to {high})"
