"""Mathematical answers meant to hurt: limits that hold before any parser, and reading in linear time."""

import pytest

from reasoner.answers.latex import MAX_LENGTH, MAX_NESTING, MAX_RUN, bare, matching, too_complex
from reasoner.answers.maths import MathSpace
from reasoner.answers.shapes import Words, shape
from reasoner.answers.thinking import TAIL

MATH = MathSpace()

TOO_COMPLEX: list[tuple[str, str]] = [
    ("x" * (MAX_LENGTH + 1), "longer than"),
    ("(" * (MAX_NESTING + 1), "nested deeper"),
    ("{[(" * 22, "nested deeper"),
    ("\\frac{1}{" * 400, "nested deeper"),
    ("1" * (MAX_RUN + 1), "digits in a row"),
    ("9^{9^{9}}", "a power"),
    ("9^9^9", "a power"),
    ("9**9**9", "a power"),
    ("9^{(9^9)}", "a power"),
    ("(9)^(9)^(9)", "a power"),
    ("2^{10!}", "a power"),
    ("2^{100000}", "a power"),
    ("2^{-100000}", "a power"),
    ("x^123456", "a power"),
    ("10000!", "a factorial"),
    ("(10^8)!", "a factorial"),
    ("((9!)!)!", "a factorial"),
    ("\\sum_{i=1}^{10^9} i", "a power"),
    ("\\prod_{i=1}^{10000} i", "a sum"),
    ("\\sum_{i=1}^{n} i^i", "a sum"),
    ("\\binom{100000}{3}", "a sum"),
    ("\\dbinom{10^8}{3}", "a sum"),
    ("{10^8 \\choose 3}", "a sum"),
    ("__import__('os')", "code"),
    ("import os", "code"),
    ("lambda: 0", "code"),
    ("eval(1)", "code"),
]


@pytest.mark.parametrize(("text", "why"), TOO_COMPLEX, ids=lambda text: f"{text[:20]!a}*{len(text)}")
def test_what_no_parser_should_see_is_words(text: str, why: str) -> None:
    assert why in (too_complex(text) or "")
    assert isinstance(shape(text), Words)


@pytest.mark.parametrize(
    "text",
    [
        "x" * MAX_LENGTH,
        "(" * MAX_NESTING + ")" * MAX_NESTING,
        "1" * MAX_RUN,
        "e^{x^2}",
        "2^{2^n}",
        "2^{2005}",
        "x^{-1/2}",
        "9999!",
        "n!",
        "\\frac{10!}{3!7!}",
        "\\binom{10}{5}",
        "\\sum_{i=1}^{n} i",
        "\\lambda",
        "\\lambda + important",
        "(x+1)^2(x-1)^3",
    ],
    ids=lambda text: f"{text[:20]!a}*{len(text)}",
)
def test_what_people_write_is_within_the_limits(text: str) -> None:
    assert too_complex(text) is None


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("$x$", "x"),
        ("$$x$$", "x"),
        ("\\(x\\)", "x"),
        ("\\[ x \\]", "x"),
        ("**$\\boxed{x}$.**", "x"),
        ("\\boxed{x} + \\boxed{y}", "\\boxed{x} + \\boxed{y}"),
        ("$x$ and $y$", "$x$ and $y$"),
        (".", "."),
        ("", ""),
    ],
)
def test_what_sets_an_answer_off_is_taken_off(text: str, inner: str) -> None:
    assert bare(text).strip("$") == inner.strip("$")


def test_brackets_match_whatever_their_kind() -> None:
    assert matching("(a[b}c)d", 0) == 6
    assert matching("(((", 0) == -1


UNITS = [
    "\\boxed{", "{", "$", "\\(", "\\[", "$$", "$1$ and ", "answer is ", "answer is $", "answer is 5 ", "####", "\\text{",
    "\\frac", "\\frac1", "\\sqrt", "sqrt(", "sqrt(1)", "^", "^{", "_{", "!", ")!", "1 ", "1,", "1/", "1 1/2 ", "x=", "x\\in ",
    "a=b,", ">", "1>", "\\cup", "\\pm", "\\pm1", "&", "\\\\", "(", "[", "(1,", "\\{", "\\begin{pmatrix}", "1&1\\\\", "a ", "word ",
    "5 word ", "5cm", "and,", "**", "`", "\\left(", "\\binom", "5_{", "0.\\overline{", "\\cdot10^", "\u221a(", "^\\circ", "%",
    "x<1,", "x<1 or ", "x\\ne1,", "|x|<", "\\{x:", "\\setminus\\{1,", "x\\in(", "sin 3\u00b0", "sin(3\u00b0+", "[[1,", "1:", "(C) 1 ",
    "\\,\\mathrm{m}/", "one hundred and ", "USD ", "m/s ", "5 to 6 ", "all reals except ", "\\approx", "A) ", "]1,",
    "\\text{ cm}", " .", "; ", "import", "- ", "'", "1\n", "\n", "\ud800", "final answer is ",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: f"{unit!a}")
def test_hostile_text_ends_soon(unit: str) -> None:
    for before, after in (("", ""), ("answer is ", ""), ("\\boxed{", "}"), ("$", "$"), ("5", "x")):
        MATH.read(f"{before}{unit * (TAIL // len(unit))}{after}")
        text = f"{before}{unit * (MAX_LENGTH // len(unit) - 9)}{after}"
        MATH.read(text)
        shape(text)


@pytest.mark.parametrize("text", ["\\boxed{" * 10**5, "$" * 10**6, "1," * 10**6, "x^" * 10**6])
def test_endless_text_is_only_looked_at_from_the_end(text: str) -> None:
    MATH.read(text)
    MATH.answer(text)
