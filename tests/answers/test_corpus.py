"""Replies in the shapes that models write, in 21 languages: what a form gives is right."""

import json
from pathlib import Path
from typing import Any

import pytest

from reasoner.answers import math_worker
from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.code import CodeSpace
from reasoner.answers.maths import MathSpace
from reasoner.answers.numbers import NumberSpace
from reasoner.answers.texts import TextSpace, YesNoSpace
from reasoner.answers.thinking import final_segment
from reasoner.types import AnswerSpace

CORPUS = Path(__file__).with_name("corpus")
ROWS: list[dict[str, Any]] = [
    {**json.loads(line), "corpus": path.stem}
    for path in sorted(CORPUS.iterdir())
    for line in path.read_text(encoding="utf-8").splitlines()
]
"""Replies of six writers: with and without a form, corrected, cut, and in sentences."""
SPACES: dict[str, AnswerSpace] = {
    space.name: space
    for space in (NumberSpace(), MathSpace(), YesNoSpace(), TextSpace(), CodeSpace())
}
STATED = {
    "number": 425,
    "math": 261,
    "choice": 369,
    "yes_no": 265,
    "text": 195,
    "code": 20,
}
"""The least number of replies of each kind that have a form."""


def space_of(row: dict[str, Any]) -> AnswerSpace:
    return (
        ChoiceSpace(tuple(row["options"]))
        if row["kind"] == "choice"
        else SPACES[row["kind"]]
    )


def read(row: dict[str, Any]) -> str | None:
    """The key that is read; the expected one if the two are the same number, text or formula."""
    space = space_of(row)
    answer = space.read(row["text"])
    if (
        answer is None
        or row["expected"] is None
        or row["kind"] not in ("math", "number", "text")
    ):
        return answer.key if answer else None
    if row["kind"] != "math":
        expected = space.read(f"<answer>{row['expected']}</answer>")
        return (
            str(row["expected"])
            if expected and expected.key == answer.key
            else answer.key
        )
    expected = SPACES["math"].answer(row["expected"])  # type: ignore[attr-defined]
    same = SPACES["math"].same(expected, answer) or math_worker.accepts(
        row["expected"], answer.text
    )
    return str(row["expected"]) if same else answer.key


@pytest.mark.parametrize("kind", STATED)
def test_what_a_form_gives_is_right(kind: str) -> None:
    readings = [
        (read(row), row["expected"], row["text"]) for row in ROWS if row["kind"] == kind
    ]
    wrong = [
        reading
        for reading in readings
        if reading[0] is not None and reading[0] != reading[1]
    ]
    assert wrong == []
    assert sum(got is not None for got, _, _ in readings) >= STATED[kind]


def test_what_was_only_thought_is_never_read() -> None:
    for row in ROWS:
        if row["text"] == final_segment(row["text"]):
            for opening in (
                "<think>",
                "[THINK]",
                "<seed:think>",
                "<thought>",
                "<|channel|>analysis<|message|>",
            ):
                assert space_of(row).read(opening + row["text"]) is None, row
