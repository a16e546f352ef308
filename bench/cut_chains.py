"""What the vote of chains gains by probes of those that a limit cut, on recordings of a model that thinks.

    python bench/cut_chains.py recordings.jsonl

The file is a recording of chains with probes, the answers that a chain would give at every 500th token. Prints how
often the votes of 4, 16 and 64 chains are right, for limits on their tokens: cut chains have no answer (drop), are
probed where no other chain has an answer (fallback), or are always probed (probe). Then one chain, and a vote of 16,
that use up a budget of all tokens or of generated ones: without room for a probe of what the budget cuts, or with room
as long as no chain has an answer (reserve). Subsets of chains are drawn with seed 0; the intervals are over the
questions.
"""

import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from replies import questions_in
from scipy.stats import bootstrap

WAYS = ("drop", "fallback", "probe")
WIDTHS = (4, 16, 64)
LIMITS = (2_000, 4_000, 8_000, 12_000, 16_000, 24_000, 32_000)
REPEATS = 20
BUDGETS = (4_000, 8_000, 16_000, 24_000, 32_000, 48_000, 64_000)
PROMPT, FORCED, PROBE, LONGEST, LEAST = 150, 40, 24, 32_000, 16
"""Tokens of a question, of what a probe forces and draws, and of the longest and the shortest chain that is drawn."""


def probed(chain: dict[str, Any], every: int, limit: int) -> str | None:
    """The answer of the last probe at or before a limit."""
    seen: list[str | None] = chain["probes"][: limit // every]
    return seen[-1] if seen else None


def winner(answers: list[str | None], source: random.Random) -> str | None:
    """The answer that most chains have; a tie is broken at random."""
    votes = Counter(answer for answer in answers if answer is not None)
    best = [answer for answer, count in votes.items() if count == max(votes.values())]
    return source.choice(sorted(best)) if best else None


def row(questions: list[dict[str, Any]], n: int, limit: int) -> str:
    """The line of one width and one limit."""
    source, finished, right = (
        random.Random(0),
        0,
        {name: [0.0] * len(questions) for name in WAYS},
    )
    for number, question in enumerate(questions):
        for _ in range(REPEATS):
            chains = source.sample(question["replies"], n)
            whole = [chain["answer"] for chain in chains if chain["tokens"] <= limit]
            cut = [
                probed(chain, question["every"], limit)
                for chain in chains
                if chain["tokens"] > limit
            ]
            drop, finished = winner(whole, source), finished + len(whole)
            votes = {
                "drop": drop,
                "fallback": drop or winner(cut, source),
                "probe": winner(whole + cut, source),
            }
            for name in WAYS:
                right[name][number] += (votes[name] == question["gold"]) / REPEATS
    shares = ", ".join(f"{name} {np.mean(right[name]):5.1%}" for name in WAYS)
    gains = ", ".join(
        f"over {name} {gain(right['fallback'], right[name])}"
        for name in ("drop", "probe")
    )
    share = finished / (len(questions) * REPEATS * n)
    return f"n={n:<3} max_tokens={limit:<6,} finished {share:4.0%}: {shares}; points of the fallback {gains}"


def budgeted(
    chains: list[dict[str, Any]],
    every: int,
    budget: int,
    unit: str,
    reserve: bool,
    source: random.Random,
) -> str | None:
    """The vote of chains that are drawn one after another until a budget is used up.

    A probe must have room for all of its prompt, and then finds it in the cache.
    """
    whole, cut, left = list[str | None](), list[tuple[dict[str, Any], int]](), budget
    prompts = int(unit == "tokens")
    probe = PROBE + FORCED * prompts
    for chain in chains:
        room = left - PROMPT * prompts
        if reserve and not any(whole):
            room = (room - PROMPT * prompts - probe) // (1 + prompts)
        limit = min(LONGEST, room)
        if limit < LEAST:
            break
        left -= PROMPT * prompts + min(chain["tokens"], limit)
        if chain["tokens"] <= limit:
            whole.append(chain["answer"])
        else:
            cut.append((chain, limit))
    probes = []
    for chain, limit in cut if not any(whole) else []:
        if (PROMPT + limit) * prompts + probe <= left:
            left -= probe
            probes.append(probed(chain, every, limit))
    return winner(whole, source) or winner(probes, source)


def reserves(questions: list[dict[str, Any]], n: int, budget: int) -> str:
    """The line of one width and one budget."""
    ways, source = (
        [
            (unit, reserve)
            for unit in ("tokens", "generated")
            for reserve in (False, True)
        ],
        random.Random(0),
    )
    right = {way: [0.0] * len(questions) for way in ways}
    for number, question in enumerate(questions):
        for _ in range(REPEATS):
            chains, seed = source.sample(question["replies"], n), source.random()
            for way in ways:
                vote = budgeted(
                    chains, question["every"], budget, *way, random.Random(seed)
                )
                right[way][number] += (vote == question["gold"]) / REPEATS
    shares = "; ".join(
        f"{unit} {np.mean(right[unit, False]):5.1%}, with a reserve {np.mean(right[unit, True]):5.1%}, "
        f"{gain(right[unit, True], right[unit, False])} points"
        for unit in ("tokens", "generated")
    )
    return f"n={n:<3} budget={budget:<6,}: {shares}"


def gain(ours: list[float], theirs: list[float]) -> str:
    """The mean paired difference in points, with a 95 % bootstrap interval over the questions."""
    differences = 100 * (np.array(ours) - np.array(theirs))
    if not differences.any():
        return "0"
    low, high = bootstrap(
        (differences,), np.mean, method="percentile", rng=0
    ).confidence_interval
    return f"{differences.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        questions = questions_in(path)
        print(f"{path.name}: {len(questions)} questions, the mean of {REPEATS} subsets")
        for n in WIDTHS:
            print("\n".join(row(questions, n, limit) for limit in LIMITS))
        for n in (1, 16):
            print("\n".join(reserves(questions, n, budget) for budget in BUDGETS))
