"""The coverage of the 95 % intervals of an evaluation, as Markdown tables.

    python bench/interval_coverage.py [RUNS]

Each of Q questions, or groups, has its own chance, from a Beta distribution of mean `p` and concentration 3, except
for single outcomes. RUNS (2000) data sets are simulated for each row; the simulation's own error is then 0.5 points.
"Above" and "below" are the shares of intervals that lie above and below the truth: 2.5 % each would be ideal. The
intervals of differences are those of a test, so 100 % minus what they cover is the share of its false positives.

The second table is exact: the least and the mean coverage of intervals of a share p over the 60 shares from 0.0005 to
0.03, and their mean width; from 0.97 to 0.9995 they are the same.
"""

import math
import sys
from collections.abc import Callable, Iterator

import numpy as np

from reasoner_evals.stats import Floats, Ints
from reasoner_evals.stats.estimators import best_of_k, coverage_at_k, votes_at_k
from reasoner_evals.stats.intervals import Interval, Z, difference, interval, wilson

Draw = Callable[[np.random.Generator], Interval]
Case = tuple[str, int, float, float, Draw]
"""What is measured, questions or groups, p or a spread, the truth, one data set's interval."""
LARGE = 100_000
ROUNDING = 1e-9


def chances(source: np.random.Generator, n: int, p: float) -> Floats:
    return source.beta(3 * p, 3 * (1 - p), n)


def single(n: int, p: float) -> Draw:
    return lambda source: interval(source.binomial(1, p, n).astype(float))


def pooled(n: int, p: float) -> Draw:
    return lambda source: interval(source.binomial(8, chances(source, n, p)) / 8)


