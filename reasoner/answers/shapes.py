r"""The shape of a mathematical answer: a number, words, a formula, or a tuple, interval, set or matrix of these.

Shapes implement the policy of `docs/answers.md`: what is ordered, what is dropped, what is compared as written. Only
the comparison of two formulas is left to the caller.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from reasoner.answers.latex import MAX_LENGTH, balanced, bare, depths, matching, normal, too_complex, untexted


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
    """The value of a name, as in x = 5; `latex` is the whole equation."""

    name: str
    value: "Shape"
    latex: str


@dataclass(frozen=True, slots=True)
class Group:
    """Several shapes; `kind` is the brackets of a tuple or interval, or "list" (also a set), "union", "matrix", "row".

    The order counts except in lists and unions.
    """

    kind: str
    parts: tuple["Shape", ...]
    latex: str = ""


Shape = Number | Words | Formula | Named | Group
Decide = Callable[[str, str], bool | None]
"""Whether the first formula, taken as the reference, accepts the second; None if unknown."""


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
            return f"{name}={key(value)}"
        case Group("union", parts):
            return "\\cup ".join(sorted(map(key, parts)))
        case Group("list", parts):
            return f"\\{{{','.join(sorted(map(key, parts)))}\\}}"
        case Group("matrix", rows):
            return "\\begin{pmatrix}" + "\\\\".join(map(key, rows)) + "\\end{pmatrix}"
        case Group("row", cells):
            return "&".join(map(key, cells))
        case Group(brackets, parts):
            return f"{brackets[0]}{','.join(map(key, parts))}{brackets[1]}"


def accepts(gold: Shape, answer: Shape, decide: Decide) -> bool | None:
    """Whether `gold` accepts `answer`; None if `decide` was necessary and returned None."""
    if key(gold) == key(answer):
        return True
    match gold, answer:
        case (Named(), _) | (_, Named()):
            return _accepts_named(gold, answer, decide)
        case Group(), Group() if gold.kind == answer.kind:
            compare = _matched if gold.kind in ("list", "union") else _all
            return compare(gold.parts, answer.parts, decide)
        case Formula(latex), Group() if answer.kind not in ("list", "matrix") and _RELATION.search(latex):
            return decide(latex, answer.latex)
        case (Formula(), (Number() | Formula())) | (Number(), Formula()):
            return decide(key(gold), key(answer))
        case _:
            return False


def _accepts_named(gold: Shape, answer: Shape, decide: Decide) -> bool | None:
    """`accepts` if a side names its value: `y = 2x` equals 2x and `2x - y = 0` but not `z = 2x`."""
    match gold, answer:
        case Named(), Named():
            verdict = gold.name == answer.name and accepts(gold.value, answer.value, decide)
            return decide(gold.latex, answer.latex) if verdict is False else verdict
        case Named(), Formula(latex) if "=" in latex:
            return decide(gold.latex, latex)
        case Formula(latex), Named() if "=" in latex:
            return decide(latex, answer.latex)
    gold_value, answer_value = (shape.value if isinstance(shape, Named) else shape for shape in (gold, answer))
    return accepts(gold_value, answer_value, decide)


def _all(gold: tuple[Shape, ...], answer: tuple[Shape, ...], decide: Decide) -> bool | None:
    """Whether each part accepts the other side's part at the same index."""
    if len(gold) != len(answer):
        return False
    verdicts = [accepts(part, other, decide) for part, other in zip(gold, answer, strict=True)]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _matched(gold: tuple[Shape, ...], answer: tuple[Shape, ...], decide: Decide) -> bool | None:
    """Whether the parts of both sides can be paired so that each accepts the other."""
    if len(gold) != len(answer):
        return False
    left = list(answer)
    unsure = False
    for part in sorted(gold, key=key):
        verdicts = [accepts(part, other, decide) for other in left]
        if True in verdicts:
            del left[verdicts.index(True)]
        elif None in verdicts:
            unsure = True
        else:
            return False
    return None if unsure else True


