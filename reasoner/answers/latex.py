r"""The text of mathematical answers: limits on what is parsed, and a normal spelling.

Nothing is evaluated: `\frac12`, `1/2` and `0.5` remain three spellings here.
"""

import re
from collections.abc import Iterator
from itertools import accumulate

# Units, currencies and scale words around a number. Only what follows a number or a bracket is a unit: `3 million` and
# `5 squared` are other numbers than 3 and 5.
_SPACE = r"(?:\s|~|\\[,;:!\s])"
_CURRENCIES = "USD|EUR|GBP|INR|CNY|RMB|JPY|CAD|AUD|CHF|KRW|BRL|MXN"
_KNOWN = (
    "degrees?|percent|dollars?|cents?|cm|mm|km|nm|kg|mg|ml|mL|ft|in|lbs?|oz|mi|hrs?|hours?|min|secs?|days?|mph|kph|"
    "units?|inch|feet|foot|yards?|miles?|met(?:er|re)s?|deg|rad|sq|cups?|tsp|tbsp|gal|yen|won|euros?|pence|"
    rf"(?:km?|m|cm|mg?|kg?|g|N|J|L|W|V|mol)/(?:h|s|min|m|cm|L|kg|g|mol|K)|{_CURRENCIES}"
)
_LETTERS = "[mgshlLJNWVAKCF]"
"""Units of one letter, read as such only in text or upright type: 5m is five times m."""
_MORE = (
    "hundred|thousand|million|billion|trillion|dozen|plus|minus|over|divided|choose|factorial|squared|cubed|"
    "modulo|point|half|halves|thirds?|fourths?|quarters?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|"
    "hundredths?|thousandths?|negative|(?:more|less|fewer|greater)\\s+than"
)
"""Words that change the number before them."""
_OPERAND = r"(?=\s*(?:[-\d(\\]|[b-zA-Z](?![a-zA-Z])))"
_COMMAND = r"\\(?:text(?:rm|bf|it)?|mbox|mathrm|mathbf|rm|operatorname)\s*"
_EXPONENT = r"(?:\^\{?-?\d\}?)?"
_BOXED = (
    rf"{_COMMAND}\{{(?!\s*(?:[apAP]\.?[mM]\b|(?:{_MORE}|to|or|and)\b))(?:[^{{}}]{{2,}}+|\s*{_LETTERS}\s*)\}}{_EXPONENT}"
)
TEXT_UNIT = re.compile(rf"(?<=[\w}}) \]]){_SPACE}*+{_BOXED}(?:(?:/|\\cdot(?![a-z])|{_SPACE})*+{_BOXED})*+\s*\Z")
"""A unit in text or upright type at the end."""
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"

UNITS: tuple[tuple[str, str], ...] = (
    # Currencies before the amount.
    (
        rf"\A\s*(-?)\s*(?:(?:{_CURRENCIES})(?![a-zA-Z])|Rs\.?(?![a-zA-Z])|US(?=\s*\\?\$)|\\(?:pounds|euro|textdollar)(?![a-z]))\s*(?=[\d$\\.-])",
        r"\1",
    ),
    (r"\\?[%$]|[\u20ac\u00a3\u20b9\u00a5\u00a2]", " "),
    # What is computed before the unit is dropped.
    (r"(?<=\d)\s*+hundred(?![a-zA-Z])", r"\\cdot10^{2}"),
    (r"(?<=\d)\s*+thousand(?![a-zA-Z])", r"\\cdot10^{3}"),
    (r"(?<=\d)\s*+million(?![a-zA-Z])", r"\\cdot10^{6}"),
    (r"(?<=\d)\s*+billion(?![a-zA-Z])", r"\\cdot10^{9}"),
    (r"(?<=\d)\s*+trillion(?![a-zA-Z])", r"\\cdot10^{12}"),
    (r"(?<=\d)\s*+dozen(?![a-zA-Z])", r"\\cdot12"),
    (r"(?<=\d)\s++squared(?![a-zA-Z])", "^2"),
    (r"(?<=\d)\s++cubed(?![a-zA-Z])", "^3"),
    (r"(?<=\d)\s++factorial(?![a-zA-Z])", "!"),
    (rf"(?<=\d)\s++plus{_OPERAND}", "+"),
    (rf"(?<=\d)\s++minus{_OPERAND}", "-"),
    (rf"(?<=\d)\s++times{_OPERAND}", r"\\cdot "),
    (rf"(?<=\d)\s++(?:divided\s++by|over){_OPERAND}", "/"),
    (r"(?<=[\d}])\s*+(?:\u00b0\s*+|\^\{?\\circ\}?\s*+)[CF](?![a-zA-Z])", ""),
    (rf"(?<=\d){_SPACE}++(?:k|M|\\mu(?![a-z]))?\s*+\\Omega\s*\Z", ""),
)
"""Patterns and replacements, in order, before spaces are removed."""
LAST_UNIT: tuple[str, str] = (
    (
        rf"(?<=[\d)}}])\s*+(?:(?:{_KNOWN})(?![a-zA-Z])|(?<=\s)(?!(?:{_MORE}|{_MONTHS})(?![a-zA-Z]))[a-zA-Z]{{4,}}+)"
        r"(?:[^,=<>+\d^]|\^(?:\d|\{-?\d\}))*+\Z"
    ),
    "",
)
"""A unit after a number: a known one, or a word of four letters or more; `5 feet 3 inches` is not 5."""

