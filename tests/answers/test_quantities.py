"""Units after a number: which one an answer has, and that two of one dimension convert exactly."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers import MathSpace, math_worker, space_for
from reasoner.answers.acceptance import blocks
from reasoner.answers.quantities import MAX_UNIT, measure, unit_of
from reasoner.answers.shapes import key, shape
from reasoner.errors import UnknownName

WRITTEN = [
    (r"5\,\mathrm{cm}", "cm"), ("5 cm", "cm"), (r"5\text{m}", "m"), ("5m", ""), ("5 m", ""), ("5 meters", "m"),
    ("9.8 m/s^2", "m*s^-2"), (r"9.8~\text{m}/\text{s}^2", "m*s^-2"), ("60 mph", "mi*h^-1"), (r"60 \text{ miles per hour}", "mi*h^-1"),
    (r"12\pi \text{ cm}^2", "cm^2"), (r"864 \mbox{ inches}^2", "in^2"), ("20 square feet", "ft^2"), (r"5\text{ cubic centimeters}", "cm^3"),
    (r"20^\circ\text{C}", "\u00b0c"), (r"75^\circ", "degree"), (r"10\%", "%"), (r"\$18.50", "$"), ("USD 18.50", "$"), ("20 euros", "\u20ac"),
    (r"8\,\mathrm{k\Omega}", r"k\omega"), ("5 apples", ""), ("20 square units", ""), ("x^2", ""), ("2x", ""), ("2 hours 30 minutes", ""),
    ("5 feet 3 inches", ""), ("3 cm, 4 cm", ""), ("6:00 PM", ""), ("March 5", ""), (r"\sin 30^\circ", ""), (r"\text{Evelyn}", ""), ("cm", ""),
]  # fmt: skip


def test_the_unit_of_an_answer_is_a_known_one_after_its_number() -> None:
    assert [(text, unit_of(text)) for text, _ in WRITTEN] == WRITTEN


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("7%", "7 %"),
        (r"\$7", "7 $"),
        (r"7^\circ", "7 degree"),
        ("7 km/h", "7 km*h^-1"),
        ("7 square feet", "7 ft^2"),
        ("7 apples", "7"),
    ],
)
def test_a_key_has_the_unit(written: str, expected: str) -> None:
    assert key(shape(written)) == expected


UNITS = {
    "m": ["mm", "cm", "km", "in", "ft", "yd", "mi"],
    "s": ["min", "h", "day"],
    "kg": ["mg", "kg"],
    "m^2": ["cm^2", "ft^2"],
}
PAIRS = [(one, other) for units in UNITS.values() for one in units for other in units]


@given(st.fractions(0, 10**6, max_denominator=1000), st.sampled_from(PAIRS))
def test_amounts_of_one_dimension_are_equal_exactly_if_they_convert(amount: Fraction, pair: tuple[str, str]) -> None:
    one, other = pair
    converted = amount * measure(one).size / measure(other).size
    same, different = (rf"{value}\text{{ {other}}}" for value in (converted, converted + 1))
    assert math_worker.accepts(rf"{amount}\text{{ {one}}}", same)
    assert not math_worker.accepts(rf"{amount}\text{{ {one}}}", different)


@given(st.integers(1, 10**6), st.sampled_from(PAIRS))
def test_amounts_that_are_equal_share_a_block(amount: int, pair: tuple[str, str]) -> None:
    converted = amount * measure(pair[0]).size / measure(pair[1]).size
    one, other, plain = (
        blocks(shape(text), lambda _: None)
        for text in (rf"{amount}\text{{ {pair[0]}}}", rf"{converted}\text{{ {pair[1]}}}", f"{amount}")
    )
    assert one.meets(other)
    assert one.meets(plain)


@given(st.text(alphabet="cm/s^2 \\text{}\u00b7%$\u00b0per1", max_size=80))
def test_any_text_has_one_unit_that_can_be_measured(text: str) -> None:
    unit = unit_of(f"5 {text}")
    assert not unit or measure(unit).size > 0


@pytest.mark.parametrize("piece", ["a", "a ", "m/", "m^2", "per ", "\\text{m}", "5 ", "%", "\u00b0"])
def test_hostile_text_ends_soon(piece: str) -> None:
    for text in (piece * (4000 // len(piece)), "5 " + piece * MAX_UNIT + "!"):
        unit_of(text)


def test_the_option_names_policies() -> None:
    assert space_for("math:loose=[units,rounding],seconds=30", "") == MathSpace(seconds=30, loose=("units", "rounding"))
    assert space_for("math:loose=percent,pattern=a,b", "") == MathSpace(loose=("percent",), pattern="a,b")
    with pytest.raises(UnknownName, match=r"no loose policy of answer kind math named .unit.; did you mean .units."):
        space_for("math:loose=unit", "")
