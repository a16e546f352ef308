"""The budget controller against fixed numbers of samples, on recorded answers.

    python bench/controller.py FOLDER POOL...

Each POOL is a file of recorded answers or chains (bench/README.md: sources); bench/simulated_pools.py writes some. At
most 64 samples a question are drawn. Its questions are dealt into two halves at random, 40 times: a profile is
calibrated on at most 318 of each half and used on the other, so nothing is chosen on what is reported. All of it is a
mean over these and over 20 to 200 orders of the samples, the more the fewer the questions; intervals are by bootstrap
over questions (2,000 draws, seed 0). "Over n" is the cost of the smallest fixed number of samples whose accuracy is
within 0.3 points of this, chosen after the fact, over the cost of this. ECE is over ten bins of equal mass and
cross-fitted too; "sequential" is the latency in samples of mean length, side by side for a fixed number; "of perfect
ones" is the ECE of the same confidences if each were the true chance, so that a question is right by one coin: what is
left is the noise of so few questions. The second table has the risk of the answers that remain where `auto` abstains.
The third has calibrations of 15 to 318 questions: 40 that are judged on the other questions, and 1,000 that are drawn
from the pool with replacement, so that the pool is the truth that a promise is about. The fourth has the confidences of
the safe arm and of a vote of at most four, against the share of the vote as it is; then what lengths add to it (500
draws). The last one, "when it pays", has all pools side by side. The runs are in FOLDER.
"""

import os

# Threads for tiny matrices take ten times the time of the work on a busy machine.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from replies import questions_in
from resampling import averaged, resampled, resampled_often
from scipy.special import expit, logit
from trust import calibration_error, risk_coverage

from reasoner.calibration.arm_selection import Choice, Prefer, promised, worthwhile
from reasoner.calibration.profile import LONGER, ArmRow, Bins, Family, Trust
from reasoner.calibration.promises import least_share
from reasoner.registry import build
from reasoner.specs import Spec
from reasoner.stopping.rules import RISKS, sample_price
from reasoner_evals.calibration.outcomes import (
    ORDERS,
    Outcomes,
    PooledArm,
    Way,
    from_pool,
    pooled_arm,
    random_orders,
    rule,
    safe_rule,
    usable,
)
from reasoner_evals.calibration.outcomes import stopped as stopped_by
from reasoner_evals.calibration.profiles import bin_rows, trust_in
from reasoner_evals.runs.measures import ArmReading, selected
from reasoner_evals.runs.reading import open_run, read_arm
from reasoner_evals.stats import Bools, Floats, Ints

EXTRA = ("dirichlet:theta=0.95", "esc:window=3", "esc:window=5", "ppr:delta=0.05")
"""Rules that no profile measures."""
LATENCY = "auto, risk 0.01, for latency"
DRAWS, SPLITS, MARGIN, MOST, CALIBRATED = 2000, 40, 0.003, 64, 318
AREAS = 500
"""Draws of questions for the interval of an area under a risk curve."""
COVERAGES = (1.0, 0.9, 0.7, 0.5)
SIZES, RESAMPLES, NEVER_WORSE, ABSTAIN_RISK = (
    (15, 30, 50, 100, 200, 318),
    1000,
    0.9,
    0.05,
)


@dataclass(frozen=True)
class Method:
    """The results of one method per question, averaged over orders and calibrations; its ECE is a mean too."""

    name: str
    right: Floats
    tokens: Floats
    sequential: Floats
    error: str = ""


class Figures(NamedTuple):
    """What a method does on a pool: a mean, or in one draw of its questions."""

    accuracy: float
    gap: float
    """Against the vote of all samples."""
    tokens: float
    n: float
    """The smallest fixed number of samples that is as accurate."""
    over: float
    """The cost of that, over the cost of this."""


Deals = Sequence[tuple[Family, Bools]]
"""What was calibrated on some questions, and those it is judged on; two in turn are of one deal."""


class Pool(NamedTuple):
    """A pool with the outcomes of every arm that a profile has, and of votes with a fixed number of samples."""

    arm: PooledArm
    ways: Mapping[Way, Outcomes]
    fixed: Floats
    """[N, Q]: the chance that the vote of this many samples is right."""
    tokens: Floats
    """[Q]: the mean cost of a sample."""
    longest: Floats
    """[N, Q]: the expected length of the longest of this many samples."""


