"""The slow comparison of mathematical answers, by Math-Verify; it may hang, so it runs in a process that can be killed.

Math-Verify and sympy are imported inside the functions, so that importing this module is cheap.
"""

import zlib
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from reasoner.answers.acceptance import SAME, Policy, blocks, rounds_to
from reasoner.answers.acceptance import accepts as accepts_shape
from reasoner.answers.shapes import Number, shape
from reasoner.types import Blocks

DIGITS = 15
"""Digits to which decimals are compared: a decimal is exact, not an approximation."""


def prepare() -> None:
    """Do the imports that the first comparison would wait for."""
    equal("x+1", "1+x")


def accepts(gold: str, answer: str) -> bool:
    """Whether the reference answer accepts the other one."""
    return accepts_shape(shape(gold), shape(answer), equal) is True


@dataclass(frozen=True)
class LooselyAccepts:
    """`accepts` with policies loosened; a worker gets it by value."""

    loose: tuple[Policy, ...]

    def __call__(self, gold: str, answer: str) -> bool:
        """Whether the reference answer accepts the other one."""
        return accepts_shape(shape(gold), shape(answer), self._equal, self.loose) is True

    def _equal(self, gold: str, answer: str) -> bool:
        return equal(gold, answer) or ("rounding" in self.loose and _rounded(gold, answer))


def _rounded(gold: str, answer: str) -> bool:
    """Whether one is a decimal and the other has a real value that is rounded to it."""
    for written, exact in ((gold, answer), (answer, gold)):
        decimal, value = shape(written), _value(exact)
        if isinstance(decimal, Number) and value is not None and abs(value.imag) < SAME:
            return rounds_to(Fraction(value.real), decimal.value)
    return False


def find_blocks(answer: str) -> Blocks:
    """The blocks of an answer, by the values of its formulas."""
    return blocks(shape(answer), _value)


def equal(gold: str, answer: str) -> bool:
    """Whether a formula, taken as the reference, accepts another; both are in LaTeX."""
    from math_verify import verify  # type: ignore[import-untyped]

    expected, given = _value(gold), _value(answer)
    # Comparing values is fast; `verify` may take milliseconds or forever to find a difference.
    if expected is not None and given is not None and abs(expected - given) > SAME * max(abs(expected), abs(given)):
        return False
    parsed = _parsed(gold), _parsed(answer)
    return bool(verify(*parsed, float_rounding=DIGITS, timeout_seconds=None, raise_on_error=False))


@lru_cache(maxsize=4096)
def _parsed(latex: str) -> list[Any]:
    from latex2sympy2_extended import NormalizationConfig  # type: ignore[import-untyped]
    from math_verify import LatexExtractionConfig, parse

    # Units were dropped before; what is left after a number, as in 5m, are variables.
    plain = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
    only_latex = [LatexExtractionConfig(boxed_match_priority=0, normalization_config=plain)]
    parsed = list(parse(f"\\boxed{{{latex}}}", extraction_config=only_latex, parsing_timeout=None))
    return [_with_imaginary_unit(parsed[0]), *parsed[1:]] if parsed else parsed


def _with_imaginary_unit(formula: Any) -> Any:
    """The formula with i as the imaginary unit, unless i is the index of a sum."""
    import sympy  # type: ignore[import-untyped]

    units = [symbol for symbol in getattr(formula, "free_symbols", ()) if symbol.name == "i"]
    return formula.subs(units[0], sympy.I) if units else formula


@lru_cache(maxsize=4096)
def _value(latex: str) -> complex | None:
    """The value of a formula at a point that is the same for all formulas; None if it has none."""
    import sympy

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
    """A positive number for a variable, so that roots and logarithms are real."""
    import sympy

    return sympy.E if name == "e" else sympy.Rational(zlib.crc32(name.encode()) % 10_007 + 5_000, 10_007)
