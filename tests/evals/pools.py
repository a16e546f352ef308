"""Small recordings, made up."""

import json
import random
from pathlib import Path

OTHERS = ["8", "9", "10", None]


def write_pool(
    path: Path,
    *,
    questions: int,
    right: float,
    samples: int = 16,
    seed: int = 0,
    gold: str = "7",
) -> Path:
    """Questions whose answers are right with a chance of about `right`, else one of three others, or none."""
    source = random.Random(seed)
    lines = []
    for number in range(questions):
        share = min(max(source.gauss(right, 0.1), 0.0), 1.0)
        for index in range(samples):
            answer = "7" if source.random() < share else source.choice(OTHERS)
            reply = {
                "question_id": f"q{number}",
                "gold": gold,
                "index": index,
                "answer": answer,
                "tokens": source.randint(20, 60),
            }
            lines.append(json.dumps(reply))
    path.write_text("\n".join(lines) + "\n")
    return path
