"""Shared by the answer spaces: the part of a text that is read, the cue before an answer, equality by key.

A model wrote the text, so it may be hostile: only its tail is read, patterns run in linear time, nothing is evaluated.
"""

import re

from reasoner.types import Answer, Blocks

TAIL = 20_000
"""Characters at the end of a text that are searched for an answer."""
MAX_DIGITS = 256
"""Maximum digits of a number; a longer one is slow to parse and is not an answer."""


class ReadsSegment:
    """An answer space that reads the text after the last thinking section."""

    __slots__ = ()

    def read(self, text: str) -> Answer | None:
        """The last answer in the text; None if there is none or thinking did not end."""
        segment = final_segment(text)
        return None if segment is None else self.read_segment(segment)

    def read_segment(self, segment: str) -> Answer | None:
        """The last answer in the text after thinking."""
        raise NotImplementedError


class ByKey(ReadsSegment):
    """A space in which two answers are equal exactly if their keys are."""

    __slots__ = ()

    def same(self, a: Answer, b: Answer) -> bool:
        """Whether the keys are equal."""
        return a.key == b.key

    def blocks(self, answer: Answer) -> Blocks:
        """No blocks: answers with different keys are never equal."""
        return Blocks()


def final_segment(text: str) -> str | None:
    """The end of the text after the last thinking section; None if thinking did not end."""
    before, closed, after = text.rpartition("</think>")
    segment = after if closed else before + after
    return None if "<think>" in segment else segment[-TAIL:]


# Possessive throughout: without backtracking into a cue or a number, hostile text costs linear time.
IS = r"\s*+\**+\s*+(?:is\b|are\b|:|=)\s*+:?+\s*+"
CUE = rf"(?i:\b(?:answer|result){IS})"
"""A pattern of the words before an answer: `The answer is`, `**Answer:**`, `result =`."""


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match; None if there is none."""
    last = None
    for match in pattern.finditer(text):
        last = match
    return last


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` with balanced braces; None if there is none."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len("\\boxed{")
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[begin:index]
    return None
