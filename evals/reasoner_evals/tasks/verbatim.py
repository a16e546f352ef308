"""Answers that count as they are written: grids, moves, lists, strings of signs."""

import re
from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import CUE, MAX_TEXT, ByKey, boxed, final_segment
from reasoner.types import Answer

MAX_ANSWER = 8_000
"""Characters of an answer; a longer one is none."""
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FENCE = re.compile(r"^```[^\n`]*\n(.*?)^```[^\S\n]*$", re.DOTALL | re.MULTILINE)
_CUED = re.compile(rf"{CUE}([^\n]{{1,{MAX_TEXT}}})")
_QUOTES = "`\"'"


@dataclass(frozen=True, slots=True)
class VerbatimSpace(ByKey):
    """Any text, of one line or many; two are one when they differ in blanks alone."""

    name: ClassVar[str] = "verbatim"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = "Give the final answer, and nothing else, between <answer> and </answer>."

    def read(self, text: str) -> Answer | None:
        """What stands in the last tags, in the last box, in the last fence, after the last cue, or on the last line."""
        segment = final_segment(text)
        if segment is None:
            return None
        found = (
            ("tags", _last(_TAG, segment)),
            ("boxed", boxed(segment)),
            ("fence", _last(_FENCE, segment)),
            ("cue", _last(_CUED, segment)),
            ("last", segment.strip().rpartition("\n")[2]),
        )
        for rule, written in found:
            if written is not None:
                plain = _plain(written)
                return Answer(plain, verbatim_key(plain), rule) if 0 < len(plain) <= MAX_ANSWER else None
        return None


def verbatim_key(text: str) -> str:
    """The text with one blank where there are several, and none where a line begins or ends."""
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.findall(text)
    return found[-1] if found else None


def _plain(written: str) -> str:
    """Without blank lines around it, nor the marks that a text puts around a single line."""
    plain = "\n".join(line.rstrip() for line in written.strip("\n").splitlines()).rstrip()
    if "\n" in plain:
        return plain
    plain = plain.strip().strip("*").strip()
    paired = len(plain) > 2 and plain[0] == plain[-1] and plain[0] in _QUOTES
    return plain[1:-1].strip() if paired else plain
