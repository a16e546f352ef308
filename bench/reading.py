"""How well and how fast replies are read: precision and recall on the corpora of the tests, and time per reading.

    python bench/reading.py
    python bench/reading.py lengths   the time per reading of replies of 2,000 and 20,000 characters, beside Math-Verify

Precision is the share of readings that are right, recall the share of answers, in a form or not, that are read rightly.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
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
ENDINGS = (r"So \boxed{X}.", "<answer>X</answer>", "The answer is X.", "X", "")
BODIES = {
    "prose": "The boxes are carried to the pier and counted once more before the ship leaves in the evening.\n",
    "formulas": "Each of the 12 boxes holds 8 apples, so there are $12 \\times 8 = 96$ apples.\n",
    "the word answer": "The answer to this part depends on what the question says, so we look at it again.\n",
    "markup": "Here is <b>some</b> text with x < y, [1, 2] and \\boxed{12}.\n",
    "Chinese": "\u7b54\u6848\u662f\u5426\u53d6\u51b3\u4e8e\u95ee\u9898\uff1f\u518d\u770b\u4e00\u904d\u3002\n",
}
SPACES: dict[str, AnswerSpace] = {
    "number": NumberSpace(),
    "math": MathSpace(),
    "choice": ChoiceSpace(("iron", "tin", "zinc", "lead")),
    "yes_no": YesNoSpace(),
    "text": TextSpace(),
}
ANSWERS = {
    "number": "42",
    "math": r"$\frac{3\sqrt{2}}{4}$",
    "choice": "B",
    "yes_no": "Yes",
    "text": "Paris",
}
Reading = tuple[AnswerSpace, str]


def groups(rows: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """All rows, and those of each language and kind."""
    yield "all", rows
    yield "English", [row for row in rows if row["language"] == "english"]
    yield "other languages", [row for row in rows if row["language"] != "english"]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        yield kind, [row for row in rows if row["kind"] == kind]
        yield (
            f"{kind}, English",
            [
                row
                for row in rows
                if row["kind"] == kind and row["language"] == "english"
            ],
        )


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
            spent = microseconds(
                [(space_of(row), row["text"]) for row in chosen], ROUNDS
            )
            print(
                f"{group:20}{len(chosen):8}{right / max(1, given):11.3f}{right / max(1, stated):8.3f}{spent:8.1f}"
            )


def least(work: Callable[[], object]) -> float:
    """Microseconds of a call, the least mean of 5 rounds of 4 ms each."""
    best = math.inf
    for _ in range(5):
        began, calls = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < 0.004:
            work()
            calls += 1
        best = min(best, spent / calls * 1e6)
    return best


def lengths() -> None:
    """Print the time per reading by body and form: of the fastest and the slowest kind, and of Math-Verify."""
    from math_verify import parse  # type: ignore[import-untyped]

    print(
        f"{'characters':>10}  {'body':16}{'form':24}{'us':>8}{'slowest':>9}{'Math-Verify':>13}"
    )
    for size in (2_000, 20_000):
        for name, line in BODIES.items():
            for ending in ENDINGS:
                body = (line * (size // len(line) + 1))[:size]
                took = [
                    least(
                        partial(
                            space.read, f"{body}\n{ending.replace('X', ANSWERS[kind])}"
                        )
                    )
                    for kind, space in SPACES.items()
                ]
                peer = least(
                    partial(
                        parse,
                        f"{body}\n{ending.replace('X', ANSWERS['math'])}",
                        parsing_timeout=None,
                    )
                )
                print(
                    f"{size:10,}  {name:16}{ending!r:24}{min(took):8.1f}{max(took):9.1f}{peer:13.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    lengths() if sys.argv[1:] == ["lengths"] else qualities()
