r"""The text of mathematical answers: limits on what is parsed, a normal spelling, and what is exact without parsing.

Nothing is evaluated. A number, a word and a unit are distinguished here; what a formula means is decided by
Math-Verify, in another process.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import Literal, NamedTuple

from reasoner.answers.numbers import fraction, plain

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
_FACTORIAL = re.compile(r"(?<=[)}])\s*!|(?<=\d{5})\s*!")
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
    if _TOWER.search(text) or any(
        _heavy("".join(power.groups(""))) for power in _POWER.finditer(text)
    ):
        return "a power too large to compute"
    if any(
        _BIG.search(text, max(0, sign.start() - 40), sign.start())
        for sign in _FACTORIAL.finditer(text)
    ):
        return "a factorial too large to compute"
    if _LARGE.search(text) and _BIG.search(_BOUND.sub(r"\1", text)):
        return "a sum, product or binomial too large to compute"
    return None


def _heavy(exponent: str) -> bool:
    """Whether an exponent has six digits or more, or is itself a power of numbers; `e^{x^2}` is neither."""
    towers = "^" in exponent or "**" in exponent or "!" in exponent
    return len(re.sub(r"\D", "", exponent)) > 5 or (
        towers and not _LETTER.search(exponent)
    )


def depths(text: str) -> Iterator[int]:
    """The level of brackets after each character."""
    return accumulate((sign in _OPEN) - (sign in _CLOSE) for sign in text)


def matching(text: str, start: int) -> int:
    """The index at which the bracket at `start` closes, by a bracket of any kind; -1 if it does not."""
    return next(
        (
            index
            for index, depth in enumerate(depths(text[start:]), start)
            if depth == 0
        ),
        -1,
    )


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


def bare(text: str) -> str:
    """The text without markup around it: dollars, bold, a box, a final full stop."""
    before = None
    while text != before:
        before, text = text, text.strip().rstrip(".,; \n") or text.strip()
        for opening, closing in (
            ("$$", "$$"),
            ("$", "$"),
            ("\\(", "\\)"),
            ("\\[", "\\]"),
            ("**", "**"),
            ("`", "`"),
        ):
            inner = text[len(opening) : -len(closing)]
            single = (
                closing not in inner
                if opening[0] == "\\"
                else opening[0] not in inner[:1]
            )
            if text.startswith(opening) and text.endswith(closing) and inner and single:
                text = inner
        for command in ("\\boxed{", "\\fbox{"):
            if (
                text.startswith(command)
                and matching(text, len(command) - 1) == len(text) - 1
            ):
                text = text[len(command) : -1]
    return text


_UPRIGHT = re.compile(
    r"\\(?:text(?:rm|bf|it|normal)?|mbox|math(?:rm|bf|it)|boldsymbol|operatorname|rm|bf)\s*\{([^{}]*+)\}"
)
_UNITS = {
    other: name
    for name, others in {
        "mm": "millimeter millimetre",
        "cm": "centimeter centimetre",
        "m": "meter metre",
        "km": "kilometer kilometre",
        "in": "inch inche",
        "ft": "foot feet",
        "yd": "yard",
        "mi": "mile",
        "mg": "milligram",
        "g": "gram",
        "kg": "kilogram",
        "lb": "pound",
        "oz": "ounce",
        "ms": "millisecond",
        "s": "sec second",
        "min": "minute",
        "h": "hr hour",
        "day": "",
        "week": "",
        "month": "",
        "year": "yr",
        "ml": "milliliter millilitre",
        "l": "liter litre",
        "gal": "gallon",
        "\u00b0": "deg degree",
        "rad": "radian",
        "\u00b0c": "celsius",
        "\u00b0f": "fahrenheit",
        "k": "kelvin",
        "%": "percent",
        "$": "usd us$ dollar",
        "\u00a2": "cent",
        "\u20ac": "eur euro",
        "\u00a3": "gbp",
        "\u20b9": "inr rs rs. rupee",
        "\u00a5": "jpy yen",
        "n": "newton",
        "j": "joule",
        "kj": "",
        "w": "watt",
        "kw": "",
        "v": "volt",
        "a": "ampere",
        "mol": "mole",
        "omega": "ohm",
        "mi/h": "mph",
        "km/h": "kph kmh",
        "/": "per",
        "sq": "square",
        "cu": "cubic",
    }.items()
    for other in (name, *others.split())
}
"""The spellings of known units; they are not converted."""
# Only what follows a number or a bracket is a unit: `3 million` and `5 squared` are other numbers than 3 and 5.
_NO_UNIT = re.compile(
    r"(?:hundred|thousand|million|billion|trillion|dozen|plus|minus|times|over|divided|choose|factorial|squared|cubed"
    r"|mod(?:ulo)?|point|half|halves|negative|more|less|fewer|and|or|to|(?:\w*[dfhnrx]th|third|quarter)s?"
    r"|at|about|around|almost|approx|above|below|under|south|east|west|(?:max|min)(?:imum)?|(?!exactly|only)\w+ly"
    r"|(?:janu|febru)ary|march|april|may|june|july|august|(?:septem|octo|novem|decem)ber)(?![a-z])",
    re.IGNORECASE,
)
_FRONT = re.compile(
    r"\A\s*+(-?)\s*+(\\?\$|US\\?\$|[\u20ac\u00a3\u20b9\u00a5]"
    r"|(?:USD|EUR|GBP|INR|JPY|Rs\.?)(?=\s*-?[\d.]))\s*(?=[-\d.\\(])"
)
_SPACE = re.compile(
    r"(?<!\\)\\[,;:!\s]|~|\\(?:displaystyle|textstyle|limits|q?quad)(?![a-zA-Z])"
)
_DEGREE = re.compile(
    r"\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![a-z]))|\\degree(?![a-z])"
)
_TAIL = re.compile(
    r"(?<=[\d)}\]\s!])\s*((?:\x00|\u00b0\s?[CFcf]?(?![a-z])|k?\\[Oo]mega(?![a-z])|(?:\\?%|\\?\$|[\u00b0\u20ac\u00a3\u20b9\u00a5\u00a2])"
    r"|[a-zA-Z]+\.?(?:\^\{?-?\d\}?|[\u00b2\u00b3])?|[/*\u00b7]|\\cdot(?![a-z])|\^\{?-?\d\}?|\s)++)\Z"
)
_UNIT_SIGNS = str.maketrans({"\u00b7": "*", "\u00b2": "^2", "\u00b3": "^3"})


def _without_unit(text: str) -> tuple[str, str]:
    """A text and the known unit beside it; a unit that is not known, such as `apples`, is dropped."""
    flat = _UPRIGHT.sub(
        "\x00\\1\x00", _DEGREE.sub("\u00b0", _SPACE.sub(" ", text))
    ).rstrip(". ")
    if front := _FRONT.match(flat.replace("\x00", "")):
        return front[1] + flat.replace("\x00", "")[front.end() :], _unit(front[2])
    # Maximum characters of a unit
    tail = _TAIL.search(flat, max(0, len(flat) - 80))
    if tail is None or not tail.start() or _TRIGONOMETRIC.search(flat):
        return text, ""
    written, upright = tail[1].replace("\x00", " ").strip(), "\x00" in tail[1]
    if written.startswith(("\\cdot", "*", "\u00b7")):
        return text, ""  # A product.
    words, name = re.findall(r"[a-zA-Z]+", written), _unit(written)
    # A letter alone is a variable, except in upright type.
    variable = written.isalpha() and len(written) == 1 and not (upright and name)
    counted = (
        words
        and len(words[0]) > 1
        and (upright or (len(words[0]) > 3 and flat[tail.start(1) - 1].isspace()))
    )
    another = _PROSE.search(flat, 0, tail.start())
    if variable or another or any(map(_NO_UNIT.match, words)) or not (name or counted):
        return text, ""
    return flat[: tail.start()].replace("\x00", " "), name


def _unit(written: str) -> str:
    """The unit in the table's spelling, such as `cm^2` or `m/s`; "" if a part of it is not in the table."""
    plain = re.sub(
        r"(?<=\u00b0)\s|\\(?:cdot)?",
        lambda sign: "*" * (sign[0] == "\\cdot"),
        written.lower(),
    )
    parts = re.findall(
        r"\u00b0[cf]?|[a-z]+|-?\d|[^\w\s{}.]", plain.translate(_UNIT_SIGNS)
    )
    names = [
        (_UNITS.get(p) or _UNITS.get(p.removesuffix("s"), "")) if p[-1].isalpha() else p
        for p in parts
    ]
    if "" in names or names[:1] == ["^"]:
        return ""
    return re.sub(
        r"(?:sq|cu)([a-z]+)", r"\1^2" if "sq" in names else r"\1^3", "".join(names)
    )


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
        "\u2260": "\\ne ",
        "\u2216": "\\setminus ",
        **{chr(0x2080 + digit): f"_{digit}" for digit in range(10)},
    }
)
_TRIGONOMETRIC = re.compile(r"(?<![a-zA-Z])(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_ANGLE = re.compile(
    rf"(\d++(?:\.\d++)?|[a-zA-Z]|\\[a-z]++)\s*+(?:{_DEGREE.pattern}|\u00b0|degrees?(?![a-z]))"
)
_JOINT = re.compile(
    r"\\text\{ *(?: [ouye] |ou|et|oder|und|\u0438|\u0438\u043b\u0438|\u6216|\u548c) *\}"
)
"""A word between two formulas in other languages than English."""
RELATION = re.compile(r"[<>]|\\(?:[lg]e|ne)(?![a-z])")
_OR = re.compile(r"(?<![\\a-zA-Z])or(?![a-zA-Z])|\\(?:lor|vee)(?![a-zA-Z])")
_RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|big|Big|bigg|Bigg)[lr]?(?![a-zA-Z])\s*\.?", ""),
        (_SPACE.pattern, " "),
        (r"\\?\$|\\?%", " "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(?:leqslant|leq|le)(?![a-zA-Z])|<=", r"\\le "),
        (r"\\(?:geqslant|geq|ge)(?![a-zA-Z])|>=", r"\\ge "),
        (r"\\neq?(?![a-zA-Z])|!=", r"\\ne "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\langle(?![a-zA-Z])|\\lparen(?![a-zA-Z])", "("),
        (r"\\rangle(?![a-zA-Z])|\\rparen(?![a-zA-Z])", ")"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\mathbb\s*R", r"\\mathbb{R}"),
        (
            r"\\(?:smallsetminus|backslash|setminus)(?![a-zA-Z])|(?<=\\mathbb\{R\})\s*-(?=\s*\\\{)",
            r"\\setminus ",
        ),
        (r"\\(?:colon|mid)(?![a-zA-Z])|\{:\}", ":"),
        (r"\\(?:thickapprox|simeq|approxeq|sim)(?![a-zA-Z])", r"\\approx "),
        (r"\*\*", "^"),
        (r"\\(?:times|ast)(?![a-zA-Z])|\*", r"\\cdot "),
        (r"\\(?:var)?(?:emptyset|nothing)(?![a-zA-Z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])", r"\\infty "),
        (r"(?<![\\a-zA-Z])(pi|ln|log|exp|sin|cos|tan)(?![a-zA-Z])", r"\\\1 "),
        (
            r"(?:,\s*)?(?<![\\a-zA-Z])(?:and|or)(?![a-zA-Z])|\\(?:land|wedge|lor|vee)(?![a-zA-Z])",
            ",",
        ),
        (
            r"[(\[]?\\begin\{(?:(?:[bp]|small)?matrix|array)\}(?:\{[clr|]*\})?",
            r"\\begin{pmatrix}",
        ),
        (r"\\end\{(?:(?:[bp]|small)?matrix|array)\}[)\]]?", r"\\end{pmatrix}"),
        (r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*+)\)", r"\\sqrt{\1}"),
        (r"(\\[a-zA-Z]++)\s++(?=[a-zA-Z])", "\\1\x00"),
        (r"\s++", ""),
        ("\x00", " "),
        (r"\\frac(\d)(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac(\d)(?=\{)", r"\\frac{\1}"),
        (r"(\\frac\{[^{}]*+\})([\da-zA-Z])", r"\1{\2}"),
        (r"\\sqrt([\da-zA-Z])", r"\\sqrt{\1}"),
        (r"([\^_])\{([\da-zA-Z])\}", r"\1\2"),
        (r"(?<![\d.])(\.\d)", r"0\1"),
        (r"\A\+|\\approx\Z", ""),
    )
]


def normal(text: str) -> str:
    """The normal spelling of a formula: no spaces, sizes or dollars, and braces only where necessary."""
    text = _UPRIGHT.sub(
        lambda match: match[1] if len(match[1].strip()) == 1 else f" {match[1]} ",
        _JOINT.sub(",", text),
    )
    text = re.sub(r"\u221a\s?(\d{2,})", r"\\sqrt{\1}", text).translate(_UNICODE)
    if _TRIGONOMETRIC.search(text):
        # Degrees are an angle under these functions; elsewhere they are a unit.
        text = _ANGLE.sub(r"{\\frac{\1\\pi}{180}}", text)
    if RELATION.search(text):
        text = _OR.sub(r"\\cup ", text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text.strip())
    return text.strip(",;.") if len(text) > 1 else text


class CanonicalAnswer(NamedTuple):
    """A mathematical answer in its normal spelling.

    A number is exact, as `3/2`. Words are compared as written. A formula is LaTeX. `unit` is a known unit, or "".
    """

    kind: Literal["number", "words", "formula"]
    text: str
    unit: str = ""

    @property
    def key(self) -> str:
        """A canonical spelling that is read as the same answer."""
        return f"{self.text}\\text{{ {self.unit}}}" if self.unit else self.text


NAME = (
    r"(?:(?:[a-zA-Z]|\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|omega)(?![a-z]))(?:_\w|_\{\w++\})?'?"
    r"(?:\([a-zA-Z\d]\))?|\\frac\{d[a-z]?\}\{d[a-z]\})"
)
"""A variable, also with an index or an argument, or a derivative."""
NAMED = re.compile(
    rf"\A(?:{NAME}|m?\\angle ?[A-Z]{{1,3}}|[A-Z]{{2}}|[A-Z][a-z]{{2,}})(?:=|\\in(?![a-z]) ?)(?=[^=]++\Z)"
)
_SET_NAME = re.compile(r"\A[a-zA-Z][^=]*+=(?=\\\{|\\begin)")
r"""What names a set or a matrix, as in `A^{-1}=` or `A\cap B=`."""
_PARAMETER = re.compile(
    r"(?<=.)[,;]?(?:for|where)?\(?[a-z]\\in ?\\mathbb\{?[ZN]\}?\)?\Z"
)
_GROUPED = re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!;:])\s*(?=\d{3}(?!\d))")
_DECIMAL = r"(?:(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.\d*+)?|\.\d++)"
_NUMBER = re.compile(
    rf"-?(?:\d++\s\d++/\d++|{_DECIMAL}(?:/{_DECIMAL}|e[-+]?\d{{1,2}})?)", re.IGNORECASE
)
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar)\{(\d+)\}")
_MIXED = re.compile(r"(?<![\d.^_{(/])(\d++)\s++(\d++)\s*+/\s*+(\d++)(?![\d./])")
_PHRASES = {
    "\\emptyset": r"(?i:(?:there\s(?:is|are)\s)?no\s(?:real\s)?solutions?(?:\sexists?)?|(?:the\s)?empty\sset)",
    "\\mathbb{R}": r"(?i:(?:the\sset\sof\s)?all\s(?:reals|real\snumbers))",
}
_WORDS = re.compile(r"\(?([A-Za-z](?:[A-Za-z'\-.]|\s(?=[A-Za-z(]))*+)\)?")
_LONG_WORD = re.compile(
    r"[A-Za-z]{3,}|[A-Za-z]{2,}\s[A-Za-z]{2,}|\A(?:[Nn][Oo]|[A-Z]{1,2})\Z"
)
_FUNCTION = re.compile(
    r"\b(?:a?(?:sin|cos|tan)h?|sec|csc|cot|log|ln|exp|sqrt|pi|theta|binom|frac)\b"
)
_PROSE = re.compile(
    r"(?<![\\a-zA-Z])(?!(?:and|sin|cos|tan|log|sqrt|exp)\b)[a-zA-Z]{3,}"
)
_AS_WRITTEN = re.compile(
    r"\d++(?:\.\d++)?(?::\d++(?:\.\d++)?)++|\d[\dA-F]*+_(?:\d|\{\(?\d++\)?\})|.*mod.*"
)
"""Times of day and ratios, numerals of another base, residues."""
_HALF_DAY = re.compile(
    r"(\d{1,2}(?::\d\d)*+)\s?(?:([ap])\.?\s?m\.?|(noon|midnight))", re.IGNORECASE
)
_ABOUT = re.compile(
    r"\A(?:[~\u223c]|(?:about|approximately|approx\.?|roughly|around|nearly|almost)\s)\s*(?=[-+.\d\\$])"
)


