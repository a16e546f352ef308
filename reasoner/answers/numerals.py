"""Numbers as answers, compared exactly."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from reasoner.answers.corrections import declines
from reasoner.answers.languages import Reply
from reasoner.answers.moments import number_in_words
from reasoner.answers.reading import MAX_DIGITS, NOTHING, ByKey, last_match
from reasoner.types import Answer

# Grouped by commas, also in the Indian way (1,00,000); grouped by dots before a decimal comma; else plain.
_DIGITS = (
    r"(?:\d{1,3}(?:,\d{3})++(?!\d)|\d{1,2}(?:,\d{2}(?=,)){1,9}+,\d{3}(?!\d)|\d{1,3}(?:\.\d{3}){1,9}+(?=,\d)|\d{1,3}"
    r"(?:\.\d{3}){2,9}+(?!\d)"
    r"|\d++)"
)
_COMMA = r"(?<![(\[{]\d)(?<![(\[{]\d\d)(?<!,\d)(?<!,\d\d),(?!\d{3}(?!\d))(?=\d++(?!,\d))"
_DECIMAL = rf"(?:{_DIGITS}(?:(?:\.|{_COMMA}|(?<=\.\d\d\d),)\d++)?(?:[eE][-+]?\d{{1,2}}(?!\w))?|\.\d++)"
_CURRENCY = "$\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd\u20ba"
_NUMBER = (
    rf"(?>(?:[{_CURRENCY}]\s?)?(?:{_DIGITS}\s{_DIGITS}\s?/\s?{_DIGITS}(?!\.?\d)|{_DECIMAL}(?:\s?/\s?{_DECIMAL})?))"
)
_SIGN = r"[-+\u2212]"
_SIGNED = rf"(?>(?:{_SIGN}\s?)?{_NUMBER})"
_OPERATOR = (
    r"(?:[-+\u2212*/x\u00d7\u00f7\u00b7]|\\(?:times|cdot|div)\b|\b(?:plus|minus|times|divided by|multiplied by)\b)"
)
# In words only after an operation: `7 + 8, which is 15`.
_RESULT = (
    r"(?:which\s|or\s|that\s)?(?:is|equals|gives|makes|comes\sto|simplifies\sto|totals)|i\.e\.,?|that is,|or|so|\u2192"
    r"|->|\\(?:to|Rightarrow)"
)
_EQUALS = re.compile(
    rf"[^\S\n]*+(?:{_OPERATOR}(?:{_OPERATOR}|[^\S\n]|[().,$\d])*+(?:(?:{_RESULT})\s|[=\u2248])|[=\u2248])\s*+"
    rf"({_SIGNED})"
)
_SCALED = re.compile(r"(?<![\w.^])(\d[\d.,]*)[^\S\n]?(thousand|million|billion|trillion)(?![a-zA-Z])", re.IGNORECASE)
_SCALES = {"thousand": "e3", "million": "e6", "billion": "e9", "trillion": "e12"}
_NEGATIVE = re.compile(r"\bnegative\s(?=[$\d])|(?:\A|(?<=is\s)|(?<=are\s)|(?<=[:=]\s))minus\s(?=[$\d])", re.IGNORECASE)
_WORD = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    "|eighteen"
    "|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million"
)
# `one` alone is a number only at the end of a clause: `one of them`.
_IN_WORDS = re.compile(
    rf"(?<![\w-])(?:(negative|minus)\s)?(?!one(?![-\s](?:hundred|thousand|million)|\W*(?:\Z|\n)|[.,;!)*]))((?:{_WORD})"
    rf"(?:(?:\sand\s|[\s-])(?:{_WORD}))*+)(?![\w]|-\w)",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"(?:[*_`\"'\u201c\s(\[~:]|(?:approximately|about|around|roughly|exactly|simply|just|only|therefore|thus"
    r"|a total of)\s)*+",
    re.IGNORECASE,
)
# A sign after an operand is an operator; a sign between blanks is a dash or a bullet.
_ANY = re.compile(rf"(?<![\w.^])((?:(?<![)\]}}]){_SIGN}(?=[{_CURRENCY}.\d])|(?:(?<==)|(?<==\s)){_SIGN}\s)?{_NUMBER})")
_NAME = r"(?:\\?[a-zA-Z](?:_\{?\w{1,3}\}?)?\s?=\s?)"
_HEDGE = (
    r"(?:approximately|approx\.?|about|around|roughly|exactly|simply|just|only|therefore|thus|then|indeed|clearly|now"
    r"|a total of|in total|equal to|usd|eur|rs\.?|\u7ea6|\u5171|\u5927\u7ea6|\u7d04|\uc57d)"
)
_DIRECT = re.compile(
    rf"(?:[*_`\"'\u201c\s(\[~\u2248=]|\\[(\[]|\$(?![\d.])|\\(?:text\w*"
    rf"|math\w*)\{{|\\approx\b|{_NAME}|{_HEDGE}\s)*+({_SIGNED})"
    r"(?!\w*\s*\?|\s?(?:\u2013|to|or)\s?\d)",
    re.IGNORECASE,
)
_FRAC = re.compile(r"\\[dt]?frac\s?(?:\{\s?([-\d.]++)\s?\}|(\d))\s?(?:\{\s?([\d.]++)\s?\}|(\d))")
_GROUPING = re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!;:]|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))")
_SPACED = re.compile(
    r"\d(?<![\d.,/^]\d)(?<!\d \d)\d{0,2}(?:(?:[ '\u2019_]\d{3}){1,9}+|(?:, 000){1,9}+)(?![\d']|\s?/|,\d{3})"
)
_CURRENCY_WORD = re.compile(r"(?<![a-zA-Z])(?:Rp\.?|Rs\.?|(?:R|US|A|C|HK|NT|S)\$|USD|EUR|CHF)\s?(?=-?\d)")
_SEPARATOR = re.compile(r"[ '\u2019_]|, ")
_BRACED_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d)")
_SCRIPT = re.compile(r"[\^_]\{[^{}]*+\}")
_POWER_OF_TEN = re.compile(
    r"(?<![\w.^])(\d[\d.,]*)\s?(?:\\times|\\cdot|[\u00d7x*\u00b7])\s?10\s?(?:\^|\*\*)\s?(?:\{\s?"
    r"([-\u2212+]?\d{1,2})\s?\}|([-\u2212+]?\d{1,2})(?!\d))"
)
MAX_LINE = 2000
"""Characters of a line in which the last number is looked at more closely."""
_SENTENCE = re.compile(r"[^\n\u3002\uff01]{0,300}?(?=[.!](?:\s|\*|\Z)|[\n\u3002;\uff01]|\Z)")
_CLAUSE = re.compile(r",(?!\d)")
_NEGATED = re.compile(r"\b(?:not|never|neither|nor|between|unclear|unknown)\b|n['\u2019]t\b|\?", re.IGNORECASE)
_ASIDE = re.compile(
    r"(?:,\s(?:which|not|rather|instead|compared|up from|down from|versus|as opposed)"
    r"|\s(?:instead of|rather than|out of|compared (?:to|with)|as opposed to|(?:more|less|fewer|greater|larger"
    r"|smaller|higher|lower)\s(?:\w+\s){0,3}?than))\b"
    r"(?=(?:(?!\b(?:are|equals|gives|makes|leaves|so)\b)[^=\n])*+\Z)",
    re.IGNORECASE,
)
_DETAIL = re.compile(
    r"(?:\safter\s\w+ing|,\s(?:up |down )?from|(?:,\s|\s\()(?:(?:or|that is|i\.e\.),?\s)?(?:about|approximately"
    r"|roughly|around))\s"
    r"(?=(?:(?!\b(?:are|equals|gives|makes|leaves|so)\b)[^=\n])*+\Z)",
    re.IGNORECASE,
)
_PAID = re.compile(
    rf"(?:=\s?[{_CURRENCY}]?|[{_CURRENCY}])\s?({_DECIMAL})(?:\s(?:in total|altogether|[a-z]+))?\s(?:for|after|from|of"
    rf"|among|to\s\w+)\s"
    r"(?:(?:the|all|these|those|his|her|their)\s)*\d[\d,.]*\s[a-z][^\d=\n]{0,60}\Z"
)
_BOLD = re.compile(r"\*\*([^*\n]{1,60})\*\*")
_PARENTHESIS = re.compile(r"\s\((?=[^()\n]*[a-zA-Z=+*/\u00d7])[^()\n]*\)")
_BULLET = re.compile(r"\A\s*[-*+\u2022\u2212]\s+")
_UNIT = re.compile(
    r"\s*(?:[%\u00b0\u2030$\u20ac\u00a3]|\\%|\\\$|\\(?:text|mathrm|mbox)\s?\{[^{}]*+\}|\^\\circ|\^?[\u00b2\u00b3]"
    r"|\^\{?\d\}?"
    r"|(?!(?:and|or|to|is|are|but|then|if|plus|minus|times|equals)\b)[^\W\d_]+[./]?|[)\]$*_`.!\u3002\s\"'\u201d]"
    r"|\\[)\]]){0,12}\Z",
    re.IGNORECASE,
)
_PLAIN_WORDS = re.compile(r"[^\W\d_]+")
# Written with one separator before exactly three digits: its language tells which sign it is.
_AMBIGUOUS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
_VULGAR = {
    "\u00bd": "1/2", "\u2153": "1/3", "\u2154": "2/3", "\u00bc": "1/4", "\u00be": "3/4", "\u2155": "1/5",
    "\u2156": "2/5", "\u2157": "3/5", "\u2158": "4/5", "\u2159": "1/6", "\u215a": "5/6",
    "\u215b": "1/8", "\u215c": "3/8", "\u215d": "5/8",
    "\u215e": "7/8",
}  # fmt: skip
_SIGNS = str.maketrans(
    {chr(0xFF01 + index): chr(0x21 + index) for index in range(94)}
    | {sign: f" {fraction} " for sign, fraction in _VULGAR.items()}
    | {"\u3000": " ", "\u066b": ".", "\u066c": ",", "\u066a": "%", "\u2044": "/", "\u3001": ", "}
)
_UNSPACED = re.compile(r"(?<=[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3])(?=[-\u2212.\d$])")


def _unlatexed(text: str) -> str:
    """Fractions as a/b, thousands grouped by commas, no exponents or subscripts in braces."""
    if not text.isascii():
        text = _UNSPACED.sub(" ", text.translate(_SIGNS))
    if "\\" in text or "{" in text or not text.isascii():
        text = _GROUPING.sub("", _FRAC.sub(_flat_fraction, text))
        text = _BRACED_COMMA.sub(",", text)
    if "\\$" in text or "R" in text or "S" in text:
        text = _CURRENCY_WORD.sub("$", text.replace("\\$", "$"))
    if "10" in text:
        text = _POWER_OF_TEN.sub(_scientific, text)
    if "illion" in text or "housand" in text:
        text = _SCALED.sub(lambda match: match[1].rstrip(".,") + _SCALES[match[2].lower()], text)
    if "negative " in text or "minus " in text:
        text = _NEGATIVE.sub("-", text)
    text = _SPACED.sub(_grouped, text)
    return _SCRIPT.sub(" ", text) if "{" in text else text


def _flat_fraction(match: re.Match[str]) -> str:
    after_whole = match.string[: match.start()][-1:].isdigit()
    return f"{' ' if after_whole else ''}{match[1] or match[2]}/{match[3] or match[4]}"


def _scientific(match: re.Match[str]) -> str:
    return f"{match[1]}e{(match[2] or match[3]).replace(chr(0x2212), '-')}"


def _grouped(match: re.Match[str]) -> str:
    return _SEPARATOR.sub("", match[0])


def _computed(match: re.Match[str] | None) -> str | None:
    """The matched number, or the result of an equation that begins with it: 7 in `3 + 4 = 7`."""
    written = None
    while match:
        written, end = match[1], match.end(1)
        match = _EQUALS.match(match.string, end)
    return written


def last_number(text: str) -> str | None:
    """The last number in a text, as written; None if there is none.

    In its line one in bold comes first, and one in a remark last.
    """
    return _last_in(_unlatexed(text))


def _last_in(plain: str) -> str | None:
    match = last_match(_ANY, plain)
    if match is None:
        return None
    start = plain.rfind("\n", 0, match.start()) + 1
    line = plain[start : plain.find("\n", match.end())] if "\n" in plain[match.end() :] else plain[start:]
    if len(line) >= MAX_LINE:
        return match[1]
    if "**" in line:
        for bold in reversed(_BOLD.findall(line)):
            if number := _ANY.search(bold):
                return _computed(number)
    if "(" in line and (outer := last_match(_ANY, _PARENTHESIS.sub(" ", line))):
        return outer[1]
    for pattern, most in ((_ASIDE, 1), (_DETAIL, 3)):
        aside = pattern.search(line)
        if (
            aside
            and 1 <= len(_ANY.findall(line, aside.end())) <= most
            and (main := last_match(_ANY, line[: aside.start()]))
        ):
            return main[1]
    paid = _PAID.search(line)
    return paid[1] if paid else match[1]


@dataclass(frozen=True, slots=True)
class NumberSpace(ByKey):
    """A number: integer, decimal or fraction; two are equal if exactly equal, so 1/2 is 0.5 and 1,234.0 is 1234.

    Currency signs and a percent sign are dropped: 10% is 10. 3,5 is three and a half; whether 1.234 is a thousand
    depends on the language of the reply.
    """

    name: ClassVar[str] = "number"
    version: ClassVar[int] = 5
    instruction: ClassVar[str] = "Give the answer as a number."

    def inside(self, text: str, reply: Reply) -> Answer | None:
        """The number with which it begins, or the last one."""
        plain = re.sub(rf"^\s*({_SIGN})\s", r"\1", _unlatexed(text))
        if match := _DIRECT.match(plain):
            return self._answer(_computed(match), reply)
        last = last_match(_ANY, plain)
        return self._answer(last[1], reply) if last else _worded(_beginning_words(plain))

    def begins(self, text: str, reply: Reply) -> Answer | None:
        """The number with which it begins, or the only number of its first sentence."""
        plain = _unlatexed(text)
        if match := _DIRECT.match(plain):
            return self._answer(_computed(match), reply)
        if words := _beginning_words(plain):
            return _worded(words)
        sentence = _SENTENCE.match(plain)
        if sentence is None or _NEGATED.search(sentence[0]):
            return None
        for numbers in (
            _ANY.findall(sentence[0]),
            _ANY.findall(_CLAUSE.split(sentence[0], maxsplit=1)[0]),
            [n for bold in _BOLD.findall(sentence[0]) for n in _ANY.findall(bold)],
        ):
            if len(numbers) == 1:
                return self._answer(numbers[0], reply)
        return None

    def alone(self, text: str, reply: Reply) -> Answer | None:
        """The number, with a unit of at most three words."""
        if len(text) > 120:
            return None
        plain = _unlatexed(_BULLET.sub("", text))
        match = _DIRECT.match(plain)
        if match is None:
            words = _beginning_words(plain)
            return _worded(words) if words and len(_PLAIN_WORDS.findall(plain, words.end())) <= 2 else None
        end = match.end(1)
        while further := _EQUALS.match(plain, end):
            match, end = further, further.end(1)
        if _UNIT.match(plain, end) and len(_PLAIN_WORDS.findall(plain, end)) <= 3:
            return self._answer(match[1], reply)
        return None

    def last(self, text: str, reply: Reply) -> Answer | None:
        """The last number; in its line one in bold comes first, and one in a remark last."""
        if declines(text):
            return None
        plain = _unlatexed(text)
        written = _last_in(plain)
        return _worded(last_match(_IN_WORDS, plain)) if written is None else self._answer(written, reply)

    def _answer(self, written: str | None, reply: Reply) -> Answer | None:
        if written is None:
            return None
        if written.isascii() and written.isdigit() and len(written) <= MAX_DIGITS:
            return Answer(written, str(int(written)))
        value = _fraction(written, reply)
        return NOTHING if value is None else Answer(written.strip(), str(value))


def _beginning_words(text: str) -> re.Match[str] | None:
    """The number in words with which a statement begins."""
    lead = _LEAD.match(text)
    return _IN_WORDS.match(text, lead.end() if lead else 0)


def _worded(match: re.Match[str] | None) -> Answer | None:
    """The answer of a number in English words; None if they are no number."""
    value = number_in_words(match[2]) if match else None
    return Answer(match[0].strip(), str(-value if match[1] else value)) if match and value is not None else None


def _fraction(written: str, reply: Reply) -> Fraction | None:
    if sum(map(str.isdigit, written)) > MAX_DIGITS:
        return None
    plain = re.sub(rf"[{_CURRENCY}+]", "", written.replace("\u2212", "-")).strip()
    sign = -1 if plain.startswith("-") else 1
    *whole, part = re.sub(r"\s*/\s*", "/", plain.lstrip("-")).split()
    over, _, under = part.partition("/")
    try:
        value = Fraction(_decimal(over, reply)) / Fraction(_decimal(under or "1", reply))
        if whole and value < 1:
            value += Fraction(_decimal(whole[0], reply))
    except (ValueError, ZeroDivisionError):
        return None
    return sign * value


def _decimal(written: str, reply: Reply) -> str:
    """The number with a decimal point and without grouping."""
    comma, point = written.rfind(","), written.rfind(".")
    if comma < 0 and (point < 0 or written.count(".") == 1):
        grouped = _AMBIGUOUS.fullmatch(written) is not None and reply.decimal_comma
        return written.replace(".", "") if grouped else written
    if comma >= 0 and point >= 0:
        return written.replace(",", "") if point > comma else written.replace(".", "").replace(",", ".")
    if comma < 0:
        return written.replace(".", "")
    if written.count(",") == 1 and (not re.fullmatch(r"\d{1,3},\d{3}(?:[eE].*)?", written) or reply.decimal_comma):
        return written.replace(",", ".")
    return written.replace(",", "")
