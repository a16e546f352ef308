"""Accuracy of `single`, `self_consistency` and `best_of_n` on 50 one-digit sums and products with the embedded model.

    python bench/accuracy.py [SEED]

One pool of 16 samples a question; accuracy at n is the mean over 400 random subsets of n without replacement, so no
order of arrival decides. Intervals are 95 %, from 4,000 bootstrap draws of questions. The wording of the prompt was
chosen on the 40 other pairs of digits, which are not reported.
"""

import asyncio
import math
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from reasoner import Question, SamplingParams, ask, solve_many
from reasoner.engines.vllm import VllmEngine
from reasoner.trace import Event, Sampled
from reasoner.types import Answer, Completion
from reasoner.votes import Tally
from reasoner_strategies import SelfConsistency, Single

POOL = 16
SUBSETS = 400
DEVELOPMENT = 40


def items() -> tuple[list[Question], list[str]]:
    """The 50 reported questions and their reference answers, which stay here."""
    pairs = [(sign, a, b) for sign in "+*" for a in range(1, 10) for b in range(a, 10)]
    random.Random(0).shuffle(pairs)
    asked, gold = [], []
    for sign, a, b in pairs[DEVELOPMENT:]:
        asked.append(ask(f"What is {a} {'+' if sign == '+' else 'x'} {b}?", space="number"))
        gold.append(str(a + b if sign == "+" else a * b))
    return asked, gold


class Drawn(NamedTuple):
    """One sample of the pool: its answer, and the certainty that `best_of_n` would select by."""

    answer: Answer | None
    certainty: float


def majority(question: Question, pool: list[Drawn], chosen: list[int]) -> str | None:
    tally = Tally(question.space)
    for index in chosen:
        tally.add(pool[index].answer, index=index)
    return key(tally)


def weighted(question: Question, pool: list[Drawn], chosen: list[int]) -> str | None:
    tally = Tally(question.space)
    for index in chosen:
        tally.add(pool[index].answer, index=index, weight=pool[index].certainty)
    return key(tally)


def argmax(question: Question, pool: list[Drawn], chosen: list[int]) -> str | None:
    tally = Tally(question.space, by="max")
    for index in chosen:
        tally.add(pool[index].answer, index=index, weight=pool[index].certainty)
    return key(tally)


def key(tally: Tally) -> str | None:
    leader = tally.standing().leader
    return leader.key if leader else None


Select = Callable[[Question, list[Drawn], list[int]], str | None]
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
    asked, gold = items()
    params = SamplingParams(temperature=0.7, max_tokens=160, logprobs=0)
    greedy = await solve_many(asked, Single(replace(params, temperature=0.0)), engine, seed=seed)
    events: list[Event] = []
    solutions = await solve_many(asked, SelfConsistency(POOL, params), engine, trace=events.append, seed=seed)
    await engine.close()

    pools: dict[str, list[Drawn]] = {question.id: [Drawn(None, 0.0)] * POOL for question in asked}
    by_id = {question.id: question for question in asked}
    for event in events:
        if isinstance(event, Sampled):
            question = by_id[event.question_id]
            drawn = Completion(question.prompt, event.text, event.token_ids, event.finish_reason, event.stop)
            assert event.logprobs
            certainty = math.exp(math.fsum(event.logprobs.sampled) / len(event.logprobs.sampled))
            pools[question.id][event.index] = Drawn(question.read(drawn), certainty)

    source = np.random.default_rng(seed)
    right = [float(s.answer is not None and s.answer.key == want) for s, want in zip(greedy, gold, strict=True)]
    tokens = sum(s.cost.tokens for s in greedy) / len(asked)
    rows = [("single, greedy", right, tokens)]
    per_sample = sum(s.cost.tokens for s in solutions) / len(asked) / POOL
    for name, n, select in ROWS:
        scores: list[float] = []
        for question, want in zip(asked, gold, strict=True):
            rounds = SUBSETS if n < POOL else 1
            subsets = [
                sorted(random.Random(f"{seed}-{question.id}-{n}-{r}").sample(range(POOL), n)) for r in range(rounds)
            ]
            hits = [select(question, pools[question.id], chosen) == want for chosen in subsets]
            scores.append(sum(hits) / len(hits))
        rows.append((name, scores, per_sample * n))
    covered = [any(d.answer and d.answer.key == want for d in pools[q.id]) for q, want in zip(asked, gold, strict=True)]
    silent = np.mean([[drawn.answer is None for drawn in pool] for pool in pools.values()])

    print("| strategy | accuracy | 95 % interval | tokens a question |\n|---|---|---|---|")
    for name, accuracies, cost in rows:
        low, high = interval(accuracies, source)
        print(f"| {name} | {np.mean(accuracies):.2f} | {low:.2f} to {high:.2f} | {cost:,.0f} |")
    print(f"\noracle coverage at {POOL}: {np.mean(covered):.2f}; samples without an answer: {silent:.3f}; seed {seed}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
