"""Yes and no read out of what models write, and the questions that ask for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers import TAIL, YesNoSpace, space_for
from reasoner.types import Answer

YES_NO = YesNoSpace()


def key(text: str) -> str | None:
    found = YES_NO.read(text)
    return found.key if found else None


READ: list[tuple[str, str | None]] = [
    ("yes", "yes"),
    ("No.", "no"),
    ("NO!", "no"),
    ("true", "yes"),
    ("False.", "no"),
    ("the answer is yes", "yes"),
    ("The answer is No, as it sinks", "no"),
    ("The answer is no because it sinks. Yes, really", "no"),
    ("Answer: No", "no"),
    ("**Answer:** Yes", "yes"),
    ("**Answer**: **no**", "no"),
    ("Answer:\n\nNo", "no"),
    ('The answer is "yes", not no', "yes"),
    (r"The answer is \(\text{no}\), or was it yes", "no"),
    (r"The answer is \boxed{yes}. No doubt", "yes"),
    ("The answer is false, yes", "no"),
    ("The answer is no. No: the answer is yes", "yes"),
    ("The answer is yes\nNo more to say", "yes"),
    ("The answer is no.5", None),
    ("The answer is No. 5", None),
    ("The answer is no one", None),
    ("The answer is no longer clear", None),
    ("The answer is yes or no", None),
    ("The answer is not yes", None),
    ("The answer isn't yes", None),
    ("The answer is nothing", None),
    ("The answer is 5", None),
    (r"\boxed{No} was never in doubt: yes", "no"),
    (r"\boxed{\text{Yes}}", "yes"),
    (r"\boxed{\textbf{no, it sinks}}", "no"),
    (r"\boxed{5}, yes", "yes"),
    (r"\boxed{yes} The answer is no", "yes"),
    ("Could it? Yes.\nNo, it could not", "no"),
    ("Yes, at first.\n\n**No**, on reflection.\n", "no"),
    ("yes and no\n- Yes", "yes"),
    ("No it is not", "no"),
    ("No evidence was found", None),
    ("There is no evidence, so I say yes indeed", "yes"),
    ("It floats, so I would say yes here", "yes"),
    ("It sinks, so I would say no", "no"),
    ("It may float, yes, it does. I repeat: yes", "yes"),
    ("One says yes, one says no", None),
    ("Let me answer yes or no: it is yes", "yes"),
    ("Answer (yes/no): no", "no"),
    ("It is true that it floats", "yes"),
    ("That is not true", "no"),
    ("That isn't false", None),
    ("The true cause is rain", None),
    ("_no_", "no"),
    ("no-one and yes-men", None),
    ("I know nothing, yesterday", None),
    ("", None),
    ("</think>", None),
    ("<think>yes", None),
    ("<think>yes</think>no", "no"),
    ("yes" * TAIL, None),
]


def test_yes_or_no_is_read() -> None:
    assert [(text, key(text)) for text, _ in READ] == READ


@pytest.mark.parametrize(
    ("text", "rule", "written"),
    [
        ("the answer is TRUE, here", "announced", "TRUE"),
        (r"\boxed{No}", "form", "No"),
        ("Yes, it is", "last", "Yes"),
        ("I say yes", "last", "yes"),
    ],
)
def test_it_tells_how_it_was_found_and_written(text: str, rule: str, written: str) -> None:
    found = YES_NO.read(text)
    assert found is not None
    assert (found.rule, found.text) == (rule, written)


def test_true_is_the_same_as_yes_and_not_as_no() -> None:
    yes, true, no = YES_NO.read("yes"), YES_NO.read("True"), YES_NO.read("no")
    assert yes is not None
    assert true is not None
    assert no is not None
    assert YES_NO.same(yes, true)
    assert not YES_NO.same(yes, no)
    assert YES_NO.same(Answer("x", "no"), Answer("y", "no"))


@pytest.mark.parametrize(
    "text",
    [
        "yes " * 10**5,
        "no" + " " * 10**5,
        "no " * 10**5,
        "no" + " " * (TAIL - 20) + "x",
        "answer is" + "\\a{" * 10**5,
        "answer is" + "\\" + "a" * (TAIL - 20),
        "answer is " * 10**5 + "no",
        "*" * 10**5 + "yes",
    ],
    ids=lambda text: f"{text[:14]!a}*{len(text)}",
)
def test_hostile_text_ends_soon(text: str) -> None:
    YES_NO.read(text)
    space_for("auto", text)


PIECES = [
    "The answer is",
    "Answer:",
    "\\boxed{",
    "}",
    "yes",
    "no",
    "No",
    "true",
    "or",
    "not ",
    " ",
    "\n",
    ".",
    "*",
    "/",
    "'",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=30).map("".join)))
def test_reading_never_raises_and_gives_yes_or_no(text: str) -> None:
    assert key(text) in {"yes", "no", None}


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Is 7 a prime, yes or no?", "yes_no"),
        ("Is 3 + 4 = 7? Yes or no?", "yes_no"),
        ("Does iron float? (yes/no)", "yes_no"),
        ("Does iron float? Answer yes or no.", "yes_no"),
        ("Does iron float? Please answer with yes or no.", "yes_no"),
        ("Does iron float?", "text"),
        ("How many people said yes or no?", "number"),
        ("Yes or no: who says so?", "text"),
        ("Which, yes or no? A) yes B) no", "choice"),
    ],
)
def test_auto_takes_yes_or_no_only_where_the_question_closes_so(question: str, name: str) -> None:
    assert space_for("auto", question).name == name


def test_yes_no_is_chosen_by_name() -> None:
    assert space_for("yes_no", "How many?") == YES_NO
