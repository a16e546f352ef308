r"""The shape of a mathematical answer: a number, words, a formula, or a tuple, interval, set or matrix of these.

Shapes implement the policy of `docs/answers.md`: what is ordered, what is dropped, what is compared as written.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from reasoner.answers.latex import MAX_LENGTH, balanced, bare, matching, normal, split, too_complex, untexted
from reasoner.answers.quantities import unit_of
from reasoner.answers.relations import NAME, REALS, as_set


@dataclass(frozen=True, slots=True)
class Number:
    """An exact number."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Words:
    """Text that is compared as written: names, times of day, numerals of another base."""

    text: str


@dataclass(frozen=True, slots=True)
class Formula:
    """LaTeX in the normal spelling."""

    latex: str


@dataclass(frozen=True, slots=True)
class Named:
    r"""The value of a name, as in x = 5, or with the sign `\in` its set; `latex` is the whole relation."""

    name: str
    value: "Shape"
    latex: str
    sign: str = "="


@dataclass(frozen=True, slots=True)
class Group:
    """Several shapes; `kind` is the brackets of a tuple or interval, or one of the words below.

    They are "list" (also a set), "union", "matrix", "row", "label" for a label with the text of its option, and
    "unit" for an amount with its unit.

    The order counts except in lists and unions.
    """

    kind: str
    parts: tuple["Shape", ...]
    latex: str = ""


Shape = Number | Words | Formula | Named | Group


def key(shape: Shape) -> str:
    """A canonical spelling: shapes with equal keys are equal answers."""
    match shape:
        case Number(value):
            return str(value)
        case Words(text):
            return text
        case Formula(latex):
            return latex
        case Named(name, value):
            return f"{name}{shape.sign}{key(value)}"
        case Group(kind, parts):
            return _group_key(kind, list(map(key, parts)))


def _group_key(kind: str, keys: list[str]) -> str:
    match kind:
        case "union":
            return "\\cup ".join(sorted(keys))
        case "list":
            return f"\\{{{','.join(sorted(keys))}\\}}"
        case "matrix":
            return "\\begin{pmatrix}" + "\\\\".join(keys) + "\\end{pmatrix}"
        case "row":
            return "&".join(keys)
        case "label":
            return f"({keys[0]}) {keys[1]}"
        case "unit":
            return " ".join(keys)
        case brackets:
            return f"{brackets[0]}{','.join(keys)}{brackets[1]}"


