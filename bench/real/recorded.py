"""What the benches of real models share: the records of a recording, its replies, and shares with their intervals."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reasoner import Completion, Question
from reasoner.types import Usage
from reasoner_evals.stats.intervals import Interval


def records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a recording, a reply each; none where there is no file."""
    if file.exists():
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def completion_of(record: dict[str, Any], question: Question) -> Completion:
    """A recorded reply to a question. Its first sample computed the prompt, as what was cached is not recorded."""
    prompt, index = record["prompt_tokens"], record["index"]
    usage = Usage(prompt, prompt if index > 0 else 0, record["tokens"])
    return Completion(
        question.prompt,
        record["text"],
        (),
        record["finish"],
        usage=usage,
        index=max(0, index),
    )


def percent(value: Interval, sign: str = "") -> str:
    """A share or a difference in per cent with its interval."""
    mean, low, high = (
        f"{100 * number:{sign}z.1f}" for number in (value.mean, value.low, value.high)
    )
    return f"{mean} ({low} to {high})"
