"""Answer spaces: read an answer out of text, give it a canonical key, say when two answers are one.

The text is what a model wrote, so it is hostile: only its tail is looked at, patterns are linear, nothing is evaluated.
"""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from reasoner.errors import UnknownName, UsageError
from reasoner.types import Answer, AnswerSpace

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


def final_segment(text: str) -> str | None:
    """The text after the last thinking section; None where thinking never ended."""
    before, closed, after = text.rpartition("</think>")
    segment = after if closed else before + after
    if "<think>" in segment:
        return None
    return segment[-TAIL:]


# Possessive throughout: what a cue or a number took is never tried shorter, so hostile text costs linear time.
_IS = r"\s*+\**+\s*+(?:is\b|are\b|:|=)\s*+:?+\s*+"
CUE = rf"(?i:\b(?:answer|result){_IS})"
"""A pattern of what announces an answer: `The answer is`, `**Answer:**`, `result =`."""


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


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


_DIGITS = r"(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d++)?(?:[eE][-+]?\d{{1,2}}(?!\w))?|\.\d++)"
_NUMBER = rf"(?>(?:[$€£]\s?)?(?:{_DIGITS}\s{_DIGITS}\s?/\s?{_DIGITS}(?!\.?\d)|{_DECIMAL}(?:\s?/\s?{_DECIMAL})?))"
_SIGN = r"[-+\u2212]"
_SIGNED = rf"(?>(?:{_SIGN}\s?)?{_NUMBER})"
_OPERATOR = r"(?:[-+\u2212*/x\u00d7\u00f7\u00b7]|\\(?:times|cdot|div)\b)"
_STRICT = re.compile(rf"####\s*+({_SIGNED})(?![.)][^\S\n]+\S)")
_CUED = re.compile(rf"{CUE}(?:[*$`\s]|\\[(\[])*+({_SIGNED})")
_EQUALS = re.compile(rf"[^\S\n]*+(?:{_OPERATOR}(?:{_OPERATOR}|[^\S\n]|[().,$\d])*+)?=\s*+({_SIGNED})")
# A sign that follows an operand is an operator, and one that stands apart is a dash or a bullet.
_ANY = re.compile(rf"(?<![\w.^])((?:(?<![)\]}}]){_SIGN}(?=[$€£.\d])|(?:(?<==)|(?<==\s)){_SIGN}\s)?{_NUMBER})")
_FRAC = re.compile(r"\\[dt]?frac\s?(?:\{\s?([-\d.]++)\s?\}|(\d))\s?(?:\{\s?([\d.]++)\s?\}|(\d))")
_GROUPING = re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!;:]|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))")
_SCRIPT = re.compile(r"[\^_]\{[^{}]*+\}")


def _unlatexed(text: str) -> str:
    """Fractions as a/b, thousands grouped by commas, no exponents and subscripts in braces."""
    flat = _FRAC.sub(_flat_fraction, text)
    return _SCRIPT.sub(" ", _GROUPING.sub(",", flat))


def _flat_fraction(match: re.Match[str]) -> str:
    after_whole = match.string[: match.start()][-1:].isdigit()
    return f"{' ' if after_whole else ''}{match[1] or match[2]}/{match[3] or match[4]}"


def _computed(match: re.Match[str] | None) -> str | None:
    """The number that was found, or what an equation that begins with it comes to: 7 in `3 + 4 = 7`."""
    written = None
    while match:
        written, end = match[1], match.end(1)
        match = _EQUALS.match(match.string, end)
    return written


@dataclass(frozen=True, slots=True)
class NumberSpace(ByKey):
    """A number: integer, decimal or fraction; two are one when exactly equal, so 1/2 is 0.5 and 1,234.0 is 1234.

    Currency signs and a percent sign are dropped: 10% is 10.
    """

    name: ClassVar[str] = "number"
    instruction: ClassVar[str] = "Give the answer as a number."

    def read(self, text: str) -> Answer | None:
        """The number after `####`, in the last box, after an answer cue, or the last one; in this order."""
        segment = final_segment(text)
        if segment is None:
            return None
        box = boxed(segment)
        plain = _unlatexed(segment)
        found = (
            ("hashes", _computed(_last(_STRICT, plain))),
            ("boxed", _boxed_number(box) if box else None),
            ("cue", _computed(_last(_CUED, plain))),
            ("last", match[1] if (match := _last(_ANY, plain)) else None),
        )
        for rule, written in found:
            if written is not None:
                value = _fraction(written)
                return None if value is None else Answer(written.strip(), str(value), rule)
        return None


