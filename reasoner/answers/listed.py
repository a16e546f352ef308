"""The options that a question lists."""

import re
import string
from typing import Literal, NamedTuple

from reasoner.answers.thinking import TAIL

Labels = Literal["letters", "numbers"]
_LETTERED = re.compile(r"(?:^|[\s(])\(?([A-Z])[).:]\s+(\S[^\n]*?)(?=\n|\Z|[\s(]\(?[A-Z][).:]\s)")
_NUMBERED = re.compile(r"\s*+\(?([1-9]\d?)(?:\)|(?<=\n\d)\.|(?<=\n\d\d)\.)\s++(\S[^\n]*?)(?=\n|\Z|\s\(?[1-9]\d?\)\s)")
_QUESTION_END = re.compile(r"\?(?=\s)|:[^\S\n]*\n")


class Listed(NamedTuple):
    """The texts of 2 to 26 options, and how they are labelled."""

    options: tuple[str, ...]
    labels: Labels = "letters"


def options_in(text: str) -> Listed | None:
    """The options of a question: `A) ... B) ...` from A on, or `1) ... 2) ...` right after the question."""
    lettered: list[str] = []
    for match in _LETTERED.finditer(text[:TAIL]):
        if match[1] == string.ascii_uppercase[len(lettered) : len(lettered) + 1]:
            lettered.append(match[2].strip())
    if len(lettered) >= 2:
        return Listed(tuple(lettered))
    numbered: list[str] = []
    ends = list(_QUESTION_END.finditer(text[:TAIL].rstrip()))
    position = ends[-1].end() - ends[-1][0].endswith("\n") if ends else len(text)
    while (option := _NUMBERED.match(text[:TAIL], position)) and option[1] == str(len(numbered) + 1):
        numbered.append(option[2].strip())
        position = option.end()
    if 2 <= len(numbered) <= 26 and not text[position:].strip():
        return Listed(tuple(numbered), "numbers")
    return None
