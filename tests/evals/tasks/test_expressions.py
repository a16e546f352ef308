"""Expressions evaluated exactly, judged by the rules of countdown and 24, and read out of what models write."""

import operator
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from reasoner.answers.expressions import MAX_CONSTANT, MAX_LENGTH, evaluate
from reasoner_evals.tasks.expressions import ExpressionSpace, solves

SPACE = ExpressionSpace((8, 3, 8, 3), 24, use_all=True)

# Evaluation

VALUES: list[tuple[str, Fraction, tuple[int, ...]]] = [
    ("8/(3-8/3)", Fraction(24), (3, 3, 8, 8)),
    ("(9*5+4)/2", Fraction(49, 2), (2, 4, 5, 9)),
    ("--3", Fraction(3), (3,)),
    ("24", Fraction(24), (24,)),
    ("12+3", Fraction(15), (3, 12)),
    ("1+2 = 24", Fraction(3), (1, 2)),
    ("1+2=-3", Fraction(3), (1, 2)),
    ("6 \u00d7 4 \u00f7 2 \u2212 1", Fraction(11), (1, 2, 4, 6)),
    (r"6 \times 4 \div 2 = 12", Fraction(12), (2, 4, 6)),
    (str(MAX_CONSTANT), Fraction(MAX_CONSTANT), (MAX_CONSTANT,)),
]


@pytest.mark.parametrize(("text", "value", "constants"), VALUES)
def test_an_expression_has_an_exact_value(
    text: str, value: Fraction, constants: tuple[int, ...]
) -> None:
    found = evaluate(text)
    assert found is not None
    assert (found.value, found.constants) == (value, constants)


HOSTILE = [
    "9**9**9",
    '__import__("os")',
    "(((" * 5000,
    "(" * MAX_LENGTH,
    "2(3)*4*1",
    "1/0",
    "1/(2-2)",
    "",
    "   ",
    "=",
    "=24",
    "1+",
    "()",
    "1 2",
    "(1, 2)",
    "+1",
    "7//2",
    "~1",
    "1.5",
    "1e3",
    "1_0",
    "0x1",
    "007",
    "1j",
    "True",
    "x+1",
    "3!",
    "2^3",
    "1 if 1 else 2",
    "1<2",
    "1+2=3=3",
    "1+2=x",
    "1\n+2",
    "1+2#",
    "\u0661+1",
    "\x00",
    "\ud800",
    str(MAX_CONSTANT + 1),
    "9" * MAX_LENGTH,
]


def test_anything_else_has_no_value() -> None:
    assert [
        f"{text[:14]!a}*{len(text)}" for text in HOSTILE if evaluate(text) is not None
    ] == []


@dataclass(frozen=True)
class Tree:
    text: str
    value: Fraction
    constants: tuple[int, ...]


leaves = st.integers(0, MAX_CONSTANT).map(
    lambda number: Tree(str(number), Fraction(number), (number,))
)


def joined(a: Tree, op: str, b: Tree, space: str) -> Tree:
    assume(op != "/" or b.value != 0)
    value = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": operator.truediv,
    }[op](a.value, b.value)
    return Tree(
        f"({a.text}){space}{op}{space}({b.text})", value, a.constants + b.constants
    )


def grown(trees: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    negated = trees.map(
        lambda tree: Tree(f"-({tree.text})", -tree.value, tree.constants)
    )
    return negated | st.builds(
        joined, trees, st.sampled_from("+-*/"), trees, st.sampled_from(["", " "])
    )


@given(st.recursive(leaves, grown, max_leaves=8))
def test_a_tree_comes_to_what_fractions_say(tree: Tree) -> None:
    assume(len(tree.text) <= MAX_LENGTH)
    found = evaluate(tree.text)
    assert found is not None
    assert (found.value, found.constants) == (tree.value, tuple(sorted(tree.constants)))


SIGNS = [
    *"0123456789+-*/()= .\n`$",
    "**",
    "//",
    "\\times",
    "\\div",
    "\u00d7",
    "\u00f7",
    "\u2212",
    "\\boxed{",
    "}",
    "answer is ",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(SIGNS), max_size=60).map("".join)))
