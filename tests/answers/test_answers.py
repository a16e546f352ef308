"""Answers read out of what models write: one row for each form that was ever seen or feared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers import ChoiceSpace, NumberSpace, TextSpace, space_for, squad_normal
from reasoner.answers.reading import MAX_DIGITS
from reasoner.errors import UnknownName, UsageError
from reasoner.types import AnswerSpace
from tests.helpers import options_in

NUMBER, TEXT = NumberSpace(), TextSpace()
FOUR = ChoiceSpace(("a cat", "a dog", "12", "2"))


def key(space: AnswerSpace, text: str) -> str | None:
    found = space.read(text)
    return found.key if found else None


# Numbers

NUMBERS: list[tuple[str, str | None]] = [
    ("7", "7"),
    ("The total is 7.", "7"),
    ("it is 3.", "3"),
    ("3.50", "7/2"),
    (".5", "1/2"),
    ("-.5", "-1/2"),
    ("+5", "5"),
    ("-0", "0"),
    ("007", "7"),
    ("1,234", "1234"),
    ("1,234,567.25", "4938269/4"),
    ("$1,234.50.", "2469/2"),
    ("$ 5", "5"),
    ("-$5", "-5"),
    ("$-5", "-5"),
    ("costs €3 or £4", "4"),
    ("5$", "5"),
    ("\u22125", "-5"),
    ("x=\u22123", "-3"),
    ("x=-3", "-3"),
    ("x = - 3", "-3"),
    ("(-3)", "-3"),
    ("5-3", "3"),
    ("5 - 3", "3"),
    ("(2)-3", "3"),
    ("COVID-19", "19"),
    ("- 7", "7"),
    ("on 2024-01-05", "5"),
    ("1, 2", "2"),
    ("1,2", "6/5"),
    ("1,2345", "2469/2000"),
    ("1/2", "1/2"),
    ("5 / 2", "5/2"),
    ("1.5/2", "3/4"),
    ("4/2", "2"),
    ("-1/2", "-1/2"),
    ("1 1/2 cups", "3/2"),
    ("-2 1/4", "-9/4"),
    ("2 7/2", "7/2"),
    ("1/0", None),
    ("10%", "10"),
    ("10\\%", "10"),
    ("50 percent", "50"),
    ("1.5e3", "1500"),
    ("2E-2", "1/50"),
    ("2e apples", "2"),
    ("5km", "5"),
    ("the 5th", "5"),
    ("x1", None),
    ("v1.2.3", None),
    ("25 cm^2", "25"),
    ("25\\text{ cm}^{2}", "25"),
    ("x_{1} = 4", "4"),
    ("no number", None),
    ("#### 18", "18"),
    ("####18", "18"),
    ("#### -1,234.5", "-2469/2"),
    ("#### $5 and 6 left", "5"),
    ("#### 1\n#### 2", "2"),
    ("it is 3\n#### 4\nor 5", "4"),
    ("#### 2. Add them\nThis gives 9", "9"),
    ("#### 12) Add them\nThis gives 9", "9"),
    ("#### 3 + 4 = 7", "7"),
    ("#### none, but 5", "5"),
    (r"\boxed{7} of 9", "7"),
    (r"\boxed{\boxed{7}}", "7"),
    (r"\boxed{x = 7}", "7"),
    (r"\boxed{7 \text{ apples}}", "7"),
    (r"\boxed{\text{ab}{c}{7}}", "7"),
    (r"\boxed{1} then \boxed{2}", "2"),
    (r"\boxed{- 5}", "-5"),
    (r"\boxed{\frac{1}{2}}", "1/2"),
    (r"\boxed{-\dfrac{3}{4}}", "-3/4"),
    (r"\boxed{\frac{-3}{4}}", "-3/4"),
    (r"\boxed{\frac12}", "1/2"),
    (r"\boxed{1\frac{1}{2}}", "3/2"),
    (r"\boxed{1 \tfrac12}", "3/2"),
    (r"\boxed{1{,}234}", "1234"),
    (r"\boxed{12\,345}", "12345"),
    (r"\boxed{1,\!234}", "1234"),
    ("1\u00a0000\u202f000", "1000000"),
    (r"\boxed{25\text{ cm}^2}", "25"),
    (r"\boxed{none} and 8", "8"),
    (r"\boxed{7", "7"),
    ("The answer is 7 because 3 + 4 is that", "7"),
    ("The final answer is: $7$. I hope", "7"),
    ("Answer: **7**, not 8", "7"),
    ("**Answer:** 7 of 8", "7"),
    ("**Answer**: 7 of 8", "7"),
    (r"The answer is \(7\) of 8", "7"),
    ("the answer = -7 of 8", "-7"),
    ("the answer is - 7 of 8", "-7"),
    ("The answer is 3. No: the answer is 4 of 9", "4"),
    ("The answer is 3 + 4 = 7", "7"),
    ("Answer: 5 - 3 = 2 left of 5", "2"),
    (r"The answer is 2 \times 3 = 6", "6"),
    ("The answer is 1/2 = 0.5 = 50/100", "1/2"),
    ("The answer is 5. 2 + 2 = 4", "5"),
    ("The answer isn't 3 but 4", "4"),
    ("result: 9 (of 10)", "9"),
    ("the answers: 3 and 4", "3"),
    ("#### 1, but the answer is 2", "1"),
    (r"\boxed{1}, but the answer is 2", "1"),
    ("\u0663", "3"),
    ("x\u00b2 = 9", "9"),
    ("1" * MAX_DIGITS, "1" * MAX_DIGITS),
    ("1" * (MAX_DIGITS + 1), None),
    ("\ud800 5", "5"),
]


def test_a_number_is_read() -> None:
    assert [(text, key(NUMBER, text)) for text, _ in NUMBERS] == NUMBERS


@pytest.mark.parametrize(
    ("text", "rule", "written"),
    [
        ("#### 1,234 or so", "form", "1,234"),
        (r"\boxed{$1.50}", "form", "$1.50"),
        ("the answer is 7 of 9", "announced", "7"),
        ("it is -7", "last", "-7"),
    ],
)
def test_a_number_tells_how_it_was_found_and_written(text: str, rule: str, written: str) -> None:
    found = NUMBER.read(text)
    assert found is not None
    assert (found.rule, found.text) == (rule, written)


@given(
    st.fractions(max_denominator=1000).filter(lambda value: abs(value) < 10**12),
    st.sampled_from(["{}", "The answer is {}.", r"\boxed{{{}}}", "so\n#### {}", "x = {}", "**Answer:** {}"]),
)
def test_any_fraction_reads_back(value: object, form: str) -> None:
    assert key(NUMBER, form.format(value)) == str(value)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["{:,}", "${:,}", "{:d}.0", "{:+d}", "{:d}/1", "{:d}%"]))
def test_an_integer_is_one_number_however_it_is_written(value: int, form: str) -> None:
    one, other = NUMBER.read(f"The answer is {form.format(value)}"), NUMBER.read(str(value))
    assert one is not None
    assert other is not None
    assert NUMBER.same(one, other)
    assert NUMBER.same(other, one)


# Choices

CHOICES: list[tuple[str, str | None]] = [
    ("C", "C"),
    ("C.", "C"),
    ("(c)", "C"),
    ("**B**", "B"),
    ("Let me see.\nC.", "C"),
    ("The answer is C", "C"),
    ("The answer is C.", "C"),
    ("The answer is (C)", "C"),
    ("the answer is (c), I think", "C"),
    ("the answer is c", "C"),
    ("The answer is **C**", "C"),
    ("The answer is **(C)**.", "C"),
    ("**Answer:** C", "C"),
    ("**Answer**: C", "C"),
    ("Answer: $C$", "C"),
    (r"The answer is \(C\)", "C"),
    ("The answer is option C", "C"),
    ("The correct option is C", "C"),
    ("the best choice: C", "C"),
    ("The answer is A", "A"),
    ("The answer is A.", "A"),
    ("The answer is A because it purrs", "A"),
    ("the answer is a", "A"),
    ("the answer is a) a cat", "A"),
    ("The answer is a bit unclear", None),
    ("The answer is A lion", None),
    ("Answer: A triangle has three sides. Answer: D", "D"),
    ("The answer is I think unknown", None),
    ("The answer isn't C", None),
    ("The answer is I'm not sure", None),
    ("A lion is large", None),
    ("I saw a lion", None),
    ("The answer is E", None),
    ("The answer is Z.", None),
    ("The answer is B. No, the answer is D", "D"),
    ("Perhaps (A), but rather (D)", "D"),
    ("**A.** is what I choose", "A"),
    (r"\boxed{C}", "C"),
    (r"\boxed{\text{C}}", "C"),
    (r"\boxed{\textbf{(C)}}", "C"),
    (r"\boxed{C) 12}", "C"),
    (r"\boxed{A} then \boxed{B}", "B"),
    (r"\boxed{E}, so the answer is B", None),
    (r"\boxed{12}", "C"),
    ("It must be a dog!", "B"),
    ("It must be A DOG", "B"),
    ("a dog, not a cat", "B"),
    ("It must be 12", "C"),
    ("It must be 2", "D"),
    ("It must be 120 or 2.5 or 1.2", None),
    ("It must be 3.12", None),
    ("It must be 12.", "C"),
    ("none of it", None),
]


def test_a_choice_is_read() -> None:
    assert [(text, key(FOUR, text)) for text, _ in CHOICES] == CHOICES


def test_a_choice_asks_for_its_own_letters() -> None:
    assert ChoiceSpace(("x", "y", "z")).instruction == "Give the answer as one letter from A to C."
    assert key(ChoiceSpace(("x", "y", "z")), "The answer is D") is None
    assert key(ChoiceSpace(tuple("abcdefghijklmnopqrstuvwxyz")), "The answer is Z") == "Z"


@pytest.mark.parametrize("count", [0, 1, 27])
def test_a_choice_has_2_to_26_options(count: int) -> None:
    with pytest.raises(UsageError, match=f"{count} options were given"):
        ChoiceSpace(tuple("x" * count))


def test_an_option_is_text_and_no_pattern() -> None:
    assert key(ChoiceSpace(("a+b", "c*d")), "it is a+b") == "A"


# Free text

TEXTS: list[tuple[str, str | None]] = [
    ("Paris", "paris"),
    ("The answer is Paris.", "paris"),
    ("Answer:\n  Paris", "paris"),
    ("Answer: **Paris**.", "paris"),
    ("The Eiffel Tower!", "eiffel tower"),
    ("I think so.\n\nIt is Rome", "rome"),
    ("Rome\n\n", "rome"),
    ("The answer is Oslo, no: the answer is Bern", "bern"),
    ("The answer is Oslo\nThat was easy", "oslo"),
    ("The answer isn't Oslo\nBern", "bern"),
    (r"\boxed{Paris} is the answer: yes", "paris"),
    (r"The answer is \boxed{\text{Paris}}", "paris"),
    ("The answer is:\n", "answer is"),
    ("The", None),
    ("!?", None),
    ("x" * 1000, "x" * 500),
    ("S\u00e3o \u00dcber", "s\u00e3o \u00fcber"),
]


def test_a_text_is_read() -> None:
    assert [(text, key(TEXT, text)) for text, _ in TEXTS] == TEXTS


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat, a dog -- AN ape!", "cat dog ape"),
        ("don't", "dont"),
        ("Athens", "athens"),
        ("a.b", "ab"),
        ("theater an\tda\nthe", "theater da"),
        ("", ""),
    ],
)
def test_the_normal_form_is_squads(text: str, normal: str) -> None:
    assert squad_normal(text) == normal


@given(st.text())
def test_the_normal_form_has_no_articles_and_single_spaces(text: str) -> None:
    normal = squad_normal(text)
    assert normal == " ".join(normal.split())
    assert not {"a", "an", "the"} & set(normal.split())


# Which space

LISTED: list[tuple[str, tuple[str, ...]]] = [
    ("Which? A) red B) blue", ("red", "blue")),
    ("Which?\nA) red\nB) blue\nC) green", ("red", "blue", "green")),
    ("Which?\n(A) red\n(B) blue", ("red", "blue")),
    ("Which? (A) red (B) blue", ("red", "blue")),
    ("Which?\nA. red\nB. blue", ("red", "blue")),
    ("Which?\nA: red one\nB: blue one", ("red one", "blue one")),
    ("Which?\nA)\n  red\nB) blue", ("red", "blue")),
    ("Which?\nA) 3\nB) 4\n\nGive a letter.", ("3", "4")),
    ("Which?\r\nA) 3\r\nB) 4\r\n", ("3", "4")),
    ("Which? A) red C) blue", ()),
    ("Which? B) red C) blue", ()),
    ("Is vitamin A. good?", ()),
    ("Which? a) red b) blue", ()),
    ("Which?", ()),
    ("", ()),
]


@pytest.mark.parametrize(("question", "options"), LISTED)
def test_listed_options_are_found(question: str, options: tuple[str, ...]) -> None:
    assert options_in(question) == options


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Which? A) 3 B) 4", "choice"),
        ("How many A) or B)?", "number"),
        ("How many apples?", "number"),
        ("What is 3 + 4?", "number"),
        ("Compute the sum of the digits", "number"),
        ("What is seven times six?", "number"),
        ("Who wrote Faust?", "text"),
    ],
)
def test_auto_takes_the_space_that_the_question_asks_for(question: str, name: str) -> None:
    assert space_for("auto", question).name == name


def test_a_space_is_chosen_by_name() -> None:
    assert space_for("number", "Who?") == NUMBER
    assert space_for("text", "How many?") == TEXT
    assert space_for("choice", "A) x B) y") == ChoiceSpace(("x", "y"))
    with pytest.raises(UsageError, match="lists no options"):
        space_for("choice", "How many?")
    with pytest.raises(UnknownName, match="did you mean 'number'"):
        space_for("numbers", "How many?")
