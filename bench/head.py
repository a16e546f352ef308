"""The included head for the embedded model: the data it was fitted on, and the fit.

    python bench/head.py FOLDER

Draws 12 samples for each of 800 practice questions (seed 1, temperature 0.7) into FOLDER, unless it holds them, and
fits the head as `reasoner verifier fit FOLDER --out FILE` does. No question that is reported anywhere, nor its two
numbers in the other order, is among them. `bench/verifiers.py` measures the head on the reported questions.
"""

import asyncio
import sys
from pathlib import Path

from reasoner import SamplingParams
from reasoner.engines.vllm import VllmEngine
from reasoner.trace.grades import GRADES
from reasoner_evals.grading.labelling import label
from reasoner_evals.tasks import arithmetic
from reasoner_strategies import SelfConsistency

QUESTIONS, SAMPLES, SEED = 800, 12, 1


async def draw(folder: Path) -> None:
    engine = VllmEngine()
    strategy = SelfConsistency(SAMPLES, SamplingParams(temperature=0.7, max_tokens=160))
    await label(arithmetic.practice(QUESTIONS), strategy, engine, folder, seed=SEED)
    await engine.close()


def main(folder: Path) -> None:
    from reasoner.cli import main as reasoner
    from reasoner_verifiers.reward.model import EMBEDDED_HEAD

    if not (folder / GRADES).exists():
        asyncio.run(draw(folder))
    reasoner(["verifier", "fit", str(folder), "--out", str(EMBEDDED_HEAD)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
