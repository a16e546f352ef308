"""Small files in the format of each benchmark, self-written: no data of any benchmark."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
GSM8K: Rows = [
    {"question": "Eve has 3 pens and buys 4. How many has she?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"},
    {"question": "A car costs $1,200 and Bo pays half. What does Bo pay?", "answer": "Half.\n#### 600"},
    {"question": "It was 5 degrees and fell by 8. What is it now?", "answer": "5 - 8\n#### -3"},
]
MATH: Rows = [
    {"problem": "Halve $\\sqrt{12}$.", "answer": "\\sqrt{3}", "unique_id": "test/own/1.json"},
    {"problem": "Where is $x<1$ and $x\\ge 0$?", "answer": "[0,1)", "unique_id": "test/own/2.json"},
]
CONTEST: Rows = [
    {"problem": "How many subsets have 6 elements?", "answer": "064"},
    {"problem": "What is $30-3$?", "answer": 27.0},
]
GPQA: Rows = [
    {
        "Question": "Which particle has no charge?",
        "Correct Answer": "the neutron",
        "Incorrect Answer 1": "the proton",
        "Incorrect Answer 2": "the electron",
        "Incorrect Answer 3": "the muon",
        "Record ID": f"rec{number}",
    }
    for number in range(3)
]
ARC: Rows = [
    {
        "id": "own_1",
        "question": "Which is a metal?",
        "choices": {"text": ["wood", "iron", "wool", "salt", "air"], "label": ["A", "B", "C", "D", "E"]},
        "answerKey": "B",
    },
    {
        "id": "own_2",
        "question": "Which is a planet?",
        "choices": {"text": ["Sun", "Moon", "Mars"], "label": ["1", "2", "3"]},
        "answerKey": "3",
    },
]
MMLU: Rows = [
    {"question": "What is 2 + 2?", "subject": "own_maths", "choices": ["3", "4", "5", "6"], "answer": 1},
    {"question": "What do bees make?", "subject": "own_life", "choices": ["milk", "wax"], "answer": "B"},
]
HUMANEVAL: Rows = [
    {
        "task_id": "Own/0",
        "prompt": 'from typing import List\n\n\ndef twice(xs: List[int]) -> List[int]:\n    """Each number twice."""\n',
        "canonical_solution": "    return [x for x in xs for _ in range(2)]\n",
        "test": "def check(candidate):\n    assert candidate([1, 2]) == [1, 1, 2, 2]\n    assert candidate([]) == []\n",
        "entry_point": "twice",
    }
]
MBPP: Rows = [
    {
        "task_id": 11,
        "text": "Write a function that adds one.",
        "code": "def add_one(x):\n    return x + 1",
        "test_list": ["assert add_one(1) == 2", "assert add_one(-1) == 0"],
        "test_setup_code": "",
    }
]
OWN: Rows = [
    {"question": "What is 6 x 7?", "answer": "42", "group": "g"},
    {"question": "What is the largest of them?", "answer": "the Sun", "choices": ["the Sun", "the Moon"]},
    {"id": "mine", "question": "Who wrote it?", "answer": "Ada", "kind": "text", "context": "It is by a lady."},
]
POOL: Rows = [
    {"question_id": "own/0", "gold": "33", "answers": ["33", "33", None, "89"], "tokens": [7, 5, 6, 12]},
    {"question_id": "own/1", "gold": "2.5", "answers": ["2", "5/2", "2.5", "x"], "tokens": [1, 2, 3, 4]},
]

ROWS: Mapping[str, Rows] = {
    "aime24": CONTEST,
    "aime25": CONTEST,
    "amc23": CONTEST,
    "arc_challenge": ARC,
    "arc_easy": ARC,
    "gpqa_diamond": GPQA,
    "gsm8k": GSM8K,
    "humaneval": HUMANEVAL,
    "jsonl": OWN,
    "math500": MATH,
    "mbpp": MBPP,
    "mmlu": MMLU,
    "pool": POOL,
}


def jsonl(file: Path, rows: Rows) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def as_csv(file: Path, rows: Rows) -> Path:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def spec(name: str, folder: Path, write: Callable[[Path, Rows], Path] = jsonl) -> str:
    """The spec of a task over its small file, or of one that makes its questions."""
    if name not in ROWS:
        return {"arithmetic": "arithmetic", "gym": "gym:chain_sum,size=5"}[name]
    file = write(folder / f"{name}.{'csv' if write is as_csv else 'jsonl'}", ROWS[name])
    return f"{name}:{'' if name in ('jsonl', 'pool') else 'data='}{file}"
