"""Equations: whether the calculations that a reply writes are right."""

import ast
import asyncio
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
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
        (r"(?<=[\w)])(?:\*\*| \*\* )(?=[\d(])", "^"),  # a power, not bold type
        (r"\\[dt]?frac\{([^{}\n]*)\}\{([^{}\n]*)\}", r"((\1)/(\2))"),
        (r"\\(?:times|cdot)\b|[×·]", "*"),
        (r"\\div\b|÷", "/"),
        ("−", "-"),
        (r"\\(?:left|right)\b|\\[ ,;!$]|\$", ""),
        (r"(?<=\d),(?=\d{3}(?!\d))", ""),
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

    A calculation is an equation between numbers, such as `3 * (4 + 5) = 27`, in plain text or LaTeX. What has a
    variable, a power, a root or a percent sign is not judged. It costs no tokens. `part` is what is read: the "final"
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
    """Whether each calculation of a text is right, to the last digit that is written; `a = b = c` are two."""
    for pattern, instead in _REWRITTEN:
        text = pattern.sub(instead, text)
    for clause in _CLAUSE.split(text):
        if _converts(clause):
            continue
        for before, behind in pairwise(_EQUALS.split(_NAME.sub("", clause))):
            left, right = _side(_LEFT, before.rstrip()), _side(_RIGHT, behind)
            if left and right and (_computes(left) or _computes(right)):
                yield from _judged(left, right)


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


def _judged(left: str, right: str) -> Iterator[bool]:
    """Whether both sides are equal; nothing if one has no value."""
    try:
        difference = _value(left) - _value(right)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return
    # What is computed exactly is rounded where it is written as one number.
    written = [side for side in (left, right) if not _computes(side)]
    decimals = min(map(_decimals, written or (left, right)))
    yield abs(difference) < Fraction(1, 10**decimals)


def _decimals(side: str) -> int:
    """The most decimal places that a number of a side has."""
    return max(len(digits) for digits in re.findall(r"\d(?:\.(\d*))?", side))


def _value(side: str) -> Fraction:
    """The value of a calculation of digits, brackets and four operators.

    Raises:
        SyntaxError, ValueError, ZeroDivisionError: it has none.
    """
    return _evaluated(ast.parse(side.strip(), mode="eval").body)


def _evaluated(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number):
            return Fraction(str(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluated(operand)
        case ast.BinOp(op=kind, left=left, right=right) if type(kind) in _OPERATORS:
            value: Fraction = _OPERATORS[type(kind)](
                _evaluated(left), _evaluated(right)
            )
            return value
    raise ValueError("not a calculation")
