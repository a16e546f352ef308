"""What arms of live runs reach beside the recorded votes of the same questions: accuracy, tokens, and what they saved.

    python bench/real/live.py RECORDING --votes N RUN... [--kind number]

RECORDING is a file of bench/real/record.py. A RUN is a folder of `reasoner eval` on some of its questions; the shards
of one evaluation count together. The vote has N recorded samples, and is expected over their subsets. Tokens are
generated ones, a question; 95 % intervals and paired differences over questions.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from recorded import percent
from selection import read

from reasoner_evals.runs.reading import RIGHT, open_runs, read_arm
from reasoner_evals.stats.estimators import votes_at_k
from reasoner_evals.stats.intervals import compare, interval


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--votes", type=int, required=True, help="recorded samples")
    parser.add_argument("--kind", default="number", help="of the answers")
    options = parser.parse_args()

    drawn = read(options.recording, options.kind)
    votes = votes_at_k(drawn.right, drawn.answers, [options.votes])[:, 0]
    asked = defaultdict[str, list[tuple[int, float, int, int]]](list)
    for run in open_runs(options.runs):
        for arm in run.manifest.arms:
            data = read_arm(run, arm.name)
            for at, name in enumerate(run.tasks[arm.task].ids):
                asked[arm.strategy].append(
                    (
                        drawn.names.index(name),
                        float(data.outcome[at] == RIGHT),
                        int(data.costs["generated"][at]),
                        int(data.costs["samples"][at]),
                    )
                )
    print("| | right, % | the vote | against it, points | samples | tokens | saved |")
    print("|---|---|---|---|---|---|---|")
    for strategy, questions in asked.items():
        rows, right, tokens, samples = map(np.array, zip(*questions, strict=True))
        full = options.votes * drawn.tokens[rows].mean()
        print(
            f"| {strategy} | {percent(interval(right))} | {percent(interval(votes[rows]))} "
            f"| {percent(compare(right, votes[rows]).difference, sign='+')} | {samples.mean():.1f} "
            f"| {tokens.mean():,.0f} | {1 - tokens.mean() / full:.0%} |"
        )


if __name__ == "__main__":
    main()
