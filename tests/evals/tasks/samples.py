"""Small files in the format of each benchmark, self-written: no data of any benchmark."""

import base64
import csv
import json
import pickle
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
GSM8K: Rows = [
    {
        "question": "Eve has 3 pens and buys 4. How many has she?",
        "answer": "3 + 4 = <<3+4=7>>7\n#### 7",
    },
    {
        "question": "A car costs $1,200 and Bo pays half. What does Bo pay?",
        "answer": "Half.\n#### 600",
    },
    {
        "question": "It was 5 degrees and fell by 8. What is it now?",
        "answer": "5 - 8\n#### -3",
    },
]
MATH: Rows = [
    {
        "problem": "Halve $\\sqrt{12}$.",
        "answer": "\\sqrt{3}",
        "unique_id": "test/own/1.json",
    },
    {
        "problem": "Where is $x<1$ and $x\\ge 0$?",
        "answer": "[0,1)",
        "unique_id": "test/own/2.json",
    },
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
        "choices": {
            "text": ["wood", "iron", "wool", "salt", "air"],
            "label": ["A", "B", "C", "D", "E"],
        },
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
    {
        "question": "What is 2 + 2?",
        "subject": "own_maths",
        "choices": ["3", "4", "5", "6"],
        "answer": 1,
    },
    {
        "question": "What do bees make?",
        "subject": "own_life",
        "choices": ["milk", "wax"],
        "answer": "B",
    },
]
MMLU_PRO: Rows = [
    {
        "question": "What is 2 + 2?",
        "options": [*list("3456789"), "4"],
        "answer": "B",
        "answer_index": 1,
        "category": "maths",
    },
    {
        "question": "What do bees make?",
        "options": ["milk", "wax", "wine"],
        "answer": "B",
        "answer_index": 1,
        "category": "life",
    },
]
SUPERGPQA: Rows = [
    {
        "uuid": "u1",
        "question": "What is 2 + 2?",
        "options": list("3456"),
        "answer": "4",
        "answer_letter": "B",
        "discipline": "maths",
    },
]
HMMT: Rows = [
    {
        "problem_idx": 1,
        "problem": "Halve $\\sqrt{12}$.",
        "answer": "\\sqrt{3}",
        "problem_type": ["Algebra"],
    }
]
OLYMPIAD: Rows = [
    {
        "id": 1,
        "question": "Halve $\\sqrt{12}$.",
        "final_answer": ["$\\sqrt{3}$"],
        "context": None,
        "is_multiple_answer": False,
        "unit": None,
        "error": None,
    },
    {
        "id": 2,
        "question": "Where is $x^2=4$?",
        "final_answer": ["$2,-2$"],
        "is_multiple_answer": True,
    },
    {
        "id": 3,
        "question": "How long is it?",
        "final_answer": ["3.1"],
        "context": "It is a rod.",
        "unit": "m",
        "error": "0.1",
    },
]
TESTS = [
    {"input": "1 2\n", "output": "3\n", "testtype": "stdin"},
    {"input": "2 2\n", "output": "4.0\n", "testtype": "stdin"},
]
CALLS = [{"input": "[1, 2]\n3", "output": "[4, 5]", "testtype": "functional"}]


def hidden(tests: Rows) -> str:
    """Hidden tests as LiveCodeBench publishes them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


LIVECODEBENCH: Rows = [
    {
        "question_id": "own_a",
        "question_content": "Add two numbers.",
        "starter_code": "",
        "contest_date": "2024-08-03T00:00:00",
        "public_test_cases": json.dumps(TESTS[:1]),
        "private_test_cases": hidden(TESTS),
        "metadata": "{}",
    },
    {
        "question_id": "1",
        "question_content": "Add a number to all.",
        "contest_date": "2025-01-04T00:00:00",
        "starter_code": "class Solution:\n    def plus(self, xs: List[int], n: int) -> List[int]:\n        ",
        "public_test_cases": json.dumps(CALLS),
        "private_test_cases": json.dumps(CALLS),
        "metadata": '{"func_name": "plus"}',
    },
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
    {
        "question": "What is the largest of them?",
        "answer": "the Sun",
        "choices": ["the Sun", "the Moon"],
    },
    {
        "id": "mine",
        "question": "Who wrote it?",
        "answer": "Ada",
        "kind": "text",
        "context": "It is by a lady.",
    },
]
BBH: Rows = [
    {
        "group": "snarks",
        "input": "Which is sarcastic?\nOptions:\n(A) Rain again, lovely\n(B) Rain again",
        "target": "(A)",
    },
    {
        "group": "navigate",
        "input": "Do you return?\nOptions:\n- Yes\n- No",
        "target": "No",
    },
    {
        "group": "dyck_languages",
        "input": "Complete the sequence: [ { (",
        "target": ") } ]",
    },
    {
        "group": "word_sorting",
        "input": "Sort: List: pear apple",
        "target": "apple pear",
    },
    {
        "group": "object_counting",
        "question": "How many pens are two pens?",
        "answer": "2",
    },
    {
        "group": "hyperbaton",
        "question": "Which order is usual?",
        "choices": ["old red", "red old"],
        "answer": "A",
    },
]
POOL: Rows = [
    {
        "question_id": name,
        "gold": gold,
        "index": index,
        "answer": answer,
        "tokens": tokens,
    }
    for name, gold, replies in (
        ("own/0", "33", [("33", 7), ("33", 5), (None, 6), ("89", 12)]),
        ("own/1", "2.5", [("2", 1), ("5/2", 2), ("2.5", 3), ("x", 4)]),
    )
    for index, (answer, tokens) in enumerate(replies)
]

ROWS: Mapping[str, Rows] = {
    "aime24": CONTEST,
    "aime25": CONTEST,
    "aime26": CONTEST,
    "amc23": CONTEST,
    "arc_challenge": ARC,
    "arc_easy": ARC,
    "bbh": BBH,
    "gpqa_diamond": GPQA,
    "gsm8k": GSM8K,
    "hf": OWN,
    "hmmt": HMMT,
    "humaneval": HUMANEVAL,
    "jsonl": OWN,
    "livecodebench": LIVECODEBENCH,
    "math500": MATH,
    "mbpp": MBPP,
    "mmlu": MMLU,
    "mmlu_pro": MMLU_PRO,
    "olympiadbench": OLYMPIAD,
    "pool": POOL,
    "supergpqa": SUPERGPQA,
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
        return {"arithmetic": "arithmetic"}[name]
    if name == "hf":
        (folder / "hub").mkdir(exist_ok=True)
        jsonl(folder / "hub" / "test.jsonl", OWN)
        return f"hf:{folder / 'hub'}"
    file = write(folder / f"{name}.{'csv' if write is as_csv else 'jsonl'}", ROWS[name])
    return f"{name}:path={file}"
