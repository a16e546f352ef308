"""What each verifier is worth on 50 one-digit sums and products with the embedded model, all on the same samples.

    python bench/verifiers.py FOLDER [SPEC...]

Draws 16 samples for each reported question (seed 0, temperature 0.7) into FOLDER, unless it holds them, and rates every
answer by each verifier. Accuracies at 8 are means over 200 random subsets of the 16; intervals are 95 %, by bootstrap
over questions, and gains are paired. Seconds are those of rating all answers at once.
"""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reasoner import Cost, Question, SamplingParams
from reasoner.engine import Engine
from reasoner.engines.vllm import VllmEngine
from reasoner.registry import build
from reasoner.trace.grades import GRADES
from reasoner.verifier import CostMeter, Verifier
from reasoner_evals.grading.labelling import label
from reasoner_evals.tasks import arithmetic
from reasoner_strategies import SelfConsistency
from reasoner_verifiers.fitting.labelled import Labelled, read_labelled
from reasoner_verifiers.fitting.measures import Rated, pooled_auroc, selection, within_auroc

POOL, N, SEED = 16, 8, 0
SPECS = (
    "certainty",
    "certainty:measure=tail_likelihood,window=4",
    "certainty:measure=self_certainty,top_k=20",
    "certainty:measure=lowest_group,top_k=20,window=4",
    "judge:min_mass=0",
    "judge:ask=true,min_mass=0",
    "judge:ask=rubric,min_mass=0",
    "orm",
    "ensemble:members=[certainty,orm]",
)


class Row(NamedTuple):
    """One verifier's ratings of all answers, None where it failed, what they cost, and the seconds they took."""

    spec: str
    values: list[float | None]
    cost: Cost
    seconds: float


async def rate(spec: str, drawn: Sequence[Labelled], questions: dict[str, Question], engine: Engine) -> Row:
    verifier: Verifier = build("verifier", spec)
    await verifier.start(engine)

    async def one(candidate: Labelled) -> tuple[float | None, Cost]:
        cost_meter = CostMeter()
        try:
            question = questions[candidate.question_id]
            rating = await verifier.score(question, candidate.completion, engine, cost_meter)
        except Exception as error:
            print(f"{spec}: {error}", file=sys.stderr)
            return None, cost_meter.cost or Cost()
        return rating.value, rating.cost

    began = time.perf_counter()
    rated = await asyncio.gather(*(one(candidate) for candidate in drawn))
    seconds = time.perf_counter() - began
    await verifier.close()
    return Row(spec, [value for value, _ in rated], sum((cost for _, cost in rated), Cost()), seconds)


def by_question(labelled: Sequence[Labelled], values: dict[int, float | None]) -> list[list[Rated]]:
    groups: dict[str, list[Rated]] = defaultdict(list)
    for one in labelled:
        answer = one.sampled.answer if one.judged else None
        groups[one.question_id].append(Rated(answer, one.right, values.get(id(one))))
    return list(groups.values())


def tell(row: Row, labelled: Sequence[Labelled], judged: Sequence[Labelled]) -> None:
    values = dict(zip(map(id, judged), row.values, strict=True))
    groups = by_question(labelled, values)
    chosen = selection(groups, N, seed=SEED)
    pooled, within = pooled_auroc(groups, seed=SEED), within_auroc(groups, seed=SEED)
    failed = sum(value is None for value in row.values)
    print(
        f"| `{row.spec}` | {pooled} | {within} | {chosen.argmax} | {chosen.weighted} | {chosen.weighted_gain} | "
        f"{row.cost.verifier_tokens / len(judged):.1f} + {row.cost.cached_tokens / len(judged):.1f} cached | "
        f"{1000 * row.seconds / len(judged):.1f} ms | {failed} |"
    )


def deciles(row: Row, judged: Sequence[Labelled]) -> str:
    """The share that is right in each tenth of the answers, from the lowest rated to the highest."""
    rated = sorted((value, one.right) for value, one in zip(row.values, judged, strict=True) if value is not None)
    return " ".join(f"{np.mean([right for _, right in part]):.2f}" for part in np.array_split(rated, 10))


async def main(folder: Path, specs: Sequence[str]) -> None:
    items = arithmetic.reported()
    engine = VllmEngine()
    if not (folder / GRADES).exists():
        params = SamplingParams(temperature=0.7, max_tokens=160, logprobs=20)
        await label(items, SelfConsistency(POOL, params), engine, folder, seed=SEED)
    await engine.start()
    questions = {item.question.id: item.question for item in items}
    labelled = read_labelled([folder])
    judged = [one for one in labelled if one.judged]
    rows = [await rate(spec, judged, questions, engine) for spec in specs]
    await engine.close()
    chosen = selection(by_question(labelled, {}), N, seed=SEED)
    print(f"{len(questions)} questions, {len(judged)} answers of {len(labelled)} samples; at {N}: random "
          f"{chosen.random}, majority {chosen.majority}, coverage {chosen.coverage}\n")  # fmt: skip
    print("| verifier | AUROC | within a question | best of 8 | rated vote of 8 | vote's gain over majority | tokens "
          "an answer | time an answer | failed |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for row in rows:
        tell(row, labelled, judged)
    print("\nShare right by decile of the rating, lowest first:")
    for row in rows:
        print(f"  {row.spec}: {deciles(row, judged)}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:] or SPECS))
