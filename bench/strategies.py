"""The table of strategies at equal tokens from runs of `reasoner eval`, and a verifier of known strength.

    PYTHONPATH=. reasoner eval TASK -s STRATEGY... -e simulated --verifier rules:call=bench.strategies:rate --out RUN
    python bench/strategies.py RUN

Each strategy is compared with self-consistency of the same run, question by question; intervals are 95 %.
"""

import math
import random
import sys
from pathlib import Path
from statistics import NormalDist

from reasoner import Completion, Question
from reasoner.engines.simulated_replies import arithmetic
from reasoner_evals.report.comparisons import compare_runs
from reasoner_evals.runs.measures import ArmReading, as_run
from reasoner_evals.runs.reading import open_run, read_arm

AUROC = 0.842
"""Of `rate` within a question: the included head's on held-out answers."""


def rate(question: Question, candidate: Completion) -> float:
    """Rates a simulated reply: normal scores of deviation 1, those of right answers higher."""
    stated = question.space.read(candidate.text)
    right = stated is not None and stated.key == str(arithmetic(question.text))
    score = random.Random(
        f"{candidate.seed} {candidate.text} {len(candidate.token_ids)}"
    ).gauss(0, 1)
    distance = math.sqrt(2) * NormalDist().inv_cdf(AUROC)
    return NormalDist().cdf(score + (distance / 2 if right else -distance / 2))


def main(run: Path) -> None:
    read = open_run(run)
    arms = read.manifest.arms
    vote = next(arm for arm in arms if arm.rule == "majority")
    print(
        "| strategy | right, % | against the vote, points | tokens | sequential tokens |\n|---|---|---|---|---|"
    )
    for arm in arms:
        [result] = compare_runs((run, arm.name), (run, vote.name))
        share, low, high = (100 * (value or 0) for value in result.first_acc)
        points = [100 * (value or 0) for value in result.delta.difference]
        costs = as_run(ArmReading(read, read_arm(read, arm.name)))
        print(
            f"| `{arm.strategy}` | {share:.1f} ({low:.1f} to {high:.1f}) | "
            f"{'' if arm is vote else f'{points[0]:+.1f} ({points[1]:+.1f} to {points[2]:+.1f})'} | "
            f"{costs['tokens'].mean():,.0f} | {costs['sequential'].mean():,.0f} |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
