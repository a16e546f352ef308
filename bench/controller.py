"""The budget controller against fixed numbers of samples, on recorded answers, and a report with one chart a pool.

    python bench/controller.py FOLDER POOL...

Each POOL is a file of recorded answers. Its questions are dealt into two halves; a profile is calibrated on each and
used on the other, so nothing is chosen on what is reported. The table is over both halves and 20 orders of the samples;
its intervals are by bootstrap over questions (2,000 draws, seed 0). "Over SC@N" is what voting with all N samples costs
over what this costs; "over the least fixed n" is the same for the smallest number of samples that is right as often as
this, chosen after the fact, which favours it. The reports, in FOLDER/NAME/report, are of the second half in recorded
order, drawn and divided by the runner itself: every rule, `auto` at each effort, and budgets over all questions.
"""

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reasoner.calibration.arm_selection import choose
from reasoner.calibration.profile import read_profile
from reasoner.registry import build, spec_of
from reasoner.specs import Spec
from reasoner.stopping.rules import EFFORTS
from reasoner_evals.calibration.outcomes import PooledArm, pooled_arm, stopped, usable
from reasoner_evals.calibration.pool_replay import random_orders, replay
from reasoner_evals.report.data.measures import ArmRead, selected
from reasoner_evals.runs.arrays import Floats
from reasoner_evals.runs.reading import open_run, read_arm
from reasoner_strategies.auto import DELTAS

RULES = (
    "lossless", "lock_in:delta=0.01", "lock_in:delta=0.05", "lock_in:delta=0.1", "beta:theta=0.8", "beta:theta=0.95",
    "dirichlet:theta=0.95", "esc:window=3", "esc:window=5", "ppr:delta=0.05", "price:price=0.0002", "price:price=0.002",
    "price:price=0.01", "confidence:threshold=0.9",
)  # fmt: skip
MEANS = (1.5, 2, 3, 4, 6, 8, 12, 16)
"""Samples a question whose cost the budgets over all questions are."""
DRAWS = 2000


class Method(NamedTuple):
    """The results of one method per question, averaged over orders."""

    name: str
    right: Floats
    tokens: Floats


def command(*arguments: str) -> None:
    subprocess.run([Path(sys.executable).with_name("reasoner"), *arguments], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)  # fmt: skip


def halves(pool: Path, folder: Path) -> tuple[Path, Path]:
    """The pool's questions, dealt into two files."""
    lines = pool.read_text().splitlines()
    random.Random(0).shuffle(lines)
    files = folder / "a.jsonl", folder / "b.jsonl"
    for file, part in zip(files, (lines[::2], lines[1::2]), strict=True):
        file.write_text("\n".join(part) + "\n")
    return files


def drawn(half: Path, spec: str, out: Path) -> Path:
    """The run in which all samples of a half are drawn, and a profile of it beside."""
    task = f"pool:{half}"
    command("calibrate", task, "--engine", task, "-s", spec, "--runs", str(out), "--out", str(out) + ".json")
    return out


def pool_in(run: Path) -> PooledArm:
    opened = open_run(run)
    [arm] = [arm for arm in opened.manifest.arms if arm.pool]
    read = ArmRead(opened, read_arm(opened, arm.name))
    return pooled_arm(read, np.flatnonzero(usable(read)))


def methods_on(pool: PooledArm, profile: Path) -> Iterator[Method]:
    """Every fixed number of samples, every rule, and what `auto` chooses by a profile of other questions."""
    strategy = build("strategy", pool.arm.strategy)
    replayed = replay(pool.samples, random_orders(pool.ids, pool.arm.pool))
    sizes = range(1, pool.arm.pool + 1)
    right, _ = selected("majority", pool.pool, tuple(sizes))
    mean = pool.samples.further_prompt + pool.samples.own.mean(axis=1)
    fixed = {n: Method(f"n={n}", right[:, n - 1], mean * n) for n in sizes}
    yield from fixed.values()
    for spec in RULES:
        yield _named(spec, stopped(replayed, strategy, spec))
    [family] = read_profile(profile).families
    for effort, price in EFFORTS.items():
        row = choose(family, 0, price=price).row
        name = f"auto, effort {effort}"
        if row is None:
            yield _named(name, stopped(replayed, strategy, f"lock_in:delta={DELTAS[effort]}"))  # type: ignore[index]
            continue
        chosen = build("strategy", row.strategy)
        if chosen.stop is None:
            yield fixed[chosen.n]._replace(name=name)
        else:
            yield _named(name, stopped(replayed, strategy, spec_of(chosen.stop)))


