"""Recordings as the benches read and write them: questions with their replies, a line for each reply."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def records(file: Path) -> Iterator[dict[str, Any]]:
    """The replies of a recording; none where there is no file."""
    if file.exists():
        opened = gzip.open if file.suffix == ".gz" else open
        with opened(file, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def questions_in(file: Path) -> list[dict[str, Any]]:
    """Each question with its samples, in order; `every` is the distance of their probes."""
    samples: dict[str, list[dict[str, Any]]] = {}
    for record in records(file):
        if record.get("index", 0) >= 0:
            samples.setdefault(record["question_id"], []).append(record)
    return [
        {
            "question_id": name,
            "gold": replies[0].get("gold"),
            "every": replies[0].get("every", 500),
            "replies": sorted(replies, key=lambda each: each.get("index", 0)),
        }
        for name, replies in samples.items()
    ]


def write(file: Path, asked: Iterable[dict[str, Any]]) -> None:
    """Write questions with their replies as a recording."""
    lines = (
        {
            **reply,
            "question_id": question["question_id"],
            "gold": question["gold"],
            "every": question.get("every", 500),
            "index": index,
        }
        for question in asked
        for index, reply in enumerate(question["replies"])
    )
    file.write_text(
        "".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8"
    )
