"""Numbers as answers, compared exactly."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from reasoner.answers.reading import CUE, MAX_DIGITS, ByKey, boxed, last_match
from reasoner.types import Answer

_DIGITS = r"(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d++)?(?:[eE][-+]?\d{{1,2}}(?!\w))?|\.\d++)"
_NUMBER = rf"(?>(?:[$€£]\s?)?(?:{_DIGITS}\s{_DIGITS}\s?/\s?{_DIGITS}(?!\.?\d)|{_DECIMAL}(?:\s?/\s?{_DECIMAL})?))"
_SIGN = r"[-+\u2212]"
_SIGNED = rf"(?>(?:{_SIGN}\s?)?{_NUMBER})"
_OPERATOR = r"(?:[-+\u2212*/x\u00d7\u00f7\u00b7]|\\(?:times|cdot|div)\b)"
_STRICT = re.compile(rf"####\s*+({_SIGNED})(?![.)][^\S\n]+\S)")
_CUED = re.compile(rf"{CUE}(?:[*$`\s]|\\[(\[])*+({_SIGNED})")
_EQUALS = re.compile(rf"[^\S\n]*+(?:{_OPERATOR}(?:{_OPERATOR}|[^\S\n]|[().,$\d])*+)?=\s*+({_SIGNED})")
# A sign after an operand is an operator; a sign between blanks is a dash or a bullet.
_ANY = re.compile(rf"(?<![\w.^])((?:(?<![)\]}}]){_SIGN}(?=[$€£.\d])|(?:(?<==)|(?<==\s)){_SIGN}\s)?{_NUMBER})")
_FRAC = re.compile(r"\\[dt]?frac\s?(?:\{\s?([-\d.]++)\s?\}|(\d))\s?(?:\{\s?([\d.]++)\s?\}|(\d))")
_GROUPING = re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!;:]|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))")
_SCRIPT = re.compile(r"[\^_]\{[^{}]*+\}")


def _unlatexed(text: str) -> str:
    """Fractions as a/b, thousands grouped by commas, no exponents or subscripts in braces."""
    flat = _FRAC.sub(_flat_fraction, text)
    return _SCRIPT.sub(" ", _GROUPING.sub(",", flat))


def _flat_fraction(match: re.Match[str]) -> str:
    after_whole = match.string[: match.start()][-1:].isdigit()
    return f"{' ' if after_whole else ''}{match[1] or match[2]}/{match[3] or match[4]}"


def _computed(match: re.Match[str] | None) -> str | None:
    """The matched number, or the result of an equation that begins with it: 7 in `3 + 4 = 7`."""
    written = None
    while match:
        written, end = match[1], match.end(1)
        match = _EQUALS.match(match.string, end)
    return written


def last_number(text: str) -> str | None:
    """The last number in a text, as written; None if there is none."""
    match = last_match(_ANY, _unlatexed(text))
    return match[1] if match else None


@dataclass(frozen=True, slots=True)
class NumberSpace(ByKey):
    """A number: integer, decimal or fraction; two are equal if exactly equal, so 1/2 is 0.5 and 1,234.0 is 1234.

    Currency signs and a percent sign are dropped: 10% is 10.
    """

    name: ClassVar[str] = "number"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = "Give the answer as a number."

    def read_segment(self, segment: str) -> Answer | None:
        """The number after `####`, in the last box, after an answer cue, or the last number; in this order."""
        box = boxed(segment)
        plain = _unlatexed(segment)
        candidates = (
            ("hashes", _computed(last_match(_STRICT, plain))),
            ("boxed", _boxed_number(box) if box else None),
            ("cue", _computed(last_match(_CUED, plain))),
            ("last", last_number(segment)),
        )
        for rule, written in candidates:
            if written is not None:
                value = _fraction(written)
                return None if value is None else Answer(written.strip(), str(value), rule)
        return None


def _boxed_number(box: str) -> str | None:
    plain = re.sub(rf"^\s*({_SIGN})\s", r"\1", _unlatexed(box))
    return last_number(plain)


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
