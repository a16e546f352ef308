"""The slow comparison of mathematical answers, by Math-Verify; it may hang, so it runs where it can be killed.

Math-Verify and sympy are imported in the functions, so that naming them costs nothing.
"""

import zlib
from functools import lru_cache
from typing import Any

from reasoner.answers.blocking import SAME, blocks
from reasoner.answers.shapes import accepts as accepts_shape
from reasoner.answers.shapes import shape
from reasoner.types import Blocks

DIGITS = 15
"""Decimals are compared to this many places: a decimal stands for itself and approximates nothing."""


def prepare() -> None:
    """Import and build what the first comparison would wait for."""
    equal("x+1", "1+x")


def accepts(gold: str, answer: str) -> bool:
    """Whether the reference answer accepts the other one."""
    return accepts_shape(shape(gold), shape(answer), equal) is True


def find_blocks(answer: str) -> Blocks:
    """The blocks of an answer, by the values of its formulas."""
    return blocks(shape(answer), _value)


def equal(gold: str, answer: str) -> bool:
    """Whether a formula, taken as the reference, accepts another: both in LaTeX."""
    from math_verify import verify  # type: ignore[import-untyped]

    expected, given = _value(gold), _value(answer)
    # Two numbers cost nothing to tell apart; what verify would do to a difference costs milliseconds to for ever.
    if expected is not None and given is not None and abs(expected - given) > SAME * max(abs(expected), abs(given)):
        return False
    parsed = _parsed(gold), _parsed(answer)
    return bool(verify(*parsed, float_rounding=DIGITS, timeout_seconds=None, raise_on_error=False))


@lru_cache(maxsize=4096)
def _parsed(latex: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    only_latex = [LatexExtractionConfig(boxed_match_priority=0)]
    return list(parse(f"\\boxed{{{latex}}}", extraction_config=only_latex, parsing_timeout=None))


@lru_cache(maxsize=4096)
def _value(latex: str) -> complex | None:
    """What a formula comes to at one point, the same for all formulas; None where it has no such value."""
    import sympy  # type: ignore[import-untyped]

    parsed = _parsed(latex)
    if not parsed or not isinstance(parsed[0], sympy.Expr):
        return None
    formula = parsed[0]
    try:
        value = complex(formula.subs({symbol: _point(symbol.name) for symbol in formula.free_symbols}).evalf(20))
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None
    return value if abs(value) < float("inf") else None


def _point(name: str) -> Any:
    """A positive number for a variable: where roots and logarithms are what they seem."""
    import sympy

    return sympy.E if name == "e" else sympy.Rational(zlib.crc32(name.encode()) % 10_007 + 5_000, 10_007)
