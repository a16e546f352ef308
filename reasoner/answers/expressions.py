"""Answers to countdown and the game of 24: arithmetic expressions, read from text and judged by the puzzle's rules.

A model wrote the text, so nothing in it is executed: an expression is parsed, and its few allowed parts are computed
here. Numbers and target are part of the question, not a reference answer.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from operator import add, mul, sub, truediv
from typing import ClassVar, NamedTuple

from reasoner.answers.forms import LONG_BOX, Form, Opening, machine_forms
from reasoner.answers.reading import ByKey, ReadsForms
from reasoner.errors import UsageError
from reasoner.types import Answer

MAX_LENGTH = 200
"""Maximum characters of an expression, with its operators in ASCII."""
MAX_NODES = 64
"""Maximum constants and operations of an expression."""
MAX_DEPTH = 32
"""Maximum levels of operations above a constant."""
MAX_CONSTANT = 10**6

_ASCII = {"\u00d7": "*", "\u00f7": "/", "\u2212": "-", "\\times": "*", "\\div": "/"}
_ALLOWED = re.compile(r"[-0-9+*/() ]+")
_TARGET = re.compile(r" *-? *[0-9]+ *")
_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: add,
    ast.Sub: sub,
    ast.Mult: mul,
    ast.Div: truediv,
}


class Evaluated(NamedTuple):
    """The exact value of an expression, and its constants: sorted, repeated ones as often as they occur."""

    value: Fraction
    constants: tuple[int, ...]


def evaluate(text: str) -> Evaluated | None:
    """The value of integers joined by + - * / and brackets, without a closing `= number`; None for anything else.

    Never raises: an expression that is too long, too deep or divides by zero has no value.
    """
    plain = _plain(text)
    head, equals, tail = plain.rpartition("=")
    if equals and _TARGET.fullmatch(tail):
        plain = head.strip()
    if len(plain) > MAX_LENGTH or not _ALLOWED.fullmatch(plain):
        return None
    constants: list[int] = []
    try:
        tree = ast.parse(plain, mode="eval")
        if sum(isinstance(node, ast.expr) for node in ast.walk(tree)) > MAX_NODES:
            return None
        value = _value(tree.body, MAX_DEPTH, constants)
    except (SyntaxError, ValueError, MemoryError, RecursionError, ZeroDivisionError):
        return None
    return Evaluated(value, tuple(sorted(constants)))


def _plain(text: str) -> str:
    for written, sign in _ASCII.items():
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
            a, b = _value(left, levels - 1, constants), _value(right, levels - 1, constants)
            return _OPERATIONS[type(op)](a, b)
        case _:
            raise ValueError(f"{type(node).__name__} is not allowed in an expression")


def solves(text: str, *, numbers: tuple[int, ...], target: int, use_all: bool) -> bool:
    """Whether an expression equals `target` and uses each of `numbers` at most as often as it is listed.

    With `use_all` (the game of 24) each number must be used exactly as often as it is listed.
    """
    evaluated = evaluate(text)
    if evaluated is None or evaluated.value != target:
        return False
    used, given = Counter(evaluated.constants), Counter(numbers)
    return used == given if use_all else used <= given


_SIGN = r"(?:[-+*/()=0-9\u00d7\u00f7\u2212]|\\times|\\div)"
# `3*8.5`, `3*8x` and `3*8^2` do not hold 3*8.
_BEGINS = re.compile(rf"(?:[*$`\s\"']|\\[(\[])*+((?:{_SIGN}|\x20++(?={_SIGN}))++)(?![\w^]|\.\d)")
_MATH = re.compile(r"\\[()\[\]]")
_BULLET = re.compile(r"^\s*[-\u2212]\s")
_MARKS = " \t\r\n*$`"


@dataclass(frozen=True, slots=True)
class ExpressionSpace(ByKey):
    """An expression over given numbers; two are equal if written alike, apart from spaces and operator signs.

    Reading an expression does not judge it; `solves` does.
    """

    name: ClassVar[str] = "expression"
    version: ClassVar[int] = 4
    opening: ClassVar[Opening | None] = LONG_BOX

    numbers: tuple[int, ...]
    target: int
    use_all: bool

    def __post_init__(self) -> None:
        ReadsForms.__post_init__(self)
        if not self.numbers or not all(0 <= number <= MAX_CONSTANT for number in self.numbers):
            raise UsageError(f"numbers={self.numbers} cannot be used: give at least one, each 0 to {MAX_CONSTANT}")

    @property
    def instruction(self) -> str:
        """Asks for an expression, and states the rules."""
        often = "exactly once" if self.use_all else "at most once"
        numbers = ", ".join(map(str, self.numbers))
        return (
            f"Give the answer as an expression that equals {self.target}, made of the numbers {numbers}, "
            f"each used {often}, with + - * / and brackets."
        )

    def forms(self, text: str) -> list[Form]:
        """Machine-readable forms that hold an expression: many a box holds its value."""
        return [form for form in machine_forms(text) if self.inside(form.text, text)]

    def inside(self, text: str, reply: str) -> Answer | None:
        """All of the text, or the expression with which it begins."""
        plain = _MATH.sub("$", text)
        return _answer(plain) or self.begins(plain, reply)

    def begins(self, text: str, reply: str) -> Answer | None:
        """The expression with which it begins. A single number is not an expression, so a result is skipped."""
        match = _BEGINS.match(_MATH.sub("$", text))
        return _answer(match[1]) if match else None

    def alone(self, text: str, reply: str) -> Answer | None:
        """All of the text."""
        return _answer(_BULLET.sub("", _MATH.sub("$", text)))


def _answer(text: str) -> Answer | None:
    """The first side of an equation that holds at least two numbers: `(10 - 4) * 4` of `(10 - 4) * 4 = 6 * 4 = 24`."""
    for side in text.strip(_MARKS).rstrip(f".{_MARKS}").split("="):
        evaluated = evaluate(side)
        if evaluated and len(evaluated.constants) > 1:
            return Answer(side.strip(), _plain(side).replace(" ", ""))
    return None