def canonical(text: str) -> CanonicalAnswer:
    """What an answer is. Never raises; a text that is too complex is words."""
    # A long text is not cached, so that memory stays bounded.
    return (
        CanonicalAnswer("words", " ".join(text.split()))
        if len(text) > MAX_LENGTH
        else _canonical(text)
    )


@lru_cache(maxsize=4096)
def _canonical(text: str) -> CanonicalAnswer:
    if too_complex(text):
        return CanonicalAnswer("words", " ".join(text.split()))
    text = bare(text)
    spoken = bare(" ".join(_UPRIGHT.sub(r" \1 ", text).split()))
    if phrase := next(
        (formula for formula, words in _PHRASES.items() if re.fullmatch(words, spoken)),
        "",
    ):
        return CanonicalAnswer("formula", phrase)
    if time := _HALF_DAY.fullmatch(spoken):
        return CanonicalAnswer(
            "words", f"{time[1]} {time[3] or f'{time[2]}m'}".casefold()
        )
    word, (text, unit) = (
        _WORDS.fullmatch(spoken),
        _without_unit(_ABOUT.sub(r"\\approx ", text)),
    )
    if (word and _LONG_WORD.search(word[1]) and not _FUNCTION.search(spoken)) or len(
        _PROSE.findall(text)
    ) > 2:
        name = word[1] if word else spoken
        return CanonicalAnswer(
            "words", name if len(name) < 3 and name.isupper() else name.casefold()
        )
    formula = normal(_MIXED.sub(r"\1\\frac{\2}{\3}", _GROUPED.sub("", text)))
    formula = _SET_NAME.sub("", _PARAMETER.sub("", formula))
    rounded = formula.removeprefix("\\approx")
    if _is_rounded(rounded):
        formula = rounded
    formula = ",".join(map(_result, split(formula, ",")))
    unnamed = NAMED.sub("", formula)
    value = _number(unnamed)
    if value is not None:
        return CanonicalAnswer("number", str(value), unit)
    if "\\approx" in unnamed:
        return CanonicalAnswer("words", f"{unnamed} {unit}".strip())
    if _AS_WRITTEN.fullmatch(unnamed):
        return CanonicalAnswer("words", re.sub(r"[{()}]", "", unnamed))
    return CanonicalAnswer("formula", formula, unit)


