"""Questions from words."""

from typing import Any

import pytest

from reasoner import Question
from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.numbers import NumberSpace
from reasoner.answers.texts import TextSpace
from reasoner.errors import UnknownName, UsageError


def content(text: str, **options: Any) -> str:
    [message] = Question.of(text, **options).prompt.messages
    assert message.role == "user"
    return message.content


def test_the_prompt_is_the_question_and_how_to_answer_it() -> None:
    assert content("  How many?\n") == "How many?\n\nGive the answer as a number."
    assert Question.of("  How many?\n").text == "How many?"


def test_the_document_comes_first_so_that_questions_about_it_share_a_prefix() -> None:
    one = content("How many?", context="  Once upon a time.\n")
    other = content("Who is it?", context="  Once upon a time.\n")
    assert one == "Once upon a time.\n\nHow many?\n\nGive the answer as a number."
    assert other.startswith("Once upon a time.\n\nWho")
    assert content("How many?", context=" \n") == content("How many?")


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_question_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the question is empty"):
        Question.of(text)


def test_the_kind_of_answer_is_guessed_named_or_given() -> None:
    assert Question.of("How many?").space == NumberSpace()
    assert Question.of("How many?", space="text").space == TextSpace()
    assert Question.of("Which? A) x B) y").space == ChoiceSpace(("x", "y"))
    mine = ChoiceSpace(("yes", "no"))
    assert Question.of("How many?", space=mine).space is mine
    with pytest.raises(UnknownName, match="no answer kind named 'integer'"):
        Question.of("How many?", space="integer")


def test_a_question_is_named_by_its_content() -> None:
    base = Question.of("How many?")
    assert base.id == Question.of(" How many? ").id
    others = [
        Question.of("How many!"),
        Question.of("How many?", context="x"),
        Question.of("How many?", space="text"),
        Question.of("How many?", id="q1"),
    ]
    assert len({base.id, *(other.id for other in others)}) == 5
    assert others[-1].id == "q1"


@pytest.mark.parametrize(
    "broken", [{"text": "How many \udcff?"}, {"text": "How many?", "context": "\ud800"}]
)
def test_text_that_is_no_unicode_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        Question.of(**broken)
