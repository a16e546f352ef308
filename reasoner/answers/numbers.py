"""Numbers as answers, compared exactly."""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import ClassVar, Final, Literal

from reasoner.answers.forms import SENTENCE, Opening, adds_nothing, table
from reasoner.answers.reading import BULLET, KeyedKind
from reasoner.types import Answer

STEPS_AND_BOX: Final = (
    "Please reason step by step, and put your final answer within \\boxed{}."
)
"""Qwen's convention for mathematics, as a user turn."""
MAX_DIGITS: Final = 256
"""Maximum digits of a number; a longer one is slow to parse and is not an answer."""
# Grouped by commas, also in the Indian way (1,00,000); by dots before a decimal comma or twice; else plain.
_DIGITS = (
    r"(?:\d{1,3}(?:,\d{3})++(?!\d)|\d{1,2}(?:,\d{2}(?=,)){1,9}+,\d{3}(?!\d)|\d{1,3}(?:\.\d{3}){1,9}+(?=,\d)"
    r"|\d{1,3}(?:\.\d{3}){2,9}+(?!\d)|\d++)"
)
_DECIMAL = rf"(?:{_DIGITS}(?:[.,]\d++)?(?:[eE][-+]?\d{{1,2}}(?!\w))?|\.\d++)"
_CURRENCY = "$\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd\u20ba"
_SIGN = r"[-+\u2212]"
_NUMBER = (
    rf"(?>(?:{_SIGN}\s?)?(?:[{_CURRENCY}]\s?)?{_SIGN}?"
    rf"(?:{_DIGITS}\s{_DIGITS}\s?/\s?{_DIGITS}(?!\.?\d)|{_DECIMAL}(?:\s?/\s?{_DECIMAL})?))"
)
_ANY = re.compile(rf"(?<![a-zA-Z\d_.^])(?<!\d,){_NUMBER}")
_MARKUP = r"(?:[*_`\"'\u201c\u2018\s(\[~\u2248]|\\[(\[]|\$(?!\d)|\\(?:text\w*|math\w*)\{|\\approx\b)*+"
_NAME = r"(?:\\?[a-zA-Z](?:_\{?\w{1,3}\}?)?\s?=\s?)?"
_HEDGE = (
    r"(?:(?:exactly|approximately|about|around|roughly|simply|just|only|a total of)\s)?"
)
_DIRECT = re.compile(rf"{_MARKUP}{_HEDGE}{_NAME}{_MARKUP}({_NUMBER})", re.IGNORECASE)
# What would make it another number: an operation, a ratio, a choice, a scale.
_CONTINUED = re.compile(
    r"(?:[*_`$)\]}\"'\u201d]|\\[)\]])*+(?:\s?(?:[-+\u2212*/x\u00d7\u00f7\u00b7^!\u2013~](?=\s?[\d(\\a-z$\u20ac\u00a3])|\\(?:times|cdot|div|pm|to)"
    r"|[\u4e07\u5104\u4ebf]|[kKMB](?!\w)|[a-zA-Z]\s?[-+*/^=]|\w*\?)|[,:]\s?\d|(?:st|nd|rd|th)\b"
    r"|[\s-]*(?:or|to|and|times|plus|minus|divided|more|less|fewer|times|over|squared|cubed|factorial|choose|hundred"
    r"|thousand|million|billion|trillion|dozen|half|percent\sof|%\sof|per\s\d|out|of)\b|\s?[=\u2248]|\s?\d)",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"\s*(?:[%\u00b0\u2030$\u20ac\u00a3]|\\%|\\\$|\\(?:text|mathrm|mbox)\s?\{[^{}]*+\}|\^\\circ|\^?[\u00b2\u00b3]"
    r"|\^\{?\d\}?|[^\W\d_]+[./]?|[)\]$*_`.!\u3002\s\"'\u201d}]|\\[)\]]){0,12}\Z"
)
_EQUATION = re.compile(rf"[^=\n]{{1,80}}?=\s*+(?={_MARKUP}{_NUMBER})")
_ASIDE = re.compile(r"(?<=[\d%*_`$)\]}])(?:,\s|[\uff0c\u3001\u060c])|\s?[(\uff08]")
"""Where a clause leaves its answer: a comma right after it, or a bracket."""
_ITEM = re.compile(r"\s*\d{1,2}[.)]\s+[^\W\d_]")
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]{2,}")
_FRAC = re.compile(
    r"\\[dt]?frac\s?(?:\{\s?([-\d.]++)\s?\}|(\d))\s?(?:\{\s?([\d.]++)\s?\}|(\d))"
)
_DEGREE = re.compile(r"\s?\^\s?(?:\\circ|\{\s?\\circ\s?\})")
_GROUPING = re.compile(
    r"(?<=\d)(?:\{,\}|,?\\[,!;:]|[\u00a0\u2009\u202f'\u2019]|\s(?=\d{3}(?:\s\d{3})*+(?![\d/]|\s?/)))(?=\d{3}(?!\d))"
)
_POWER_OF_TEN = re.compile(
    r"(?<![\w.^])(\d[\d.,]*)\s?(?:\\times|\\cdot|[\u00d7x*\u00b7])\s?10\s?(?:\^|\*\*)\s?(?:\{\s?)?([-\u2212+]?\d{1,2})(?:\s?\})?(?!\d)"
)
FULL_WIDTH: Final = {chr(0xFF01 + index): chr(0x21 + index) for index in range(94)} | {
    "\u3000": " "
}
"""Full-width signs and their ASCII."""
_SIGNS = str.maketrans(
    {**FULL_WIDTH, "\u066b": ".", "\u066c": ",", "\u066a": "%", "\u2044": "/"}
    | {"\u00bd": " 1/2", "\u00bc": " 1/4", "\u00be": " 3/4"}
)
_UNMARKED = str.maketrans(dict.fromkeys(f"{_CURRENCY}+", "") | {"\u2212": "-"})
# One separator before exactly three digits: its language tells which sign it is.
_AMBIGUOUS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
MAX_UNIT_WORDS: Final = 3