def _boxed_number(box: str) -> str | None:
    plain = re.sub(rf"^\s*({_SIGN})\s", r"\1", _unlatexed(box))
    match = _last(_ANY, plain)
    return match[1] if match else None


def _fraction(written: str) -> Fraction | None:
    if sum(map(str.isdigit, written)) > MAX_DIGITS:
        return None
    plain = re.sub(r"[,$€£+]", "", written.replace("\u2212", "-")).strip()
    sign = -1 if plain.startswith("-") else 1
    *whole, part = re.sub(r"\s*/\s*", "/", plain.lstrip("-")).split()
    over, _, under = part.partition("/")
    try:
        value = Fraction(over) / Fraction(under or 1)
    except (ValueError, ZeroDivisionError):
        return None
    if whole and value < 1:
        value += Fraction(whole[0])
    return sign * value


@dataclass(frozen=True, slots=True)
class ChoiceSpace(ByKey):
    """One of 2 to 26 options, labelled A, B, C ... A letter alone in prose is no answer: it could be an article."""

    name: ClassVar[str] = "choice"

    options: tuple[str, ...]

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
        """A letter that is boxed, cued, bold or bracketed, or alone on the last line; else one option's text."""
        segment = final_segment(text)
        if segment is None:
            return None
        last_line = segment.strip().rpartition("\n")[2].strip()
        found = (
            ("boxed", re.search(r"\b([A-Za-z])\b", box) if (box := boxed(segment)) else None),
            ("cue", _last(_CHOICE_CUED, segment)),
            ("marked", _last(_CHOICE_MARKED, segment)),
            ("alone", re.fullmatch(r"\W{0,4}([A-Za-z])\W{0,4}", last_line)),
        )
        for rule, match in found:
            if match:
                letter = match[1].upper()
                return Answer(letter, letter, rule) if letter in self._letters else None
        named = [letter for letter, option in zip(self._letters, self.options, strict=True) if _says(segment, option)]
        return Answer(named[0], named[0], "text") if len(named) == 1 else None


_ARTICLE = r"(?<=[AaIi])[^\S\n]+(?!(?:because|since|as|is|which|and|but|with|for|due)\b)[a-z]"
_CHOICE_CUED = re.compile(
    rf"(?i:\b(?:answer|result|(?:correct|right|best)\s++(?:option|choice)){_IS}(?:(?:option|choice)\s++)?+)"
    rf"(?:[*$`\s(\[]|\\[(\[])*+([A-Za-z])(?![\w'\u2019])(?!{_ARTICLE})"
)
_CHOICE_MARKED = re.compile(r"(?:\*\*\(?|\()([A-Z])(?:\)?\*\*|\)|\.\*\*)")


def _says(text: str, option: str) -> bool:
    """Whether the text holds the option as words of its own, so that 15 does not say 5."""
    return re.search(rf"(?<![\w.]){re.escape(option)}(?!\w|\.\d)", text, re.IGNORECASE) is not None


_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
MAX_TEXT = 500
"""Characters of a free text that count."""
_TEXT_CUED = re.compile(rf"{CUE}(?=([^\n]{{1,{MAX_TEXT}}}))")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf)\{([^{}]*+)\}")


