"""Answers read out of text that is broken, endless or meant to hurt, and out of thinking that never ended."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reasoner.answers import SPACES, TAIL, ChoiceSpace, NumberSpace, TextSpace, boxed, final_segment, space_for
from reasoner.types import Answer, AnswerSpace
from tests.helpers import options_in

NUMBER, TEXT = NumberSpace(), TextSpace()
FOUR = ChoiceSpace(("a cat", "a dog", "12", "2"))

# Thinking

ALL: list[AnswerSpace] = [NUMBER, ChoiceSpace(("x", "y")), TEXT]


@pytest.mark.parametrize(
    ("text", "segment"),
    [
        ("plain", "plain"),
        ("<think>7</think>8", "8"),
        ("7</think>8", "8"),
        ("<think>7", None),
        ("<think>6</think>7<think>8", "7<think>8"),
        ("<think>5</think>6<think>7</think>8", "8"),
        ("<think>7</think>", ""),
        ("x" * TAIL + "y" * TAIL, "y" * TAIL),
        ("<think>" + "x" * TAIL, None),
    ],
)
def test_only_what_follows_the_last_thinking_is_read(text: str, segment: str | None) -> None:
    assert final_segment(text) == segment


@pytest.mark.parametrize("space", ALL, ids=lambda space: space.name)
def test_thinking_that_never_ended_holds_no_answer(space: AnswerSpace) -> None:
    assert space.read("<think>The answer is 7. The answer is A") is None
    assert space.read("The answer is 7. The answer is A </think>") is None


@pytest.mark.parametrize("space", ALL, ids=lambda space: space.name)
@pytest.mark.parametrize("text", ["", " ", "\n\t \u00a0\n", "</think>"])
def test_nothing_holds_no_answer(space: AnswerSpace, text: str) -> None:
    assert space.read(text) is None


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{a}", "a"),
        (r"\boxed{{a}{b{c}}}d}", "{a}{b{c}}"),
        (r"\boxed{}", ""),
        (r"\boxed{a", None),
        (r"\boxed{a} \boxed{b", "a"),
        ("boxed{a}", None),
    ],
)
def test_a_box_ends_at_its_own_brace(text: str, content: str | None) -> None:
    assert boxed(text) == content


# Hostile text

MILLION = 10**6
HOSTILE = [
    "\\boxed{" * (MILLION // 7),
    "{" * MILLION,
    "\\boxed{" + "{" * (TAIL // 2) + "}" * (TAIL // 2),
    "1" * 10**5,
    "1," * (MILLION // 2),
    "1,111" * (MILLION // 5),
    "1/" * (MILLION // 2),
    "1 " * (MILLION // 2),
    "1e" * (MILLION // 2),
    "-" * MILLION,
    "= - " * (MILLION // 4),
    "answer is " * (MILLION // 10),
    "answer is" + " " * MILLION,
    "answer" + " " * (TAIL - 20) + "is" + " " * 10,
    "answer is" + " " * (TAIL - 20),
    "answer is" + "\n" * (TAIL - 20),
    "answer is" + "$" * (TAIL - 20),
    "answer is 1" + "+1" * (TAIL // 2 - 20),
    "answer is 1 =" + " " * (TAIL - 20),
    "answer is A" + " " * (TAIL - 20),
    "correct option is option " * (MILLION // 25),
    "####" + " " * (TAIL - 20),
    "\\frac{" * (MILLION // 6),
    "\\frac{" + "1" * (TAIL - 20),
    "^{" * (MILLION // 2),
    "**A" * (MILLION // 3),
    "A) " * (MILLION // 3),
    "A) x" + " " * (TAIL - 20) + "y",
    "</think>" * (MILLION // 8),
    "\ud800" * MILLION,
]


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: f"{text[:14]!a}*{len(text)}")
def test_hostile_text_ends_soon(text: str) -> None:
    for name in SPACES:
        if name != "choice":
            space_for(name, text).read(text)
    FOUR.read(text)
    assert len(options_in(text)) <= 26


PIECES = ["The answer is", "answer:", "####", "\\boxed{", "}", "{", "<think>", "</think>", "A", "(B)", "**", "$", "1"]
MARKS = ["-", " ", "\n", ",", ".", "/", "=", "\\frac", "^", "7", "e", "\u2212", "option", "\ud800", "\u0663", "'"]
words = st.sampled_from([*PIECES, *MARKS])


@given(st.one_of(st.text(), st.lists(words, max_size=30).map("".join), st.characters().map(lambda c: c * 50)))
@example("\ud800\udfff")
@example("\x00")
def test_reading_never_raises_and_one_answer_is_the_same_as_itself(text: str) -> None:
    spaces: list[AnswerSpace] = [NUMBER, TEXT, FOUR, space_for("auto", text)]
    for space in spaces:
        found = space.read(text)
        assert found is None or (found.key and space.same(found, found))


keys = st.text(min_size=1, max_size=3)


@given(st.sampled_from(ALL), keys, keys)
def test_two_answers_are_one_exactly_when_their_keys_are(space: AnswerSpace, one: str, other: str) -> None:
    a, b = Answer("written so", one), Answer("written otherwise", other)
    assert space.same(a, b) == (one == other)
