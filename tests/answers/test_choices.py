"""Choices labelled by numbers, labels in LaTeX, and the options that a question lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers import TAIL, ChoiceSpace, space_for
from reasoner.answers.choices import choice_in
from tests.helpers import options_in

FIVE = ChoiceSpace(("iron", "12", "tin", "4", "zinc ore"), "numbers")
FOUR = ChoiceSpace(("a cat", "a dog", "12", "2"))


def key(space: ChoiceSpace, text: str) -> str | None:
    found = space.read(text)
    return found.key if found else None


NUMBERED: list[tuple[str, str | None, str]] = [
    ("3", "3", "line"),
    ("3.", "3", "line"),
    ("(3)", "3", "line"),
    ("**3**", "3", "line"),
    ("**(3)**", "3", "line"),
    (r"\textbf{3}", "3", "line"),
    ("(1) no, but (3)", "3", "last"),
    ("The answer is 3", "3", "announced"),
    ("The answer is (3).", "3", "announced"),
    ("The answer is 3 because it shines", "3", "announced"),
    ("The correct option is 3", "3", "announced"),
    ("Answer: $3$", "3", "announced"),
    (r"The answer is \textbf{3}", "3", "announced"),
    (r"\boxed{3}", "3", "form"),
    (r"\boxed{\text{(3)}}", "3", "form"),
    ("The answer is 12", "2", "announced"),
    (r"\boxed{12}", "2", "form"),
    ("It must be tin", "3", "last"),
    ("It is zinc ore", "5", "last"),
    ("f(3) is iron", "1", "last"),
    ("The answer is 3 apples", None, ""),
    ("The answer is 3.5", None, ""),
    ("The answer is 3%", None, ""),
    ("The answer is 6", None, ""),
    ("I see 3 cats", None, ""),
    ("iron or tin", None, ""),
    ("<think>The answer is 3", None, ""),
]


def test_a_numbered_choice_is_read() -> None:
    answers = [(text, FIVE.read(text)) for text, _, _ in NUMBERED]
    assert [(text, answer and answer.key, answer.rule if answer else "") for text, answer in answers] == NUMBERED


@pytest.mark.parametrize(
    "text",
    [
        r"The answer is $\text{(C)}$",
        r"The answer is \text{C}",
        r"\textbf{C}",
        r"so $\text{(C)}$ it is",
        r"\mathrm{C}",
        r"\text{C.}",
        r"\boxed{\textbf{(C) } 12}",
    ],
)
def test_a_letter_in_latex_is_a_label(text: str) -> None:
    assert key(FOUR, text) == "C"


def test_a_vote_is_for_an_option_however_it_was_named() -> None:
    label, text = FOUR.read("The answer is (B)"), FOUR.read("It must be a dog")
    assert label
    assert text
    assert FOUR.same(label, text)


def test_a_numbered_choice_asks_for_a_number() -> None:
    assert FIVE.instruction == "Give the answer as one number from 1 to 5."
    assert ChoiceSpace(("x", "y")).instruction == "Give the answer as one letter from A to B."
    assert key(ChoiceSpace(tuple("abcdefghijklmnopqrstuvwxyz"), "numbers"), "The answer is 26") == "26"


LISTED: list[tuple[str, tuple[str, ...]]] = [
    ("Which? 1) red 2) blue", ("red", "blue")),
    ("Which? (1) red (2) blue", ("red", "blue")),
    ("Which?\n1. red\n2. blue\n3. green", ("red", "blue", "green")),
    ("Which of these:\n1) red one\n2) blue one\n", ("red one", "blue one")),
    ("Who?\n" + "\n".join(f"{n}. option {n}" for n in range(1, 12)), tuple(f"option {n}" for n in range(1, 12))),
    ("Solve: 1) 2+2 2) 3+3", ()),
    ("Which? 1) red", ()),
    ("Which? 1) red 3) blue", ()),
    ("Which? 2) red 3) blue", ()),
    ("Which? 1. red 2. blue", ()),
    ("Consider 1) red 2) blue. Who?", ()),
    ("Steps:\n1. mix\n2. bake\nHow long does it take?", ()),
    ("Which? 1) red 2) blue\nExplain.", ()),
    ("What is 2?\n1", ()),
]


@pytest.mark.parametrize(("question", "options"), LISTED)
def test_numbered_options_are_found_right_after_what_is_asked(question: str, options: tuple[str, ...]) -> None:
    assert options_in(question) == options
    assert choice_in(question) == (ChoiceSpace(options, "numbers") if options else None)
    assert (space_for("auto", question).name == "choice") == bool(options)


def test_lettered_options_come_first() -> None:
    assert choice_in("Which? A) 1) red B) 2) blue") == ChoiceSpace(("1) red", "2) blue"))


@pytest.mark.parametrize(
    "unit", ["1) ", "? 1) x", ":\n1. x\n", "1) x 2) y ", "(3)", "**3", "answer is 3 ", "\\text{3", "?"]
)
def test_hostile_text_ends_soon(unit: str) -> None:
    text = unit * (TAIL // len(unit))
    FIVE.read(text)
    choice_in(text)
    choice_in("Which? 1) " + text)


@given(st.text(alphabet="?:12345) (.\nabAB*{}\\", max_size=60))
def test_reading_never_raises_and_gives_a_label(text: str) -> None:
    assert key(FIVE, text) in {None, *FIVE.known}
    assert len(options_in(text)) <= 26
