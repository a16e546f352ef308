r"""Inequalities and exclusions as sets: `1 < x \le 2` is `x\in(1,2]`, and `\mathbb{R}\setminus\{0\}` is a union.

Text in the normal spelling goes in and comes out; what is not understood comes back as it was.
"""

import itertools
import re
from fractions import Fraction

from reasoner.answers.latex import split

REALS = "(-\\infty,\\infty)"
NAME = (
    r"(?:[a-zA-Z]|\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|omega)(?![a-z]))(?:_\w|_\{\w++\})?'?(?:\([a-z\d]\))?"
)
"""A variable, also with an index or an argument."""

_NAME = re.compile(NAME)
_COMPARED = re.compile(r"(<|>|\\[lg]e(?![a-z]) ?)")
_ABSOLUTE = re.compile(rf"\|({NAME})\|")
_UNEQUAL = re.compile(rf"({NAME})\\ne(?![a-z]) ?")
_BUILDER = re.compile(rf"\\\{{({NAME})(\\in ?\\mathbb\{{R\}})?(?::|\||\\mid(?![a-z]) ?)(?=[^{{}}]*+\}}\Z)")
_NUMERAL = re.compile(r"(-?)(?:\\frac\{(-?\d++)\}\{(\d++)\}|(\d++)/(\d++)|(\d++(?:\.\d++)?))")
_INTERVAL = re.compile(r"([(\[])([^()\[\],]++),([^()\[\],]++)([)\]])")
_INFINITE = {"-\\infty": Fraction(-(10**300)), "\\infty": Fraction(10**300)}


def as_set(text: str) -> str:
    r"""The set that a relation describes, as in `x\in(1,2)`; any other text as it is."""
    if "\\setminus" in text:
        return _difference(text)
    if builder := _BUILDER.match(text):
        name, inner = builder[1], as_set(text[builder.end() : -2])
        return inner.removeprefix(f"{name}\\in") if inner.startswith(f"{name}\\in") else text
    if unequal := _UNEQUAL.match(text):
        return _excluded(text, unequal[1])
    if not _COMPARED.search(text):
        return text
    sets = [_conjunction(part) for part in split(text, "\\cup")]
    names = {name for name, _ in filter(None, sets)}
    if None in sets or len(names) != 1:
        return text
    union = "\\cup".join(interval[1] for interval in sets if interval)
    return f"{names.pop()}\\in{union}"


def as_inequality(name: str, interval: str) -> str:
    """The relation that puts a name in an interval, for a comparison with another relation; "" for another set."""
    match = _INTERVAL.fullmatch(interval)
    if match is None:
        return ""
    opening, lower, upper, closing = match.groups()
    left = "" if lower in _INFINITE else lower + ("<" if opening == "(" else "\\le ")
    right = "" if upper in _INFINITE else ("<" if closing == ")" else "\\le ") + upper
    return f"{left}{name}{right}" if left or right else ""


def _number(text: str) -> Fraction | None:
    """The value of a numeral or of infinity; None for anything else."""
    if text in _INFINITE:
        return _INFINITE[text]
    match = _NUMERAL.fullmatch(text)
    if match is None or "0" in (match[3], match[5]):
        return None
    value = Fraction(match[6] or 0) if match[6] else Fraction(int(match[2] or match[4]), int(match[3] or match[5]))
    return -value if match[1] else value


def _conjunction(text: str) -> tuple[str, str] | None:
    """The name and the set of relations that hold together: one, or a lower and an upper bound."""
    sets = [_relation(part) for part in split(text, ",")]
    if len(sets) == 1 or None in sets:
        return sets[0] if len(sets) == 1 else None
    [first, second, *others] = [interval for interval in sets if interval]
    bounds = [match for _, interval in (first, second) if (match := _INTERVAL.fullmatch(interval))]
    if others or first[0] != second[0] or len(bounds) != 2:
        return None
    upper, lower = sorted(bounds, key=lambda bound: bound[2] != "-\\infty")
    least, most = _number(lower[2]), _number(upper[3])
    if upper[2] != "-\\infty" or lower[3] != "\\infty" or least is None or most is None or least >= most:
        return None
    return first[0], f"{lower[1]}{lower[2]},{upper[3]}{upper[4]}"


