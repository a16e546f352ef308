"""The coverage of the 95 % intervals of an evaluation, by simulation, as a Markdown table.

    python bench/interval_coverage.py [RUNS]

Each of Q questions has its own chance, from a Beta distribution of mean `p` and concentration 3, except for single
outcomes. RUNS (2000) data sets are simulated for each row; the simulation's own error is then 0.5 points.
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np

from reasoner_evals.stats.arrays import Floats, Ints
from reasoner_evals.stats.estimators import best_of_k, coverage_at_k, majority_at_k
from reasoner_evals.stats.intervals import Interval, difference_interval, interval, ratio_interval

Draw = Callable[[np.random.Generator], Interval]
Case = tuple[str, int, float, float, Draw]
"""What is measured, questions, p, the truth, one data set's interval."""
DRAWS = 2000
LARGE = 100_000


def chances(source: np.random.Generator, n: int, p: float) -> Floats:
    return source.beta(3 * p, 3 * (1 - p), n)


def single(n: int, p: float) -> Draw:
    return lambda source: interval(source.binomial(1, p, n).astype(float))


def pooled(n: int, p: float) -> Draw:
    return lambda source: interval(source.binomial(8, chances(source, n, p)) / 8, draws=DRAWS)


def clustered(n: int, p: float, size: int) -> Draw:
    groups = [f"group {at // size}" for at in range(n)]

    def draw(source: np.random.Generator) -> Interval:
        chance = np.repeat(chances(source, n // size, p), size)
        return interval(source.binomial(1, chance).astype(float), groups, draws=DRAWS)

    return draw


def drawn_pool(source: np.random.Generator, n: int, p: float) -> tuple[Floats, Floats, Ints]:
    """16 samples per question: right or not, a weakly informative score, one of 5 wrong answers."""
    right = (source.random((n, 16)) < chances(source, n, p)[:, None]).astype(float)
    answers = np.where(right == 1, 0, source.integers(1, 6, (n, 16)))
    return right, source.normal(right, 1.0), answers


def estimated(kind: str, source: np.random.Generator, n: int, p: float) -> Floats:
    right, scores, answers = drawn_pool(source, n, p)
    if kind == "coverage":
        return coverage_at_k(right, [4])[:, 0]
    return (best_of_k(right, scores, [4]) if kind == "best" else majority_at_k(right, answers, [4]).right)[:, 0]


def from_pool(kind: str, n: int, p: float) -> Draw:
    return lambda source: interval(estimated(kind, source, n, p), draws=DRAWS)


def paired(n: int, better: float, worse: float) -> Draw:
    odds = [worse, 1 - better - worse, better]
    return lambda source: difference_interval(source.choice([-1.0, 0.0, 1.0], n, p=odds), draws=DRAWS)


def paired_means(n: int, p: float) -> Draw:
    def draw(source: np.random.Generator) -> Interval:
        chance = chances(source, n, p)
        return difference_interval((source.binomial(8, chance) - source.binomial(8, chance**1.2)) / 8, draws=DRAWS)

    return draw


def ratio(n: int) -> Draw:
    def draw(source: np.random.Generator) -> Interval:
        tokens = source.lognormal(6, 0.6, n)
        return ratio_interval(tokens * source.uniform(0, 1, n), tokens, draws=DRAWS)

    return draw


def cases() -> Iterator[Case]:
    for n, p in ((30, 0.5), (30, 0.9), (100, 0.3), (100, 0.7), (100, 0.95), (500, 0.7), (500, 0.99)):
        yield "single outcomes", n, p, p, single(n, p)
    for n, p in ((30, 0.5), (30, 0.9), (100, 0.3), (100, 0.7), (100, 0.95), (500, 0.7), (500, 0.99)):
        yield "means of 8 samples", n, p, p, pooled(n, p)
    for n, p, size in ((120, 0.6, 6), (240, 0.6, 6), (510, 0.6, 6), (510, 0.9, 6)):
        yield f"single outcomes in groups of {size}", n, p, p, clustered(n, p, size)
    for kind in ("coverage", "best", "majority"):
        truth = float(
            estimated(kind, np.random.default_rng(1), LARGE if kind != "majority" else LARGE // 5, 0.5).mean()
        )
        for n in (30, 100):
            yield f"{kind} of 4 out of a pool of 16", n, 0.5, truth, from_pool(kind, n, 0.5)
    for n, better, worse in ((30, 0.1, 0.05), (100, 0.15, 0.05), (500, 0.1, 0.1)):
        yield f"paired outcomes, {better + worse:.0%} differ", n, better, better - worse, paired(n, better, worse)
    source = np.random.default_rng(2)
    gain = float(np.mean([np.mean(c - c**1.2) for c in (chances(source, LARGE, 0.6) for _ in range(40))]))
    for n in (30, 100):
        yield "paired means of 8 samples", n, 0.6, gain, paired_means(n, 0.6)
    for n in (30, 100):
        yield "ratio of total tokens", n, 0.5, 0.5, ratio(n)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print("| measured | Q | p | method | covered |\n|---|---|---|---|---|")
    for name, n, p, truth, draw in cases():
        source = np.random.default_rng(n)
        intervals = [draw(source) for _ in range(runs)]
        methods = [estimate.method for estimate in intervals]
        usual = max(set(methods), key=methods.count)
        covered = np.mean([estimate.low <= truth <= estimate.high for estimate in intervals])
        print(f"| {name} | {n} | {p:g} | {usual} | {100 * covered:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
