"""Mathematical answers: read out of what models write, keyed, and told apart without a worker where that is possible."""

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers.acceptance import accepts, blocks
from reasoner.answers.maths import MathSpace
from reasoner.answers.shapes import Formula, Group, Number, Words, key, shape
from reasoner.types import Answer

MATH = MathSpace()
DATA = Path(__file__).parents[3] / "shared" / "data" / "math500_dev.jsonl"


def test_an_answer_keeps_what_was_written_and_gets_one_key() -> None:
    assert MATH.read(r"$\boxed{ \dfrac34 }$") == Answer(r"\dfrac34", "3/4", "form")
    assert MATH.answer("$x$.") == Answer("x", "x", "given")
    assert MATH.answer(" ") is None


NUMBERS: list[tuple[str, str | None]] = [
    ("7", "7"),
    ("-7", "-7"),
    ("- 7", "-7"),
    ("\u22127", "-7"),
    ("+7", "7"),
    ("007", "7"),
    (".5", "1/2"),
    ("5.", "5"),
    ("1,234.5", "2469/2"),
    ("10{,}080", "10080"),
    (r"12\,345", "12345"),
    (r"\frac{-3}{4}", "-3/4"),
    (r"-\frac34", "-3/4"),
    (r"\tfrac{1.5}{3}", "1/2"),
    (r"\frac{3}{-4}", "-3/4"),
    ("3/4", "3/4"),
    ("1 1/2", "3/2"),
    (r"-1\frac12", "-3/2"),
    (r"0.1\overline{6}", "1/6"),
    (r".\overline{3}", "1/3"),
    (r"3\times10^{-2}", "3/100"),
    ("2E3", "2000"),
    ("(7)", "7"),
    ("{7}", "7"),
    ("$7$", "7"),
    (r"\boxed{7}", "7"),
    (r"\text{7}", "7"),
    ("x = 7", "7"),
    ("f(2) = 7", "7"),
    ("1 + 6 = 7", "7"),
    ("1/0", None),
    (r"\frac{1}{0}", None),
    ("x", None),
    ("2x", None),
    ("1,2", None),
    ("2^3", None),
    ("1.2.3", None),
    ("2 3", "23"),
]


@pytest.mark.parametrize(("written", "expected"), NUMBERS)
def test_numbers_are_exact(written: str, expected: str | None) -> None:
    found = shape(written)
    assert isinstance(found, Number) == (expected is not None)
    if expected:
        assert key(found) == expected


def test_a_group_of_three_digits_is_a_thousand_only_where_no_brackets_are() -> None:
    assert key(shape("1,234")) == "1234"
    assert isinstance(pair := shape("(1,234)"), Group)
    assert pair.kind == "()"
    assert isinstance(both := shape(r"\{1,234\}"), Group)
    assert both.kind == "list"
    assert key(shape(key(shape(r"\{1,234\}")))) == r"\{1,234\}"


@pytest.mark.parametrize(
    "written",
    [
        *("7/2", "x^2", "y=-2x", "x=1,y=2", "-2,1", "(1,2)", "[0,1)", "(0,9) \\cup (x,36)", "3 \\pm \\sqrt{2}", "1<x<2"),
        *("\\text{dog}", "\\text{Evelyn}", "AB", "\\text{(E)}", "6:00 \\text{ PM}", "204_{5}", "x \\equiv 3 \\pmod{7}"),
        *("\\begin{bmatrix} 1 & x \\\\ 2 & y \\end{bmatrix}", "\\{1,234\\}", "(1,2", "9^{9^{9}}", "2x = 3y", "\\pi r^2"),
        *("there are no such three numbers", "\\mathbb{R}", "3:2", "f(x) = 2x", "x > 3", "\\{A, B\\}", "2 and x", "+5"),
    ],
)  # fmt: skip
def test_a_key_has_the_shape_that_it_names(written: str) -> None:
    found = shape(written)
    assert type(shape(key(found))) is type(found)
    assert key(shape(key(found))) == key(found)


