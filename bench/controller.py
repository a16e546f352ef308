"""The budget controller against fixed numbers of samples, on recorded answers, and a report with one chart a pool.

    python bench/controller.py FOLDER POOL...

Each POOL is a file of recorded answers or chains; bench/simulated_pools.py writes some. At most 64 samples a question
are drawn. Its questions are dealt into two halves
at random, 40 times: a profile is calibrated on each half and used on the other, so nothing is chosen on what is
reported. All of it is a mean over these and over 20 to 200 orders of the samples, the more the fewer the questions;
intervals are by bootstrap over questions (2,000 draws, seed 0). "Over n" is the cost of the smallest fixed number of
samples whose accuracy is within 0.3 points of this, chosen after the fact, over the cost of this. ECE is over ten bins
of equal mass and cross-fitted too; "sequential" is the latency in samples of mean length, side by side for a fixed
number; "of perfect ones" is the ECE of the same confidences if each were the true chance,
so that a question is right by one coin: what is left is the noise of so few questions. The second table has the risk
of the answers that remain where `auto` abstains. The third has calibrations of 15 to 318 questions: 40 that are judged
on the other questions, and 1,000 that are drawn from the pool with replacement, so that the pool is the truth that a
promise is about. The fourth has the confidence of the safe arm, against the share of the vote as it is.

The reports, in FOLDER/NAME/report, are of one half in recorded order, drawn and divided by the runner itself, with a
profile of the other: every rule, `auto` at each effort, and budgets over all questions.
"""

import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from trust import calibration_error, risk_coverage

from reasoner.calibration.arm_selection import RISKS, Choice, Prefer, promised, worthwhile
from reasoner.calibration.profile import ArmRow, Bins, Family
from reasoner.registry import build
from reasoner.specs import Spec
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
    short_vote,
    usable,
)
from reasoner_evals.calibration.outcomes import stopped as stopped_by
from reasoner_evals.calibration.profiles import bin_rows, counted, trust_in
from reasoner_evals.runs.measures import ArmRead, selected
from reasoner_evals.runs.reading import open_run, read_arm
from reasoner_evals.stats import Bools, Floats, Ints

EXTRA = ("dirichlet:theta=0.95", "esc:window=3", "esc:window=5", "ppr:delta=0.05")
"""Rules that no profile measures."""
MEANS = (1.5, 2, 3, 4, 6, 8, 12, 16)
"""Samples a question whose cost the budgets over all questions are."""
DRAWS, SPLITS, MARGIN, MOST = 2000, 40, 0.003, 64
COVERAGES = (1.0, 0.9, 0.7, 0.5)
SIZES, RESAMPLES, NEVER_WORSE, ABSTAIN_RISK = (15, 30, 50, 100, 200, 318), 1000, 0.9, 0.05


@dataclass(frozen=True)
class Method:
    """The results of one method per question, averaged over orders and calibrations; its ECE is a mean too."""

    name: str
    right: Floats
    tokens: Floats
    sequential: Floats
    error: str = ""


class Pool(NamedTuple):
    """A pool with the outcomes of every arm that a profile has, and of votes with a fixed number of samples."""

    arm: PooledArm
    ways: Mapping[Way, Outcomes]
    fixed: Floats
    """[N, Q]: the chance that the vote of so many samples is right."""
    tokens: Floats
    """[Q]: the mean cost of a sample."""
    longest: Floats
    """[N, Q]: the expected length of the longest of so many samples."""


def command(*arguments: str) -> None:
    subprocess.run([Path(sys.executable).with_name("reasoner"), *arguments], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)  # fmt: skip


def drawn(file: Path, spec: str, out: Path) -> Path:
    """The run in which all samples of a file are drawn, and a profile of it beside."""
    task = f"pool:{file}"
    command("calibrate", task, "--engine", task, "-s", spec, "--runs", str(out), "--out", str(out) + ".json")
    return out