_INT = r"\d{1,3}(?:,\d{3})++(?!\d)|\d++"
_DECIMAL = rf"(?:(?:{_INT})(?:\.\d*+)?|\.\d++)"
_NUMBER = re.compile(
    rf"(?P<sign>-?)(?:\\frac\{{(?P<over>-?{_DECIMAL})\}}\{{(?P<under>-?{_DECIMAL})\}}"
    rf"|(?P<whole>\d++)\\frac\{{(?P<part>\d++)\}}\{{(?P<parts>\d++)\}}"
    rf"|(?P<a>{_DECIMAL})/(?P<b>{_DECIMAL})"
    rf"|(?P<fixed>\d*+\.\d*+)\\(?:overline|bar)\{{(?P<repeated>\d++)\}}"
    rf"|(?P<plain>{_DECIMAL})(?:(?:[eE]|\\cdot10\^)\{{?(?P<exponent>[-+]?\d{{1,2}})\}}?)?)"
)
_CLOCK = re.compile(r"(?:1?\d|2[0-4]):[0-5]\d(?::\d\d)?")
_RATIO = re.compile(r"\d++(?:\.\d++)?(?::\d++(?:\.\d++)?)++")
_BASED = re.compile(r"\d[\dA-Fa-f]*+_(?:\d|\{\(?(\d++)\)?\}|\{?\((\d++)\)\}?)")
_WORDS = re.compile(r"[A-Za-z](?:[A-Za-z'\-.]|\s(?=[A-Za-z]))*+")
_LONG_WORD = re.compile(r"[A-Za-z]{3,}|[A-Za-z]{2,}\s[A-Za-z]{2,}|\A(?:[Nn][Oo]|[A-Z]{1,2})\Z")
_CHOICE = re.compile(r"\([A-Z]\)")
_PROSE = re.compile(r"(?<![\\a-zA-Z])(?!(?:and|sin|cos|tan|log|sqrt|exp)\b)[a-zA-Z]{3,}")
_FUNCTION = re.compile(r"\b(?:a?(?:sin|cos|tan)h?|sec|csc|cot|log|ln|exp|sqrt|pi|theta|binom|frac)\b")
_QUANTITY = rf"{NAME}|m?\\angle ?[A-Z]{{1,3}}|[A-Z]{{2}}|P\([A-Z]\)"
_NAMED = re.compile(rf"({_QUANTITY})(=|\\in(?![a-z]))(?P<value>(?:(?!\\in(?![a-z])|=).)++)", re.DOTALL)
_MEMBER = re.compile(rf"({NAME})\\in(?![a-z]) ?((?:(?!\\in(?![a-z])|=).)++)", re.DOTALL)
_TUPLE_OF_NAMES = re.compile(rf"\(({NAME}(?:,{NAME})++)\)=(\(.++)", re.DOTALL)
_UNKNOWN = re.compile(r"[a-zA-Z]")
_CONSTANTS = re.compile(
    r"\\(?:frac|sqrt|cdot|pi|binom|sin|cos|tan|log|ln|times)(?![a-z])|(?<![a-zA-Z\\])[ie](?![a-zA-Z])"
)
_MATRIX = re.compile(
    r"[(\[]?\\begin\{((?:[pbB]?|small)matrix|array)\}(?:\{[clr|]*+\})?"
    r"((?:(?!\\begin|\\end).)*+)\\end\{\1\}[)\]]?(\^(?:T|\\top|\{T\}))?",
    re.DOTALL,
)
_NESTED = re.compile(r"\[(\[[^\[\]]++\](?:,\[[^\[\]]++\])*+)\]")
_OUTWARD = re.compile(r"([\[\]])([^\[\](),]++,[^\[\](),]++)([\[\]])")
_LABELLED = re.compile(
    r"(?:\(([A-Z])\)(?:\s|~|\\[,;:\s]|\\q?quad(?![a-z]))++|([A-Z])[).:]\s++(?=[$\\\d(-]))"
    r"(?!(?:and|or)\b|[+*/=,(]|-\s)(.++)",
    re.DOTALL,
)
_OPTION = re.compile(r"(?:option|choice|answer)\s\(?([A-Z])\)?", re.IGNORECASE)
_ALL_REALS = re.compile(
    r"(?:the\sset\sof\s)?(?:all\s)?(?:reals|real\snumbers)(?:,?\s(?:except|excluding|other\sthan)(?:\sfor)?\s"
    r"(?:[a-z]\s*=\s*)?([-\d.,/\s]++|[-\d.,/\s]++and[-\d.,/\s]++))?",
    re.IGNORECASE,
)
_PHRASES = {
    "\\emptyset": re.compile(
        r"(?:there\s(?:is|are)\s)?no\s(?:(?:real|valid|possible|such)\s)?solutions?(?:\sexists?)?|(?:the\s)?(?:empty|null)\sset",
        re.IGNORECASE,
    ),
    "does not exist": re.compile(r"(?:it\s)?does(?:\snot|n't)\sexist|DNE", re.IGNORECASE),
}
NO_SOLUTION = Words("\\emptyset")
"""The empty set, and an equation without a solution."""
_PAIRS = {"(": ")", "[": "]"}
# `k \in \mathbb{Z}` after a formula says what its parameter is; `A \cap B =` names the set, and `M` the point, behind.
_PARAMETER = re.compile(
    r"(?<=.)(?:[,;]|\\(?:text|mathrm)\{[^{}]*\}|for|where)++\(?[a-z](?:,[a-z])*\\in ?\\mathbb\{?[ZN]\}?\)?\Z"
)
_SET_NAME = re.compile(r"[A-Z](?:'|\\(?:cap|cup|setminus|triangle) ?[A-Z])++=(?=\\?\{)")
_POINT = re.compile(r"(?:[ABD-OQ-Z]|[CP](?=[^()]*[-;.\\/]))'?(\([^()=]*[,;][^()=]*\))")


def shape(text: str) -> Shape:
    """The shape of an answer as written. Never raises; a text that is too complex becomes words."""
    # A long text is not cached, so that memory stays bounded.
    return _verbatim(text) if len(text) > MAX_LENGTH else _cached_shape(text)


def _verbatim(text: str) -> Words:
    return Words(" ".join(text.split()))


@lru_cache(maxsize=4096)
def _cached_shape(text: str) -> Shape:
    if too_complex(text):
        return _verbatim(text)
    amount = _without_unit(bare(text))
    if isinstance(amount, Number | Formula) and (unit := unit_of(bare(text))):
        return Group("unit", (amount, Words(unit)), text)
    return amount