def squad_normal(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single spaces (Rajpurkar 2016, 1606.05250)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


@dataclass(frozen=True, slots=True)
class TextSpace(ByKey):
    """A short free text; two are one when their SQuAD normal forms are equal."""

    name: ClassVar[str] = "text"
    instruction: ClassVar[str] = "Give the answer in a few words."

    def read(self, text: str) -> Answer | None:
        """The last box, else what follows the last answer cue, else the last line that is not empty."""
        segment = final_segment(text)
        if segment is None:
            return None
        if box := boxed(segment):
            rule, written = "boxed", _WRAPPED.sub(r"\1", box)
        elif cued := _last(_TEXT_CUED, segment):
            rule, written = "cue", cued[1]
        else:
            rule, written = "last", segment.strip().rpartition("\n")[2]
        written = written.replace("**", "").strip()[:MAX_TEXT]
        key = squad_normal(written)
        return Answer(written, key, rule) if key else None


_GOES_ON = "because|since|as|and|but|so|if|when|for|in|the|it|they|he|she|we|you|i|this|that|these|those|there|not"
# `no evidence`, `the true cause`, `No. 5`, `yes or no`, `not true` and `no-one` answer nothing.
_YES_NO = (
    r"(?i:(?<![^\W_])(?<!\bor\s)(?<!\w/)(?<!\bnot\s)(?<!n['\u2019]t\s)(?<!\bnever\s)"
    rf"(yes|(?:no(?!\.\s?\d)|true|false)(?![^\S\n]++(?!(?:{_GOES_ON})\b)\w))"
    r"(?![^\W_]|['\u2019/-]\w|\sor\s))"
)
_YES_NO_ANY = re.compile(_YES_NO)
_YES_NO_CUED = re.compile(rf"{CUE}(?:[*$`\s(\"']|\\[(\[]|\\\w++\{{)*+{_YES_NO}")
_YES_NO_FIRST = re.compile(rf"\W{{0,8}}{_YES_NO}")


@dataclass(frozen=True, slots=True)
class YesNoSpace(ByKey):
    """Yes or no, for which true and false stand as well."""

    name: ClassVar[str] = "yes_no"
    instruction: ClassVar[str] = "Give the answer as yes or no."

    def read(self, text: str) -> Answer | None:
        """The word after an answer cue, boxed, or first on the last line; else the only one of the two in the text."""
        segment = final_segment(text)
        if segment is None:
            return None
        said = list(_YES_NO_ANY.finditer(segment))
        found = (
            ("cue", _last(_YES_NO_CUED, segment)),
            ("boxed", _YES_NO_ANY.search(box) if (box := boxed(segment)) else None),
            ("first", _YES_NO_FIRST.match(segment.strip().rpartition("\n")[2])),
            ("text", said[-1] if len({_yes_no_key(match) for match in said}) == 1 else None),
        )
        for rule, match in found:
            if match:
                return Answer(match[1], _yes_no_key(match), rule)
        return None


def _yes_no_key(match: re.Match[str]) -> str:
    return {"true": "yes", "false": "no"}.get(word := match[1].lower(), word)


_YES_NO_ASKED = re.compile(
    r"[,:;.?!(]\s?(?:(?:please\s)?(?:answer|reply)\s(?:with\s)?)?yes(?:\sor\s|/)no\W{0,4}\Z", re.IGNORECASE
)
_OPTION = re.compile(r"(?:^|[\s(])\(?([A-Z])[).:]\s+(\S[^\n]*?)(?=\n|\Z|[\s(]\(?[A-Z][).:]\s)")
_NUMERIC = re.compile(
    r"\bhow (?:many|much|old|far|long|tall|fast)\b"
    r"|\b(?:sum|product|difference|quotient|total|average|percent|remainder)\b"
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
    if _YES_NO_ASKED.search(text[-TAIL:]):
        return YesNoSpace()
    return NumberSpace() if _NUMERIC.search(text) else TextSpace()


_SPACES: dict[str, Callable[[str], AnswerSpace]] = {
    "auto": _auto,
    "number": lambda _: NumberSpace(),
    "choice": _choice,
    "yes_no": lambda _: YesNoSpace(),
    "text": lambda _: TextSpace(),
}
SPACES = tuple(_SPACES)


def space_for(name: str, question: str) -> AnswerSpace:
    """The space called `name` for a question; `auto` goes by options, a closing `yes or no?`, words of number."""
    if name not in _SPACES:
        raise UnknownName("answer kind", name, SPACES)
    return _SPACES[name](question)
