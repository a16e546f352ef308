"""Answer spaces: read an answer out of text, give it a canonical key, say when two answers are one.

The text is what a model wrote, so it is hostile: only its tail is looked at, patterns are linear, and nothing is evaluated.
"""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from reasoner.errors import UnknownName, UsageError
from reasoner.types import Answer

TAIL = 20_000
"""Characters at the end of a text that are searched for an answer."""
MAX_DIGITS = 256
"""A longer run of digits is no answer: parsing it would cost more than it can be worth."""


class AnswerSpace(Protocol):
    """The kind of answer a question has."""

    @property
    def name(self) -> str:
        """How the space is chosen on the command line."""
        ...

    @property
    def instruction(self) -> str:
        """What the model is told about how to give its answer."""
        ...

    def read(self, text: str) -> Answer | None:
        """The last answer in `text`, or None. Never raises, whatever the text."""
        ...

    def same(self, a: Answer, b: Answer) -> bool:
        """Whether `a`, taken as the reference, accepts `b`."""
        ...


def final_segment(text: str) -> str | None:
    """The text after the last thinking section; None where thinking never ended."""
    before, closed, after = text.rpartition("</think>")
    segment = after if closed else before + after
    if "<think>" in segment:
        return None
    return segment[-TAIL:]


_CUE = r"(?:final\s+answer|answer|result)\s*(?:is|are|:|=)\s*:?\s*"


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found[1] if found else None


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`, braces balanced; None where there is none."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len("\\boxed{")
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin:place]
    return None


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_NUMBER = rf"[-+\u2212]?\s?(?:[$€£]\s?)?(?:{_DIGITS}(?:\.\d+)?(?:\s?/\s?{_DIGITS}(?!\.?\d))?|\.\d+)"
_STRICT = re.compile(rf"####\s*({_NUMBER})")
_CUED = re.compile(rf"{_CUE}(?:\*\*|\\\(|\$)*\s*({_NUMBER})", re.IGNORECASE)
_ANY = re.compile(rf"(?<![\w.])({_NUMBER})")


@dataclass(frozen=True, slots=True)
class NumberSpace:
    """A number: integer, decimal or fraction; two are one when exactly equal, so 1/2 is 0.5 and 1,234.0 is 1234.

    Currency signs and a percent sign are dropped: 10% is 10.
    """

    name: str = "number"
    instruction: str = "Give the answer as a number."

    def read(self, text: str) -> Answer | None:
        """The number after `####`, in the last box, after an answer cue, or the last one; in this order."""
        segment = final_segment(text)
        if segment is None:
            return None
        box = boxed(segment)
        found = (
            ("hashes", _last(_STRICT, segment)),
            ("boxed", _last(_ANY, box) if box else None),
            ("cue", _last(_CUED, segment)),
            ("last", _last(_ANY, segment)),
        )
        for rule, written in found:
            if written is not None:
                value = _fraction(written)
                return None if value is None else Answer(written.strip(), str(value), rule)
        return None

    def same(self, a: Answer, b: Answer) -> bool:
        """Exact equality of the values."""
        return a.key == b.key


def _fraction(written: str) -> Fraction | None:
    plain = re.sub(r"[\s,$€£+]", "", written).replace("\u2212", "-")
    if sum(map(str.isdigit, plain)) > MAX_DIGITS:
        return None
    try:
        return Fraction(plain)
    except (ValueError, ZeroDivisionError):
        return None


