"""The slow comparison of mathematical answers, by Math-Verify. It may hang: it runs in a process that can be killed.

Math-Verify alone takes a set for a tuple, an interval for a list and `2x = 6` for 6. So brackets are compared here, and
only formulas and sets of real numbers are left to it. It and sympy are imported inside the functions, so that importing
this module is cheap.
"""

import math
import re
import zlib
from functools import lru_cache
from typing import Any, NamedTuple

from reasoner.answers.latex import NAME, NAMED, RELATION, canonical, matching, split
from reasoner.types import Blocks

SAME = 1e-9
"""Relative difference of two values above which their formulas differ."""
CELLS = 1e6
"""Blocks of values in a factor of e."""

_SET_ALGEBRA = re.compile(r"\\(?:cup|cap|setminus|mathbb)(?![a-z])")
_BUILDER = re.compile(r"\\\{[a-z](?:\\in ?\\mathbb\{R\})?[:|](?=[^{}]*+\}\Z)")
_MATRIX = re.compile(r"\\begin\{pmatrix\}(?:(?!\\end).)*+\\end\{pmatrix\}", re.DOTALL)
_MEMBER = re.compile(rf"\A({NAME})\\in(?![a-z]) ?")
_NAMES = re.compile(rf"\(({NAME}(?:,{NAME})++)\)=(?=\()")


def accepts(gold: str, answer: str) -> bool:
    """Whether the reference answer accepts the other one."""
    first, second = canonical(gold), canonical(answer)
    if "words" in (first.kind, second.kind) or (
        first.unit and second.unit and first.unit != second.unit
    ):
        return first == second
    return equal(first.text, second.text)


def find_blocks(answer: str) -> Blocks:
    """The blocks of an answer: the value of a formula, or else what it is."""
    parts = _parts(canonical(answer).text)
    if parts.kind == "formula":
        [formula] = parts.parts
        equation = ("equation",) if "=" in formula else ()
        value = _value(_stated(formula))
        # It may equal any equation without a value, but another `y = ...` only if the values are equal.
        return (
            Blocks(equation or ("formula",))
            if value is None
            else Blocks(cells(abs(value)), equation)
        )
    named = ("reals",) if _by_name(parts) != parts else ()
    return Blocks(("reals" if parts.kind in _REALS else parts.kind, *named))


def cells(size: float) -> tuple[str, ...]:
    """The block of a value on a logarithmic scale, and the next one where the value is near its end."""
    if not 0 < size < math.inf:
        return (f"{size}",)
    position, near = math.log(size) * CELLS, 10 * SAME * CELLS
    return tuple(
        dict.fromkeys(f"{math.floor(position + shift)}" for shift in (0, -near, near))
    )


def equal(gold: str, answer: str) -> bool:
    """Whether a formula, taken as the reference, accepts another; both are in the normal spelling."""
    if gold == answer:
        return True
    first, second = _parts(gold), _parts(answer)
    if {first.kind, second.kind} == {"()", "list"}:
        first, second = _by_name(first), _by_name(second)
    if first.kind == second.kind and len(first.parts) > 1:
        return _all_equal(first, second)
    if {first.kind, second.kind} <= _REALS:
        return _equal_reals(gold, answer)
    return (
        first.kind == second.kind
        and len(second.parts) == 1
        and _equal_formulas(first.parts[0], second.parts[0])
    )


class _Parts(NamedTuple):
    """A formula, or the parts of a list, of a tuple or of an interval in brackets such as "[)"."""

    kind: str
    parts: tuple[str, ...]


_REALS = frozenset({"reals", "()", "[]", "(]", "[)"})
"""What may be a set of real numbers."""


def _parts(text: str) -> _Parts:
    if (names := _NAMES.match(text)) and sorted(
        given := names[1].replace("\\", "").split(",")
    ) == given:
        text = text[names.end() :]
    if RELATION.search(text) or _SET_ALGEBRA.search(text):
        return _Parts("reals", (text,))
    text = _MEMBER.sub("", text)
    if "matrix" in text:
        return _Parts("matrix" if _MATRIX.fullmatch(text) else "matrices", (text,))
    if "\\pm" in text:
        return _list([text.replace("\\pm", sign) for sign in "+-"])
    if len(parts := split(text, ",")) > 1:
        return _list(parts)
    if text.startswith("\\{") and matching(text, 1) == len(text) - 1:
        return _list(split(text[2:-2], ","))
    if (
        text[:1] in ("(", "[")
        and matching(text, 0) == len(text) - 1
        and len(parts := split(text[1:-1], ",")) > 1
    ):
        return _Parts(text[0] + text[-1], tuple(parts))
    return _Parts("formula", (text,))


def _list(parts: list[str]) -> _Parts:
    """A list or a set, without a name that all parts have; one part alone is itself."""
    names = list(map(_name, parts))
    # `x_1=2, x_2=3` are two values of x.
    if len({re.sub(r"_(?:\w|\{\w+\})", "", name) for name in names}) == 1 or not any(
        names[1:]
    ):
        parts = [
            part.removeprefix(name) for part, name in zip(parts, names, strict=True)
        ]
    unique = tuple(
        dict.fromkeys(part if _name(part) else canonical(part).key for part in parts)
    )
    return (
        _Parts("list", unique)
        if len(unique) > 1 or unique == ("\\emptyset",)
        else _parts(unique[0])
    )


def _name(part: str) -> str:
    match = NAMED.match(part)
    return match[0] if match else ""


