"""How well and how fast replies are read: precision and recall on the corpora of the tests, and time per reading.

    python bench/reading.py
    python bench/reading.py forms     the time per reading of a reply of 500 tokens, by kind and form

Precision is the share of readings that are right, recall the share of answers, in a form or not, that are read rightly.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.maths import MathSpace
from reasoner.answers.numbers import NumberSpace
from reasoner.answers.texts import TextSpace, YesNoSpace
from reasoner.types import AnswerSpace
from tests.answers.test_corpus import ROWS, read, space_of

ROUNDS = 20
ENDINGS = (r"So \boxed{X}.", "<answer>X</answer>", "The answer is X.", "X")
SPACES: dict[str, AnswerSpace] = {
    "number": NumberSpace(),
    "math": MathSpace(),
    "choice": ChoiceSpace(("iron", "tin", "zinc", "lead")),
    "yes_no": YesNoSpace(),
    "text": TextSpace(),
}
ANSWERS = {"number": "42", "math": r"$\frac{3\sqrt{2}}{4}$", "choice": "B", "yes_no": "Yes", "text": "Paris"}
Reading = tuple[AnswerSpace, str]


def groups(rows: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """All rows, and those of each language and kind."""
    yield "all", rows
    yield "English", [row for row in rows if row["language"] == "english"]
    yield "other languages", [row for row in rows if row["language"] != "english"]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        yield kind, [row for row in rows if row["kind"] == kind]
        yield f"{kind}, English", [row for row in rows if row["kind"] == kind and row["language"] == "english"]


def microseconds(readings: list[Reading], rounds: int) -> float:
    """Processor time of a reading."""
    began = time.process_time()
    for _ in range(rounds):
        for space, text in readings:
            space.read(text)
    return (time.process_time() - began) / rounds / len(readings) * 1e6


def qualities() -> None:
    """Print precision, recall and time on each corpus."""
    for name in dict.fromkeys(row["corpus"] for row in ROWS):
        rows = [row for row in ROWS if row["corpus"] == name]
        print(f"{name:20}{'replies':>8}{'precision':>11}{'recall':>8}{'us':>8}")
        for group, chosen in groups(rows):
            readings = [(read(row), row["expected"]) for row in chosen]
            right = sum(got == expected is not None for got, expected in readings)
            given = sum(got is not None for got, _ in readings)
            stated = sum(expected is not None for _, expected in readings)
            spent = microseconds([(space_of(row), row["text"]) for row in chosen], ROUNDS)
            print(f"{group:20}{len(chosen):8}{right / max(1, given):11.3f}{right / max(1, stated):8.3f}{spent:8.1f}")


def forms() -> None:
    """Print the time per reading of a reply of some 500 tokens by the form of its answer, the least of some rounds."""
    body = (
        "Each of the 12 boxes holds 8 apples, so there are $12 \\times 8 = 96$ apples. That is used in the next part.\n"
        * 19
    )
    for ending in ENDINGS:
        for name, space in SPACES.items():
            text = body + ending.replace("X", ANSWERS[name])
            answer = space.read(text)
            spent = min(microseconds([(space, text)], 500) for _ in range(ROUNDS))
            print(f"{ending.strip()!r:32}{name:8}{answer.key if answer else '-':22}{spent:6.1f} us")


if __name__ == "__main__":
    forms() if sys.argv[1:] == ["forms"] else qualities()