def _without_unit(text: str) -> Shape:
    plain, only_text = untexted(text)
    plain = bare(plain)
    if worded := _in_words(plain):
        return worded
    if len(_PROSE.findall(plain)) > 2:
        return Words(" ".join(plain.casefold().split()))
    single = plain.strip("() ") if only_text or _CHOICE.fullmatch(plain) else plain
    if word := _word(single):
        return word
    formula = _SET_NAME.sub("", _PARAMETER.sub("", normal(plain)), count=1)
    if point := _POINT.fullmatch(formula):
        formula = point[1].replace(";", ",")
    if outward := _OUTWARD.fullmatch(formula):
        formula = f"{'(' if outward[1] == ']' else '['}{outward[2]}{')' if outward[3] == '[' else ']'}"
    return _unnamed(_shape(formula)) if balanced(formula) else Words(formula)


def _in_words(text: str) -> Shape | None:
    """The shape of what is said in words: a label with its option, a phrase; else None."""
    if labelled := _LABELLED.fullmatch(text):
        return Group("label", (Words(labelled[1] or labelled[2]), _cached_shape(labelled[3])), text)
    if option := _OPTION.fullmatch(text):
        return Words(option[1].upper())
    if reals := _ALL_REALS.fullmatch(text):
        return _shape(f"\\mathbb{{R}}\\setminus\\{{{normal(reals[1])}\\}}" if reals[1] else REALS)
    return next((Words(name) for name, phrase in _PHRASES.items() if phrase.fullmatch(text)), None)


def _word(text: str) -> Words | None:
    """Words, if the text is a name: three letters or more, or capitals; shorter ones are variables."""
    if not _WORDS.fullmatch(text) or _FUNCTION.search(text) or not _LONG_WORD.search(text):
        return None
    return Words(text if text.isupper() and len(text) < 3 else " ".join(text.casefold().split()))


def _shape(text: str) -> Shape:
    text = text.strip().removeprefix("+")
    while text.startswith("{") and matching(text, 0) == len(text) - 1:
        text = text[1:-1]
    if word := _word(text):
        return word
    if plain := _plain(text):
        return plain
    if (rows := _rows(text)) is not None:
        return Group("matrix", tuple(Group("row", tuple(map(_shape, row))) for row in rows))
    text = as_set(text)
    if (member := _MEMBER.fullmatch(text)) and len(split(member[2], ",")) == 1:
        return Named(member[1], _shape(member[2]), text, "\\in")
    for separator, kind in (("\\cup", "union"), (",", "list")):
        if len(parts := split(text, separator)) > 1 and all(parts):
            return _unordered(kind, parts, text)
    return _single(text)


def _plain(text: str) -> Shape | None:
    """A number or what is compared as written; None for anything else."""
    if text in ("\\emptyset", "\\{\\}"):
        return NO_SOLUTION
    if "mod" in text or _CLOCK.fullmatch(text):
        return Words(text)
    if _RATIO.fullmatch(text):
        return _ratio(text)
    if based := _BASED.fullmatch(text):
        return Words(text if based.lastindex is None else f"{text.partition('_')[0]}_{based[based.lastindex]}")
    match = _NUMBER.fullmatch(text)
    return _number(match, text) if match else None


def _single(text: str) -> Shape:
    """The shape of a text that is not a list at its top level."""
    text = REALS if text == "\\mathbb{R}" else text
    if text.startswith("\\{") and text.endswith("\\}") and matching(text, 1) == len(text) - 1:
        return _unordered("list", split(text[2:-2], ","), text)
    if text[:1] in _PAIRS and matching(text, 0) == len(text) - 1:
        parts = split(text[1:-1], ",")
        if len(parts) > 1:
            return Group(text[0] + text[-1], tuple(map(_shape, parts)), text)
        if _PAIRS[text[0]] == text[-1] == ")" and parts[0]:
            return _shape(parts[0])
    if "\\pm" in text or "\\mp" in text:
        upper = text.replace("\\pm", "+").replace("\\mp", "-")
        lower = text.replace("\\pm", "-").replace("\\mp", "+")
        return _unordered("list", [re.sub(r"(\A|[(={])\+", r"\1", upper), lower], text)
    exact, *rounded = split(text, "\\approx")
    if rounded:
        return _approximate(exact, rounded[-1])
    if names := _TUPLE_OF_NAMES.fullmatch(text):
        return _named_tuple(names[1].split(","), names[2], text)
    sides = split(text, "=")
    if len(sides) > 2 or (len(sides) == 2 and not _UNKNOWN.search(_CONSTANTS.sub("", sides[0]))):
        return _shape(sides[-1]) if sides[-1] else Formula(text)
    if named := _NAMED.fullmatch(text):
        return Named(named[1], _shape(named["value"]), text, named[2])
    return Formula(_ascending(text))