def _result(part: str) -> str:
    r"""The exact value with which a formula ends, as in `3+4=7` or `x=\sqrt{2}\approx1.41`; it keeps its name."""
    exact, *rounded = split(part, "\\approx")
    if rounded and exact and not re.fullmatch(NAME, exact):
        part = exact
    elif rounded and _is_rounded(rounded[-1]):
        part = f"{exact}={rounded[-1]}" if exact else rounded[-1]
    elif rounded:
        return part
    first, *sides = split(part, "=")
    if any(side.endswith(first) for side in sides[:-1]):
        return part  # Several solutions, as in `x=1 oder x=5`.
    if len(sides) > 1 and re.fullmatch(NAME, first):
        return f"{first}={sides[-1]}"
    computed = sides and not re.search(r"(?<![\\a-z])[a-zA-Z]", first)
    return sides[-1] if len(sides) > 1 or computed else part


def _is_rounded(text: str) -> bool:
    """Whether a text is a number with decimals, which may be a rounded one; any other number is exact."""
    return "." in text and _number(text) is not None


def _number(text: str) -> Fraction | None:
    flat = plain(_REPEATING.sub(_repeated, text))
    return fraction(flat, "") if _NUMBER.fullmatch(flat) else None


def _repeated(match: re.Match[str]) -> str:
    """The fraction that is a repeating decimal."""
    whole, fixed, repeated = match.groups()
    shift = 10 ** len(fixed)
    return f"{int(whole + fixed + repeated) - int(whole + fixed or 0)}/{10 ** len(repeated) * shift - shift}"