MAX_LENGTH = 4096
"""Maximum characters of an answer that is parsed."""
MAX_NESTING = 64
"""Maximum brackets open at once."""
MAX_RUN = 256
"""Maximum digits in a row."""

_OPEN, _CLOSE = "([{", ")]}"
_LONG_RUN = re.compile(rf"\d{{{MAX_RUN + 1}}}")
_CODE = re.compile(r"__|(?<!\\)\b(?:import|lambda|eval|exec)\b")
_GROUP = r"\s*+(?:\{([^{}]*+(?:\{[^{}]*+\}[^{}]*+)*+)\}|\(([^()]*+(?:\([^()]*+\)[^()]*+)*+)\)|([-\d]\d*+))"
_POWER = re.compile(rf"(?:\^|\*\*){_GROUP}")
_TOWER = re.compile(r"(?:\^|\*\*)\s*+(?:\d++|[({]\s*+\d++\s*+[)}])\s*+(?:\^|\*\*)")
_LETTER = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]")
_FACTORIAL = re.compile(r"(?:(\d++)|([)}]))\s*!")
_LARGE = re.compile(r"(?:binom|choose|\\sum|\\prod)(?![a-z])")
_BOUND = re.compile(r"(_(?:\{[^{}]*+\}|\w))\^(?:\{\w{1,4}\}|\w(?!\w))")
_BIG = re.compile(r"\^|\*\*|!|\d{5}")


def too_complex(text: str) -> str | None:
    """Why the text is not parsed, in a few words; None if it may be."""
    if len(text) > MAX_LENGTH:
        return f"longer than {MAX_LENGTH} characters"
    if max(depths(text), default=0) > MAX_NESTING:
        return f"nested deeper than {MAX_NESTING}"
    if _LONG_RUN.search(text):
        return f"more than {MAX_RUN} digits in a row"
    if _CODE.search(text):
        return "looks like code"
    if _TOWER.search(text) or any(_heavy(match) for match in _POWER.finditer(text)):
        return "a power too large to compute"
    if any(_inflates(match) for match in _FACTORIAL.finditer(text)):
        return "a factorial too large to compute"
    if _LARGE.search(text) and _BIG.search(_BOUND.sub(r"\1", text)):
        return "a sum, product or binomial too large to compute"
    return None


def _heavy(power: re.Match[str]) -> bool:
    """Whether an exponent has six digits or more, or is itself a power of numbers; `e^{x^2}` is neither."""
    exponent = power[1] or power[2] or power[3] or ""
    towers = "^" in exponent or "**" in exponent or "!" in exponent
    return len(re.sub(r"\D", "", exponent)) > 5 or (towers and not _LETTER.search(exponent))


def _inflates(factorial: re.Match[str]) -> bool:
    """Whether the argument of a factorial has five digits or more, or holds a power, a factorial or such a number."""
    if factorial[1]:
        return len(factorial[1]) > 4
    return bool(_BIG.search(factorial.string, max(0, factorial.start() - 40), factorial.start()))


_UNICODE = str.maketrans(
    {
        "\u2212": "-",
        "\u2013": "-",
        "\u00d7": "\\cdot ",
        "\u00b7": "\\cdot ",
        "\u22c5": "\\cdot ",
        "\u00f7": "/",
        "\u03c0": "\\pi ",
        "\u03b8": "\\theta ",
        "\u221e": "\\infty ",
        "\u2264": "\\le ",
        "\u2265": "\\ge ",
        "\u00b1": "\\pm ",
        "\u222a": "\\cup ",
        "\u2229": "\\cap ",
        "\u2099": "_n",
        "\u2096": "_k",
        "\u1d62": "_i",
        **{chr(0x2080 + digit): f"_{digit}" for digit in range(10)},
        "\u2124": "\\mathbb{Z}",
        "\u2115": "\\mathbb{N}",
        "\u2208": "\\in ",
        "\u221a": "\\sqrt ",
        "\u00b2": "^2",
        "\u00b3": "^3",
        "\u00bd": "\\frac{1}{2}",
        "\u00bc": "\\frac{1}{4}",
        "\u00be": "\\frac{3}{4}",
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
        "\u2019": "'",
        "\u2248": "\\approx ",
        "\u2205": "\\emptyset ",
        "\u211d": "\\mathbb{R}",
        "\u2216": "\\setminus ",
        "\u2260": "\\ne ",
    }
)
_TEXT = re.compile(r"\\(?:text(?:rm|bf|it|sf|tt|normal)?|mbox|mathrm|mathbf|mathit|bf|rm)\s*\{([^{}]*+)\}")


