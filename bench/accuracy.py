"""Accuracy of `single`, `self_consistency` and `best_of_n` on 50 one-digit sums and products with the embedded model.

    python bench/accuracy.py [SEED]

One pool of 16 samples per question; accuracy at n is the mean over 400 random subsets of n without replacement, so
the order of arrival has no effect. Intervals are 95 %, from 4,000 bootstrap draws of questions. The wording of the
prompt was chosen on the 40 development pairs, which are not reported.
"""

import asyncio
import math
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from reasoner import Question, SamplingParams, solve_many
from reasoner.engines.vllm import VllmEngine
from reasoner.trace.events import Event, Sampled
from reasoner.types import Answer, Completion
from reasoner.voting import Tally
from reasoner_evals.tasks import arithmetic
from reasoner_strategies import SelfConsistency, Single

POOL = 16
SUBSETS = 400


class PoolSample(NamedTuple):
    """One sample of the pool: its answer, the certainty that `best_of_n` would select by, and its sequential tokens."""

    answer: Answer | None
    certainty: float
    sequential: int


def majority(question: Question, pool: list[PoolSample], chosen: list[int]) -> str | None:
    tally = Tally(question.space)
    for index in chosen:
        tally.add(pool[index].answer, index=index)
    return key(tally)


def weighted(question: Question, pool: list[PoolSample], chosen: list[int]) -> str | None:
    tally = Tally(question.space)
    for index in chosen:
        tally.add(pool[index].answer, index=index, weight=pool[index].certainty)
    return key(tally)


def argmax(question: Question, pool: list[PoolSample], chosen: list[int]) -> str | None:
    tally = Tally(question.space, by="max")
    for index in chosen:
        tally.add(pool[index].answer, index=index, weight=pool[index].certainty)
    return key(tally)


def key(tally: Tally) -> str | None:
    leader = tally.vote_state().leader
    return leader.key if leader else None


Select = Callable[[Question, list[PoolSample], list[int]], str | None]
ROWS: tuple[tuple[str, int, Select], ...] = (
    *((f"self_consistency, n={n}", n, majority) for n in (1, 2, 4, 8, 16)),
    *((f"best_of_n by certainty, n={n}, argmax", n, argmax) for n in (4, 8, 16)),
    *((f"best_of_n by certainty, n={n}, weighted", n, weighted) for n in (4, 8, 16)),
)


def interval(values: list[float], source: np.random.Generator) -> tuple[float, float]:
    draws = source.choice(values, size=(4000, len(values))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


async def main(seed: int) -> None:
    engine = VllmEngine()
    items = arithmetic.reported()
    questions, gold = [item.question for item in items], [item.gold for item in items]
    params = SamplingParams(temperature=0.7, max_tokens=160, logprobs=0)
    greedy = await solve_many(questions, Single(replace(params, temperature=0.0)), engine, seed=seed)
    events: list[Event] = []
    solutions = await solve_many(questions, SelfConsistency(POOL, params), engine, trace=events.append, seed=seed)
    await engine.close()

    pools: dict[str, list[PoolSample]] = {question.id: [PoolSample(None, 0.0, 0)] * POOL for question in questions}
    by_id = {question.id: question for question in questions}
    for event in events:
        if isinstance(event, Sampled):
            question = by_id[event.question_id]
            completion = Completion(question.prompt, event.text, event.token_ids, event.finish_reason, event.stop)
            assert event.logprobs
            certainty = math.exp(math.fsum(event.logprobs.sampled) / len(event.logprobs.sampled))
            pools[question.id][event.index] = PoolSample(
                question.read(completion), certainty, event.cost.sequential_tokens
            )

    source = np.random.default_rng(seed)
    right = [float(s.answer is not None and s.answer.key == expected) for s, expected in zip(greedy, gold, strict=True)]
    tokens = sum(s.cost.tokens for s in greedy) / len(questions)
    waited = sum(s.cost.sequential_tokens for s in greedy) / len(questions)
    rows = [("single, greedy", right, tokens, waited)]
    per_sample = sum(s.cost.tokens for s in solutions) / len(questions) / POOL
    for name, n, select in ROWS:
        scores: list[float] = []
        longest: list[int] = []
        for question, expected in zip(questions, gold, strict=True):
            rounds = SUBSETS if n < POOL else 1
            subsets = [
                sorted(random.Random(f"{seed}-{question.id}-{n}-{r}").sample(range(POOL), n)) for r in range(rounds)
            ]
            hits = [select(question, pools[question.id], chosen) == expected for chosen in subsets]
            scores.append(sum(hits) / len(hits))
            longest += [max(pools[question.id][index].sequential for index in chosen) for chosen in subsets]
        rows.append((name, scores, per_sample * n, float(np.mean(longest))))
    covered = [
        any(sample.answer and sample.answer.key == expected for sample in pools[q.id])
        for q, expected in zip(questions, gold, strict=True)
    ]
    silent = np.mean([[sample.answer is None for sample in pool] for pool in pools.values()])

    print("| strategy | accuracy | 95 % interval | tokens per question | sequential |\n|---|---|---|---|---|")
    for name, accuracies, cost, latency in rows:
        low, high = interval(accuracies, source)
        print(f"| {name} | {np.mean(accuracies):.2f} | {low:.2f} to {high:.2f} | {cost:,.0f} | {latency:,.0f} |")
    print(f"\noracle coverage at {POOL}: {np.mean(covered):.2f}; samples without an answer: {silent:.3f}; seed {seed}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
