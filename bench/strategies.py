"""Every strategy at equal total tokens on 50 one-digit sums and products with the embedded model and its head.

    python bench/strategies.py [NAME...]

Each strategy is sized on 12 development questions so that it computes TOKENS tokens per question on average, which
counts uncached prompt, generated, verifier and cancelled tokens, with empty caches. Nothing else is chosen. The 50
reported questions are then answered once, each within four times TOKENS. Intervals are 95 %, from 4,000 bootstrap
draws of questions; differences to self-consistency are paired.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reasoner import Budget, Cost, solve_many
from reasoner.engine import reset_caches
from reasoner.engines.vllm import VllmEngine
from reasoner.registry import build
from reasoner.strategy import Strategy
from reasoner_evals.tasks import arithmetic
from reasoner_evals.tasks.graders import GradedQuestion
from reasoner_verifiers import Prm

TOKENS, SEED, MAX_BYTES = 400, 0, 64
CHAIN = "max_tokens=160"
STEPS = f"step_tokens=16,max_steps=10,{CHAIN}"
SPECS = {
    "self_consistency": f"self_consistency:n={{n}},{CHAIN}",
    "adaptive_consistency": f"adaptive_consistency:n={{n}},{CHAIN}",
    "early_stopping": f"early_stopping:n={{n}},window=4,{CHAIN}",
    "short_m_at_k": f"short_m_at_k:k={{n}},m=1,{CHAIN}",
    "deepconf": f"deepconf:n={{n}},warmup=4,window=8,keep=50,{CHAIN}",
    "best_of_n": f"best_of_n:n={{n}},{CHAIN}",
    "best_of_n, weighted": f"best_of_n:n={{n}},selector=weighted,{CHAIN}",
    "cisc": f"cisc:n={{n}},{CHAIN}",
    "borda": f"borda:n={{n}},{CHAIN}",
    "speculative_rejection": f"speculative_rejection:n={{n}},every=16,{CHAIN}",
    "universal": f"universal:n={{n}},{CHAIN}",
    "knockout": f"knockout:n={{n}},{CHAIN}",
    "pairwise": f"pairwise:n={{n}},{CHAIN}",
    "swiss": f"swiss:n={{n}},{CHAIN}",
    "aggregate": f"aggregate:n={{n}},rounds=1,{CHAIN}",
    "aggregate, as rsa": f"aggregate:n={{n}},rounds=2,agreed=write,{CHAIN}",
    "gen_select": f"gen_select:n={{n}},repeats=1,{CHAIN}",
    "beam_search": f"beam_search:n={{n}},width=2,{STEPS}",
    "dvts": f"dvts:n={{n}},width=2,{STEPS}",
    "rebase": f"rebase:n={{n}},{STEPS}",
    "particle_filter": f"particle_filter:n={{n}},{STEPS}",
    "lookahead": f"lookahead:n={{n}},width=2,{STEPS}",
    "mcts": f"mcts:simulations={{n}},k=2,{STEPS}",
    "ab_mcts": f"ab_mcts:n={{n}},{CHAIN}",
    "tree_of_thoughts": f"tree_of_thoughts:b={{n}},k=2,n_eval=1,{STEPS}",
    "refine": f"self_consistency:n={{n}},of=refine(rounds=1,{CHAIN})",
    "revise": f"revise:chains={{n}},revisions=1,{CHAIN}",
    "budget_forcing": "self_consistency:n={n},of=budget_forcing(waits=1,max_thinking=120,answer_tokens=40)",
}
EVEN = {"beam_search", "dvts", "lookahead"}
"""Their width divides n."""


class Run(NamedTuple):
    """A strategy on a set of questions: the right answers, the total cost, and the mean sequential tokens."""

    right: np.ndarray
    cost: Cost
    sequential: float

    @property
    def tokens(self) -> float:
        return self.cost.tokens / len(self.right)


async def run(spec: str, items: Sequence[GradedQuestion], engine: VllmEngine, prm: Prm) -> Run:
    await reset_caches(engine, prm)
    strategy: Strategy = build("strategy", spec)
    verifier = prm if strategy.uses_verifier else None
    solutions = await solve_many(
        [item.question for item in items],
        strategy,
        engine,
        verifier=verifier,
        each=Budget(tokens=4 * TOKENS),
        seed=SEED,
    )
    for solution in solutions:
        if solution.error:
            raise solution.error
    right = [s.answer is not None and s.answer.key == item.gold for s, item in zip(solutions, items, strict=True)]
    cost = sum((solution.cost for solution in solutions), Cost())
    return Run(np.array(right, dtype=float), cost, float(np.mean([s.cost.sequential_tokens for s in solutions])))


async def sized(name: str, engine: VllmEngine, prm: Prm) -> int:
    """The size whose cost on development questions is nearest to TOKENS."""
    items = arithmetic.development()[:12]
    step = 2 if name in EVEN else 1
    tried: dict[int, float] = {}
    size = 4
    for _ in range(4):
        tried[size] = (await run(SPECS[name].format(n=size), items, engine, prm)).tokens
        nearest = min(tried, key=lambda size: abs(tried[size] - TOKENS))
        following = max(step, min(MAX_BYTES, round(nearest * TOKENS / tried[nearest] / step) * step))
        if following in tried:
            break
        size = following
    return min(tried, key=lambda size: abs(tried[size] - TOKENS))


def interval(values: np.ndarray) -> str:
    source = np.random.default_rng(SEED)
    means = source.choice(values, (4000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"


def difference(values: np.ndarray) -> str:
    source = np.random.default_rng(SEED)
    means = source.choice(values, (4000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():+.2f} ({low:+.2f} to {high:+.2f})"


async def main(names: Sequence[str]) -> None:
    engine, prm = VllmEngine(max_model_len=2048), Prm()
    await engine.start()
    await prm.start(engine)
    items = arithmetic.reported()
    greedy = await run(f"single:{CHAIN}", items, engine, prm)
    columns = ("strategy", "size", "accuracy", "against self-consistency", "tokens", "sequential",
               "prompt + generated + verifier + cancelled; cached")  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    print_row("single, greedy", "1", greedy, None)
    vote: Run | None = None
    for name in dict.fromkeys(["self_consistency", *names]):
        size = await sized(name, engine, prm)
        result = await run(SPECS[name].format(n=size), items, engine, prm)
        vote = vote or result
        print_row(name, str(size), result, vote)
    await prm.close()
    await engine.close()


def print_row(name: str, size: str, result: Run, vote: Run | None) -> None:
    cost, count = result.cost, len(result.right)
    parts = (cost.prompt_tokens, cost.generated_tokens, cost.verifier_tokens, cost.cancelled_tokens)
    split = " + ".join(f"{part / count:.0f}" for part in parts)
    against = "" if vote is None or vote is result else difference(result.right - vote.right)
    print(f"| {name} | {size} | {interval(result.right)} | {against} | {result.tokens:.0f} | "
          f"{result.sequential:.0f} | {split}; "
          f"{cost.cached_tokens / count:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or list(SPECS)))
