"""What stopping costs and keeps: accuracy, tokens and sequential tokens of each policy.

    python bench/parallel_thinking.py [--chains 64] [--repeats 6] recordings.jsonl ...
    python bench/parallel_thinking.py --chains 16

The files are recordings (bench/README.md: sources): chains of thought with probes, or answers with their tokens. Each
policy is a strategy that runs on the product itself, and everything is counted: cancelled chains, and probes as 20
tokens each. The first `--chains` of the chains of each question are drawn, in `--repeats` orders of seed 0. Prints a
line for each policy: its name, right answers in per cent, tokens and sequential tokens a question in thousands; the
mean over all files last. Intervals are 95 % bootstrap intervals over the questions, of the differences to the full
vote.

Without files, the embedded model answers arithmetic questions, one question at a time, and the line has the seconds a
question too.
"""

import asyncio
import random
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from replies import questions_in, write
from scipy.stats import bootstrap

from reasoner import solve_many
from reasoner.answers.equivalence import Equivalence
from reasoner.registry import build
from reasoner_evals.tasks.own_files import Pool

SETTLED = "first_of(rules=[beta(theta=0.9), no_majority])"
POLICIES = {
    "vote of all": "self_consistency(n={n})",
    "beta, one at a time": "adaptive_consistency(n={n}, order=launch, window=1)",
    "beta, launch order, 16": "adaptive_consistency(n={n}, order=launch, window=16)",
    "beta, launch order, 32": "adaptive_consistency(n={n}, order=launch, window=32)",
    "beta, by length, 16": "adaptive_consistency(n={n}, window=16)",
    "beta, by length": "adaptive_consistency(n={n})",
    "settled, by length": f"self_consistency(n={{n}}, stop={SETTLED})",
    "settled, by length, 16": f"self_consistency(n={{n}}, stop={SETTLED}, window=16)",
}
MODEL = {
    "vote of all": "self_consistency(n={n}, max_tokens=256)",
    "beta, launch order": "adaptive_consistency(n={n}, order=launch, max_tokens=256)",
    "beta, by length": "adaptive_consistency(n={n}, max_tokens=256)",
    "settled, by length": f"self_consistency(n={{n}}, stop={SETTLED}, max_tokens=256)",
}
"""Policies on the embedded model."""
QUESTIONS = 8


def reordered(
    line: dict[str, Any], chains: int, source: random.Random
) -> dict[str, Any]:
    """A recorded question with some of its chains, in a random order."""
    return line | {"replies": source.sample(line["replies"], chains)}


async def outcomes(path: Path, strategy: str) -> list[tuple[float, float, float]]:
    """Whether each question is answered rightly, its tokens and its sequential tokens."""
    items, results = Pool(str(path)).load().items, []
    solutions = await solve_many(
        [item.question for item in items], strategy, f"pool:path={path}"
    )
    for item, solution in zip(items, solutions, strict=True):
        if solution.error:
            raise solution.error
        right = (
            solution.answer
            and await item.grader.grade(item, solution.answer, Equivalence()) == "right"
        )
        results.append(
            (
                100.0 * bool(right),
                solution.cost.tokens / 1e3,
                solution.cost.sequential_tokens / 1e3,
            )
        )
    return results


def measured(file: Path, chains: int, repeats: int) -> dict[str, np.ndarray]:
    """For each policy [Q, 3]: the means of the outcomes of each question over all orders."""
    lines = questions_in(file)
    n = min(chains, *(len(line["replies"]) for line in lines))
    totals: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats):
            path, source = Path(folder, f"{repeat}.jsonl"), random.Random(repeat)
            write(path, [reordered(line, n, source) for line in lines])
            for name, strategy in POLICIES.items():
                results = asyncio.run(outcomes(path, strategy.format(n=n)))
                totals[name] = totals.get(name, 0) + np.array(results) / repeats
    print(f"{file.name}: {len(lines)} questions, {n} chains each")
    for name, values in totals.items():
        print(
            f"{row(name, values.mean(axis=0))}  {gain(values, totals['vote of all'])}",
            flush=True,
        )
    return totals


async def on_model(n: int) -> None:
    """The line of each policy on the embedded model."""
    items, engine = (
        build("task", "arithmetic").load().items[:QUESTIONS],
        build("engine", "vllm"),
    )
    await engine.start()
    for name, strategy in MODEL.items():
        began, outcome = time.monotonic(), []
        for item in items:
            (solution,) = await solve_many(
                [item.question], strategy.format(n=n), engine
            )
            right = (
                solution.answer
                and await item.grader.grade(item, solution.answer, Equivalence())
                == "right"
            )
            cost = solution.cost
            outcome.append(
                (100.0 * bool(right), cost.tokens / 1e3, cost.sequential_tokens / 1e3)
            )
        seconds = (time.monotonic() - began) / len(items)
        print(f"{row(name, np.mean(outcome, axis=0))} {seconds:6.1f} s", flush=True)
    await engine.close()


def row(name: str, means: np.ndarray) -> str:
    """The line of a policy."""
    return f"{name:<24} {means[0]:5.1f} % {means[1]:9.1f}k {means[2]:8.2f}k"


def gain(values: np.ndarray, whole: np.ndarray) -> str:
    """The difference in points to the full vote, with its interval."""
    differences = values[:, 0] - whole[:, 0]
    if not differences.any():
        return "+0.0"
    low, high = bootstrap(
        (differences,), np.mean, method="percentile", rng=0
    ).confidence_interval
    return f"{differences.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def main() -> None:
    """Print the table of each file, then the means over the files."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=6)
    given = parser.parse_args()
    if not given.files:
        asyncio.run(on_model(given.chains))
        return
    tables = [measured(file, given.chains, given.repeats) for file in given.files]
    print(f"mean over {len(tables)} file{'s' if len(tables) != 1 else ''}")
    for name in tables[0]:
        print(
            row(
                name,
                np.mean(
                    [table[name].mean(axis=0) for table in tables if name in table],
                    axis=0,
                ),
            )
        )


if __name__ == "__main__":
    main()
