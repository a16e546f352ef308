"""Answers compared as written: grids, moves, lists, strings of symbols."""

import re
from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import CUE, MAX_TEXT, ByKey, boxed, final_segment
from reasoner.types import Answer

MAX_ANSWER = 8_000
"""Characters of an answer; longer texts are not answers."""
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FENCE = re.compile(r"^```[^\n`]*\n(.*?)^```[^\S\n]*$", re.DOTALL | re.MULTILINE)
_CUED = re.compile(rf"{CUE}([^\n]{{1,{MAX_TEXT}}})")
_QUOTES = "`\"'"


@dataclass(frozen=True, slots=True)
class VerbatimSpace(ByKey):
    """Any text of one or more lines; two are equal if they differ only in whitespace."""

    name: ClassVar[str] = "verbatim"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = "Give the final answer, and nothing else, between <answer> and </answer>."

    def read(self, text: str) -> Answer | None:
        """The content of the last tags, else of the last box, the last fence, the last cue, or the last line."""
        segment = final_segment(text)
        if segment is None:
            return None
        candidates = (
            ("tags", _last(_TAG, segment)),
            ("boxed", boxed(segment)),
            ("fence", _last(_FENCE, segment)),
            ("cue", _last(_CUED, segment)),
            ("last", segment.strip().rpartition("\n")[2]),
        )
        rule, raw = next((rule, raw) for rule, raw in candidates if raw is not None)
        plain = _plain(raw)
        # One blank within a line, none at its ends, no empty lines.
        key = "\n".join(filter(None, (" ".join(line.split()) for line in plain.splitlines())))
        return Answer(plain, key, rule) if 0 < len(plain) <= MAX_ANSWER else None


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    matches = pattern.findall(text)
    return matches[-1] if matches else None


def _plain(raw: str) -> str:
    """The text without surrounding blank lines, and a single line without bold marks or quotes around it."""
    plain = "\n".join(line.rstrip() for line in raw.strip("\n").splitlines()).rstrip()
    if "\n" in plain:
        return plain
    plain = plain.strip().strip("*").strip()
    quoted = len(plain) > 2 and plain[0] == plain[-1] and plain[0] in _QUOTES
    return plain[1:-1].strip() if quoted else plain
