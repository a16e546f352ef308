"""A small model that asks a large one where its samples disagree, on the recordings of both: accuracy against FLOPs.

    python bench/real/cascade.py SMALL LARGE --small FOLDER --large FOLDER [--kind number]

SMALL and LARGE are files of bench/real/record.py, the FOLDERs have their models. On the questions of both files, with
95 % intervals over questions: each model's greedy reply and its votes, and cascades. A cascade takes the answer of k
samples of the small model if a share of them agrees, and else the greedy reply of the large one (Yue 2024,
2310.03094). Cascades and votes are expected over subsets of the samples, cascades by 1,000 random ones. Differences are
to the greedy reply of the large model. FLOPs are by the geometry of each model; a question's prompt is computed once.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from recorded import percent, records
from selection import Recorded, read

from reasoner.models.geometry import read_model_info
from reasoner_evals.stats import Floats
from reasoner_evals.stats.estimators import votes_at_k
from reasoner_evals.stats.intervals import compare, interval

CASCADES: Final = ((2, 1.0), (3, 1.0), (4, 1.0), (4, 0.75), (8, 0.75), (8, 0.5))
"""The samples of the small model, and the share that has to agree."""
SUBSETS: Final = 1000


class Costs(NamedTuple):
    """The FLOPs of each question's replies: [questions, samples], and of its greedy one: [questions]."""

    samples: Floats
    greedy: Floats


def costs_of(path: Path, model: Path, names: list[str]) -> Costs:
    """The costs of a recording; the first sample computes the prompt."""
    policy = read_model_info(model, name=model.name)
    samples, greedy = defaultdict[str, dict[int, float]](dict), dict[str, float]()
    for record in records(path):
        name, index = record["question_id"], record["index"]
        prompt = record["prompt_tokens"]
        flops = policy.flops(
            prompt=prompt,
            cached=prompt if index > 0 else 0,
            generated=record["tokens"],
        )
        if flops is None:
            raise SystemExit(f"the geometry of {model} is not known")
        if index < 0:
            greedy[name] = flops
        else:
            samples[name][index] = flops
    rows = [[samples[name][at] for at in sorted(samples[name])] for name in names]
    return Costs(np.array(rows), np.array([greedy[name] for name in names]))


def chosen(drawn: Recorded, names: list[str]) -> Recorded:
    """The recording's questions of these names alone."""
    rows = [drawn.names.index(name) for name in names]
    return Recorded(
        names,
        drawn.right[rows],
        drawn.answers[rows],
        drawn.scores[rows],
        drawn.tokens[rows],
        drawn.greedy_right[rows],
        drawn.greedy_tokens[rows],
        drawn.prompts[rows],
    )


def cascade(
    small: Recorded, cheap: Costs, large: Recorded, dear: Costs, size: int, share: float
) -> tuple[Floats, Floats, Floats]:
    """Of each question: right answers, FLOPs, and how often the large model is asked."""
    source = np.random.default_rng(0)
    right, flops, asked = np.zeros((3, len(small.names)))
    for row, answers in enumerate(small.answers):
        for _ in range(SUBSETS):
            subset = source.choice(len(answers), size, replace=False)
            given = answers[subset]
            values, counts = np.unique(given[given >= 0], return_counts=True)
            agree = len(values) and counts.max() >= share * size
            flops[row] += cheap.samples[row, subset].sum()
            if agree:
                leader = np.flatnonzero(answers == values[counts.argmax()])[0]
                right[row] += small.right[row, leader]
            else:
                right[row] += large.greedy_right[row]
                flops[row] += dear.greedy[row]
                asked[row] += 1
    return right / SUBSETS, flops / SUBSETS, asked / SUBSETS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", type=Path, nargs=2, metavar="RECORDING")
    parser.add_argument("--small", type=Path, required=True)
    parser.add_argument("--large", type=Path, required=True)
    parser.add_argument("--kind", default="number", help="of the answers")
    options = parser.parse_args()

    both = [read(path, options.kind) for path in options.recordings]
    names = sorted({*both[0].names} & {*both[1].names})
    small, large = (chosen(drawn, names) for drawn in both)
    folders = options.small, options.large
    cheap, dear = (
        costs_of(path, folder, names)
        for path, folder in zip(options.recordings, folders, strict=True)
    )
    points: list[tuple[str, Floats, Floats]] = []
    for drawn, costs, folder in zip(
        (small, large), (cheap, dear), folders, strict=True
    ):
        points.append((f"{folder.name}, greedy", drawn.greedy_right, costs.greedy))
        votes = votes_at_k(drawn.right, drawn.answers, drawn.sizes)
        for column, size in enumerate(drawn.sizes):
            name = f"{folder.name}, vote of {size}"
            points.append((name, votes[:, column], size * costs.samples.mean(axis=1)))
    for size, share in CASCADES:
        right, flops, asked = cascade(small, cheap, large, dear, size, share)
        name = f"cascade, {share:.0%} of {size} agree; the large model answers {asked.mean():.0%}"
        points.append((name, right, flops))
    print(f"{len(names)} questions\n")
    print("| | right, % | against the large model's greedy reply, points | TFLOPs |")
    print("|---|---|---|---|")
    for name, right, flops in points:
        gain = percent(compare(right, large.greedy_right).difference, sign="+")
        print(
            f"| {name} | {percent(interval(right))} | {gain} | {flops.mean() / 1e12:.2f} |"
        )


if __name__ == "__main__":
    main()