@example("\ud800\x00")
def test_no_text_makes_it_raise(text: str) -> None:
    evaluate(text)
    assert solves(text, numbers=(1, 2), target=3, use_all=False) in {True, False}
    found = SPACE.read(text)
    if found:
        assert SPACE.same(found, found)
        assert evaluate(found.key) == evaluate(found.text) is not None


# The rules

RULES: list[tuple[str, tuple[int, ...], int, bool, bool]] = [
    ("8/(3-8/3)", (8, 3, 8, 3), 24, True, True),
    ("8/(3-8/3) = 24", (3, 3, 8, 8), 24, True, True),
    ("(10-4)*(13-9)", (4, 9, 10, 13), 24, True, True),
    ("(9*5+4)/2", (9, 5, 4, 2), 24, True, False),
    ("", (1, 2, 3, 4), 24, True, False),
    ("24", (1, 2, 3, 4), 24, True, False),
    ("12+12", (1, 2, 1, 2), 24, True, False),
    ("3*8", (3, 8, 1, 1), 24, True, False),
    ("3*8*1*1*1", (3, 8, 1, 1), 24, True, False),
    ("3*8", (3, 8, 1, 1), 24, False, True),
    ("3*8*1*1*1", (3, 8, 1, 1), 24, False, False),
    ("8+8+8", (8, 8, 3), 24, False, False),
    ("8+8+8", (8, 8, 8), 24, False, True),
    ("-1 + 72*(89 - 77)/1", (1, 1, 72, 89, 77), 863, True, True),
    ("1/3*3", (1, 3, 3), 1, True, True),
    ("3*8 = 25", (3, 8), 24, True, True),
    ("3*8 = 25", (3, 8), 25, True, False),
]


@pytest.mark.parametrize(
    ("text", "numbers", "target", "use_all", "right"),
    RULES,
    ids=lambda value: f"{value!a:.20}",
)
def test_the_rules_judge(
    text: str, numbers: tuple[int, ...], target: int, use_all: bool, right: bool
) -> None:
    assert solves(text, numbers=numbers, target=target, use_all=use_all) is right


# Reading

READ: list[tuple[str, str | None, str]] = [
    (r"so \boxed{8 / (3 - 8/3)} it is", "8/(3-8/3)", "form"),
    (r"\boxed{8/(3-8/3) = 24}", "8/(3-8/3)", "form"),
    (r"The answer is 3*8 = \boxed{24}", "3*8", "announced"),
    ("Answer: (10 - 4) * (13 - 9) = 24", "(10-4)*(13-9)", "announced"),
    ("**Answer: 3 \u00d7 8**", "3*8", "announced"),
    ("Answer: 3*8, wait, that is 2*12", None, ""),
    (r"The answer is \(3 \times 8\)", "3*8", "announced"),
    ("Answer: 2*12. No. Answer: 3*8.", "3*8", "announced"),
    ("The answer is 24 = 3*8", "3*8", "announced"),
    ("The answer is 3*8.5", None, ""),
    ("The answer is 3*8x", None, ""),
    ("I try `2*12`.\n(10-4)*4 = 6*4 = 24.", "(10-4)*4", "alone"),
    ("Try\n\n- 3*8\n", "3*8", "alone"),
    ("-1 + 25", "-1+25", "alone"),
    ("Try `2*12` or `3*8`, that is 24", None, ""),
    ("24", None, ""),
    (r"\boxed{24}", None, ""),
    ("Answer: 2(3)*4*1", None, ""),
    ("Answer: 9**9", None, ""),
    ("<think>3*8", None, ""),
    ("<think>3*8</think>2*12", "2*12", "alone"),
]


def test_an_expression_is_read() -> None:
    answers = [(text, SPACE.read(text)) for text, _, _ in READ]
    assert [
        (text, answer and answer.key, answer.rule if answer else "")
        for text, answer in answers
    ] == READ


def test_the_rules_are_part_of_the_instruction() -> None:
    assert SPACE.instruction == (
        "Give the answer as an expression that equals 24, made of the numbers 8, 3, 8, 3, each used exactly once, "
        "with + - * / and brackets."
    )
    assert "at most once" in ExpressionSpace((1, 2), 3, use_all=False).instruction
