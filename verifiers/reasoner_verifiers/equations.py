"""Equations: whether the calculations that a reply writes are right."""

import ast
import asyncio
import math
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar, Final

from reasoner import Completion, Cost, Question, Rating
from reasoner.engine import Engine
from reasoner.specs import CheckedOptions
from reasoner.types import Part
from reasoner.verifier import CostMeter, FreeVerifier

LONGEST_SIDE: Final = 200
"""Characters of a side of an equation; a longer one is not judged."""

_REWRITTEN: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern, re.MULTILINE), instead)
    for pattern, instead in (
        (r"^[ \t]*(?:[-*+•]|\d+[.)])[ \t]", ""),  # the mark of a list's item
        (r"\*\*(\$?[\d.,]+)\*\*", r"\1"),  # a number in bold type
        (r"(?<=[\w)])(?:\*\*| \*\* )(?=[\d(])", "^"),  # a power, not bold type
        (r"\\[dt]?frac[ \t]?(\d)[ \t]?(\d)", r"\\frac{\1}{\2}"),
        (r"(?<![\w.,])(\d+)\\[dt]?frac\{(\d+)\}\{(\d+)\}", r"(\1+\2/\3)"),
        (r"\\[dt]?frac\{([^{}\n]*)\}\{([^{}\n]*)\}", r"((\1)/(\2))"),
        (r"\\boxed\{((?:[^{}\n]|\{[^{}\n]*\})*+)\}", r"\1"),
        (r"\\(?:times|cdot)\b|[×·]|(?<=\d)[ \t]?x[ \t]?(?=\d)", "*"),
        (r"\\div\b|÷", "/"),
        ("−", "-"),
        (r"\\(?:left|right)\b|\\[ ,;!$]|\$", ""),
        (r"(?<=\d),(?=\d{3}(?!\d))", ""),
        (r"(?<![\w./)])(\d+) (\d+/\d+)(?![\d./])", r"(\1+\2)"),  # a mixed number
        (r"(?<![\w./])(\d+)\((?=\d)", r"\1*("),
        (r"\)\((?=\d)", ")*("),
    )
)
_CLAUSE: Final = re.compile(
    r"\n|[;!?≈&]|[.,:](?!\d)|\*\*|\\\\|\\[\[\]()]|\\(?:approx|implies|quad|[Rr]ightarrow)\b"
)
_EQUALS: Final = re.compile(r"(?<![<>=!-])=(?![=>])")
_CALCULATION: Final = r"(?P<side>-?[\d(][-+*/() \t\d.]*)"
_LEFT: Final = re.compile(rf"(?:^|(?P<word>[^\W\d_]{{2,}})[ \t])[ \t]*{_CALCULATION}$")
_RIGHT: Final = re.compile(
    rf"^[ \t]*{_CALCULATION}(?:$|(?<=[ \t])(?P<word>[^\W\d_]{{2,}})\b)"
)
_RESULT: Final = re.compile(r"[ \t]*-?\d[\d.]*(?=[ \t]*[-+*/])")
"""The number with which a side begins."""
_ROUNDED: Final = re.compile(r"\d*\.((?=\d{2})\d*?(?:([1-9])\2|6*67))(?!\d)")
"""A decimal that repeats its last digit, as one that was rounded does."""
_NAME: Final = re.compile(r"\\(?:text|mathrm|mbox)\{[^{}]*\}")
_UNIT: Final = re.compile(r"[\d)] *\\(?:text|mathrm|mbox)\{[^{}\w]*([^\W\d_]+?)s?\b")
_SCALES: Final = frozenset(
    {
        "of",
        "by",
        "plus",
        "minus",
        "times",
        "over",
        "less",
        "than",
        "more",
        "percent",
        "half",
        "twice",
        "double",
        "triple",
        "dozen",
        "hundred",
        "thousand",
        "million",
        "billion",
    }
)
"""Words that change the number beside them: its digits alone are not what is meant."""
_OPERATORS: Final[Mapping[type[ast.operator], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True, slots=True)
class Equations(CheckedOptions, FreeVerifier):
    """Rates 1 if every calculation that a reply writes is right, 0 if one is wrong, 0.5 if it writes none.

    A calculation is an equation between numbers, such as `3 * (4 + 5) = 27`, in plain text or LaTeX. A result may be
    rounded to the digits that it has. What has a variable, a power, a root, a percent sign or a remainder is not
    judged. It costs no tokens. `part` is what is read: the "final"
    part of a reply, its "thinking", where a model may try what it then corrects, or "all".
    """

    example: ClassVar[str] = "-s best_of_n:n=8,selector=weighted --verifier equations"

    part: Part = "final"

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The rating of one candidate."""
        return Rating(
            await asyncio.to_thread(_rated, candidate.chain_of(self.part)), Cost()
        )


def _rated(text: str) -> float:
    verdicts = [*calculations(text)]
    return float(all(verdicts)) if verdicts else 0.5


def calculations(text: str) -> Iterator[bool]:
    """Whether each calculation of a text is right, as rounded to the digits that are written; `a = b = c` are two."""
    for pattern, instead in _REWRITTEN:
        text = pattern.sub(instead, text)
    for clause in _CLAUSE.split(text):
        if _converts(clause) or "remainder" in clause:
            continue
        sides = _EQUALS.split(_NAME.sub("", clause))
        for at, (before, behind) in enumerate(pairwise(sides), 2):
            left, right = _side(_LEFT, before.rstrip()), _side(_RIGHT, behind)
            if left and right and (_computes(left) or _computes(right)):
                yield from _judged(left, right, continued=at < len(sides))


def _converts(clause: str) -> bool:
    """Whether its units in LaTeX differ in a sum, or its result has a unit of its own: `90 minutes = 1.5 hours`."""
    *others, last = _UNIT.findall(clause.lower()) or [""]
    return bool(others) and (
        last not in others or (("+" in clause or "-" in clause) and len({*others}) > 1)
    )


def _side(pattern: re.Pattern[str], text: str) -> str:
    """The calculation of a side; empty where there is none, or a word beside it changes it."""
    match = pattern.search(text) if len(text) <= LONGEST_SIDE else None
    return match["side"] if match and match["word"] not in _SCALES else ""


def _computes(side: str) -> bool:
    return bool(re.search(r"[\d)][ \t]*[-+*/]", side))


def _judged(left: str, right: str, *, continued: bool) -> Iterator[bool]:
    """Whether both sides are equal; nothing if one has no value.

    Where an equation is `continued`, its middle may compute with what the left gives, as in `3 + 4 = 7 + 5 = 12`.
    """
    result = _RESULT.match(right) if continued and _computes(left) else None
    try:
        yield _equal(left, right) or (result is not None and _equal(left, result[0]))
    except (SyntaxError, ValueError, ZeroDivisionError):
        return


def _equal(left: str, right: str) -> bool:
    """Whether two sides have one value, but for the rounding of a side that is one number, and of its operands."""
    first, second = _value(left), _value(right)
    return (
        abs(first - second) <= (_blur(left) + _blur(right)) * abs(first)
        or (not _computes(left) and _shows(left, first, second))
        or (not _computes(right) and _shows(right, second, first))
    )


def _shows(side: str, number: Fraction, value: Fraction) -> bool:
    """Whether a number is a value: rounded, cut off after its decimal point, or as a float is printed."""
    shift = 10 ** len(side.rstrip().partition(".")[2])
    exact = abs(value * shift)
    near = {int(exact + Fraction(1, 2)), *([int(exact)] if shift > 1 else [])}
    return math.isclose(number, value, rel_tol=1e-12) or (
        abs(number) * shift in near and number * value >= 0
    )


def _blur(side: str) -> Fraction:
    """By how much, relative to its value, a side may be wrong, as its numbers such as 0.33 and 16.67 were rounded."""
    return sum(
        (
            Fraction(1, 2 * 10 ** len(number[1])) / Fraction(number[0])
            for number in _ROUNDED.finditer(side)
        ),
        Fraction(),
    )


@lru_cache(maxsize=1024)
def _value(side: str) -> Fraction:
    """The value of a calculation of digits, brackets and four operators.

    Raises:
        SyntaxError, ValueError, ZeroDivisionError: it has none.
    """
    side = side.strip()
    return _evaluated(ast.parse(side, mode="eval").body, side)


def _evaluated(node: ast.expr, side: str) -> Fraction:
    match node:
        case ast.Constant(value=int() | float()):
            return Fraction(side[node.col_offset : node.end_col_offset])
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluated(operand, side)
        case ast.BinOp(op=kind, left=left, right=right) if type(kind) in _OPERATORS:
            value: Fraction = _OPERATORS[type(kind)](
                _evaluated(left, side), _evaluated(right, side)
            )
            return value
    raise ValueError("not a calculation")
