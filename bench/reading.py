"""How well and how fast replies are read: precision and recall on the corpora of the tests, and time per reading.

    python bench/reading.py

Precision is the share of readings that are right, recall the share of stated answers that are read rightly. The rules
were written with `replies.jsonl`, and without `held_out.jsonl`.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.answers.test_corpus import HELD_OUT, ROWS, read, space_of

ROUNDS = 20


def groups(rows: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    yield "all", rows
    yield "English", [row for row in rows if row["language"] == "english"]
    yield "other languages", [row for row in rows if row["language"] != "english"]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        yield kind, [row for row in rows if row["kind"] == kind]


def main() -> None:
    for name, rows in (("replies.jsonl", ROWS), ("held_out.jsonl", HELD_OUT)):
        print(f"{name:20}{'replies':>8}{'precision':>11}{'recall':>8}{'us':>8}")
        for group, chosen in groups(rows):
            readings = [(read(row), row["expected"]) for row in chosen]
            right = sum(got == expected is not None for got, expected in readings)
            given = sum(got is not None for got, _ in readings)
            stated = sum(expected is not None for _, expected in readings)
            spaces = [(space_of(row), row["text"]) for row in chosen]
            began = time.process_time()
            for _ in range(ROUNDS):
                for space, text in spaces:
                    space.read(text)
            spent = (time.process_time() - began) / ROUNDS / len(chosen)
            print(f"{group:20}{len(chosen):8}{right / given:11.3f}{right / stated:8.3f}{spent * 1e6:8.1f}")


if __name__ == "__main__":
    main()