@dataclass(frozen=True, slots=True)
class ChoiceSpace:
    """One of 2 to 26 options, labelled A, B, C ... A letter alone in prose is no answer: it could be an article."""

    options: tuple[str, ...]
    name: str = "choice"

    def __post_init__(self) -> None:
        if not 2 <= len(self.options) <= 26:
            raise UsageError(f"{len(self.options)} options were given: a choice has 2 to 26")

    @property
    def instruction(self) -> str:
        """Asks for a letter."""
        return f"Give the answer as one letter from A to {self._letters[-1]}."

    @property
    def _letters(self) -> str:
        return string.ascii_uppercase[: len(self.options)]

    def read(self, text: str) -> Answer | None:
        """A boxed letter, a cued one, a bold or bracketed one, or one alone on the last line; else one option's text."""
        segment = final_segment(text)
        if segment is None:
            return None
        last_line = segment.strip().rpartition("\n")[2].strip()
        found = (
            ("boxed", re.search(r"\b([A-Za-z])\b(?!\w)", box) if (box := boxed(segment)) else None),
            ("cue", _last_match(_CHOICE_CUED, segment)),
            ("marked", _last_match(_CHOICE_MARKED, segment)),
            ("alone", re.fullmatch(r"\W{0,4}([A-Za-z])\W{0,4}", last_line)),
        )
        for rule, match in found:
            if match:
                letter = (match[1] or "").upper()
                return Answer(letter, letter, rule) if letter in self._letters else None
        lowered = segment.lower()
        named = [letter for letter, option in zip(self._letters, self.options, strict=True) if option.lower() in lowered]
        return Answer(named[0], named[0], "text") if len(named) == 1 else None

    def same(self, a: Answer, b: Answer) -> bool:
        """The same option."""
        return a.key == b.key


_CHOICE_CUED = re.compile(rf"{_CUE}(?:option\s+)?(?:\*\*|\\\(|\$|\(|\[)*([A-Za-z])(?![\w'])", re.IGNORECASE)
_CHOICE_MARKED = re.compile(r"(?:\*\*\(?|\()([A-Z])(?:\)?\*\*|\)|\.\*\*)")


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_TEXT_CUED = re.compile(rf"{_CUE}([^\n]+)", re.IGNORECASE)


def squad_normal(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single spaces (Rajpurkar 2016, 1606.05250)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


@dataclass(frozen=True, slots=True)
class TextSpace:
    """A short free text; two are one when their SQuAD normal forms are equal."""

    name: str = "text"
    instruction: str = "Give the answer in a few words."

    def read(self, text: str) -> Answer | None:
        """What follows the last answer cue, else the last line that is not empty."""
        segment = final_segment(text)
        if segment is None:
            return None
        cued = _last(_TEXT_CUED, segment)
        rule, written = ("cue", cued) if cued else ("last", segment.strip().rpartition("\n")[2])
        written = written.strip()[:500]
        key = squad_normal(written)
        return Answer(written, key, rule) if key else None

    def same(self, a: Answer, b: Answer) -> bool:
        """Equality of the normal forms."""
        return a.key == b.key


_OPTION = re.compile(r"(?:^|[\s(])\(?([A-Z])[).:]\s+(\S.*?)(?=(?:[\s(]\(?[A-Z][).:]\s)|$)", re.DOTALL)
_NUMERIC = re.compile(
    r"\bhow (?:many|much|old|far|long|tall|fast)\b|\b(?:sum|product|difference|quotient|total|average|percent|remainder)\b"
    r"|\bcalculate\b|\bcompute\b|\d\s*[-+*/x×÷^=]\s*\d|\b(?:plus|minus|times|divided by)\b",
    re.IGNORECASE,
)


def options_in(text: str) -> tuple[str, ...]:
    """The options `A) ... B) ...` that a question lists, in order from A; empty where it lists none."""
    options: list[str] = []
    for match in _OPTION.finditer(text[:TAIL]):
        if match[1] == string.ascii_uppercase[len(options) : len(options) + 1]:
            options.append(match[2].strip())
    return tuple(options) if len(options) >= 2 else ()


def _choice(text: str) -> AnswerSpace:
    options = options_in(text)
    if not options:
        raise UsageError("the question lists no options: write them as `A) ... B) ...`, or choose another answer kind")
    return ChoiceSpace(options)


def _auto(text: str) -> AnswerSpace:
    if options := options_in(text):
        return ChoiceSpace(options)
    return NumberSpace() if _NUMERIC.search(text) else TextSpace()


_SPACES: dict[str, Callable[[str], AnswerSpace]] = {
    "auto": _auto,
    "number": lambda _: NumberSpace(),
    "choice": _choice,
    "text": lambda _: TextSpace(),
}
SPACES = tuple(_SPACES)


def space_for(name: str, question: str) -> AnswerSpace:
    """The space called `name` for a question; `auto` looks for listed options, then for words that ask for a number."""
    if name not in _SPACES:
        raise UnknownName("answer kind", name, SPACES)
    return _SPACES[name](question)