def _approximate(exact: str, rounded: str) -> Shape:
    r"""The exact value of `\sqrt{2} \approx 1.414`; the rounded one if only a name is before it."""
    if not exact or re.fullmatch(_QUANTITY, exact):
        return _shape(f"{exact}={rounded}" if exact else rounded)
    return _shape(exact)


def _named_tuple(names: list[str], values: str, text: str) -> Shape:
    """The tuple of `(x,y)=(3,4)`; its names and values one by one if the names are in no alphabetical order."""
    value = _shape(values)
    if not isinstance(value, Group) or len(value.parts) != len(names):
        return Formula(text)
    bare_names = [name.lstrip("\\") for name in names]
    if bare_names == sorted(bare_names):
        return value
    parts = zip(names, value.parts, strict=True)
    return Group("list", tuple(Named(name, part, f"{name}={key(part)}") for name, part in parts), text)


def _ratio(text: str) -> Shape:
    """A ratio in lowest terms; that of two numbers is a number."""
    parts = [Fraction(part) for part in text.split(":")]
    if 0 in parts:
        return Words(text)
    if len(parts) == 2:
        return Number(parts[0] / parts[1])
    scale = Fraction(math.lcm(*(part.denominator for part in parts)))
    whole = [int(part * scale) for part in parts]
    return Words(":".join(str(part // math.gcd(*whole)) for part in whole))


def _rows(text: str) -> list[list[str]] | None:
    """The cells of a matrix, of its transpose, or of nested lists such as `[[1,2],[3,4]]`; None for anything else."""
    if matrix := _MATRIX.fullmatch(text):
        rows = [row.split("&") for row in matrix[2].removesuffix("\\\\").split("\\\\")]
        turned, nested = bool(matrix[3]), None
    elif nested := _NESTED.fullmatch(text):
        rows, turned = [split(row[1:-1], ",") for row in split(nested[1], ",")], False
    else:
        return None
    if not turned:
        return None if nested and len({*map(len, rows)}) > 1 else rows
    return [list(column) for column in zip(*rows, strict=True)] if len({*map(len, rows)}) == 1 else None


def _unordered(kind: str, parts: list[str], latex: str) -> Shape:
    shapes: list[Shape] = []
    for part in parts:
        inner = _shape(part)
        flat = isinstance(inner, Group) and inner.kind == kind and not part.startswith("\\{")
        shapes += inner.parts if isinstance(inner, Group) and flat else [inner]
    # `x = 1, 2` names both.
    if isinstance(shapes[0], Named) and not any(isinstance(other, Named) for other in shapes[1:]):
        shapes[0] = shapes[0].value
    names = {other.name if isinstance(other, Named) else "" for other in shapes}
    if len(names) == 1:
        shapes = [other.value if isinstance(other, Named) else other for other in shapes]
    unique = tuple({key(other): other for other in shapes}.values())
    return unique[0] if len(unique) == 1 and unique[0] != NO_SOLUTION else Group(kind, unique, latex)


def _unnamed(inner: Shape) -> Shape:
    """The value of a name, unless the whole equation may be meant, as in y = 2x."""
    dropped = isinstance(inner, Named) and inner.sign == "=" and not isinstance(inner.value, Formula)
    return inner.value if isinstance(inner, Named) and dropped else inner


def _ascending(text: str) -> str:
    """An inequality with the smaller side first."""
    sides = re.split(r"(>|\\ge(?![a-z]) ?)", text)
    if len(sides) == 1 or re.search(r"<|\\le(?![a-z])|\\ne(?![a-z])|=", text):
        return text
    turned = [{">": "<"}.get(side, "\\le ") if index % 2 else side for index, side in enumerate(sides)]
    return normal("".join(reversed(turned)))


def _number(match: re.Match[str], text: str) -> Shape:
    written = {name: value for name, value in match.groupdict().items() if value and name != "sign"}
    try:
        numbers = {name: Fraction(part.replace(",", "").rstrip(".") or 0) for name, part in written.items()}
        value = _value(numbers, match)
    except ZeroDivisionError:
        return Formula(text)
    return Number(-value if match["sign"] else value)


def _value(parts: dict[str, Fraction], match: re.Match[str]) -> Fraction:
    if "over" in parts:
        return parts["over"] / parts["under"]
    if "whole" in parts:
        return parts["whole"] + parts["part"] / parts["parts"]
    if "a" in parts:
        return parts["a"] / parts["b"]
    if "repeated" in parts:
        digits = len(match["fixed"].partition(".")[2])
        nines = Fraction("9" * len(match["repeated"]))
        return parts["fixed"] + parts["repeated"] / nines * Fraction(f"1e-{digits}")
    return parts["plain"] * Fraction(f"1e{int(parts.get('exponent', 0))}")
