"""Equations: calculations that a model wrote are found and judged, and nothing else is."""

import asyncio
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.budget import Cost
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import completion, number_question, says
from reasoner.types import Rating
from reasoner.verifier import CostMeter
from reasoner_verifiers import Equations
from reasoner_verifiers.equations import LONGEST_SIDE, calculations


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She has 16 - 3 - 4 = 9 eggs, and 9 * 2 = $18.", [True, True]),
        ("- 3 × (4 + 5) = 27\n2. 170 + 23 = 293", [True, False]),
        (r"\[ \text{Cost} = \$1,200 \times 0.5 = \$700 \]", [False]),
        (r"40 - (10 + 5) = 40 - 15 = 25", [True, True]),
        (r"\frac{60}{5} \cdot 2 = 24 \text{ cubes}", [True]),
        (r"\left( 7 \text{ eggs} + 3 \text{ eggs} \right) \div 2 = 6", [False]),
        ("**80 / 60 = 1.33**", [True]),
        ("1 / 3 = 0.9", [False]),
        ("2000 / 3 = 667 tickets", [True]),
        ("In 12 months 3 + 4 = 8", [False]),
        ("It loses 5, so -5 + 3 = -2.", [True]),
    ],
)
def test_calculations_are_judged(text: str, expected: list[bool]) -> None:
    assert [*calculations(text)] == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 5",
        "7 = 8",
        "A - 4 = 52 / 2",
        "2x + 3 = 11",
        "60 - 8 = 2(A - 4)",
        "half of 12 + 4 = 10",
        "5 minus 3 + 1 = 3",
        "2 * 3 = 6 million and 2 * 3 = 6000 thousand",
        "50 * 20% = 10",
        "3^2 + 1 = 10, 3**2 + 1 = 10",
        r"2 \text{ hours} + 30 \text{ minutes} = 150 \text{ minutes}",
        r"90 \text{ minutes} / 60 = 1.5 \text{ hours}",
        "2:38 - 2:15 = 23",
        "3 + 4 == 8, 3 + 4 != 8, 3 + 4 >= 2, 3 + 4 => 8",
        "007 + 1 = 9, 1.2.3 + 1 = 3, 1 / 0 = 5, ) + 1 = 3",
        "1 + " * LONGEST_SIDE + "1 = 3",
        "(" * 150 + "1 + 1 = 3",
    ],
)
def test_what_is_no_plain_calculation_is_not_judged(text: str) -> None:
    assert [*calculations(text)] == []


@given(
    numbers=st.lists(st.integers(0, 10_000), min_size=2, max_size=5),
    signs=st.lists(st.sampled_from("+-*"), min_size=4, max_size=4),
    error=st.integers(-1000, 1000),
    form=st.sampled_from(
        ["Then {} = {}.", "\\[ {} = {} \\]", "Total: {} = ${} dollars"]
    ),
    latex=st.booleans(),
)
def test_a_result_is_right_exactly_if_it_is_the_value(
    numbers: list[int], signs: list[str], error: int, form: str, latex: bool
) -> None:
    tokens, value = f"{numbers[0]:,}", Fraction(numbers[0])
    for sign, number in zip(signs, numbers[1:], strict=False):
        tokens = f"({tokens}) {sign} {number}"
        value = {"+": value + number, "-": value - number, "*": value * number}[sign]
    if latex:
        tokens = tokens.replace("*", r"\times").replace("(", r"\left(")
        tokens = tokens.replace(")", r"\right)")
    assert [*calculations(form.format(tokens, value + error))] == [not error]


@pytest.mark.parametrize(
    ("text", "value"),
    [("3 + 4 = 7 and 2 * 7 = 14", 1.0), ("seven", 0.5), ("3 + 4 = 7\n7 + 7 = 15", 0.0)],
)
def test_the_rating_is_of_the_worst_calculation_and_is_free(
    text: str, value: float
) -> None:
    rating = Equations().score(
        number_question(), completion(text), ScriptedEngine(says("7")), CostMeter()
    )
    assert asyncio.run(rating) == Rating(value, Cost())