def _relation(text: str) -> tuple[str, str] | None:
    """The name and the interval, or the two, of a relation such as `1<x<2`, `x>5` or `|x|<2`."""
    sides = _COMPARED.split(text)
    signs = [sign.strip() for sign in sides[1::2]]
    if not signs or len(signs) > 2 or "=" in text or not all(sides[::2]):
        return None
    if len({sign in ("<", "\\le") for sign in signs}) > 1:
        return None
    values = sides[::2]
    if signs[0] in (">", "\\ge"):
        values.reverse()
        signs = [{">": "<", "\\ge": "\\le"}[sign] for sign in reversed(signs)]
    if len(values) == 2:
        return _bound(values[0], signs[0], values[1])
    lower, name, upper = values
    if not _NAME.fullmatch(name) or name in lower + upper:
        return None
    least, most = _number(lower), _number(upper)
    if least is not None and most is not None and least >= most:
        return None
    return name, _interval(lower, signs[0], signs[1], upper)


def _interval(lower: str, above: str, below: str, upper: str) -> str:
    return f"{'(' if above == '<' else '['}{lower},{upper}{')' if below == '<' else ']'}"


def _bound(left: str, sign: str, right: str) -> tuple[str, str] | None:
    """The set of `left < right`, of which one is a name or the absolute value of one."""
    if absolute := _ABSOLUTE.fullmatch(left):
        size = _number(right)
        positive = size is not None and size > 0 and right != "\\infty"
        return (absolute[1], _interval(f"-{right}", sign, sign, right)) if positive else None
    if absolute := _ABSOLUTE.fullmatch(right):
        size = _number(left)
        below, above = _interval("-\\infty", "<", sign, f"-{left}"), _interval(left, sign, "<", "\\infty")
        return (absolute[1], f"{below}\\cup{above}") if size is not None and size > 0 else None
    if bool(_NAME.fullmatch(left)) == bool(_NAME.fullmatch(right)):
        return None
    if _NAME.fullmatch(left):
        return None if left in right else (left, _interval("-\\infty", "<", sign, right))
    return None if right in left else (right, _interval(left, sign, "<", "\\infty"))


def _excluded(text: str, name: str) -> str:
    r"""The set of `x\ne1` or `x\ne1,3`."""
    points = [part.removeprefix(name).removeprefix("\\ne").strip() for part in split(text, ",")]
    union = _without(REALS, points)
    return f"{name}\\in{union}" if union else text


def _difference(text: str) -> str:
    r"""The union that `A\setminus\{1,2\}` is, where A is all reals or an interval between numbers."""
    base, *taken = re.split(r"\\setminus ?", text)
    member, inside, base = base.rpartition("\\in")
    if len(taken) != 1 or not (taken[0].startswith("\\{") and taken[0].endswith("\\}")):
        return text
    points = [point for part in split(taken[0][2:-2], ",") for point in _both(part)]
    union = _without(REALS if base == "\\mathbb{R}" else base, points)
    return f"{member}{inside}{union}" if union else text


def _both(point: str) -> list[str]:
    """The two points of plus-minus."""
    return [point[3:], f"-{point[3:]}"] if point.startswith("\\pm") else [point]


def _without(base: str, points: list[str]) -> str:
    """The union that is left of an interval without points inside it; "" if they are not numbers inside it."""
    numbers = {value: point for point in points if (value := _number(point)) is not None}
    interval = _INTERVAL.fullmatch(base)
    if interval is None or not points or len(numbers) != len(points):
        return ""
    opening, lower, upper, closing = interval.groups()
    least, most = _number(lower), _number(upper)
    if least is None or most is None or not all(least < value < most for value in numbers):
        return ""
    ends = [lower, *(numbers[value] for value in sorted(numbers)), upper]
    gaps = ")\\cup(".join(f"{left},{right}" for left, right in itertools.pairwise(ends))
    return f"{opening}{gaps}{closing}"
