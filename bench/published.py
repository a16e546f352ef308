"""Recordings of replies that others published: the answers and chains of the other benches.

    python bench/published.py answers FOLDER GOLDS > replies.jsonl
    python bench/published.py chains FILE > replies.jsonl

FOLDER is one of `resources/` of github.com/LiuzLab/consol (ConSol, 2503.17587): one model on one data set, with a file
`N.csv` for question N, whose rows are samples with their `answer` and `token_usage`. The benches use folders with 40
rows a file. GOLDS is a JSON line with the `target` of each question of the data set, in its order, from 0 on.

FILE is one of `evaluation/Qwen3-8B-128/` of github.com/zhengkid/Parallel-Probe (2602.03845), which states no licence: a
list of questions with their `gold_answer`, `probe_freq` and `each_branch`: probes, tokens, final answer.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def answers(folder: Path, golds: Path) -> Iterator[dict[str, Any]]:
    """A record of each sample of each question that has a file."""
    targets = [json.loads(line)["target"] for line in golds.read_text().splitlines()]
    for number, target in enumerate(targets):
        path = folder / f"{number}.csv"
        if not path.exists():
            continue
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                yield {
                    "question_id": f"{folder.name}/{number}",
                    "gold": _plain(str(target)),
                    "answer": _plain(row["answer"]),
                    "tokens": int(row["token_usage"]),
                }


def _plain(answer: str) -> str | None:
    """The answer as it is written by hand: 33 for 33.0; None where there is none."""
    if answer in ("", "nan"):
        return None
    return answer.removesuffix(".0")


def _read(answer: str | None) -> str | None:
    """The answer; None for one that could not be read."""
    return None if answer == "ERR" else answer


def chains(path: Path) -> Iterator[dict[str, Any]]:
    """A record of each chain of each question."""
    for number, question in enumerate(json.loads(path.read_text())):
        for probes, tokens, answer in question["each_branch"]:
            yield {
                "question_id": f"{path.stem}/{number}",
                "gold": question["gold_answer"],
                "answer": _read(answer),
                "tokens": tokens,
                "probes": [_read(probe) for probe in probes],
                "every": question["probe_freq"],
            }


if __name__ == "__main__":
    kind, *paths = sys.argv[1:]
    match kind:
        case "answers":
            records = answers(*map(Path, paths))
        case _:
            records = chains(Path(*paths))
    for record in records:
        print(json.dumps(record))