def clustered(n: int, p: float, size: int) -> Draw:
    groups = [f"group {at // size}" for at in range(n)]

    def draw(source: np.random.Generator) -> Interval:
        chance = np.repeat(chances(source, n // size, p), size)
        return interval(source.binomial(1, chance).astype(float), groups)

    return draw


def drawn_pool(
    source: np.random.Generator, n: int, p: float
) -> tuple[Floats, Floats, Ints]:
    """16 samples per question: right or not, a weakly informative score, one of 5 wrong answers."""
    right = (source.random((n, 16)) < chances(source, n, p)[:, None]).astype(float)
    answers = np.where(right == 1, 0, source.integers(1, 6, (n, 16)))
    return right, source.normal(right, 1.0), answers


def estimated(kind: str, source: np.random.Generator, n: int, p: float) -> Floats:
    right, scores, answers = drawn_pool(source, n, p)
    if kind == "coverage":
        return coverage_at_k(right, [4])[:, 0]
    return (
        best_of_k(right, scores, [4])
        if kind == "best"
        else votes_at_k(right, answers, [4])
    )[:, 0]


def from_pool(kind: str, n: int, p: float) -> Draw:
    return lambda source: interval(estimated(kind, source, n, p))


def sizes_of(groups: int, kind: str) -> Ints:
    """Groups of very unequal size: some 60 / rank, lognormal, or one with half of the questions."""
    ranks = np.arange(1, groups + 1)
    sizes: dict[str, Ints] = {
        "60 / rank": np.maximum(60 // ranks, 1),
        "lognormal": np.maximum(
            np.random.default_rng(9).lognormal(1.2, 1, groups), 1
        ).astype(int),
        "one half": np.where(ranks == 1, 3 * (groups - 1), 3),
    }
    return sizes[kind]


def unequal(groups: int, kind: str, p: float, samples: int = 1) -> Draw:
    sizes = sizes_of(groups, kind)
    keys = [f"group {group}" for group in np.repeat(np.arange(groups), sizes)]

    def draw(source: np.random.Generator) -> Interval:
        chance = np.repeat(chances(source, groups, p), sizes)
        return interval(source.binomial(samples, chance) / samples, keys)

    return draw


def unequal_gain(groups: int, kind: str, p: float) -> Draw:
    """Two arms, each with its own chance in each group."""
    sizes = sizes_of(groups, kind)
    keys = [f"group {group}" for group in np.repeat(np.arange(groups), sizes)]

    def draw(source: np.random.Generator) -> Interval:
        first, second = (
            source.binomial(1, np.repeat(chances(source, groups, p), sizes))
            for _ in range(2)
        )
        return difference((first - second).astype(float), keys)[0]

    return draw


def paired(n: int, better: float, worse: float) -> Draw:
    odds = [worse, 1 - better - worse, better]
    return lambda source: difference(source.choice([-1.0, 0.0, 1.0], n, p=odds))[0]


def paired_means(n: int, p: float, power: float = 1.2) -> Draw:
    """Two arms; the second is right with the chance of the first to this power."""

    def draw(source: np.random.Generator) -> Interval:
        chance = chances(source, n, p)
        return difference(
            (source.binomial(8, chance) - source.binomial(8, chance**power)) / 8
        )[0]

    return draw


def gain(p: float, power: float) -> float:
    """The true difference of `paired_means`: the moments of a Beta distribution."""
    log = (
        math.lgamma(3 * p + power)
        + math.lgamma(3)
        - math.lgamma(3 * p)
        - math.lgamma(3 + power)
    )
    return p - math.exp(log)


def opposite(n: int, p: float) -> Draw:
    """Two arms: one is nearly always right, the other nearly always wrong."""
    return lambda source: difference(
        (
            source.binomial(8, chances(source, n, p))
            - source.binomial(8, chances(source, n, 1 - p))
        )
        / 8
    )[0]


def cases() -> Iterator[Case]:
    yield from shares()
    yield from groups_of_questions()
    yield from differences()


def shares() -> Iterator[Case]:
    for n, p in (
        (30, 0.5),
        (30, 0.9),
        (100, 0.3),
        (100, 0.7),
        (100, 0.95),
        (500, 0.7),
        (500, 0.99),
    ):
        yield "single outcomes", n, p, p, single(n, p)
    for n, p in (
        (30, 0.5),
        (30, 0.9),
        (100, 0.3),
        (100, 0.7),
        (100, 0.95),
        (500, 0.7),
        (500, 0.99),
    ):
        yield "means of 8 samples", n, p, p, pooled(n, p)
    for kind in ("coverage", "best", "majority"):
        truth = float(
            estimated(
                kind,
                np.random.default_rng(1),
                LARGE if kind != "majority" else LARGE // 5,
                0.5,
            ).mean()
        )
        for n in (30, 100):
            yield (
                f"{kind} of 4 out of a pool of 16",
                n,
                0.5,
                truth,
                from_pool(kind, n, 0.5),
            )


def groups_of_questions() -> Iterator[Case]:
    for n, p, size in ((120, 0.6, 6), (240, 0.6, 6), (510, 0.6, 6), (510, 0.9, 6)):
        yield f"single outcomes in groups of {size}", n, p, p, clustered(n, p, size)
    for kind in ("60 / rank", "lognormal", "one half"):
        for groups, p in ((20, 0.6), (20, 0.9), (40, 0.6), (85, 0.6), (85, 0.9)):
            yield f"outcomes in groups, {kind}", groups, p, p, unequal(groups, kind, p)
        for groups in (20, 85):
            yield (
                f"means of 8 in groups, {kind}",
                groups,
                0.6,
                0.6,
                unequal(groups, kind, 0.6, 8),
            )
            yield (
                f"paired outcomes in groups, {kind}",
                groups,
                0.6,
                0.0,
                unequal_gain(groups, kind, 0.6),
            )


def differences() -> Iterator[Case]:
    for n, better, worse in (
        (30, 0.1, 0.05),
        (100, 0.15, 0.05),
        (500, 0.1, 0.1),
        (30, 0.03, 0.03),
        (100, 0.02, 0.02),
        (100, 0.05, 0.01),
        (500, 0.01, 0.01),
        (500, 0.02, 0),
        (100, 0.95, 0.02),
        (500, 0.95, 0.02),
    ):
        yield (
            f"paired outcomes, {better + worse:.0%} differ",
            n,
            better,
            better - worse,
            paired(n, better, worse),
        )
    for n, p, power in (
        (30, 0.6, 1.2),
        (100, 0.6, 1.2),
        (30, 0.05, 1),
        (100, 0.05, 1),
        (100, 0.05, 1.5),
        (30, 0.95, 1),
        (100, 0.95, 1.2),
        (100, 0.99, 1.2),
        (500, 0.99, 1.5),
    ):
        yield (
            f"paired means of 8, to the power {power:g}",
            n,
            p,
            gain(p, power),
            paired_means(n, p, power),
        )
    for n, p in ((30, 0.97), (100, 0.97)):
        yield "paired means of 8, opposite", n, p, 2 * p - 1, opposite(n, p)


def rare_outcomes() -> None:
    """The coverage of four intervals of rare outcomes, by enumeration."""
    from scipy import special, stats

    def plain(right: int, n: int) -> tuple[float, float]:
        centre, half = (
            right + Z * Z / 2,
            Z * math.sqrt(right * (n - right) / n + Z * Z / 4),
        )
        return (centre - half) / (n + Z * Z), (centre + half) / (n + Z * Z)

    def exact(right: int, n: int) -> tuple[float, float]:
        return (
            special.betaincinv(right, n - right + 1, 0.025) if right else 0.0,
            special.betaincinv(right + 1, n - right, 0.975) if right < n else 1.0,
        )

    def jeffreys(right: int, n: int) -> tuple[float, float]:
        low, high = special.betaincinv(right + 0.5, n - right + 0.5, (0.025, 0.975))
        return (low if right else 0.0), (high if right < n else 1.0)

    methods = {
        "ours": wilson,
        "Wilson": plain,
        "Clopper-Pearson": exact,
        "Jeffreys": jeffreys,
    }
    print(f"\n| Q | {' | '.join(methods)} |\n|{'---|' * (1 + len(methods))}")
    for n in (10, 30, 100, 300, 1000):
        cells = []
        for method in methods.values():
            bounds = np.array([method(right, n) for right in range(n + 1)])
            laws = [
                (p, stats.binom.pmf(np.arange(n + 1), n, p))
                for p in np.linspace(0.0005, 0.03, 60)
            ]
            covered = [
                law[
                    (bounds[:, 0] - ROUNDING <= p) & (p <= bounds[:, 1] + ROUNDING)
                ].sum()
                for p, law in laws
            ]
            width = np.mean([law @ np.ptp(bounds, axis=1) for _, law in laws])
            cells.append(
                f"{100 * min(covered):.1f}, {100 * np.mean(covered):.1f} %; {width:.4f}"
            )
        print(f"| {n} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(
        "| measured | Q | p | method | covered | above | below |\n|---|---|---|---|---|---|---|"
    )
    for name, n, p, truth, draw in cases():
        source = np.random.default_rng(n)
        intervals = [draw(source) for _ in range(runs)]
        methods = [estimate.method for estimate in intervals]
        usual = max(set(methods), key=methods.count)
        above = 100 * np.mean(
            [estimate.low > truth + ROUNDING for estimate in intervals]
        )
        below = 100 * np.mean(
            [estimate.high < truth - ROUNDING for estimate in intervals]
        )
        print(
            f"| {name} | {n} | {p:g} | {usual} | {100 - above - below:.1f} % | {above:.1f} | {below:.1f} |",
            flush=True,
        )
    rare_outcomes()


if __name__ == "__main__":
    main()