def plain(text: str) -> str:
    """Fractions as a/b, powers of ten as 1e5, without LaTeX's grouping of thousands and full-width signs."""
    if not text.isascii():
        text = text.translate(_SIGNS)
    if "\\" in text or "{" in text:
        text = _DEGREE.sub("\u00b0", _FRAC.sub(_flat, text)).replace("\\$", "$")
    text = _GROUPING.sub("", text).replace("{,}", ",")
    if "10" in text:
        text = _POWER_OF_TEN.sub(
            lambda match: f"{match[1]}e{match[2].replace(chr(0x2212), '-')}", text
        )
    return text


def _flat(match: re.Match[str]) -> str:
    blank = " " if match.string[: match.start()][-1:].isdigit() else ""
    return f"{blank}{match[1] or match[2]}/{match[3] or match[4]}"


@dataclass(frozen=True, slots=True)
class NumberSpace(KeyedKind):
    """A number: integer, decimal or fraction; two are equal if exactly equal, so 1/2 is 0.5 and 1,234.0 is 1234.

    Currency signs and a percent sign are dropped: 10% is 10. 3,5 is three and a half; whether 1.234 is a thousand
    depends on the language of the reply. The prompt asks for a number and leaves open whether the model reasons; with
    `ask` "steps" it asks for steps and a box.
    """

    name: ClassVar[str] = "number"
    version: ClassVar[int] = 10
    opening: ClassVar[Opening | None] = SENTENCE

    ask: Literal["form", "steps"] = field(default="form", kw_only=True)

    @property
    def instruction(self) -> str:
        """Asks for a number, after steps or not."""
        return STEPS_AND_BOX if self.ask == "steps" else "Give the answer as a number."

    def inside(self, text: str, reply: str) -> Answer | None:
        """The number, with a unit of at most three words, or the result of one equation."""
        if len(text) > 200 or _ITEM.match(text):
            return None
        if BULLET.match(text) and "\\" not in text and _LETTER.search(text):
            return None
        text = plain(text)
        while equation := _EQUATION.match(text):
            if _WORD.search(text, 0, equation.end()) and "\\" not in text:
                return None
            text = text[equation.end() :]
        match = _DIRECT.match(text)
        if (
            match is None
            or _CONTINUED.match(text, match.end())
            or not _UNIT.match(text, match.end())
        ):
            return None
        return (
            _answer(match[1], reply)
            if len(_WORD.findall(text, match.end())) <= MAX_UNIT_WORDS
            else None
        )

    def begins(self, text: str, reply: str) -> Answer | None:
        """The number with which it begins, or the result of an equation of numbers."""
        text = plain(text[:200])
        match = _DIRECT.match(text)
        if match is None or BULLET.match(text):
            return None
        clause = text.partition("\n")[0]
        if _CONTINUED.match(text, match.end()):
            equation = _EQUATION.match(clause)
            if equation is None or _WORD.search(clause, 0, equation.end()):
                return None
            return self.begins(clause[equation.end() :], reply)
        return _answer(match[1], reply)

    def alone(self, text: str, reply: str) -> Answer | None:
        """As `inside`, except for an item of a list."""
        return None if BULLET.match(text) else self.inside(text, reply)

    def rival(self, text: str, answer: Answer, clause: str = "") -> bool:
        """Whether more than remarks follow, or the answer's clause has another number or more words than a unit."""
        stated = _ASIDE.split(clause, maxsplit=1)[0]
        more = len(_WORD.findall(stated)) > MAX_UNIT_WORDS + 1 or _other_number(
            stated, answer
        )
        return more or not adds_nothing(
            text,
            remarks=True,
            gives_value=lambda sentence: _other_number(sentence, answer),
        )


