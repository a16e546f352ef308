"""Answers that are a whole reply: a JSON value, or any text."""

import json
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from reasoner.answers.fences import fenced_blocks
from reasoner.answers.forms import Opening
from reasoner.answers.reading import Cut, Probed, SameKey, digest
from reasoner.system.files import parse_json
from reasoner.types import Answer

LONGEST: Final = 1_000_000
"""Characters of a reply that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSpace(SameKey, Probed):
    """A JSON value; two are equal if they parse to the same value, whatever the order of names and the layout.

    A reply is read if it is one value as a whole, or else its last fenced block that is one. Numbers are equal by
    value, so 1.0 is 1. With `json_schema` among the sampling parameters, every reply that is not cut is one.
    """

    name: ClassVar[str] = "json"
    version: ClassVar[int] = 2
    instruction: ClassVar[str] = "Answer with one JSON value and nothing else."
    opening: ClassVar[Opening] = Opening(
        "\n\n```json\n", "", "", ("\n```",), tokens=256
    )

    cut: Cut = "drop"

    def read(self, text: str) -> Answer | None:
        """The value that the reply is, or that its last fenced block is; the key is a digest, 32 hex digits."""
        if len(text) > LONGEST:
            return None
        fenced = [
            block.text
            for block in fenced_blocks(text)
            if block.closed and block.language in ("", "json")
        ]
        for rule, candidate in [
            ("whole", text),
            *(("fenced", block) for block in reversed(fenced)),
        ]:
            if (key := _key(candidate)) is not None:
                return Answer(candidate.strip(), key, rule)
        return None


def _key(text: str) -> str | None:
    try:
        value = plain(parse_json(text))
        canonical = json.dumps(
            value, sort_keys=True, separators=(",", ":"), allow_nan=False
        )
    except (ValueError, RecursionError):
        return None
    return digest(canonical)


def plain(value: Any) -> Any:
    """The value with whole floats as integers."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value


@dataclass(frozen=True, slots=True)
class FreeSpace(SameKey):
    """The whole reply, as written; two are equal if they are the same text. The prompt is not changed.

    It is for strategies that choose among replies without counting equal ones, such as `best_of_n` and `universal`. A
    reply of blanks alone is no answer. Nothing in the text is interpreted, so its marks of thinking remain.
    """

    name: ClassVar[str] = "free"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = ""

    def read(self, text: str) -> Answer | None:
        """All of the text, without the blanks around it; its key is a digest, 32 hex digits."""
        written = text.strip()
        if not written:
            return None
        return Answer(written, digest(written), "whole")