def pool_in(run: Path) -> Pool:
    opened = open_run(run)
    [arm] = [arm for arm in opened.manifest.arms if arm.pool]
    read = ArmRead(opened, read_arm(opened, arm.name))
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
    chances = [[math.comb(at, k - 1) / math.comb(n, k) for at in range(n)] for k in range(1, n + 1)]
    return np.array(chances) @ np.sort(lengths, axis=1).T


def family(pool: Pool, rows: Bools) -> Family:
    """What `reasoner calibrate` measures on some questions of a pool."""
    baseline = pool.arm.way()
    return Family(
        task="pool",
        questions=int(rows.sum()),
        bins=Bins(),
        arms=tuple(bin_rows(pool.ways, baseline, rows, 0)),
        baseline=baseline.strategy,
        safe=family_safe(pool),
        short=short_vote(pool.arm),
        sample_tokens=float(pool.tokens.mean()),
        origin="bench",
    )


def halves(questions: int) -> Iterator[tuple[Bools, Bools]]:
    """Calibration and held-out questions, both ways round."""
    source = np.random.default_rng(0)
    for _ in range(SPLITS):
        first = np.zeros(questions, dtype=bool)
        first[source.permutation(questions)[: questions // 2]] = True
        yield from ((first, ~first), (~first, first))


def confidences(row: ArmRow, outcomes: Outcomes, rows: Bools | Ints) -> tuple[Floats, Floats]:
    """The confidence of each held-out answer and whether it is right, over some orders."""
    share, right, length = (values[rows, :ORDERS] for values in (outcomes.share, outcomes.right, outcomes.length))
    sure = np.vectorize(row.trust.chance, otypes=[float])(share, length)
    return sure.ravel(), np.broadcast_to(right, share.shape).ravel()


def methods_on(pool: Pool) -> Iterator[Method]:
    """Every fixed number of samples, every rule, and what `auto` chooses by profiles of other questions."""
    for n, right in enumerate(pool.fixed, 1):
        yield Method(f"n={n}", right, pool.tokens * n, pool.longest[n - 1])
    families = [(family(pool, ours), held) for ours, held in halves(len(pool.tokens))]
    for way, outcomes in pool.ways.items():
        spec = Spec.parse(way.strategy)
        if "stop" in spec.options or outcomes.samples.max() == 1:
            n = build("strategy", way.strategy).n
            by_length = ", by length" if "window" in spec.options else ""
            vote = "" if n == pool.arm.arm.pool else f", at most {n} samples"
            name = f"{spec.options['stop']}{vote}{by_length}" if "stop" in spec.options else "one sample"
            rows = [(next(row for row in each.arms if row.strategy == way.strategy), held) for each, held in families]
            yield measured(name, outcomes, _error(pool, rows))
    orders = random_orders(pool.arm.ids, pool.arm.arm.pool)
    for text in EXTRA:
        outcomes = stopped_by(pool.arm.samples, orders, build("strategy", pool.arm.arm.strategy), text)
        yield measured(text, outcomes)
    for prefer in get_args(Prefer):
        after = "" if prefer == "tokens" else f", for {prefer}"
        for effort, risk in RISKS.items():
            chosen = [(worthwhile(each, 0, risk, prefer), held) for each, held in families]
            yield _auto(pool, f"auto, effort {effort}{after}", chosen)
        for risk in RISKS.values():
            chosen = [(promised(each, 0, risk, prefer), held) for each, held in families]
            yield _auto(pool, f"auto, risk {risk:g}{after}", chosen)


def measured(name: str, outcomes: Outcomes, error: str = "") -> Method:
    right, tokens, sequential = (x.mean(axis=1) for x in (outcomes.right, outcomes.tokens, outcomes.sequential))
    return Method(name, right, tokens, sequential, error)


def _auto(pool: Pool, name: str, chosen: Sequence[tuple[Choice, Bools]]) -> Method:
    sums = np.zeros((3, len(pool.tokens)))
    for choice, held in chosen:
        outcomes = pool.ways[Way(*choice.row.arm)]
        for total, values in zip(sums, (outcomes.right, outcomes.tokens, outcomes.sequential), strict=True):
            total[held] += values.mean(axis=1)[held] / SPLITS
    right, tokens, sequential = sums
    return Method(name, right, tokens, sequential, _error(pool, [(choice.row, held) for choice, held in chosen]))


def _error(pool: Pool, chosen: Sequence[tuple[ArmRow, Bools]]) -> str:
    """The ECE of these rows' confidences on held-out questions, over both halves at once, and that of perfect ones.

    Both in points, as means over the deals.
    """
    source = np.random.default_rng(0)
    parts = []
    for row, held in chosen:
        sure, right = confidences(row, pool.ways[Way(*row.arm)], held)
        coins = np.repeat(source.random(int(held.sum())), len(sure) // int(held.sum()))
        parts.append((sure, right, (coins < sure).astype(float)))
    errors = []
    for pair in zip(parts[::2], parts[1::2], strict=True):
        sure, *outcomes = map(np.concatenate, zip(*pair, strict=True))
        errors.append([100 * calibration_error(sure, right) for right in outcomes])
    seen, perfect = np.mean(errors, axis=0)
    return f"{seen:.1f}, {perfect:.1f}"


def table(methods: Sequence[Method]) -> Iterator[str]:
    fixed = [method for method in methods if method.name.startswith("n=")]
    right = np.array([method.right for method in fixed])
    tokens = np.array([method.tokens for method in fixed])
    q = right.shape[1]
    lots = np.random.default_rng(0).multinomial(q, np.full(q, 1 / q), size=DRAWS) / q
    yield ("| | accuracy % | points against SC@N | samples | sequential | n | over n "
           "| ECE, points, and of perfect ones |")  # fmt: skip
    yield "|---|---|---|---|---|---|---|---|"
    shown = [
        method for method in methods if method not in fixed or method.name in {"n=1", "n=3", "n=8", f"n={len(fixed)}"}
    ]
    for method in shown:
        measures = [_against(method, right, tokens, lot) for lot in (np.full(q, 1 / q), *lots)]
        (accuracy, gap, cost, n, ratio), *rest = measures
        low, high = np.percentile(np.array(rest), (2.5, 97.5), axis=0)
        wait = method.sequential.mean() / tokens[0].mean()
        yield (f"| {method.name} | {100 * accuracy:.1f} "
               f"| {100 * gap:+.2f} ({100 * low[1]:+.2f} to {100 * high[1]:+.2f}) "
               f"| {cost / tokens[0].mean():.2f} | {wait:.2f} | {n:.0f} | {ratio:.2f} ({low[4]:.2f} to {high[4]:.2f}) "
               f"| {method.error} |")  # fmt: skip


def _against(method: Method, right: Floats, tokens: Floats, lot: Floats) -> tuple[float, ...]:
    accuracy, cost = float(method.right @ lot), float(method.tokens @ lot)
    fixed, costs = right @ lot, tokens @ lot
    # As accurate as this or more, within the margin; the vote of all samples may be less accurate than fewer.
    n = int(np.flatnonzero(fixed >= min(accuracy - MARGIN, fixed.max()) - 1e-9)[0])
    return accuracy, accuracy - float(fixed[-1]), cost, n + 1, float(costs[n]) / cost


def abstention(pool: Pool) -> Iterator[str]:
    """The share of wrong answers among the surest ones, cross-fitted; random abstention leaves it as it is."""
    yield "| wrong answers %, of those given | " + " | ".join(f"{100 * c:g} % answered" for c in COVERAGES) + " |"
    yield "|---" * (len(COVERAGES) + 1) + "|"
    families = [(family(pool, ours), held) for ours, held in halves(len(pool.tokens))]
    for effort, risk in RISKS.items():
        curves = []
        for each, held in families:
            several = each.model_copy(update={"arms": tuple(row for row in each.arms if row.samples > 1)})
            row = worthwhile(several, 0, risk).row
            curve = risk_coverage(*confidences(row, pool.ways[Way(*row.arm)], held))
            curves.append(np.interp(COVERAGES, np.arange(1, len(curve) + 1) / len(curve), curve))
        shown = " | ".join(f"{100 * wrong:.1f}" for wrong in np.mean(curves, axis=0))
        yield f"| auto, effort {effort} | {shown} |"


def ratio(pool: Pool, outcomes: Outcomes, held: Ints) -> float:
    """The cost of the smallest fixed number of samples that is as accurate on these questions, over that of an arm."""
    fixed, right = pool.fixed[:, held].mean(axis=1), outcomes.right[held].mean()
    n = int(np.flatnonzero(fixed >= min(right - MARGIN, fixed.max()) - 1e-9)[0]) + 1
    return float(n * pool.tokens[held].mean() / outcomes.tokens[held].mean())


def small(pool: Pool) -> Iterator[str]:
    """`auto` by calibrations of several sizes: what it costs on the other questions, and whether its promises hold."""
    yield ("| calibrated on | | samples | at least 0.9 of the fixed number, % | over n, median | mean loss, points "
           "| promised, % | promises broken, of 1,000 |")  # fmt: skip
    yield "|---|---|---|---|---|---|---|---|"
    source, questions = np.random.default_rng(0), len(pool.tokens)
    losses = pool.fixed[-1].mean()
    whole = family(pool, np.full(questions, True))
    for size in [size for size in SIZES if size <= 0.76 * questions]:
        deals = [np.split(source.permutation(questions), [size]) for _ in range(SPLITS)]
        cut = [(resampled(pool, whole, ours), held) for ours, held in deals]
        lots = [resampled(pool, whole, source.integers(0, questions, size)) for _ in range(RESAMPLES)]
        for name, choose, risk in [
            *((f"effort {effort}", worthwhile, risk) for effort, risk in RISKS.items()),
            *((f"risk {risk:g}", promised, risk) for risk in RISKS.values()),
        ]:
            chosen = [(choose(each, 0, risk), held) for each, held in cut]
            arms = [(pool.ways[Way(*choice.row.arm)], held) for choice, held in chosen]
            ratios = [ratio(pool, outcomes, held) for outcomes, held in arms]
            loss = np.mean([losses - outcomes.right.mean() for outcomes, _ in arms])
            drawn = [promised(each, 0, risk).row for each in lots] if choose is promised else []
            broken = sum(losses - pool.ways[Way(*row.arm)].right.mean() > risk for row in drawn) if drawn else ""
            kept = 100 * np.mean([choice.promised for choice, _ in chosen])
            cost = np.mean([outcomes.tokens.mean() for outcomes, _ in arms]) / pool.tokens.mean()
            yield (f"| {size} | {name} | {cost:.1f} | {100 * np.mean(np.array(ratios) >= NEVER_WORSE):.0f} "
                   f"| {np.median(ratios):.2f} | {100 * loss:.2f} | {kept:.0f} | {broken} |")  # fmt: skip


def resampled(pool: Pool, whole: Family, rows: Ints) -> Family:
    """A family of some questions, of which one may occur several times, with the confidences of the whole."""
    standard = pool.ways[pool.arm.way()].right.mean(axis=1)
    arms = []
    for row in whole.arms:
        outcomes = pool.ways[Way(*row.arm)].of(rows)
        losses = counted(outcomes, standard[rows]) if row.strategy != whole.baseline else ((0.0, len(rows)),)
        tokens = float(outcomes.tokens.mean())
        arms.append(row.model_copy(update={"questions": len(rows), "losses": losses, "tokens": tokens}))
    return whole.model_copy(update={"arms": tuple(arms), "questions": len(rows)})


def confidence(pool: Pool) -> Iterator[str]:
    """The confidence of the safe arm's answers by calibrations of several sizes, against the share of the vote."""
    yield "| calibrated on | Brier, and of the share | area under the risk curve, and of the share | abstaining |"
    yield "|---|---|---|---|"
    source, questions = np.random.default_rng(0), len(pool.tokens)
    [safe] = [outcomes for way, outcomes in pool.ways.items() if way.strategy == family_safe(pool)]
    for size in [size for size in SIZES if size <= 0.76 * questions]:
        measured, broken, promises = [], 0, 0
        for ours, held in (np.split(source.permutation(questions), [size]) for _ in range(SPLITS)):
            trust = trust_in(safe.of(ours))
            share, right, length = (x[held, :ORDERS].ravel() for x in (safe.share, safe.right, safe.length))
            sure = np.vectorize(trust.chance, otypes=[float])(share, length)
            measured.append([np.mean((x - right) ** 2) for x in (sure, share)]
                         + [risk_coverage(x, right).mean() for x in (sure, share)])  # fmt: skip
            if (least := trust.least_share(ABSTAIN_RISK)) is not None:
                promises += 1
                given = safe.share >= least
                broken += bool((1 - safe.right)[given].mean() > ABSTAIN_RISK)
        brier, raw, area, ranked = np.mean(measured, axis=0)
        yield (f"| {size} | {brier:.3f}, {raw:.3f} | {area:.4f}, {ranked:.4f} "
               f"| {promises} of {SPLITS} promise {100 * ABSTAIN_RISK:g} %, {broken} broken |")  # fmt: skip


def family_safe(pool: Pool) -> str:
    """The spec of the arm that is chosen without evidence."""
    return pool.arm.way(stop=rule(safe_rule(pool.arm.arm.pool)), order="launch").strategy


def report(half: Path, spec: str, mean: float, profile: Path, folder: Path) -> None:
    """The rules, `auto` and divided budgets on a half, run and reported by the command."""
    task = f"pool:{half}"
    questions = len(half.read_text().splitlines())
    n = build("strategy", spec).n
    rules = (
        "lock_in:delta=0.01",
        "lock_in:delta=0.05",
        "lock_in:delta=0.1",
        "beta:theta=0.95",
        "price:price=0.002",
        *EXTRA,
    )
    chosen = [spec, *(f"{spec},stop={Spec.parse(text).nested()}" for text in rules)]
    chosen += [f"early_stopping:{spec.partition(':')[2]},window={window}" for window in (3, 5)]
    chosen += [f"auto:profile={profile},n={n},effort={effort}" for effort in RISKS]
    words = [word for strategy in chosen for word in ("-s", strategy)]
    command("eval", task, "--engine", task, *words, "--out", str(folder / "rules"))
    totals = ",".join(f"tokens={round(size * mean * questions)}" for size in MEANS)
    shared = f"{spec},stop=lossless"
    command("eval", task, "--engine", task, "-s", shared, "--totals", totals, "--out", str(folder / "divided"))
    command("report", str(folder / "rules"), str(folder / "divided"), "--out", str(folder / "report"))


def tokens_in(row: dict[str, Any]) -> list[int]:
    """The lengths of the recorded answers or chains of a question."""
    return [chain["tokens"] for chain in row["chains"]] if "chains" in row else row["tokens"]


def main(folder: Path, files: Sequence[Path]) -> None:
    for file in files:
        output = folder / file.stem
        output.mkdir(parents=True)
        lines = file.read_text().splitlines()
        drawn_tokens = [tokens_in(json.loads(line)) for line in lines]
        longest = max(map(max, drawn_tokens))
        spec = f"self_consistency:n={min(MOST, *map(len, drawn_tokens))},max_tokens={longest}"
        pool = pool_in(drawn(file, spec, output / "run"))
        print(f"## {file.stem}: {len(lines):,} questions\n")
        print("\n".join(table(list(methods_on(pool)))), "\n".join(abstention(pool)), "\n".join(small(pool)),
              "\n".join(confidence(pool)), sep="\n\n", flush=True)  # fmt: skip
        random.Random(0).shuffle(lines)
        halved = output / "a.jsonl", output / "b.jsonl"
        for half, part in zip(halved, (lines[::2], lines[1::2]), strict=True):
            half.write_text("\n".join(part) + "\n")
        mean = sum(map(sum, drawn_tokens)) / sum(map(len, drawn_tokens))
        profile = str(drawn(halved[0], spec, output / "run-a")) + ".json"
        report(halved[1], spec, mean, Path(profile), output)
        print(f"\nreport: {output / 'report'}\n", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
