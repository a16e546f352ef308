"""The exact value of an arithmetic expression that a model wrote.

Nothing in it is executed: it is parsed, and its few allowed parts are computed here.
"""

import ast
import re
from collections.abc import Callable
from fractions import Fraction
from operator import add, mul, sub, truediv
from typing import NamedTuple

MAX_LENGTH = 200
"""Maximum characters of an expression, with its operators in ASCII."""
MAX_CONSTANT = 10**6

_ALLOWED = re.compile(r"[-0-9+*/() ]+")
_TARGET = re.compile(r" *-? *[0-9]+ *")
_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: add,
    ast.Sub: sub,
    ast.Mult: mul,
    ast.Div: truediv,
}


class ExpressionValue(NamedTuple):
    """The exact value of an expression, and its constants: sorted, repeated ones as often as they occur."""

    value: Fraction
    constants: tuple[int, ...]


def evaluate(text: str) -> ExpressionValue | None:
    """The value of integers joined by + - * / and brackets, without a closing `= number`; None for anything else.

    Never raises: an expression that is too long, too deep or divides by zero has no value.
    """
    plain = in_ascii(text)
    head, equals, tail = plain.rpartition("=")
    if equals and _TARGET.fullmatch(tail):
        plain = head.strip()
    if len(plain) > MAX_LENGTH or not _ALLOWED.fullmatch(plain):
        return None
    constants: list[int] = []
    try:
        tree = ast.parse(plain, mode="eval")
        # Maximum constants and operations of an expression
        if sum(isinstance(node, ast.expr) for node in ast.walk(tree)) > 64:
            return None
        # Maximum levels of operations above a constant
        value = _value(tree.body, 32, constants)
    except (SyntaxError, ValueError, MemoryError, RecursionError, ZeroDivisionError):
        return None
    return ExpressionValue(value, tuple(sorted(constants)))


def in_ascii(text: str) -> str:
    """An expression with operators in ASCII, without blanks around it."""
    for written, sign in {
        "\u00d7": "*",
        "\u00f7": "/",
        "\u2212": "-",
        "\\times": "*",
        "\\div": "/",
    }.items():
        text = text.replace(written, sign)
    return text.strip()


def _value(node: ast.expr, levels: int, constants: list[int]) -> Fraction:
    """The value of a tree at most `levels` deep; its constants are appended to `constants`."""
    match node:
        case _ if levels == 0:
            raise ValueError("the expression is too deep")
        case ast.Constant(value=value) if type(value) is int and value <= MAX_CONSTANT:
            constants.append(value)
            return Fraction(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, levels - 1, constants)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            a, b = (
                _value(left, levels - 1, constants),
                _value(right, levels - 1, constants),
            )
            return _OPERATIONS[type(op)](a, b)
        case _:
            raise ValueError(f"{type(node).__name__} is not allowed in an expression")