def command(*arguments: str) -> None:
    subprocess.run(
        [Path(sys.executable).with_name("reasoner"), *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def drawn(file: Path, spec: str, out: Path) -> Path:
    """The run in which all samples of a file are drawn."""
    command(
        "eval",
        f"pool:{file}",
        "--engine",
        f"pool:{file}",
        "-s",
        spec,
        "--out",
        str(out),
    )
    return out


def pool_in(run: Path) -> Pool:
    opened = open_run(run)
    [arm] = [arm for arm in opened.manifest.arms if arm.pool]
    read = ArmReading(opened, read_arm(opened, arm.name))
    pooled = pooled_arm(read, np.flatnonzero(usable(read)))
    right = selected("majority", pooled.pool, tuple(range(1, arm.pool + 1)))
    mean = pooled.samples.further_prompt + pooled.samples.own.mean(axis=1)
    ways = {outcomes.way: outcomes for outcomes in from_pool(pooled)}
    # A profile has the expected outcome of one sample; its confidence is judged by single outcomes.
    single = next(outcomes for outcomes in ways.values() if outcomes.samples.max() == 1)
    ways[single.way] = replace(
        single,
        right=pooled.samples.right.astype(float),
        share=np.full((len(mean), arm.pool), 2 / 3),
        length=pooled.samples.lengths,
    )
    # Where answers tie, the order decides: all are measured in the same orders.
    fixed = right.T.copy()
    fixed[-1] = ways[pooled.way()].right.mean(axis=1)
    return Pool(pooled, ways, fixed, mean, longest_of(pooled.samples.lengths))


def longest_of(lengths: Floats) -> Floats:
    """[N, Q]: the mean over subsets of 1 to N of these lengths, [Q, N], of the longest."""
    n = lengths.shape[1]
    chances = [
        [math.comb(at, k - 1) / math.comb(n, k) for at in range(n)]
        for k in range(1, n + 1)
    ]
    return np.array(chances) @ np.sort(lengths, axis=1).T


def family(pool: Pool, rows: Bools) -> Family:
    """What a profile of `reasoner tune` measures on some questions of a pool."""
    baseline = pool.arm.way()
    return Family(
        task="pool",
        questions=int(rows.sum()),
        bins=Bins(),
        arms=tuple(bin_rows(pool.ways, baseline, rows, 0)),
        baseline=baseline.strategy,
        safe=family_safe(pool),
        sample_tokens=float(pool.tokens.mean()),
        origin="bench",
    )


def deals_of(pool: Pool) -> Deals:
    """Calibrations, and the held-out questions of each, both ways round."""
    source, questions = np.random.default_rng(0), len(pool.tokens)
    deals = []
    for _ in range(SPLITS):
        order = source.permutation(questions)
        first, second = np.split(order, [questions // 2])
        for ours, held in ((first, second), (second, first)):
            deals.append(
                (
                    family(pool, _mask(ours[:CALIBRATED], questions)),
                    _mask(held, questions),
                )
            )
    return deals


def _mask(rows: Ints, questions: int) -> Bools:
    chosen = np.zeros(questions, dtype=bool)
    chosen[rows] = True
    return chosen


def chances(trust: Trust, share: Floats, length: Floats) -> Floats:
    """`Trust.chance` of many answers."""
    longer = np.log(length / trust.length) if trust.length else 0.0
    return np.asarray(
        expit(trust.intercept + trust.slope * logit(share) - LONGER * longer)
    )


def confidences(
    row: ArmRow, outcomes: Outcomes, rows: Bools | Ints
) -> tuple[Floats, Floats]:
    """[Q, R]: the confidence of each held-out answer and whether it is right, in some orders."""
    share, right, length = (
        values[rows, :ORDERS]
        for values in (outcomes.share, outcomes.right, outcomes.length)
    )
    return chances(row.trust, share, length), np.broadcast_to(right, share.shape)


def methods_on(pool: Pool, deals: Deals) -> Iterator[Method]:
    """Every fixed number of samples, every rule, and what `auto` chooses by profiles of other questions."""
    for n, right in enumerate(pool.fixed, 1):
        yield Method(f"n={n}", right, pool.tokens * n, pool.longest[n - 1])
    for way, outcomes in pool.ways.items():
        spec = Spec.parse(way.strategy)
        if "stop" in spec.options or outcomes.samples.max() == 1:
            n = build("strategy", way.strategy).n
            by_length = ", by length" if "window" in spec.options else ""
            vote = "" if n == pool.arm.arm.pool else f", at most {n} samples"
            name = (
                f"{spec.options['stop']}{vote}{by_length}"
                if "stop" in spec.options
                else "one sample"
            )
            yield measured(
                name,
                outcomes,
                _error(
                    pool, [(_row(each, way.strategy), held) for each, held in deals]
                ),
            )
    orders = random_orders(pool.arm.ids, pool.arm.arm.pool)
    for text in EXTRA:
        outcomes = stopped_by(
            pool.arm.samples, orders, build("strategy", pool.arm.arm.strategy), text
        )
        yield measured(text, outcomes)
    for prefer in get_args(Prefer):
        after = "" if prefer == "tokens" else f", for {prefer}"
        for effort, risk in RISKS.items():
            chosen = [(worthwhile(each, 0, risk, prefer), held) for each, held in deals]
            yield _auto(pool, f"auto, effort {effort}{after}", chosen)
        for risk in RISKS.values():
            chosen = [(promised(each, 0, risk, prefer), held) for each, held in deals]
            yield _auto(pool, f"auto, risk {risk:g}{after}", chosen)


def _row(measured_on: Family, strategy: str) -> ArmRow:
    return next(row for row in measured_on.arms if row.strategy == strategy)


def measured(name: str, outcomes: Outcomes, error: str = "") -> Method:
    right, tokens, sequential = (
        x.mean(axis=1) for x in (outcomes.right, outcomes.tokens, outcomes.sequential)
    )
    return Method(name, right, tokens, sequential, error)


def _auto(pool: Pool, name: str, chosen: Sequence[tuple[Choice, Bools]]) -> Method:
    sums = np.zeros((3, len(pool.tokens)))
    for choice, held in chosen:
        outcomes = pool.ways[Way(*choice.row.arm)]
        for total, values in zip(
            sums, (outcomes.right, outcomes.tokens, outcomes.sequential), strict=True
        ):
            total[held] += values.mean(axis=1)[held] / SPLITS
    right, tokens, sequential = sums
    return Method(
        name,
        right,
        tokens,
        sequential,
        _error(pool, [(choice.row, held) for choice, held in chosen]),
    )


def _error(pool: Pool, chosen: Sequence[tuple[ArmRow, Bools]]) -> str:
    """The ECE of these rows' confidences on held-out questions, over both halves at once.

    Then the same for perfect confidences, and for the shares themselves; in points, as means over the deals.
    """
    source = np.random.default_rng(0)
    parts = []
    for row, held in chosen:
        outcomes = pool.ways[Way(*row.arm)]
        sure, right = confidences(row, outcomes, held)
        coins = (source.random(len(sure))[:, None] < sure).astype(float)
        parts.append(
            [
                values.ravel()
                for values in (sure, right, coins, outcomes.share[held, :ORDERS])
            ]
        )
    errors = []
    for pair in zip(parts[::2], parts[1::2], strict=True):
        sure, right, coins, share = map(np.concatenate, zip(*pair, strict=True))
        errors.append(
            [
                100 * calibration_error(*each)
                for each in ((sure, right), (sure, coins), (share, right))
            ]
        )
    return ", ".join(f"{error:.1f}" for error in np.mean(errors, axis=0))


class Table:
    """Methods against fixed numbers of samples, with intervals over questions."""

    def __init__(self, methods: Sequence[Method]) -> None:
        self.methods = methods
        fixed = [method for method in methods if method.name.startswith("n=")]
        self.right, self.tokens = (
            np.array([getattr(x, name) for x in fixed]) for name in ("right", "tokens")
        )
        questions = self.right.shape[1]
        drawn = np.random.default_rng(0).multinomial(
            questions, np.full(questions, 1 / questions), size=DRAWS
        )
        self.lots = np.vstack([np.full(questions, 1.0), drawn]).T / questions
        self.rights, self.costs = self.right @ self.lots, self.tokens @ self.lots

    def figures(self, method: Method) -> Floats:
        """[1 + DRAWS, 5]: its `Figures` on all questions, then on draws of them."""
        accuracy, cost = method.right @ self.lots, method.tokens @ self.lots
        # As accurate as this or more, within the margin; the vote of all samples may be less accurate than fewer.
        enough = (
            self.rights >= np.minimum(accuracy - MARGIN, self.rights.max(axis=0)) - 1e-9
        )
        n = enough.argmax(axis=0)
        over = self.costs[n, np.arange(len(n))] / cost
        return np.stack(
            [accuracy, accuracy - self.rights[-1], cost, n + 1, over], axis=1
        )

    def of(self, name: str) -> Figures:
        """Those of one method on all questions."""
        return Figures(
            *self.figures(next(x for x in self.methods if x.name == name))[0].tolist()
        )

    def lines(self) -> Iterator[str]:
        """The table."""
        sample, last = self.tokens[0].mean(), len(self.right)
        yield (
            "| | accuracy % | points against SC@N | samples | sequential | n | over n "
            "| ECE, points, of perfect ones, of the share |"
        )
        yield "|---|---|---|---|---|---|---|---|"
        for method in self.methods:
            if method.name.startswith("n=") and method.name not in {
                "n=1",
                "n=3",
                "n=8",
                f"n={last}",
            }:
                continue
            mean, *rest = self.figures(method)
            x, (low, high) = (
                Figures(*mean),
                (Figures(*each) for each in np.percentile(rest, (2.5, 97.5), axis=0)),
            )
            yield (
                f"| {method.name} | {100 * x.accuracy:.1f} "
                f"| {100 * x.gap:+.2f} ({100 * low.gap:+.2f} to {100 * high.gap:+.2f}) "
                f"| {x.tokens / sample:.2f} | {method.sequential.mean() / sample:.2f} | {x.n:.0f} "
                f"| {x.over:.2f} ({low.over:.2f} to {high.over:.2f}) | {method.error} |"
            )


def abstention(pool: Pool, deals: Deals) -> Iterator[str]:
    """The share of wrong answers among the surest ones, cross-fitted; random abstention leaves it as it is."""
    yield (
        "| wrong answers %, of those given | "
        + " | ".join(f"{100 * c:g} % answered" for c in COVERAGES)
        + " |"
    )
    yield "|---" * (len(COVERAGES) + 1) + "|"
    for effort, risk in RISKS.items():
        curves = []
        for each, held in deals:
            several = each.model_copy(
                update={"arms": tuple(row for row in each.arms if row.samples > 1)}
            )
            row = worthwhile(several, 0, risk).row
            sure, right = confidences(row, pool.ways[Way(*row.arm)], held)
            curve = risk_coverage(sure.ravel(), right.ravel())
            curves.append(
                np.interp(COVERAGES, np.arange(1, len(curve) + 1) / len(curve), curve)
            )
        shown = " | ".join(f"{100 * wrong:.1f}" for wrong in np.mean(curves, axis=0))
        yield f"| auto, effort {effort} | {shown} |"


def ratio(pool: Pool, outcomes: Outcomes, held: Ints) -> float:
    """The cost of the smallest fixed number of samples that is as accurate on these questions, over an arm's cost."""
    fixed, right = pool.fixed[:, held].mean(axis=1), outcomes.right[held].mean()
    n = int(np.flatnonzero(fixed >= min(right - MARGIN, fixed.max()) - 1e-9)[0]) + 1
    return float(n * pool.tokens[held].mean() / outcomes.tokens[held].mean())


def small(pool: Pool) -> Iterator[str]:
    """`auto` by calibrations of several sizes: what it costs on the other questions, and whether its promises hold."""
    yield (
        "| calibrated on | | samples | at least 0.9 of the fixed number, % | over n, median | mean loss, points "
        "| with the price of its samples | more lost than the risk, % | promised, % "
        "| promises broken, of 1,000 |"
    )
    yield "|---" * 10 + "|"
    source, questions = np.random.default_rng(0), len(pool.tokens)
    losses = pool.fixed[-1].mean()
    whole = family(pool, np.full(questions, True))
    means = {way: averaged(outcomes) for way, outcomes in pool.ways.items()}
    single = [resampled(means, whole, np.array([at])) for at in range(questions)]
    lost = {way: losses - outcomes.right.mean() for way, outcomes in means.items()}
    for size in sizes_in(questions):
        dealt = [np.split(source.permutation(questions), [size]) for _ in range(SPLITS)]
        cut = [(resampled(means, whole, ours), held) for ours, held in dealt]
        lots = resampled_often(
            single, whole, source.integers(0, questions, (RESAMPLES, size))
        )
        for name, choose, risk in [
            *((f"effort {effort}", worthwhile, risk) for effort, risk in RISKS.items()),
            *((f"risk {risk:g}", promised, risk) for risk in RISKS.values()),
        ]:
            chosen = [(choose(each, 0, risk), held) for each, held in cut]
            arms = [(Way(*choice.row.arm), held) for choice, held in chosen]
            ratios = [ratio(pool, means[way], held) for way, held in arms]
            drawn = (
                [promised(each, 0, risk).row for each in lots]
                if choose is promised
                else []
            )
            broken = sum(lost[Way(*row.arm)] > risk for row in drawn) if drawn else ""
            kept = 100 * np.mean([choice.promised for choice, _ in chosen])
            gaps = np.array([lost[way] for way, _ in arms])
            cost = (
                np.mean([means[way].tokens.mean() for way, _ in arms])
                / pool.tokens.mean()
            )
            priced = gaps.mean() + sample_price(risk) * cost
            yield (
                f"| {size} | {name} | {cost:.1f} | {100 * np.mean(np.array(ratios) >= NEVER_WORSE):.0f} "
                f"| {np.median(ratios):.2f} | {100 * gaps.mean():.2f} | {100 * priced:.2f} "
                f"| {100 * np.mean(gaps > risk):.0f} | {kept:.0f} | {broken} |"
            )


def sizes_in(questions: int) -> Sequence[int]:
    """The sizes of calibrations that leave at least a quarter of the questions to judge on."""
    return [size for size in SIZES if size <= 0.76 * questions]


def confidence(pool: Pool) -> Iterator[str]:
    """The confidences of two arms by calibrations of several sizes, against the share of the vote."""
    yield "| calibrated on | | Brier, and of the share | area under the risk curve, and of the share | abstaining |"
    yield "|---|---|---|---|---|"
    source, questions = np.random.default_rng(0), len(pool.tokens)
    for size in sizes_in(questions):
        dealt = [np.split(source.permutation(questions), [size]) for _ in range(SPLITS)]
        for name, spec in (("safe", family_safe(pool)), ("at most four", four(pool))):
            outcomes, measured, broken, promises = (
                pool.ways[Way(spec, "", "")],
                [],
                0,
                0,
            )
            for ours, held in dealt:
                trust = trust_in(outcomes.of(ours))
                share, right, length = (
                    x[held, :ORDERS].ravel() for x in _seen(outcomes)
                )
                sure = chances(trust, share, length)
                measured.append(
                    [np.mean((x - right) ** 2) for x in (sure, share)]
                    + [risk_coverage(x, right).mean() for x in (sure, share)]
                )
                least = least_share(
                    trust.shares, trust.answered, trust.right, ABSTAIN_RISK
                )
                if least is not None:
                    promises += 1
                    given = outcomes.share >= least
                    broken += bool((1 - outcomes.right)[given].mean() > ABSTAIN_RISK)
            brier, raw, area, ranked = np.mean(measured, axis=0)
            yield (
                f"| {size} | {name} | {brier:.3f}, {raw:.3f} | {area:.4f}, {ranked:.4f} "
                f"| {promises} of {SPLITS} promise {100 * ABSTAIN_RISK:g} %, {broken} broken |"
            )


def areas(pool: Pool) -> Iterator[str]:
    """What lengths add to the ranking of two arms where they decide between equal shares: nothing is fitted."""
    yield "| | area under the risk curve by share | and by length where shares are equal | difference |"
    yield "|---|---|---|---|"
    questions = len(pool.tokens)
    lots = [
        np.arange(questions),
        *np.random.default_rng(0).integers(0, questions, (AREAS, questions)),
    ]
    for name, spec in (("safe", family_safe(pool)), ("at most four", four(pool))):
        share, right, length = (
            x[:, :ORDERS] for x in _seen(pool.ways[Way(spec, "", "")])
        )
        ranked = share - 1e-9 * np.log(length)
        pairs = [
            [
                risk_coverage(x[lot].ravel(), right[lot].ravel()).mean()
                for x in (share, ranked)
            ]
            for lot in lots
        ]
        (raw, ours), *rest = pairs
        low, high = np.percentile(np.array(rest) @ (-1, 1), (2.5, 97.5))
        yield f"| {name} | {raw:.4f} | {ours:.4f} | {ours - raw:+.4f} ({low:+.4f} to {high:+.4f}) |"


def _seen(outcomes: Outcomes) -> tuple[Floats, Floats, Floats]:
    return outcomes.share, outcomes.right, outcomes.length


def four(pool: Pool) -> str:
    """The spec of a vote of at most four samples."""
    return pool.arm.way(n=4, stop=rule("lock_in:delta=0.1"), order="launch").strategy


def family_safe(pool: Pool) -> str:
    """The spec of the arm that is chosen without evidence."""
    return pool.arm.way(
        stop=rule(safe_rule(pool.arm.arm.pool)), order="launch"
    ).strategy


def pays(pool: Pool, table: Table) -> dict[str, str]:
    """What the choices of `auto` cost on a pool, by the line of the last table."""
    sample, last = pool.tokens.mean(), len(pool.fixed)
    questions, right = len(pool.tokens), 100 * pool.fixed.mean(axis=1)
    least = int(np.flatnonzero(right >= right[-1] - 100 * MARGIN - 1e-9)[0]) + 1
    ruled = (
        min(x.tokens.mean() for x in pool.ways.values() if x.most <= RISKS["high"])
        / sample
    )
    lines = {
        "questions, calibrated on": f"{questions:,}, {min(questions // 2, CALIBRATED)}",
        "n = 1 / 3 / 8 / all, % right": " / ".join(
            f"{right[n - 1]:.1f}" for n in (1, 3, 8, last)
        )
        + f" of {last}",
        "least n within 0.3 points of all": str(least),
        "`risk=0.01` without a profile: tokens": f"{ruled:.1f}",
    }
    named = {
        f"`risk={risk:g}`": f"auto, risk {risk:g}" for risk in sorted(RISKS.values())
    }
    named |= {
        f"`effort={effort}`": f"auto, effort {effort}"
        for effort in ("high", "medium", "low")
    }
    for line, name in named.items():
        seen = table.of(name)
        lines[line] = (
            f"{seen.tokens / sample:.1f}, {round(-100 * seen.gap, 2) + 0.0:.2f}, {seen.over:.2f}"
        )
    waits = (
        x.sequential.mean() / sample
        for x in table.methods
        if x.name in (f"n={last}", LATENCY)
    )
    lines["`risk=0.01,prefer=latency`: lengths of a mean sample"] = (
        "{1:.2f}, of all {0:.2f}".format(*waits)
    )
    return lines


def main(folder: Path, files: Sequence[Path]) -> None:
    columns: dict[str, dict[str, str]] = {}
    for file in files:
        output = folder / file.stem
        output.mkdir(parents=True)
        lines = questions_in(file)
        drawn_tokens = [
            [reply["tokens"] for reply in line["replies"]] for line in lines
        ]
        longest = max(map(max, drawn_tokens))
        spec = f"self_consistency:n={min(MOST, *map(len, drawn_tokens))},max_tokens={longest}"
        pool = pool_in(drawn(file, spec, output / "run"))
        deals = deals_of(pool)
        table = Table(list(methods_on(pool, deals)))
        print(f"## {file.stem}: {len(lines):,} questions\n")
        tables = (
            table.lines(),
            abstention(pool, deals),
            small(pool),
            confidence(pool),
            areas(pool),
        )
        for lines_of in tables:
            print("\n".join(lines_of), end="\n\n", flush=True)
        columns[file.stem] = pays(pool, table)
    print(
        "## When it pays: tokens, points lost, over n\n",
        "| | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
        sep="\n",
    )
    for line in columns[files[0].stem]:
        print(
            f"| {line} | "
            + " | ".join(column[line] for column in columns.values())
            + " |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