def _other_number(clause: str, answer: Answer) -> bool:
    """Whether a clause holds another number than the answer; of an equation, its last side counts."""
    clause = plain(clause)
    for match in _ANY.finditer(clause, clause.rfind("=") + 1):
        number = _answer(match[0], clause)
        # 1.234 is a thousand or not by the language of the whole reply.
        if number is None or number.key != answer.key:
            shown, known = (
                re.sub(r"\D", "", written) for written in (match[0], answer.text)
            )
            if shown != known:
                return True
    return False


def _answer(written: str, reply: str) -> Answer | None:
    if written.isascii() and written.isdigit() and len(written) <= MAX_DIGITS:
        return Answer(written, str(int(written)))
    value = fraction(written, reply)
    return None if value is None else Answer(written.strip(), str(value))


def fraction(written: str, reply: str) -> Fraction | None:
    """The value of a number, a fraction or a mixed number as written in a reply; None if it has none."""
    if sum(map(str.isdigit, written)) > MAX_DIGITS:
        return None
    bare = written.translate(_UNMARKED).strip()
    sign = -1 if bare.startswith("-") else 1
    *whole, part = re.sub(r"\s*/\s*", "/", bare.lstrip("- ")).split()
    over, _, under = part.partition("/")
    try:
        value = Fraction(_decimal(over, reply)) / Fraction(
            _decimal(under or "1", reply)
        )
        if whole and value < 1:
            value += Fraction(_decimal(whole[0], reply))
        elif whole:
            return None
    except (ValueError, ZeroDivisionError):
        return None
    return sign * value


def _decimal(written: str, reply: str) -> str:
    """The number with a decimal point and without grouping."""
    comma, point = written.rfind(","), written.rfind(".")
    if comma >= 0 and point >= 0:
        return (
            written.replace(",", "")
            if point > comma
            else written.replace(".", "").replace(",", ".")
        )
    signs = written.count(",") + written.count(".")
    if signs > 1:
        return written.replace(",", "").replace(".", "")
    if signs and _AMBIGUOUS.fullmatch(written):
        grouped = "." if decimal_comma(reply) else ","
        return written.replace(grouped, "").replace(",", ".")
    return written.replace(",", ".")


@cache
def _frequent() -> re.Pattern[str]:
    words = {
        word for language in table().values() for word in language.get("comma", ())
    }
    return re.compile(
        rf"(?<![^\W_])(?:{'|'.join(map(re.escape, words))})(?![^\W_])", re.IGNORECASE
    )


_ENGLISH = re.compile(r"\b(?:the|of|and|is|to|we|there)\b", re.IGNORECASE)


def decimal_comma(reply: str) -> bool:
    """Whether a reply is in a language that writes 3,5 for three and a half."""
    return len(_frequent().findall(reply)) > len(_ENGLISH.findall(reply))
