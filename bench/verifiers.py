"""The gain of each verifier on 50 one-digit sums and products with the embedded model, all on the same samples.

    python bench/verifiers.py FOLDER [SPEC...]

Draws 16 samples for each reported question (seed 0, temperature 0.7) into FOLDER, unless it holds a run, and rates
every answer by each verifier. Accuracies at 8 are means over 200 random subsets of the 16; intervals are 95 %, by
bootstrap over questions, and gains are paired. Seconds are those of rating all answers at once.
"""

import asyncio
import json
import math
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reasoner import Answer, Completion, Cost, Question
from reasoner.answers.texts import TextSpace
from reasoner.engine import Engine
from reasoner.engines.vllm import VllmEngine
from reasoner.registry import build
from reasoner.trace.events import Sampled, read_trace
from reasoner.trace.replies import GRADES, TRACE, completions_in
from reasoner.verifier import CostMeter, Verifier
from reasoner.voting import Tally
from reasoner_evals.tasks import arithmetic

POOL, N, SEED, RESAMPLES = 16, 8, 0, 400
SUBSETS = 200
"""Random subsets of a question's samples; an accuracy at n is their mean."""
SPECS = (
    "certainty",
    "certainty:measure=self_certainty,top_k=20",
    "certainty:measure=lowest_group,top_k=20,window=4",
    "judge:min_mass=0",
    "judge:ask=true,min_mass=0",
    "judge:ask=rubric,min_mass=0",
    "orm",
    "certainty*orm",
)


T = TypeVar("T")


class LabelledSequence(NamedTuple):
    """A sequence of a graded run, and its grade."""

    sampled: Sampled
    completion: Completion
    grade: str

    @property
    def question_id(self) -> str:
        return self.sampled.question_id

    @property
    def right(self) -> bool:
        return self.grade == "right"

    @property
    def judged(self) -> bool:
        return self.grade in ("right", "wrong")


class ResampledEstimate(NamedTuple):
    """A mean over questions with its 95 % interval, by bootstrap over questions."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


Ratings = Sequence[tuple[float, bool]]
"""Values of the answers to a question, and whether each is right."""


@dataclass(frozen=True, slots=True)
class Rated:
    """The answer of a sequence and the verifier's value, both None without an answer, and whether it is right."""

    answer: Answer | None
    right: bool
    value: float | None


class Selection(NamedTuple):
    """Accuracies at n samples per question, and the gain of two ways of selecting over the majority."""

    n: int
    random: ResampledEstimate
    majority: ResampledEstimate
    argmax: ResampledEstimate
    weighted: ResampledEstimate
    coverage: ResampledEstimate
    argmax_gain: ResampledEstimate
    weighted_gain: ResampledEstimate


class Row(NamedTuple):
    """One verifier's ratings of all answers, None where it failed, what they cost, and the seconds they took."""

    spec: str
    values: list[float | None]
    cost: Cost
    seconds: float


async def rate(
    spec: str,
    drawn: Sequence[LabelledSequence],
    questions: dict[str, Question],
    engine: Engine,
) -> Row:
    verifier: Verifier = build("verifier", spec)
    await verifier.start(engine)

    async def rated(candidate: LabelledSequence) -> tuple[float | None, Cost]:
        meter = CostMeter()
        try:
            question = questions[candidate.question_id]
            rating = await verifier.score(question, candidate.completion, engine, meter)
        except Exception as error:
            print(f"{spec}: {error}", file=sys.stderr)
            return None, meter.cost or Cost()
        return rating.value, rating.cost

    began = time.perf_counter()
    ratings = await asyncio.gather(*(rated(candidate) for candidate in drawn))
    seconds = time.perf_counter() - began
    await verifier.close()
    return Row(
        spec,
        [value for value, _ in ratings],
        sum((cost for _, cost in ratings), Cost()),
        seconds,
    )


def read_labelled(folder: Path) -> list[LabelledSequence]:
    """The graded sequences of a run with one arm."""
    [arm] = folder.glob("arms/*")
    lines = map(json.loads, (arm / GRADES).read_text().splitlines())
    grades = {
        (line["question_id"], line["prompt"], line["index"]): line["status"]
        for line in lines
    }
    return [
        LabelledSequence(event, completion, grade)
        for event, completion in completions_in(read_trace(arm / TRACE))
        if (grade := grades.get((event.question_id, event.prompt, event.index)))
    ]


def auroc(rated: Ratings) -> float | None:
    """The probability that a right answer is rated above a wrong one, ties count half; None without both kinds."""
    right, wrong = (
        [value for value, label in rated if label is kind] for kind in (True, False)
    )
    if not right or not wrong:
        return None
    return float(
        stats.mannwhitneyu(right, wrong, method="asymptotic").statistic
        / (len(right) * len(wrong))
    )


def pooled_auroc(questions: Sequence[Ratings]) -> ResampledEstimate | None:
    """AUROC over all rated answers; the interval resamples whole questions."""
    return _estimated(
        questions, lambda groups: auroc([rated for group in groups for rated in group])
    )


def within_auroc(questions: Sequence[Ratings]) -> ResampledEstimate | None:
    """The mean AUROC within a question, over the questions that have both a right and a wrong answer."""
    own = [value for value in map(auroc, questions) if value is not None]
    return _estimated(
        own, lambda values: math.fsum(values) / len(values) if values else None
    )


def _estimated(
    units: Sequence[T], measure: Callable[[Sequence[T]], float | None]
) -> ResampledEstimate | None:
    value, source = measure(units), random.Random(0)
    if value is None:
        return None
    draws = (measure(source.choices(units, k=len(units))) for _ in range(RESAMPLES))
    low, high = np.percentile([draw for draw in draws if draw is not None], [2.5, 97.5])
    return ResampledEstimate(value, float(low), float(high))


