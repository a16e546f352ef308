"""How well and how fast replies are read: precision and recall on the corpora of the tests, and time per reading.

    python bench/reading.py
    python bench/reading.py 1000000 POOL...     only times that many readings, by kind, of corpora and recorded pools

Precision is the share of readings that are right, recall the share of answers, in a form or not, that are read rightly.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.maths import MathSpace
from reasoner.answers.numbers import NumberSpace
from reasoner.types import AnswerSpace
from tests.answers.test_corpus import ROWS, read, space_of

ROUNDS = 20
FIVE = ChoiceSpace(("first", "second", "third", "fourth", "fifth"), "numbers")
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


def times(total: int, pools: list[Path]) -> None:
    """Print the time per reading of `total` readings, the same number for each kind of the corpora and each pool."""
    sets: dict[str, list[Reading]] = {}
    for row in ROWS:
        sets.setdefault(row["kind"], []).append((space_of(row), row["text"]))
    for pool in pools:
        lines = [json.loads(line) for line in pool.read_text(encoding="utf-8").splitlines()]
        space = FIVE if "medqa" in pool.name else MathSpace() if "aime" in pool.name else NumberSpace()
        answers = [answer for line in lines for answer in line["answers"] if answer is not None]
        sets[pool.name] = [(space, rf"The answer is \boxed{{{answer}}}") for answer in answers]
    spent = {}
    for name, readings in sets.items():
        spent[name] = microseconds(readings, max(1, total // len(sets) // len(readings)))
        print(f"{name:28}{spent[name]:8.1f} us")
    print(f"{'mean':28}{sum(spent.values()) / len(spent):8.1f} us")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        times(int(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
    else:
        qualities()
