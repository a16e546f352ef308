"""What every answer space rests on: the text that may be read, the cue that announces an answer, equality by key.

The text is what a model wrote, so it is hostile: only its tail is looked at, patterns are linear, nothing is evaluated.
"""

import re

from reasoner.types import Answer, Blocks

TAIL = 20_000
"""Characters at the end of a text that are searched for an answer."""
MAX_DIGITS = 256
"""A longer run of digits is no answer: parsing it would cost more than it can be worth."""


class ByKey:
    """A space in which two answers are one when their keys are equal, and never otherwise."""

    __slots__ = ()

    def same(self, a: Answer, b: Answer) -> bool:
        """Whether the keys are equal."""
        return a.key == b.key

    def blocks(self, answer: Answer) -> Blocks:
        """None: no two keys are the same answer."""
        return Blocks()


def final_segment(text: str) -> str | None:
    """The text after the last thinking section; None where thinking never ended."""
    before, closed, after = text.rpartition("</think>")
    segment = after if closed else before + after
    if "<think>" in segment:
        return None
    return segment[-TAIL:]


# Possessive throughout: what a cue or a number took is never tried shorter, so hostile text costs linear time.
IS = r"\s*+\**+\s*+(?:is\b|are\b|:|=)\s*+:?+\s*+"
CUE = rf"(?i:\b(?:answer|result){IS})"
"""A pattern of what announces an answer: `The answer is`, `**Answer:**`, `result =`."""


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match; None where there is none."""
    last = None
    for match in pattern.finditer(text):
        last = match
    return last


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`, braces balanced; None where there is none."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len("\\boxed{")
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[begin:index]
    return None