def _by_name(parts: _Parts) -> _Parts:
    """The values of `x=3, y=4` as a tuple, if their names are neighbours in the alphabet; else what it is."""
    pairs = sorted(part.partition("=")[::2] for part in parts.parts)
    first = ord(pairs[0][0][0]) if pairs[0][0] else 0
    if parts.kind == "list" and [name for name, _ in pairs] == [
        chr(first + index) for index in range(len(pairs))
    ]:
        return _Parts("()", tuple(value for _, value in pairs))
    return parts


def _all_equal(first: _Parts, second: _Parts) -> bool:
    """Whether the parts are equal: in a list in any order, else in this order."""
    if len(first.parts) != len(second.parts):
        return False
    left = list(second.parts)
    for part in first.parts:
        # In a list, names are a part of the answer.
        others = (
            [other for other in left if _name(other) == _name(part)]
            if first.kind == "list"
            else left[:1]
        )
        match = next((other for other in others if accepts(part, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _equal_reals(gold: str, answer: str) -> bool:
    first, second = _reals(gold), _reals(answer)
    if first is None or second is None:
        # Relations of several variables.
        return bool(
            first is second and RELATION.search(gold) and RELATION.search(answer)
        ) and _verified(gold, answer)
    if first[0] and second[0] and first[0] != second[0]:
        return False
    return (
        first[1] == second[1]
        or first[1].symmetric_difference(second[1]).is_empty is True
    )


@lru_cache(maxsize=4096)
def _reals(text: str) -> tuple[str, Any] | None:
    """The variable of a relation, or "", and its set of real numbers; None if it has none."""
    import sympy  # type: ignore[import-untyped]

    if builder := _BUILDER.match(text):
        text = text[builder.end() : -2]
    elif member := _MEMBER.match(text):
        inner = _reals(text[member.end() :])
        return inner and (inner[0] or member[1], inner[1])
    if not RELATION.search(text):
        parsed = _parsed(text)
        return ("", parsed[0]) if parsed and isinstance(parsed[0], sympy.Set) else None
    every, names = sympy.S.EmptySet, set[str]()
    for either in split(text, "\\cup"):
        both = sympy.S.Reals
        for relation in split(either, ","):
            parsed = _parsed(relation)
            try:
                names |= {symbol.name for symbol in parsed[0].free_symbols}
                both = sympy.Intersection(both, parsed[0].as_set())
            except (
                IndexError,
                AttributeError,
                NotImplementedError,
                ValueError,
                TypeError,
            ):
                return None
        every = sympy.Union(every, both)
    return (names.pop(), every) if len(names) == 1 else None


def _equal_formulas(gold: str, answer: str) -> bool:
    # Another equation is not the value of one of its sides.
    if ("=" in gold) != ("=" in answer):
        gold, answer = _stated(gold), _stated(answer)
        if "=" in gold + answer:
            return False
    # Comparing values is fast; `verify` may take milliseconds or forever to find a difference.
    return _near(gold, answer) is not False and _verified(gold, answer)


def _verified(gold: str, answer: str) -> bool:
    from math_verify import verify  # type: ignore[import-untyped]

    parsed = _parsed(gold), _parsed(answer)
    return bool(
        verify(
            *parsed,
            # Digits to which decimals are compared: a decimal is exact, not an approximation
            float_rounding=15,
            timeout_seconds=None,
            raise_on_error=False,
        )
    )


def _near(gold: str, answer: str) -> bool | None:
    """Whether the values of two formulas are the same; None if one has no value."""
    expected, given = _value(gold), _value(answer)
    if expected is None or given is None:
        return None
    return abs(expected - given) <= SAME * max(abs(expected), abs(given))


def _stated(formula: str) -> str:
    """The value in an equation that gives it a name, or that holds for all values, as `x^2-1=(x-1)(x+1)`."""
    left, equals, right = formula.partition("=")
    return right if equals and (NAMED.match(formula) or _near(left, right)) else formula


@lru_cache(maxsize=4096)
def _parsed(latex: str) -> list[Any]:
    import sympy
    from latex2sympy2_extended import NormalizationConfig  # type: ignore[import-untyped]
    from math_verify import LatexExtractionConfig, parse

    # Units were dropped before; what is left after a number, as in 5m, are variables.
    plain = NormalizationConfig(
        basic_latex=True,
        units=False,
        malformed_operators=True,
        nits=True,
        boxed="all",
        equations=False,
    )
    only_latex = [
        LatexExtractionConfig(boxed_match_priority=0, normalization_config=plain)
    ]
    parsed = list(
        parse(f"\\boxed{{{latex}}}", extraction_config=only_latex, parsing_timeout=None)
    )
    # i is the imaginary unit, unless it is the index of a sum.
    units = (
        [
            symbol
            for symbol in getattr(parsed[0], "free_symbols", ())
            if symbol.name == "i"
        ]
        if parsed
        else []
    )
    return [parsed[0].subs(units[0], sympy.I), *parsed[1:]] if units else parsed


@lru_cache(maxsize=4096)
def _value(latex: str) -> complex | None:
    """The value of a formula at a point that is the same for all formulas; None if it has none."""
    import sympy

    parsed = _parsed(latex)
    if not parsed or not isinstance(parsed[0], sympy.Expr):
        return None
    formula = parsed[0]
    # Positive numbers, so that roots and logarithms are real.
    point = {
        symbol: sympy.E
        if symbol.name == "e"
        else sympy.Rational(zlib.crc32(symbol.name.encode()) % 10_007 + 5_000, 10_007)
        for symbol in formula.free_symbols
    }
    try:
        value = complex(formula.subs(point).evalf(20))
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None
    return value if abs(value) < math.inf else None
