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
        ("1/2 + 1/3 = 5/6, 1/2 + 1/3 = 2/5", [True, False]),
        ("2/6 = 1/3 and 2/6 = 1/2", [True, False]),
        (r"\frac12 + \frac{1}{3} = \frac{2}{5}", [False]),
        ("1 1/2 + 2 = 3 1/2, 7/4 = 1 1/4", [True, False]),
        (r"1\frac{1}{2} \times 4 = 6, 3\frac{1}{4} - 1 = 3.25", [True, False]),
        ("3(4 + 5) = 27, (3)(4) = 13, 2 x 3 = 7", [True, False, False]),
        (r"3 + 4 = **7**, 3 + 4 = \boxed{8}", [True, False]),
        (r"\boxed{3 \times \frac{1}{2} = 2.5}", [False]),
        ("3 + 4 = 7 + 5 = 12, 3 + 4 = 7 + 5 = 13", [True, True, True, False]),
        ("3 + 4 = 8 + 5 = 13, 3 + 4 = 7 + 5", [False, True, False]),
        ("2 = 2 * 60 = 120", [False, True]),
        ("10 / 3 = 3, 10 / 3 = 4, 14 / 3 = 4", [True, False, False]),
        ("10 / 3 = 3.33, 10 / 3 = 3.34", [True, False]),
        ("2 / 3 = 0.67, 2 / 3 = 0.66, 2 / 3 = 0.65", [True, True, False]),
        ("40 / 12 = 3.3333333333333335", [True]),
        ("0.67 * 90 = 60, 133.33 * 3 = 400.00", [True, True]),
        ("27 * 2/3 = 27 * 0.667 = 18", [True, True]),
        ("$19.99 * 3 = $59.97, $19.99 * 3 = $59.99", [True, False]),
        ("1,234,567 + 1 = 1,234,568, 12,500 / 5 = 250", [True, False]),
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
        "19 / 4 = 4 with a remainder of 3, 19 / 4 = 4 R 3",
        "12/2(1 + 2) = 2, 2^1/2 = 2",
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


FRACTIONS = st.fractions(0, 50, max_denominator=12)


@given(
    a=FRACTIONS,
    b=FRACTIONS,
    error=st.just(Fraction()) | FRACTIONS,
    form=st.sampled_from(["{} {}/{}", r"{}\frac{{{}}}{{{}}}"]),
)
def test_fractions_and_mixed_numbers_are_added_exactly(
    a: Fraction, b: Fraction, error: Fraction, form: str
) -> None:
    def text(value: Fraction) -> str:
        whole, part = divmod(value, 1)
        if not (whole and part):
            return form.format("", value.numerator, value.denominator).strip()
        return form.format(whole, part.numerator, part.denominator)

    equation = f"{text(a)} + {text(b)} = {text(a + b + error)}"
    assert [*calculations(equation)] == [not error]


@given(
    over=st.integers(1, 10**6),
    under=st.integers(1, 10**4),
    places=st.integers(0, 6),
    off=st.integers(-3, 3),
)
def test_a_quotient_is_right_as_rounded_to_the_places_that_are_written(
    over: int, under: int, places: int, off: int
) -> None:
    exact = Fraction(over, under) * 10**places
    shown = int(exact) + off
    result = (
        f"{shown // 10**places}.{shown % 10**places:0{places}}"
        if places
        else str(shown)
    )
    right = abs(shown - exact) <= Fraction(1, 2) and shown != exact - Fraction(1, 2)
    cut_off = places > 0 and off == 0
    if shown >= 0:
        assert [*calculations(f"{over} / {under} = {result}")] == [right or cut_off]