def _named(name: str, outcomes: object) -> Method:
    return Method(name, outcomes.right.mean(axis=1), outcomes.tokens.mean(axis=1))  # type: ignore[attr-defined]


def both(first: Sequence[Method], second: Sequence[Method]) -> list[Method]:
    """The same method on both halves."""
    return [
        Method(a.name, np.concatenate([a.right, b.right]), np.concatenate([a.tokens, b.tokens]))
        for a, b in zip(first, second, strict=True)
    ]


def table(methods: Sequence[Method]) -> Iterator[str]:
    fixed = [method for method in methods if method.name.startswith("n=")]
    right = np.array([method.right for method in fixed])
    tokens = np.array([method.tokens for method in fixed])
    q = right.shape[1]
    lots = np.random.default_rng(0).multinomial(q, np.full(q, 1 / q), size=DRAWS) / q
    yield "| | accuracy % | points against SC@N | tokens | over SC@N | least fixed n | over the least fixed n |"
    yield "|---|---|---|---|---|---|---|"
    shown = [
        method for method in methods if method not in fixed or method.name in {"n=1", "n=3", "n=8", f"n={len(fixed)}"}
    ]
    for method in shown:
        measures = [_against(method, right, tokens, lot) for lot in (np.full(q, 1 / q), *lots)]
        (accuracy, gap, cost, ratio, n, minimum), *rest = measures
        low, high = np.percentile(np.array(rest), (2.5, 97.5), axis=0)
        yield (f"| {method.name} | {100 * accuracy:.1f} "
               f"| {100 * gap:+.2f} ({100 * low[1]:+.2f} to {100 * high[1]:+.2f}) "
               f"| {cost:,.0f} | {ratio:.2f} ({low[3]:.2f} to {high[3]:.2f}) "
               f"| {n:.0f} | {minimum:.2f} ({low[5]:.2f} to {high[5]:.2f}) |")  # fmt: skip


def _against(method: Method, right: Floats, tokens: Floats, lot: Floats) -> tuple[float, ...]:
    accuracy, cost = float(method.right @ lot), float(method.tokens @ lot)
    fixed, costs = right @ lot, tokens @ lot
    reached = np.flatnonzero(fixed >= accuracy - 1e-9)
    n = int(reached[0]) if len(reached) else len(fixed) - 1
    return accuracy, accuracy - float(fixed[-1]), cost, float(costs[-1]) / cost, n + 1, float(costs[n]) / cost


def report(half: Path, spec: str, mean: float, profile: Path, folder: Path) -> None:
    """The rules, `auto` and divided budgets on a half, run and reported by the command."""
    task = f"pool:{half}"
    questions = len(half.read_text().splitlines())
    n = build("strategy", spec).n
    chosen = [spec, *(f"{spec},stop={Spec.parse(rule).nested()}" for rule in RULES)]
    chosen += [f"early_stopping:{spec.partition(':')[2]},window={window}" for window in (3, 5)]
    chosen += [f"auto:profile={profile},n={n},effort={effort}" for effort in EFFORTS]
    words = [word for strategy in chosen for word in ("-s", strategy)]
    command("eval", task, "--engine", task, *words, "--out", str(folder / "rules"))
    totals = ",".join(f"tokens={round(size * mean * questions)}" for size in MEANS)
    shared = f"{spec},stop=lossless"
    command("eval", task, "--engine", task, "-s", shared, "--totals", totals, "--out", str(folder / "divided"))
    command("report", str(folder / "rules"), str(folder / "divided"), "--out", str(folder / "report"))


def main(folder: Path, pools: Sequence[Path]) -> None:
    for pool in pools:
        output = folder / pool.stem
        output.mkdir(parents=True)
        first, second = halves(pool, output)
        rows = [json.loads(line) for line in pool.read_text().splitlines()]
        longest = max(max(row["tokens"]) for row in rows)
        spec = f"self_consistency:n={min(len(row['answers']) for row in rows)},max_tokens={longest}"
        runs = [drawn(half, spec, output / name) for half, name in ((first, "run-a"), (second, "run-b"))]
        a = list(methods_on(pool_in(runs[0]), output / "run-b.json"))
        b = list(methods_on(pool_in(runs[1]), output / "run-a.json"))
        print(f"## {pool.stem}: {len(rows):,} questions\n")
        print("\n".join(table(both(a, b))), flush=True)
        report(second, spec, sum(map(sum, (row["tokens"] for row in rows))) / sum(len(row["tokens"]) for row in rows),
               output / "run-a.json", output)  # fmt: skip
        print(f"\nreport: {output / 'report'}\n", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