def same(a: str, b: str) -> bool | None:
    one, other = MATH.answer(a), MATH.answer(b)
    assert one
    assert other
    return MATH.same(one, other)


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ("1/2", "0.5", True),
        ("1/2", "0.51", False),
        ("x+1", "x+1", True),
        ("x+1", "1+x", None),
        ("\\sqrt{4}", "2", None),
        ("(x,1)", "(x,2)", False),
        ("(x,1)", "(y,1)", None),
        ("(1,2)", "(1,2,3)", False),
        ("(1,2)", "[1,2]", False),
        ("1,x", "x,1", True),
        ("1,x", "y,1", None),
        ("1,2", "x,y,z", False),
        ("(1,2)", "3", False),
        ("cats", "3", False),
        ("cats", "dogs", False),
        ("1<x<2", "(1,2)", True),
        ("(1,2)", "1<x<2", True),
        ("1<x<\\sqrt{4}", "(1,2)", None),
        ("9^{9^{9}}", "x", False),
        ("9^{9^{9}}", "9^{9^{9}}", True),
        ("9^{9^{9}}", "9^9^9", False),
    ],
)
def test_only_what_needs_work_is_left_open(a: str, b: str, verdict: bool | None) -> None:
    assert same(a, b) is verdict


PIECES = [
    *"0123xyeiE+-*/=<>()[]{},.;:!^_&|$%'\" \n",
    *("\\frac", "\\sqrt", "\\left", "\\right", "\\pm", "\\cup", "\\in", "\\text{", "\\boxed{", "\\{", "\\}", "\\\\", "\\pi"),
    *("\\begin{pmatrix}", "\\end{pmatrix}", "\\overline{", "\\cdot10^", "sqrt(", "and", "cm", "word", "PM", "mod", "\u00b2"),
    *("the answer is ", "####", "\\(", "\\)", "\\[", "\\]", "\ud800", "\u0663", "^\\circ", "1/2", "1 1/2", "x="),
]  # fmt: skip
written = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=25).map("".join))


@given(written)
def test_nothing_makes_it_raise_and_every_answer_is_itself(text: str) -> None:
    found = MATH.read(text)
    if found:
        assert found.key
        assert MATH.same(found, found) is True
    assert accepts(shape(text), shape(text), lambda _gold, _answer: None) is True


@given(written, written)
def test_equal_keys_are_never_told_apart(a: str, b: str) -> None:
    one, other = shape(a), shape(b)
    assert (accepts(one, other, lambda _gold, _answer: None) is True) >= (key(one) == key(other))


@given(st.lists(st.integers(-99, 99), min_size=1, max_size=6, unique=True), st.randoms())
def test_the_order_of_a_list_does_not_matter(numbers: list[int], draw: random.Random) -> None:
    mixed = draw.sample(numbers, len(numbers))
    one, other = ", ".join(map(str, numbers)), rf"\left\{{ {', '.join(map(str, mixed))} \right\}}"
    assert same(one, other) is True


@given(st.fractions(max_denominator=1000), st.sampled_from(["{}", "$ {} $", "\\boxed{{{}}}", "x = {}", "({})"]))
def test_a_fraction_has_one_key_however_it_is_framed(value: object, frame: str) -> None:
    assert key(shape(frame.format(value))) == str(value)


@pytest.mark.process
def test_the_parent_imports_no_algebra() -> None:
    check = "import sys, reasoner.answers, reasoner.answers.equivalence; sys.exit(bool({'sympy', 'math_verify'} & {*sys.modules}))"
    subprocess.run([sys.executable, "-c", check], check=True)


# Reference answers

FORMS = ["\\boxed{{{}}}", "Adding up, the answer is ${}$. I hope it is correct.", "<answer>{}</answer>"]


def golds() -> list[str]:
    if not DATA.exists():
        pytest.skip(f"{DATA} is not there: the reference answers of MATH-500 are no part of the product")
    return [json.loads(line)["answer"] for line in DATA.read_text().splitlines()]


@pytest.mark.parametrize("form", FORMS)
def test_reference_answers_are_read_back_and_accepted(form: str) -> None:
    found = {gold: MATH.read(form.format(gold)) for gold in golds()}
    wrong = {gold: read for gold, read in found.items() if not (read and same(gold, read.text) is True)}
    assert wrong == {}


def test_a_key_is_read_back_as_itself() -> None:
    """Votes compare keys alone."""
    for gold in golds():
        assert key(shape(key(shape(gold)))) == key(shape(gold))


def test_reference_answers_of_different_keys_are_no_match_without_work() -> None:
    keys = {key(shape(gold)): gold for gold in golds()}
    for a, b in itertools.combinations(keys.values(), 2):
        assert same(a, b) is not True
    assert isinstance(shape("\\text{Evelyn}"), Words)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(-1e-9, 1e-9))
def test_values_that_count_as_equal_share_a_block_however_near_its_end_they_are(a: int, b: int, apart: float) -> None:
    one, other = Formula("a"), Formula("b")
    values = {"a": complex(a / b), "b": complex(a / b * (1 + apart))}
    assert blocks(one, values.__getitem__).meets(blocks(other, values.__getitem__))
