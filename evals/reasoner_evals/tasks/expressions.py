"""Answers to countdown and the game of 24: arithmetic expressions, read from text and judged by the puzzle's rules.

Numbers and target are part of the question, not a reference answer.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from reasoner import Answer
from reasoner.answers.expressions import MAX_CONSTANT, evaluate, in_ascii
from reasoner.answers.forms import LONG_BOX, Form, Opening, machine_forms
from reasoner.answers.reading import FormReader, KeyedKind
from reasoner.answers.thoughts import ThoughtPrompts
from reasoner.errors import UsageError


def solves(text: str, *, numbers: tuple[int, ...], target: int, use_all: bool) -> bool:
    """Whether an expression equals `target` and uses each of `numbers` at most as often as it is listed.

    With `use_all` (the game of 24) each number must be used exactly as often as it is listed.
    """
    evaluated = evaluate(text)
    if evaluated is None or evaluated.value != target:
        return False
    used, given = Counter(evaluated.constants), Counter(numbers)
    return used == given if use_all else used <= given


LEFT = r"\(left:([^()\n]*)\)"
"""What a step leaves."""
_PROPOSE = """Each step takes two of the numbers and replaces them by a result. List all next steps that are useful.
Numbers: 2 3 7
Next steps:
2 + 3 = 5 (left: 5 7)
7 - 3 = 4 (left: 2 4)
3 * 7 = 21 (left: 2 21)
7 / 2 = 3.5 (left: 3 3.5)
Numbers: 1 5 6 12
Next steps:
12 - 6 = 6 (left: 1 5 6)
5 - 1 = 4 (left: 4 6 12)
6 * 5 = 30 (left: 1 12 30)
12 / 6 = 2 (left: 1 2 5)
Numbers: {rest}
Next steps:"""
_VALUE = """Judge whether these numbers, each used once, can make 24. The last line is sure, likely or impossible.
8 16
8 + 16 = 24
sure
5 13
5 + 13 = 18
13 - 5 = 8
5 * 13 = 65
impossible
2 3 4
2 * 3 * 4 = 24
sure
5 6 9
5 + 6 + 9 = 20
(9 - 5) * 6 = 24
sure
4 7 8
4 + 7 + 8 = 19
(8 - 4) * 7 = 28
not found yet, but the results are close
likely
1 1 2
1 + 1 + 2 = 4
all are too small
impossible
{rest}"""
_JUDGE = """Judge whether the answer uses each number once and equals 24. The last line is sure or impossible.
Numbers: 2 3 4 6
Answer: (6 - 2) * (4 + 3) - 4
It uses 4 twice.
impossible
Numbers: 2 3 4 6
Answer: 6 * 4 * (3 - 2)
6 * 4 * 1 = 24
sure
Numbers: {start}
Answer: {answer}"""

_SIGN = r"(?:[-+*/()=0-9\u00d7\u00f7\u2212]|\\times|\\div)"
# `3*8.5`, `3*8x` and `3*8^2` do not hold 3*8.
_BEGINS = re.compile(
    rf"(?:[*$`\s\"']|\\[(\[])*+((?:{_SIGN}|\x20++(?={_SIGN}))++)(?![\w^]|\.\d)"
)
_MATH = re.compile(r"\\[()\[\]]")
_WORDS = re.compile(r"(?<![\\a-z])[^\W\d_]{2,}")
_MARKS = " \t\r\n*$`"


@dataclass(frozen=True, slots=True)
class ExpressionSpace(KeyedKind):
    """An expression over given numbers; two are equal if written alike, apart from spaces and operator signs.

    Reading an expression does not judge it; `solves` does.
    """

    name: ClassVar[str] = "expression"
    version: ClassVar[int] = 6
    opening: ClassVar[Opening | None] = LONG_BOX

    numbers: tuple[int, ...]
    target: int
    use_all: bool

    def complete(self) -> None:
        FormReader.complete(self)
        if not self.numbers or not all(
            0 <= number <= MAX_CONSTANT for number in self.numbers
        ):
            raise UsageError(
                f"numbers={self.numbers} cannot be used: give at least one, each 0 to {MAX_CONSTANT}"
            )

    @property
    def instruction(self) -> str:
        """Asks for an expression, and states the rules."""
        often = "exactly once" if self.use_all else "at most once"
        numbers = ", ".join(map(str, self.numbers))
        return (
            f"Give the answer as an expression that equals {self.target}, made of the numbers {numbers}, "
            f"each used {often}, with + - * / and brackets."
        )

    @property
    def thoughts(self) -> ThoughtPrompts | None:
        """The game of 24 step by step, in the form of the paper's prompts (Yao 2023, 2305.10601)."""
        if not self.use_all or self.target != 24:
            return None
        start = " ".join(map(str, self.numbers))
        return ThoughtPrompts(
            start, LEFT, "24", _PROPOSE, _VALUE, _JUDGE.replace("{start}", start)
        )

    def forms(self, text: str) -> list[Form]:
        """Machine-readable forms that hold an expression: many a box holds its value."""
        return [form for form in machine_forms(text) if self.inside(form.text, text)]

    def inside(self, text: str, reply: str) -> Answer | None:
        """All of the text, or the expression with which it begins."""
        text = _MATH.sub("$", text)
        return _answer(text) or self.begins(text, reply)

    def begins(self, text: str, reply: str) -> Answer | None:
        """The expression with which it begins. A single number is not an expression, so a result is skipped."""
        match = _BEGINS.match(_MATH.sub("$", text))
        return _answer(match[1]) if match else None

    def rival(self, text: str, answer: Answer, clause: str = "") -> bool:
        """Whether any word follows."""
        return _WORDS.search(f"{in_ascii(clause)}\n{text}") is not None

    def alone(self, text: str, reply: str) -> Answer | None:
        """All of the text."""
        return _answer(re.sub(r"^\s*[-\u2212]\s", "", _MATH.sub("$", text)))


def _answer(text: str) -> Answer | None:
    """The first side of an equation that holds at least two numbers: `(10 - 4) * 4` of `(10 - 4) * 4 = 6 * 4 = 24`."""
    for side in text.strip(_MARKS).rstrip(f".{_MARKS}").split("="):
        evaluated = evaluate(side)
        if evaluated and len(evaluated.constants) > 1:
            return Answer(side.strip(), in_ascii(side).replace(" ", ""))
    return None
