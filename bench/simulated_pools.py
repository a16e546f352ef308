"""Write recordings of simulated answers of known law: hard settings for the controller.

    python bench/simulated_pools.py FOLDER [QUESTIONS]

40 answers to each of 400 questions, seed 0. In "third" the answers of a question have a Dirichlet law, and on a third
of the questions a wrong one leads. In "level" votes gain nothing: the model is sure and right (60 %), sure and wrong
(20 %), or gives a different wrong answer each time (20 %): these have no right answer among the samples.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from replies import write

from reasoner_evals.stats import Floats

ANSWERS, SAMPLES = 8, 40
Law = Callable[[np.random.Generator], Floats]
"""The chance of each answer to a new question; the first is right."""


def third(source: np.random.Generator) -> Floats:
    law = source.dirichlet(np.full(ANSWERS, 0.5))
    leader = 1 if source.random() < 1 / 3 else 0
    at = int(law.argmax())
    law[[leader, at]] = law[[at, leader]]
    return law


def level(source: np.random.Generator) -> Floats:
    kind = source.random()
    if kind >= 0.8:
        return np.concatenate([[0.0], source.dirichlet(np.full(ANSWERS - 1, 2.0))])
    law = np.full(ANSWERS, 0.03 / (ANSWERS - 1))
    law[0 if kind < 0.6 else 1] = 0.97
    return law


def main(folder: Path, questions: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    laws: dict[str, Law] = {"third": third, "level": level}
    for name, law in laws.items():
        source, asked = np.random.default_rng(0), list[dict[str, Any]]()
        for question in range(questions):
            answers = source.choice(ANSWERS, SAMPLES, p=law(source))
            tokens = source.lognormal(5, 0.4, SAMPLES).astype(int) + 1
            replies = [
                {"answer": str(answer), "tokens": length}
                for answer, length in zip(answers, tokens.tolist(), strict=True)
            ]
            asked.append(
                {"question_id": f"{name}-{question}", "gold": "0", "replies": replies}
            )
        write(folder / f"{name}.jsonl", asked)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 400)
