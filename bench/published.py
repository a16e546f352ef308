"""The records of replies that others published, for `reasoner pool`: the pools and chains of the other benches.

    python bench/published.py answers FOLDER GOLDS > replies.jsonl
    python bench/published.py chains FILE > replies.jsonl
    reasoner pool replies.jsonl --out pool.jsonl
    python bench/published.py contested pool.jsonl > contested.jsonl

FOLDER is one of `resources/` of github.com/LiuzLab/consol (ConSol, 2503.17587): one model on one data set, with a file
`N.csv` for question N, whose rows are samples with their `answer` and `token_usage`. The benches use folders with 40
rows a file. GOLDS is a JSON line with the `target` of each question of the data set, in its order, from 0 on.

FILE is one of `evaluation/Qwen3-8B-128/` of github.com/zhengkid/Parallel-Probe (2602.03845), which states no licence: a
list of questions with their `gold_answer`, `probe_freq` and `each_branch`: probes, tokens, final answer.

"contested" makes hard cases for stop rules of a pool of chains with probes: for each two answers of a question with six
chains or more, 64 chains. The answer whose chains have the longer median has 38 of them, and is the gold answer.
"""

import csv
import itertools
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
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


def chains(path: Path) -> Iterator[dict[str, Any]]:
    """A record of each chain of each question."""
    for number, question in enumerate(json.loads(path.read_text())):
        for probes, tokens, answer in question["each_branch"]:
            yield {
                "question_id": f"{path.stem}/{number}",
                "gold": question["gold_answer"],
                "answer": answer,
                "tokens": tokens,
                "probes": probes,
                "every": question["probe_freq"],
            }


def contested(
    path: Path, *, n: int = 64, most: int = 38, least: int = 6
) -> Iterator[dict[str, Any]]:
    """A question for each pair of answers, with their chains in a random order, repeated where they are too few."""
    source = random.Random(0)
    for line in map(json.loads, path.read_text().splitlines()):
        groups: dict[str, list[dict[str, Any]]] = {}
        for chain in line["chains"]:
            groups.setdefault(chain["answer"], []).append(chain)
        known = [
            group
            for answer, group in groups.items()
            if answer not in (None, "ERR") and len(group) >= least
        ]
        for pair in itertools.combinations(known, 2):
            short, long = sorted(
                pair, key=lambda group: median(chain["tokens"] for chain in group)
            )
            drawn = []
            for group, count in ((long, most), (short, n - most)):
                shuffled = source.sample(group, len(group))
                drawn += list(itertools.islice(itertools.cycle(shuffled), count))
            name = f"{line['question_id']}/{long[0]['answer']}/{short[0]['answer']}"
            chains = source.sample(drawn, n)
            yield line | {
                "question_id": name,
                "gold": long[0]["answer"],
                "chains": chains,
            }


if __name__ == "__main__":
    kind, *paths = sys.argv[1:]
    match kind:
        case "answers":
            records = answers(*map(Path, paths))
        case "contested":
            records = contested(Path(*paths))
        case _:
            records = chains(Path(*paths))
    for record in records:
        print(json.dumps(record))
