"""Mathematical answers: one key for one answer, what needs no worker, and limits that hold before any parser."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reasoner.answers import math_worker
from reasoner.answers.latex import (
    MAX_LENGTH,
    MAX_NESTING,
    MAX_RUN,
    bare,
    canonical,
    too_complex,
)
from reasoner.answers.maths import MathSpace
from reasoner.types import Answer

MATH = MathSpace()
DATA = Path(__file__).parents[3] / "shared" / "data" / "math500_dev.jsonl"


def test_an_answer_keeps_what_was_written_and_gets_one_key() -> None:
    assert MATH.read(r"$\boxed{ \dfrac34 }$") == Answer(r"\dfrac34", "3/4", "form")
    assert MATH.answer("$x$.") == Answer("x", "x", "given")
    assert MATH.answer(" ") is None


NUMBERS: list[tuple[str, str | None]] = [
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
    ("1 1/2", "3/2"),
    (r"-1\frac12", "-3/2"),
    (r"0.1\overline{6}", "1/6"),
    (r"3\times10^{-2}", "3/100"),
    ("2E3", "2000"),
    ("$7$", "7"),
    (r"\boxed{7}", "7"),
    (r"\text{7}", "7"),
    ("x = 7", "7"),
    ("f(2) = 7", "7"),
    ("1 + 6 = 7", "7"),
    ("1/0", None),
    (r"\frac{1}{0}", None),
    ("2x", None),
    ("1,2", None),
    ("2^3", None),
    ("1.2.3", None),
    ("2 3", "23"),
]


@pytest.mark.parametrize(("written", "expected"), NUMBERS)
def test_numbers_are_exact(written: str, expected: str | None) -> None:
    found = canonical(written)
    assert (found.key if found.kind == "number" else None) == expected


UNITS = [
    (r"5\,\mathrm{cm}", "5 cm"),
    ("5 meters", "5 m"),
    (r"5\text{m}", "5 m"),
    ("5m", "5m"),
    ("9.8 m/s^2", "49/5 m/s^2"),
    (r"9.8~\text{m}/\text{s}^2", "49/5 m/s^2"),
    ("60 mph", "60 mi/h"),
    (r"60 \text{ miles per hour}", "60 mi/h"),
    (r"12\pi \text{ cm}^2", r"12\pi cm^2"),
    ("20 square feet", "20 ft^2"),
    (r"5\text{ cubic centimeters}", "5 cm^3"),
    (r"20^\circ\text{C}", "20 \u00b0c"),
    (r"75^\circ", "75 \u00b0"),
    (r"10\%", "10 %"),
    (r"\$18.50", "37/2 $"),
    ("USD 18.50", "37/2 $"),
    ("20 euros", "20 \u20ac"),
    ("5 apples", "5 "),
    (r"3\text{ square units}", "3 "),
    ("x^2", "x^2 "),
    ("5 feet 3 inches", "5feet3inches "),
    ("5 hundred", "5hundred "),
    ("March 5", "March5 "),
    (r"\text{cm}", "cm "),
]


def test_a_unit_is_a_known_one_after_a_number() -> None:
    found = [(text, canonical(text)) for text, _ in UNITS]
    assert [(text, f"{it.text} {it.unit}".strip()) for text, it in found] == [
        (t, e.strip()) for t, e in UNITS
    ]


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
        ("cats", "3", False),
        ("cats", "dogs", False),
        ("5 cm", "5", True),
        ("5 cm", r"5\text{ m}", False),
        ("9^{9^{9}}", "x", False),
        ("9^{9^{9}}", "9^{9^{9}}", True),
        ("9^{9^{9}}", "9^9^9", False),
    ],
)
def test_only_what_needs_work_is_left_open(
    a: str, b: str, verdict: bool | None
) -> None:
    assert same(a, b) is verdict


PIECES = [
    *"0123xyeiE+-*/=<>()[]{},.;:!^_&|$%'\" \n",
    *(
        "\\frac",
        "\\sqrt",
        "\\left",
        "\\right",
        "\\pm",
        "\\cup",
        "\\in",
        "\\text{",
        "\\boxed{",
        "\\{",
        "\\}",
        "\\\\",
        "\\pi",
    ),
    *(
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "\\overline{",
        "\\cdot10^",
        "sqrt(",
        "and",
        "cm",
        "word",
        "PM",
        "mod",
        "\u00b2",
    ),
    *(
        "the answer is ",
        "####",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
        "\ud800",
        "\u0663",
        "^\\circ",
        "1/2",
        "1 1/2",
        "x=",
    ),
]
written = st.one_of(
    st.text(), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
)


@given(written)
@example(r"\boxed{2^{}}")
def test_nothing_makes_it_raise_and_every_answer_is_itself(text: str) -> None:
    found = MATH.read(text)
    if found:
        assert found.key
        assert MATH.same(found, found) is True
    assert canonical(text) == canonical(text)


@given(
    st.fractions(max_denominator=1000),
    st.sampled_from(["{}", "$ {} $", "\\boxed{{{}}}", "x = {}"]),
)
def test_a_fraction_has_one_key_however_it_is_framed(value: object, frame: str) -> None:
    assert canonical(frame.format(value)).key == str(value)


@given(
    st.lists(st.integers(-99, 99), min_size=1, max_size=6, unique=True), st.randoms()
)
def test_the_order_of_a_list_does_not_matter(
    numbers: list[int], draw: random.Random
) -> None:
    mixed = draw.sample(numbers, len(numbers))
    one, other = (
        ", ".join(map(str, numbers)),
        rf"\left\{{ {', '.join(map(str, mixed))} \right\}}",
    )
    assert math_worker.accepts(one, other)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(-1e-9, 1e-9))
def test_values_that_count_as_equal_share_a_block_however_near_its_end_they_are(
    a: int, b: int, apart: float
) -> None:
    one, other = math_worker.cells(a / b), math_worker.cells(a / b * (1 + apart))
    assert {*one} & {*other}


@pytest.mark.process
def test_the_parent_imports_no_algebra() -> None:
    check = (
        "import sys, reasoner.answers.maths, reasoner.answers.equivalence as e; "
        "sys.exit(bool({'sympy', 'math_verify'} & {*sys.modules}))"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


FORMS = [
    "\\boxed{{{}}}",
    "Adding up, the answer is ${}$. I hope it is correct.",
    "So the answer is {}.",
]


def golds() -> list[str]:
    if not DATA.exists():
        pytest.skip(
            f"{DATA} is not there: the reference answers of MATH-500 are no part of the product"
        )
    return [json.loads(line)["answer"] for line in DATA.read_text().splitlines()]


@pytest.mark.parametrize("form", FORMS)
def test_reference_answers_are_read_back_and_accepted(form: str) -> None:
    found = {gold: MATH.read(form.format(gold)) for gold in golds()}
    wrong = {
        gold: read
        for gold, read in found.items()
        if not (read and same(gold, read.text) is True)
    }
    assert wrong == {}


TOO_COMPLEX: list[tuple[str, str]] = [
    ("x" * (MAX_LENGTH + 1), "longer than"),
    ("{[(" * 22, "nested deeper"),
    ("1" * (MAX_RUN + 1), "digits in a row"),
    ("9^{9^{9}}", "a power"),
    ("9^{(9^9)}", "a power"),
    ("2^{10!}", "a power"),
    ("x^123456", "a power"),
    ("10000!", "a factorial"),
    ("((9!)!)!", "a factorial"),
    ("\\prod_{i=1}^{10000} i", "a sum"),
    ("\\binom{100000}{3}", "a sum"),
    ("__import__('os')", "code"),
    ("eval(1)", "code"),
]


@pytest.mark.parametrize(
    ("text", "why"), TOO_COMPLEX, ids=lambda text: f"{text[:20]!a}*{len(text)}"
)
def test_what_no_parser_should_see_is_words(text: str, why: str) -> None:
    assert why in (too_complex(text) or "")
    assert canonical(text).kind == "words"


WITHIN = [
    "x" * MAX_LENGTH,
    "(" * MAX_NESTING + ")" * MAX_NESTING,
    "1" * MAX_RUN,
    "2^{2^n}",
    "2^{2005}",
    "9999!",
    "\\binom{10}{5}",
    "\\sum_{i=1}^{n} i",
    "(x+1)^2(x-1)^3",
]


@pytest.mark.parametrize("text", WITHIN, ids=lambda text: f"{text[:20]!a}*{len(text)}")
def test_what_people_write_is_within_the_limits(text: str) -> None:
    assert too_complex(text) is None


@pytest.mark.parametrize("frame", ["${}$", r"\[ {} \]", r"**$\boxed{{{}}}$.**"])
def test_what_sets_an_answer_off_is_taken_off(frame: str) -> None:
    assert bare(frame.format("x")) == "x"
    assert bare(f"{frame.format('x')} and 2") != "x"
