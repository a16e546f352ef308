"""Multiple choice: the options that a question lists, and the one that a model chose."""

import re
import string
from dataclasses import dataclass
from typing import ClassVar, Literal

from reasoner.answers.reading import IS, TAIL, ByKey, boxed, last_match
from reasoner.errors import UsageError
from reasoner.types import Answer

Labels = Literal["letters", "numbers"]
_ON = "(?:because|since|as|is|which|and|but|with|for|due)"
_CUE = rf"(?i:\b(?:answer|result|(?:correct|right|best)\s++(?:option|choice)){IS}(?:(?:option|choice)\s++)?+)"
_BEFORE = r"(?:[*$`\s(\[]|\\[(\[]|\\[a-z]++\{)*+"
# A word after `A` may make it an article; after `3`, a unit.
_LETTER_CUED = re.compile(rf"{_CUE}{_BEFORE}([A-Za-z])(?![\w'\u2019])(?!(?<=[AaIi])[^\S\n]+(?!{_ON}\b)[a-z])")
_NUMBER_CUED = re.compile(rf"{_CUE}{_BEFORE}(\d++)(?!\w|[.,/:%]\d|%)(?![^\S\n]+(?!{_ON}\b)[a-z])")
_BOLD = r"\*\*\(?|\\(?:text(?:bf)?|math(?:bf|rm))\{\(?"
_END = r"(?:\)?\*\*|\)|\.\*\*|\.?\})"
_LETTER_MARKED = re.compile(rf"(?:{_BOLD}|\()([A-Z]){_END}")
_NUMBER_MARKED = re.compile(rf"(?:{_BOLD}|(?<![\w)])\()(\d++){_END}")
_LETTER, _NUMBER = r"([A-Za-z])", r"(\d{1,2})"


@dataclass(frozen=True, slots=True)
class ChoiceSpace(ByKey):
    """One of 2 to 26 options, labelled A, B, C ... or 1, 2, 3 ...; its key is the label, also of an option's text.

    A single letter in prose is not an answer: it could be an article.
    """

    name: ClassVar[str] = "choice"
    version: ClassVar[int] = 1

    options: tuple[str, ...]
    labels: Labels = "letters"

    def __post_init__(self) -> None:
        if not 2 <= len(self.options) <= 26:
            raise UsageError(f"{len(self.options)} options were given: a choice has 2 to 26")

    @property
    def instruction(self) -> str:
        """Asks for a label."""
        known = self.known
        return f"Give the answer as one {self.labels.removesuffix('s')} from {known[0]} to {known[-1]}."

    @property
    def known(self) -> tuple[str, ...]:
        """The labels of the options, in order."""
        if self.labels == "numbers":
            return tuple(str(number + 1) for number in range(len(self.options)))
        return tuple(string.ascii_uppercase[: len(self.options)])

    def read_segment(self, segment: str) -> Answer | None:
        """A label that is boxed, after a cue, bold, bracketed, or alone on the last line; else an option's text."""
        letters = self.labels == "letters"
        label = _LETTER if letters else _NUMBER
        last_line = segment.strip().rpartition("\n")[2].strip()
        candidates = (
            ("boxed", re.search(rf"\b{label}\b(?!\.\d)", box) if (box := boxed(segment)) else None),
            ("cue", last_match(_LETTER_CUED if letters else _NUMBER_CUED, segment)),
            ("marked", last_match(_LETTER_MARKED if letters else _NUMBER_MARKED, segment)),
            ("alone", re.fullmatch(rf"\W{{0,4}}{label}\W{{0,4}}", last_line)),
        )
        for rule, match in candidates:
            if match:
                chosen = match[1].upper()
                if chosen in self.known:
                    return Answer(chosen, chosen, rule)
                if letters:
                    return None
                break  # A number that is not a label may be an option's text.
        named = [label for label, option in zip(self.known, self.options, strict=True) if _says(segment, option)]
        return Answer(named[0], named[0], "text") if len(named) == 1 else None


def _says(text: str, option: str) -> bool:
    """Whether the text holds the option as separate words, so that 15 does not hold 5."""
    return re.search(rf"(?<![\w.]){re.escape(option)}(?!\w|\.\d)", text, re.IGNORECASE) is not None


_LETTERED = re.compile(r"(?:^|[\s(])\(?([A-Z])[).:]\s+(\S[^\n]*?)(?=\n|\Z|[\s(]\(?[A-Z][).:]\s)")
_NUMBERED = re.compile(r"\s*+\(?([1-9]\d?)(?:\)|(?<=\n\d)\.|(?<=\n\d\d)\.)\s++(\S[^\n]*?)(?=\n|\Z|\s\(?[1-9]\d?\)\s)")
_QUESTION_END = re.compile(r"\?(?=\s)|:[^\S\n]*\n")


def choice_in(text: str) -> ChoiceSpace | None:
    """The choice that a question lists: `A) ... B) ...` from A on, or `1) ... 2) ...` right after the question."""
    lettered: list[str] = []
    for match in _LETTERED.finditer(text[:TAIL]):
        if match[1] == string.ascii_uppercase[len(lettered) : len(lettered) + 1]:
            lettered.append(match[2].strip())
    if len(lettered) >= 2:
        return ChoiceSpace(tuple(lettered))
    numbered: list[str] = []
    end = last_match(_QUESTION_END, text[:TAIL].rstrip())
    position = end.end() - end[0].endswith("\n") if end else len(text)
    while (option := _NUMBERED.match(text[:TAIL], position)) and option[1] == str(len(numbered) + 1):
        numbered.append(option[2].strip())
        position = option.end()
    if 2 <= len(numbered) <= 26 and not text[position:].strip():
        return ChoiceSpace(tuple(numbered), "numbers")
    return None
