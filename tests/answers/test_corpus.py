"""Replies in the shapes that models write, in sixteen languages: each is read as a person reads it."""

import json
from pathlib import Path
from typing import Any

import pytest

from reasoner.answers import (
    ChoiceSpace,
    CodeSpace,
    MathSpace,
    NumberSpace,
    TextSpace,
    YesNoSpace,
    final_segment,
    math_worker,
)
from reasoner.answers.languages import languages
from reasoner.types import AnswerSpace

CORPUS = Path(__file__).with_name("corpus")


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()]


ROWS = rows_of("replies.jsonl")
"""Those that the rules were written with."""
HELD_OUT = rows_of("held_out.jsonl")
"""Those that somebody else wrote, and that were looked at only after the rules were written."""
HELD_OUT_2 = rows_of("held_out_2.jsonl")
"""Those that were written before they were read the first time; the misses of that run were mended after it."""
NATURAL = [*rows_of("natural_1.jsonl"), *rows_of("natural_2.jsonl")]
"""Those of two more writers, as models write without any intent: some are cut off, some answer in a sentence."""
UNTHOUGHT = [row for row in ROWS if row["text"] == final_segment(row["text"])]
SPACES: dict[str, AnswerSpace] = {
    space.name: space for space in (NumberSpace(), MathSpace(), YesNoSpace(), TextSpace(), CodeSpace())
}


def space_of(row: dict[str, Any]) -> AnswerSpace:
    return ChoiceSpace(tuple(row["options"])) if row["kind"] == "choice" else SPACES[row["kind"]]


def read(row: dict[str, Any]) -> str | None:
    """The key that is read; the expected one if the two are the same number, text or formula."""
    space = space_of(row)
    answer = space.read(row["text"])
    if answer is None or row["expected"] is None or row["kind"] not in ("math", "number", "text"):
        return answer.key if answer else None
    if row["kind"] != "math":
        expected = space.read(f"<answer>{row['expected']}</answer>")
        return str(row["expected"]) if expected and expected.key == answer.key else answer.key
    expected = SPACES["math"].answer(row["expected"])  # type: ignore[attr-defined]
    same = SPACES["math"].same(expected, answer) or math_worker.equal(row["expected"], answer.text)
    return str(row["expected"]) if same else answer.key


@pytest.mark.parametrize("kind", [*SPACES, "choice"])
def test_every_reply_is_read_as_expected(kind: str) -> None:
    rows = [row for row in ROWS if row["kind"] == kind]
    wrong = [(row["text"], row["expected"], got) for row in rows if (got := read(row)) != row["expected"]]
    assert rows
    assert wrong == []


@pytest.mark.parametrize("rows", [HELD_OUT, HELD_OUT_2], ids=["first", "second"])
def test_replies_that_the_rules_were_not_written_with_are_read(rows: list[dict[str, Any]]) -> None:
    readings = [(read(row), row["expected"]) for row in rows]
    right = sum(got == expected is not None for got, expected in readings)
    assert right > 0.99 * sum(got is not None for got, _ in readings)
    assert right > 0.97 * sum(expected is not None for _, expected in readings)


def test_natural_replies_are_read() -> None:
    """The bar is what is reached: replies that were cut off are read here, and answers in a sentence are its text."""
    readings = [(read(row), row["expected"]) for row in NATURAL]
    right = sum(got == expected is not None for got, expected in readings)
    assert right > 0.945 * sum(got is not None for got, _ in readings)
    assert right > 0.965 * sum(expected is not None for _, expected in readings)


@pytest.mark.parametrize("language", languages(), ids=lambda language: language.name)
def test_every_language_has_replies_of_every_kind(language: Any) -> None:
    kinds = {row["kind"] for row in ROWS if row["language"] == language.name}
    assert kinds >= {"number", "math", "choice", "yes_no", "text"}


@pytest.mark.parametrize("remark", ["\n\nThis took 3 steps.", "\n\nConfidence: 95%", "\n\nI hope this helps!"])
def test_a_remark_after_an_explicit_answer_changes_nothing(remark: str) -> None:
    for row in UNTHOUGHT:
        answer = space_of(row).read(row["text"])
        if answer and answer.rule in ("form", "announced", "heading") and row["kind"] in ("number", "choice", "yes_no"):
            after = space_of(row).read(row["text"] + remark)
            assert after is not None, row
            assert after.key == answer.key, row


def test_what_was_only_thought_is_never_read() -> None:
    for row in UNTHOUGHT:
        for opening in ("<think>", "[THINK]", "<seed:think>", "<thought>", "<|channel|>analysis<|message|>"):
            assert space_of(row).read(opening + row["text"]) is None, row