_RELATION = re.compile(r"[<>]|\\le|\\ge|\\ne(?![a-z])")
_INT = r"\d{1,3}(?:,\d{3})++(?!\d)|\d++"
_DECIMAL = rf"(?:(?:{_INT})(?:\.\d*+)?|\.\d++)"
_NUMBER = re.compile(
    rf"(?P<sign>-?)(?:\\frac\{{(?P<over>-?{_DECIMAL})\}}\{{(?P<under>-?{_DECIMAL})\}}"
    rf"|(?P<whole>\d++)\\frac\{{(?P<part>\d++)\}}\{{(?P<parts>\d++)\}}"
    rf"|(?P<a>{_DECIMAL})/(?P<b>{_DECIMAL})"
    rf"|(?P<fixed>\d*+\.\d*+)\\(?:overline|bar)\{{(?P<repeated>\d++)\}}"
    rf"|(?P<plain>{_DECIMAL})(?:(?:[eE]|\\cdot10\^)\{{?(?P<exponent>[-+]?\d{{1,2}})\}}?)?)"
)
_TIME = re.compile(r"(\d{1,2})(?::(\d\d))?\s*([ap])\.?\s?m\.?", re.IGNORECASE)
_CLOCK = re.compile(r"\d{1,2}:\d\d(?::\d\d)?")
_BASED = re.compile(r"\d[\dA-Fa-f]*+_(?:\d|\{\(?(\d++)\)?\}|\{?\((\d++)\)\}?)")
_WORDS = re.compile(r"[A-Za-z](?:[A-Za-z'\-.]|\s(?=[A-Za-z]))*+")
_LONG_WORD = re.compile(r"[A-Za-z]{3,}|[A-Za-z]{2,}\s[A-Za-z]{2,}|\A(?:[Nn][Oo]|[A-Z]{1,2})\Z")
_CHOICE = re.compile(r"\([A-Z]\)")
_PROSE = re.compile(r"(?<![\\a-zA-Z])(?!(?:and|sin|cos|tan|log|sqrt|exp)\b)[a-zA-Z]{3,}")
_FUNCTION = re.compile(r"\b(?:a?(?:sin|cos|tan)h?|sec|csc|cot|log|ln|exp|sqrt|pi|theta|binom|frac)\b")
_NAMED = re.compile(
    r"([a-zA-Z](?:_\w|_\{\w++\})?'?(?:\([a-z\d]\))?)(?:=|\\in(?![a-z]))(?P<value>(?:(?!\\in(?![a-z])|=).)++)", re.DOTALL
)
_MATRIX = re.compile(r"\\begin\{(?:[pbB]?matrix|array)\}(?:\{[clr|]*+\})?(.*)\\end\{(?:[pbB]?matrix|array)\}")
_REALS = "(-\\infty,\\infty)"
_PAIRS = {"(": ")", "[": "]"}


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
    plain, only_text = untexted(bare(text))
    plain = bare(plain)
    if time := _TIME.fullmatch(plain):
        return Words(f"{int(time[1])}:{time[2] or '00'} {time[3].lower()}m")
    if len(_PROSE.findall(plain)) > 2:
        return Words(" ".join(plain.casefold().split()))
    single = plain.strip("() ") if only_text or _CHOICE.fullmatch(plain) else plain
    if word := _word(single):
        return word
    formula = normal(plain)
    return _unnamed(_shape(formula)) if balanced(formula) else Words(formula)


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
    if "mod" in text or _CLOCK.fullmatch(text):
        return Words(text)
    if based := _BASED.fullmatch(text):
        return Words(text if based.lastindex is None else f"{text.partition('_')[0]}_{based[based.lastindex]}")
    if match := _NUMBER.fullmatch(text):
        return _number(match, text)
    if matrix := _MATRIX.fullmatch(text):
        rows = matrix[1].removesuffix("\\\\").split("\\\\")
        return Group("matrix", tuple(Group("row", tuple(map(_shape, row.split("&")))) for row in rows))
    for separator, kind in (("\\cup", "union"), (",", "list")):
        if len(parts := _split(text, separator)) > 1 and all(parts):
            return _unordered(kind, parts, text)
    return _single(text)


def _single(text: str) -> Shape:
    """The shape of a text that is not a list at its top level."""
    text = _REALS if text == "\\mathbb{R}" else text
    if text.startswith("\\{") and text.endswith("\\}") and matching(text, 1) == len(text) - 1:
        return _unordered("list", _split(text[2:-2], ","), text)
    if text[:1] in _PAIRS and matching(text, 0) == len(text) - 1:
        parts = _split(text[1:-1], ",")
        if len(parts) > 1:
            return Group(text[0] + text[-1], tuple(map(_shape, parts)), text)
        if _PAIRS[text[0]] == text[-1] == ")" and parts[0]:
            return _shape(parts[0])
    if "\\pm" in text or "\\mp" in text:
        upper = text.replace("\\pm", "+").replace("\\mp", "-")
        lower = text.replace("\\pm", "-").replace("\\mp", "+")
        return _unordered("list", [re.sub(r"(\A|[(={])\+", r"\1", upper), lower], text)
    sides = _split(text, "=")
    if len(sides) > 2 or (len(sides) == 2 and not re.search(r"[a-zA-Z]", sides[0])):
        return _shape(sides[-1]) if sides[-1] else Formula(text)
    if named := _NAMED.fullmatch(text):
        return Named(named[1], _shape(named["value"]), text)
    return Formula(_ascending(text))


def _unordered(kind: str, parts: list[str], latex: str) -> Shape:
    shapes: list[Shape] = []
    for part in parts:
        inner = _shape(part)
        shapes += inner.parts if isinstance(inner, Group) and inner.kind == kind else [inner]
    # `x = 1, 2` names both.
    if isinstance(shapes[0], Named) and not any(isinstance(other, Named) for other in shapes[1:]):
        shapes[0] = shapes[0].value
    names = {other.name if isinstance(other, Named) else "" for other in shapes}
    if len(names) == 1:
        shapes = [other.value if isinstance(other, Named) else other for other in shapes]
    unique = tuple({key(other): other for other in shapes}.values())
    return unique[0] if len(unique) == 1 else Group(kind, unique, latex)


def _unnamed(inner: Shape) -> Shape:
    """The value of a name, unless the whole equation may be meant, as in y = 2x."""
    return inner.value if isinstance(inner, Named) and not isinstance(inner.value, Formula) else inner


def _split(text: str, separator: str) -> list[str]:
    """The parts between separators outside brackets."""
    parts, start = [], 0
    for index, depth in enumerate(depths(text)):
        if depth == 0 and text.startswith(separator, index) and index >= start:
            parts.append(text[start:index])
            start = index + len(separator)
    return [*parts, text[start:]]


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
