"""Prompts made from a question's own, and verdicts read from replies."""

from collections.abc import Callable, Sequence

import pytest

from reasoner.registry import build
from reasoner.strategy import Sample
from reasoner.testing.support import completion, number_question
from reasoner.types import Message, Prompt
from reasoner_strategies._prompts import (
    shortened,
    verdict,
    with_request,
    with_shots,
    with_text,
    without_reply,
)

QUESTION = number_question()
CHAT = Prompt.chat("How many?", system="Be brief.")
RAW = Prompt(raw="Q: How many?\nA:")
SYSTEM, USER = CHAT.messages


TURNS = (Message("user", "1+1?"), Message("assistant", "2"))


CONTINUED, RAW_CONTINUED = CHAT.extended("So", (4,)), RAW.extended("So", (4,))


@pytest.mark.parametrize(
    ("make", "given", "expected"),
    [
        (
            with_text,
            (CONTINUED, "Think."),
            Prompt((SYSTEM, Message("user", "How many?\n\nThink.")), "", (4,), "So"),
        ),
        (with_shots, (CHAT, ("1+1?", "2")), Prompt((SYSTEM, *TURNS, USER))),
        (with_shots, (Prompt((USER,)), ("1+1?", "2")), Prompt((*TURNS, USER))),
        (
            with_shots,
            (RAW, ("Q: 1+1?\nA:", " 2")),
            Prompt(raw="Q: 1+1?\nA: 2\n\nQ: How many?\nA:"),
        ),
        (
            with_request,
            (CONTINUED, "So 7", "Sure?"),
            Prompt(
                (*CHAT.messages, Message("assistant", "So 7"), Message("user", "Sure?"))
            ),
        ),
        (
            with_request,
            (RAW, "7", "Sure?"),
            Prompt(raw="Q: How many?\nA:7\n\nSure?\n\n"),
        ),
        (without_reply, (CONTINUED,), CHAT),
    ],
)
def test_prompts_are_made_of_the_questions_own(
    make: Callable[..., Prompt], given: tuple[object, ...], expected: Prompt
) -> None:
    assert make(*given) == expected


def test_quotes_are_bounded_keep_the_end_and_are_never_empty() -> None:
    assert shortened(" the end \n") == "the end"
    assert shortened("x" * 4000) == "x" * 4000
    assert shortened("x" * 9000 + "end") == "[...] " + "x" * 3997 + "end"
    assert shortened(" \n") == "(nothing)"
    assert (
        with_request(CHAT, "x" * 9000, "Sure?").messages[2].content
        == "[...] " + "x" * 4000
    )


NUMBERS = [str(number) for number in range(1, 13)]


@pytest.mark.parametrize(
    ("text", "allowed", "read"),
    [
        ("Better: A", "AB", "A"),
        ("B counts twice.\n**Better: B**", "AB", "B"),
        ("better : b", "AB", "B"),
        ("Better: A\nNo, wait.\nBetter: B", "AB", "B"),
        ("Better: A lot of work", "AB", None),
        ("A is better", "AB", None),
        ("", "AB", None),
        ("Better: 13", NUMBERS, None),
        ("Better: not correct", ["correct", "wrong"], None),
    ],
)
def test_the_last_verdict_of_the_right_form_counts(
    text: str, allowed: Sequence[str], read: str | None
) -> None:
    assert verdict(completion(text), "better", allowed) == read
    assert verdict(completion(text, finish="length"), "better", allowed) is None


# One sample


def test_examples_are_earlier_turns_and_an_instruction_ends_the_user_turn() -> None:
    op = next(
        build(
            "strategy", 'single:shots=[1+1?,2],instruction="Think, then answer."'
        ).plan(QUESTION)
    )
    assert isinstance(op, Sample)
    [prompt], [message] = op.prompts, QUESTION.prompt.messages
    asked = Message("user", f"{message.content}\n\nThink, then answer.")
    assert prompt.messages == (
        Message("user", "1+1?"),
        Message("assistant", "2"),
        asked,
    )