def estimate(
    values: Sequence[float] | NDArray[np.float64], *, seed: int = 0
) -> ResampledEstimate:
    """The mean of one value per question, with its interval."""
    sample = np.asarray(values, dtype=np.float64)
    source = np.random.default_rng(seed)
    means = sample[source.integers(0, len(sample), size=(RESAMPLES, len(sample)))].mean(
        axis=1
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return ResampledEstimate(float(sample.mean()), float(low), float(high))


def selection(
    questions: Sequence[Sequence[Rated]], n: int, *, seed: int = 0
) -> Selection:
    """Accuracies of a random answer, the majority, the best rating and the rated vote at `n` samples per question."""
    rows: list[NDArray[np.float64]] = []
    for index, group in enumerate(questions):
        source = random.Random(f"{seed}-{index}")
        rounds = SUBSETS if n < len(group) else 1
        subsets = (
            sorted(source.sample(range(len(group)), min(n, len(group))))
            for _ in range(rounds)
        )
        rows.append(
            np.mean(
                [_outcomes([group[i] for i in chosen]) for chosen in subsets], axis=0
            )
        )
    table = np.asarray(rows)
    columns = [estimate(table[:, column], seed=seed) for column in range(5)]
    gains = [estimate(table[:, column] - table[:, 1], seed=seed) for column in (2, 3)]
    return Selection(n, *columns, *gains)


def _outcomes(samples: Sequence[Rated]) -> list[float]:
    """For one subset: the share of right samples, and whether each way of selecting gives a right answer."""
    return [
        sum(sample.right for sample in samples) / len(samples),
        _chosen(samples, lambda _: 1.0, "sum"),
        _chosen(samples, lambda sample: sample.value or 0.0, "max"),
        _chosen(samples, lambda sample: sample.value or 0.0, "sum"),
        float(any(sample.right for sample in samples)),
    ]


def _chosen(
    samples: Sequence[Rated], weight: Callable[[Rated], float], by: str
) -> float:
    # Any space that compares by key: the keys are those of the answers' own space.
    tally = Tally(TextSpace(), by="max" if by == "max" else "sum")
    for index, sample in enumerate(samples):
        tally.add(sample.answer, index=index, weight=weight(sample))
    leader = tally.vote_state().leader
    chosen = [
        sample
        for sample in samples
        if leader and sample.answer and sample.answer.key == leader.key
    ]
    return float(any(sample.right for sample in chosen))


def by_question(
    labelled: Sequence[LabelledSequence], values: dict[int, float | None]
) -> list[list[Rated]]:
    groups: dict[str, list[Rated]] = defaultdict(list)
    for sample in labelled:
        answer = sample.sampled.answer if sample.judged else None
        groups[sample.question_id].append(
            Rated(answer, sample.right, values.get(id(sample)))
        )
    return list(groups.values())


def show(
    row: Row, labelled: Sequence[LabelledSequence], judged: Sequence[LabelledSequence]
) -> None:
    values = dict(zip(map(id, judged), row.values, strict=True))
    groups = by_question(labelled, values)
    chosen = selection(groups, N, seed=SEED)
    pairs = [
        [(rated.value, rated.right) for rated in group if rated.value is not None]
        for group in groups
    ]
    pooled, within = pooled_auroc(pairs), within_auroc(pairs)
    failed = sum(value is None for value in row.values)
    print(
        f"| `{row.spec}` | {pooled} | {within} | {chosen.argmax} | {chosen.weighted} | {chosen.weighted_gain} | "
        f"{row.cost.verifier_tokens / len(judged):.1f} + {row.cost.cached_tokens / len(judged):.1f} cached | "
        f"{1000 * row.seconds / len(judged):.1f} ms | {failed} |"
    )


def deciles(row: Row, judged: Sequence[LabelledSequence]) -> str:
    """The share that is right in each tenth of the answers, from the lowest rated to the highest."""
    rated = sorted(
        (value, sample.right)
        for value, sample in zip(row.values, judged, strict=True)
        if value is not None
    )
    return " ".join(
        f"{np.mean([right for _, right in part]):.2f}"
        for part in np.array_split(rated, 10)
    )


def draw(folder: Path) -> None:
    if not (folder / "manifest.json").exists():
        strategy = (
            f"self_consistency:n={POOL},temperature=0.7,max_tokens=160,logprobs=20"
        )
        command = [
            "eval",
            "arithmetic",
            "--limit",
            "50",
            "-s",
            strategy,
            "--out",
            str(folder),
        ]
        subprocess.run([sys.executable, "-m", "reasoner", *command], check=True)


async def main(folder: Path, specs: Sequence[str]) -> None:
    items = arithmetic.reported()
    engine = VllmEngine()
    await engine.start()
    questions = {item.question.id: item.question for item in items}
    labelled = read_labelled(folder)
    judged = [sample for sample in labelled if sample.judged]
    rows = [await rate(spec, judged, questions, engine) for spec in specs]
    await engine.close()
    chosen = selection(by_question(labelled, {}), N, seed=SEED)
    print(
        f"{len(questions)} questions, {len(judged)} answers of {len(labelled)} samples; at {N}: random "
        f"{chosen.random}, majority {chosen.majority}, coverage {chosen.coverage}\n"
    )
    print(
        "| verifier | AUROC | within a question | best of 8 | rated vote of 8 | vote's gain over majority | tokens "
        "an answer | time an answer | failed |\n|---|---|---|---|---|---|---|---|---|"
    )
    for row in rows:
        show(row, labelled, judged)
    print("\nShare right by decile of the rating, lowest first:")
    for row in rows:
        print(f"  {row.spec}: {deciles(row, judged)}")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:] or SPECS))
