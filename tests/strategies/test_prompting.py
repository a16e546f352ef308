"""Prompts made from a question's own, and verdicts read from replies."""

import time

import pytest

from reasoner.types import Message, Prompt
from reasoner_strategies._prompts import shortened, verdict, with_request, with_shots, with_text, without_reply
from tests.helpers import completion

CHAT = Prompt.chat("How many?", system="Be brief.")
RAW = Prompt(raw="Q: How many?\nA:")
SYSTEM, USER = CHAT.messages


def test_a_text_joins_the_user_turn_and_what_was_generated_stays() -> None:
    begun = CHAT.extended("So", (4,))
    assert with_text(begun, "Think.") == Prompt((SYSTEM, Message("user", "How many?\n\nThink.")), "", (4,), "So")
    assert with_text(RAW.extended("So", (4,)), "Think.") == Prompt((), "Q: How many?\nA:\n\nThink.", (4,), "So")
    assert with_text(begun, "") is begun


def test_after_a_turn_of_the_model_the_text_is_a_turn_of_its_own() -> None:
    chat = Prompt((USER, Message("assistant", "7")))
    assert with_text(chat, "Sure?").messages == (*chat.messages, Message("user", "Sure?"))


def test_examples_come_after_the_system_turn_and_before_the_rest() -> None:
    turns = (Message("user", "1+1?"), Message("assistant", "2"))
    assert with_shots(CHAT, ("1+1?", "2")).messages == (SYSTEM, *turns, USER)
    assert with_shots(Prompt((USER,)), ("1+1?", "2")).messages == (*turns, USER)
    assert with_shots(RAW, ("Q: 1+1?\nA:", " 2")).raw == "Q: 1+1?\nA: 2\n\nQ: How many?\nA:"
    assert with_shots(CHAT, ()) == CHAT


def test_a_conversation_continues_with_what_was_generated_in_the_turn() -> None:
    prompt = with_request(CHAT.extended("So", (4,)), "So 7", "Sure?")
    assert prompt == Prompt((*CHAT.messages, Message("assistant", "So 7"), Message("user", "Sure?")))
    assert with_request(RAW, "7", "Sure?") == Prompt(raw="Q: How many?\nA:7\n\nSure?\n\n")


def test_bare_is_the_head() -> None:
    assert without_reply(CHAT.extended("So", (4,))) == CHAT


def test_quotes_are_bounded_keep_the_end_and_are_never_empty() -> None:
    assert shortened(" the end \n") == "the end"
    assert shortened("x" * 4000) == "x" * 4000
    assert shortened("x" * 9000 + "end") == "[...] " + "x" * 3997 + "end"
    assert shortened(" \n") == "(nothing)"
    assert with_request(CHAT, "x" * 9000, "Sure?").messages[2].content == "[...] " + "x" * 4000


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Better: A", "A"),
        ("B counts twice.\n**Better: B**", "B"),
        ("Better: **Answer A**.\n", "A"),
        ("better : b", "B"),
        ("Better: A\nNo, wait.\nBetter: B", "B"),
        ("Better: A or B", None),
        ("Better: A lot of work", None),
        ("Better: C", None),
        ("A is better", None),
        ("", None),
    ],
)
def test_the_last_verdict_of_the_right_form_counts(text: str, read: str | None) -> None:
    assert verdict(completion(text), "better", "AB") == read


def test_a_cut_reply_has_no_verdict() -> None:
    assert verdict(completion("Better: A", finish="length"), "better", "AB") is None
    assert verdict(completion("Better: A", finish="abort"), "better", "AB") is None


def test_numbers_and_words_are_verdicts_too() -> None:
    numbers = [str(number) for number in range(1, 13)]
    assert verdict(completion("Best: 12"), "best", numbers) == "12"
    assert verdict(completion("Best: answer 3"), "best", numbers) == "3"
    assert verdict(completion("Best: 13"), "best", numbers) is None
    assert verdict(completion("Verdict: Correct."), "verdict", ("correct", "wrong")) == "correct"
    assert verdict(completion("Verdict: not correct"), "verdict", ("correct", "wrong")) is None


@pytest.mark.parametrize(
    "piece", ["Better:", "Better: A ", "Better: **", "*", "Better: answer answer ", "\n", "better"]
)
def test_hostile_text_costs_little_time(piece: str) -> None:
    # Of the processor: a busy machine does not count. Time that grows with the square of the text takes minutes.
    began = time.process_time()
    assert verdict(completion(piece * 100_000), "better", "AB") in (None, "A")
    assert time.process_time() - began < 5