DEGREE = (
    r"\^\s*+(?:\{\s*+\\(?:circ|degree)\s*+\}|\\(?:circ|degree)(?![a-zA-Z]))|\\degree(?![a-zA-Z])|\u00b0"
    r"|(?<![\\a-zA-Z])degrees?(?![a-zA-Z])"
)
"""A pattern of the mark or the word for degrees."""


def _compiled(*rules: tuple[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), replacement) for pattern, replacement in rules]


_RULES = _compiled(
    # Thousands grouped in LaTeX's way, before spaces are removed.
    (r"(?<=\d)(?:\{,\}|,?\\[,!;:])\s*(?=\d{3}(?!\d))", ""),
    (r"\\(?:left|right|big|Big|bigg|Bigg)[lr]?(?![a-zA-Z])\s*\.?", ""),
    (r"\\(?:displaystyle|textstyle|limits|quad|qquad)(?![a-zA-Z])|(?<!\\)\\[,;:!\s]|~", " "),
    *UNITS,
    (DEGREE, ""),
    (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
    (r"\\[dt]binom(?![a-zA-Z])", r"\\binom"),
    (r"\\(?:leqslant|leq|le)(?![a-zA-Z])|<=", r"\\le "),
    (r"\\(?:geqslant|geq|ge)(?![a-zA-Z])|>=", r"\\ge "),
    (r"\\(?:neq|ne)(?![a-zA-Z])|!=", r"\\ne "),
    (r"\\lt(?![a-zA-Z])", "<"),
    (r"\\gt(?![a-zA-Z])", ">"),
    (r"\\langle(?![a-zA-Z])", "("),
    (r"\\rangle(?![a-zA-Z])", ")"),
    (r"\\(?:Bbb|mathbf|bf)\s*\{?R\}?|\\mathbb\s*R", r"\\mathbb{R}"),
    (r"\\(?:smallsetminus|backslash|setminus)(?![a-zA-Z])|(?<=\\mathbb\{R\})\s*-(?=\s*\\\{)", r"\\setminus "),
    (r"\\(?:colon|ratio)(?![a-zA-Z])|\{:\}", ":"),
    (r"(?<=\d)\s++to\s++(?=\d)", ":"),
    (r"\A\s*(\d++)(?:\s++:\s*+|:\s++)(\d++)\s*\Z", r"\1/\2"),
    (r"\\(?:thickapprox|simeq|approxeq|sim)(?![a-zA-Z])", r"\\approx "),
    (r"\A\s*(?:\\approx(?![a-zA-Z])|(?:about|approximately|approx\.?|roughly|around)\s)\s*(?=[-\d\\$.])", ""),
    (r"\*\*", "^"),
    (r"\\(?:times|ast)(?![a-zA-Z])|\*", r"\\cdot "),
    (r"\\lbrace(?![a-zA-Z])", r"\\{"),
    (r"\\rbrace(?![a-zA-Z])", r"\\}"),
    (r"\\(?:var)?(?:emptyset|nothing)(?![a-zA-Z])", r"\\emptyset "),
    (r"(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])", r"\\infty "),
    (r"(?<![\\a-zA-Z])pi(?![a-zA-Z])", r"\\pi "),
    (r"(?<![\\a-zA-Z])(?:and|or)(?![a-zA-Z])|\\(?:land|wedge|lor|vee)(?![a-zA-Z])", ","),
    (r",(?:\s*,)++", ","),
    # A mixed number, before its space is removed.
    (r"(?<![\d.^_{(/])(\d++)\s++(\d++)\s*+/\s*+(\d++)(?![\d./])", r"\1\\frac{\2}{\3}"),
    LAST_UNIT,
)
_TIDY = _compiled(
    (r"(\\[a-zA-Z]++)\s++(?=[a-zA-Z])", "\\1\0"),
    (r"\s++", ""),
    ("\0", " "),
    (r"\\frac(\d)(\d)", r"\\frac{\1}{\2}"),
    (r"\\frac(\d)(?=\{)", r"\\frac{\1}"),
    (r"(\\frac\{[^{}]*+\})([\da-zA-Z])", r"\1{\2}"),
    (r"\\sqrt([\da-zA-Z])", r"\\sqrt{\1}"),
    (r"([\^_])\{([\da-zA-Z])\}", r"\1\2"),
    (r"(?<![\d.])(\.\d)", r"0\1"),
    (r"\A\+", ""),
)
_RELATION = re.compile(r"[<>\u2264\u2265\u2260]|\\(?:[lg]eq?(?:slant)?|neq?|lt|gt)(?![a-zA-Z])")
_OR = re.compile(r"(?<![\\a-zA-Z])or(?![a-zA-Z])|\\(?:lor|vee)(?![a-zA-Z])")
_TERM = rf"(?:\d++(?:\.\d++)?|[a-zA-Z]|\\[a-z]++)\s*+(?:{DEGREE})"
_ANGLE = re.compile(rf"(\d++(?:\.\d++)?|[a-zA-Z]|\\[a-z]++)\s*+(?:{DEGREE})")
_TRIGONOMETRIC = re.compile(
    r"(?P<function>(?:\\|(?<![\\a-zA-Z]))(?:sin|cos|tan|cot|sec|csc)(?:\s*\^\s*(?:\d|\{-?\d\}))?)\s*+"
    rf"(?:(?P<open>(?:\\left\s*+)?[({{]\s*+)(?P<terms>{_TERM}(?:\s*+[-+]\s*+{_TERM})*+)|(?P<term>{_TERM}))"
)
_SQRT = re.compile(r"\\?sqrt\s*\(")
_WRAPS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"))


def bare(text: str) -> str:
    """The text without markup around it: dollars, bold, a box, a final full stop."""
    before = None
    while text != before:
        before, text = text, text.strip().rstrip(".,; \n") or text.strip()
        for opening, closing in _WRAPS:
            inner = text[len(opening) : -len(closing)]
            single = closing not in inner if opening[0] == "\\" else opening[0] not in inner[:1]
            if text.startswith(opening) and text.endswith(closing) and inner and single:
                text = inner
        for command in ("\\boxed{", "\\fbox{"):
            if text.startswith(command) and matching(text, len(command) - 1) == len(text) - 1:
                text = text[len(command) : -1]
    return text


def depths(text: str) -> Iterator[int]:
    """The level of brackets after each character."""
    return accumulate((sign in _OPEN) - (sign in _CLOSE) for sign in text)


def matching(text: str, start: int) -> int:
    """The index at which the bracket at `start` closes, by a bracket of any kind; -1 if it does not."""
    return next((index for index, depth in enumerate(depths(text[start:]), start) if depth == 0), -1)


def balanced(text: str) -> bool:
    """Whether all brackets close, by brackets of any kind: an interval may be half open."""
    levels = list(depths(text))
    return not levels or (min(levels) >= 0 and levels[-1] == 0)


def split(text: str, separator: str) -> list[str]:
    """The parts between separators outside brackets."""
    parts, start = [], 0
    for index, depth in enumerate(depths(text)):
        if depth == 0 and text.startswith(separator, index) and index >= start:
            parts.append(text[start:index])
            start = index + len(separator)
    return [*parts, text[start:]]


_BOLDED = re.compile(r"\\(?:mathbf|boldsymbol|bm)\s*\{([^{}]*\d[^{}]*)\}")
_ROOT = re.compile(r"\u221a\s?(\d{2,})")


def untexted(text: str) -> tuple[str, bool]:
    r"""The text without `\text{...}` and without a unit in it, and whether it was all in `\text`."""
    text = _BOLDED.sub(r"{\1}", text)
    outside = _TEXT.sub("", text).strip(" .()[]*")
    if not outside:
        return _TEXT.sub(r"\1", text), True
    return _TEXT.sub(_unit, TEXT_UNIT.sub("", text)), False


def _unit(match: re.Match[str]) -> str:
    inner = match[1].strip()
    return inner if len(inner) == 1 else f" {inner} "


def _in_radians(match: re.Match[str]) -> str:
    """Degrees under a trigonometric function, in radians; elsewhere they are a unit."""
    terms = _ANGLE.sub(r"\\frac{\1\\pi}{180}", match["terms"] or match["term"])
    return f"{match['function']}{match['open']}{terms}" if match["open"] else f"{match['function']}({terms})"


def normal(text: str) -> str:
    """The normal spelling of a formula: no spaces, sizes or units, and braces only where necessary."""
    if _RELATION.search(text):
        text = _OR.sub(r"\\cup ", text)
    text = _TRIGONOMETRIC.sub(_in_radians, _ROOT.sub(r"\\sqrt{\1}", text)).translate(_UNICODE)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text.strip())
    while match := _SQRT.search(text):
        end = matching(text, match.end() - 1)
        if end < 0:
            break
        text = f"{text[: match.start()]}\\sqrt{{{text[match.end() : end]}}}{text[end + 1 :]}"
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    return text.lstrip(",;").rstrip(",;.") if len(text) > 1 else text
