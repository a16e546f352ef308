"""What votes of chains lose by ending early, on recordings of a model that thinks.

    python bench/early_exit.py RECORDINGS...
    python bench/early_exit.py law:0.6

A file is a recording of chains with probes, the answers that a chain would give at every 500th token. Prints for each
policy how often it is right, what it loses against the vote of all 64 chains of the same draw, or one chain against a
whole one, with a 95 % bootstrap interval over the questions, its tokens and its sequential tokens, a probe counted as
20. Draws are made with seed 0. The strategies run on the engine `pool`, the rest is computed here.

`law:W` is 300 simulated questions instead, by the law of the engine `simulated` (`reasoner/engines/chains.py`) with
6,000 tokens and accuracy 0.7, but for wrong chains that are W times as long as right ones. Of them 60 % have one
answer, 25 % a second and 15 % a third. Before a chain knows its answer, it says any of the four or nothing, and thinks
again at a tenth of the probes.
"""

import asyncio
import heapq
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from replies import questions_in, write
from scipy.stats import bootstrap

from reasoner import solve_many
from reasoner.engines.chains import PROBE_TOKENS, ChainLaw
from reasoner.engines.pool import PoolEngine
from reasoner.registry import build
from reasoner.stopping.vote_posteriors import beta_lead
from reasoner_evals.tasks.own_files import Pool

N, DRAWS, QUESTIONS = 64, 10, 300
EVERY = 500
EQUAL = (6, 10, 14, 20)
STOPS = ((16, 0.95), (16, 0.9), (32, 0.95), (32, 0.9))
STRATEGIES = (
    "parallel_probe",
    "parallel_probe(stop=beta(theta=0.9))",
    "parallel_probe(stop=beta(theta=0.9),window=16)",
)


class Outcome(NamedTuple):
    """The answer to one question of one draw, and what it took."""

    answer: str | None
    tokens: float
    sequential: float


class Reply(NamedTuple):
    """A chain as a policy has it: its answer, the tokens until it ended, and how often it was probed."""

    answer: str | None
    tokens: int
    probes: int = 0

    @property
    def length(self) -> int:
        return self.tokens + PROBE_TOKENS * self.probes


def ended(chain: dict[str, Any], every: int, equal: int) -> Reply:
    """A chain that is probed all along, and ends once this many probes in a row gave one answer; 0 never ends it."""
    latest, times = None, 0
    for number, answer in enumerate(chain["probes"] if equal else (), 1):
        if number * every >= chain["tokens"]:
            break
        times = times + 1 if answer == latest else 1
        latest = answer
        if times >= equal and answer is not None:
            return Reply(answer, number * every, number)
    return Reply(
        chain["answer"], chain["tokens"], (chain["tokens"] - 1) // every if equal else 0
    )


def leader(votes: Counter[str | None]) -> str | None:
    """The answer that most chains have, the first of equals."""
    return max(votes, key=lambda answer: votes[answer]) if votes else None


def whole(replies: Sequence[Reply]) -> Outcome:
    """The vote of all, side by side."""
    votes = Counter[str | None](
        reply.answer for reply in replies if reply.answer is not None
    )
    lengths = [reply.length for reply in replies]
    return Outcome(leader(votes), sum(lengths), max(lengths))


def first(replies: Sequence[Reply]) -> Outcome:
    """One chain alone."""
    return Outcome(replies[0].answer, replies[0].length, replies[0].length)


def stopped(replies: Sequence[Reply], window: int, theta: float) -> Outcome:
    """The vote in the order in which chains end, `window` at once, until the leader is ahead with chance `theta`."""
    waiting, running, votes = (
        list(reversed(replies)),
        list[tuple[int, int]](),
        Counter[str | None](),
    )
    now = spent = number = 0
    while waiting or running:
        while waiting and len(running) < window:
            heapq.heappush(running, (now + waiting[-1].length, number))
            waiting.pop()
            number += 1
        now, index = heapq.heappop(running)
        spent += replies[index].length
        if replies[index].answer is not None:
            votes[replies[index].answer] += 1
        first, second, *_ = (*sorted(votes.values(), reverse=True), 0, 0)
        if first and beta_lead(first, second) >= theta:
            break
    spent += sum(now - (end - replies[index].length) for end, index in running)
    return Outcome(leader(votes), spent, now)


def offline(
    draws: Sequence[dict[str, Any]],
    equal: int,
    policy: Callable[[Sequence[Reply]], Outcome],
) -> list[Outcome]:
    """A policy on all questions of all draws."""
    return [
        policy([ended(chain, line["every"], equal) for chain in line["replies"]])
        for line in draws
    ]


async def online(path: Path, spec: str) -> list[Outcome]:
    """A strategy on all of them, by the product itself."""
    engine, items = PoolEngine(str(path)), Pool(str(path)).load().items
    await engine.start()
    solutions = await solve_many(
        [item.question for item in items],
        build("strategy", spec),
        engine,
        concurrency=8,
    )
    return [
        Outcome(
            each.answer.key if each.answer else None,
            each.cost.tokens,
            each.cost.sequential_tokens,
        )
        for each in solutions
    ]


def print_row(
    draws: Sequence[dict[str, Any]],
    against: Sequence[Outcome],
    questions: int,
    name: str,
    outcomes: Sequence[Outcome],
) -> None:
    """A line of the table; all draws hold the questions in the same order."""

    def right(of: Sequence[Outcome]) -> np.ndarray:
        hits = [
            outcome.answer == line["gold"]
            for outcome, line in zip(of, draws, strict=True)
        ]
        means: np.ndarray = 100 * np.array(hits, dtype=float).reshape(
            -1, questions
        ).mean(axis=0)
        return means

    difference = right(outcomes) - right(against)
    low, high = difference.mean(), difference.mean()
    if difference.any():
        low, high = bootstrap(
            (difference,), np.mean, method="percentile", rng=0
        ).confidence_interval
    _, tokens, sequential = zip(*outcomes, strict=True)
    print(
        f"| {name} | {right(outcomes).mean():.1f} | {difference.mean():+.1f} ({low:+.1f} to {high:+.1f}) "
        f"| {np.mean(tokens) / 1000:.0f} | {np.mean(sequential) / 1000:.1f} |",
        flush=True,
    )


def recorded(path: Path) -> list[dict[str, Any]]:
    """The questions of all draws of a file."""
    source, lines = random.Random(0), questions_in(path)
    return [
        {
            **line,
            "question_id": f"{line['question_id']} {draw}",
            "replies": source.sample(line["replies"], N),
        }
        for draw in range(DRAWS)
        for line in lines
    ]


def simulated(wrong: float) -> list[dict[str, Any]]:
    """Questions of the law; "1" is right."""
    law, draws = ChainLaw(6000, 0.7, wrong=wrong), []
    for at in range(QUESTIONS):
        question, chains = law.question(name := f"q{at}"), []
        for number in range(N):
            chain, source = (
                law.chain(question, at * N + number),
                random.Random(f"{name} {number}"),
            )
            answer = "1" if chain.right else source.choices("234", (0.6, 0.25, 0.15))[0]
            probes, guess = list[str | None](), ""
            for tokens in range(EVERY, chain.tokens, EVERY):
                if not guess or source.random() < 0.1:
                    guess = source.choices("1234-", (0.25, 0.3, 0.15, 0.1, 0.2))[0]
                probe = answer if tokens >= chain.knows else guess
                probes.append(None if probe == "-" else probe)
            chains.append({"probes": probes, "tokens": chain.tokens, "answer": answer})
        draws.append(
            {"question_id": name, "gold": "1", "every": EVERY, "replies": chains}
        )
    return draws


def main(source: str, folder: Path) -> None:
    """The table of one file or law."""
    kind, _, wrong = source.partition(":")
    draws = simulated(float(wrong)) if kind == "law" else recorded(Path(source))
    count = QUESTIONS if kind == "law" else len(draws) // DRAWS
    pool = folder / "pool.jsonl"
    write(pool, draws)
    vote = offline(draws, 0, whole)
    print(f"\n{source}: {count} questions, {N} chains, {len(draws) // count} draws\n")
    columns = (
        "policy",
        "right, %",
        "against the vote, points",
        "tokens, thousands",
        "sequential, thousands",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    alone = offline(draws, 0, first)
    print_row(draws, alone, count, "one chain", alone)
    for equal in EQUAL:
        print_row(
            draws,
            alone,
            count,
            f"one chain, ends after {equal} equal probes",
            offline(draws, equal, first),
        )
    row = partial(print_row, draws, vote, count)
    row(f"vote of {N}", vote)
    for equal in EQUAL:
        row(
            f"a chain ends after {equal} equal probes, vote of {N}",
            offline(draws, equal, whole),
        )
    for window, theta in STOPS:
        policy = partial(stopped, window=window, theta=theta)
        for equal in (0, *EQUAL) if (window, theta) == STOPS[0] else (0,):
            ends = f"a chain ends after {equal} equal probes, " if equal else ""
            name = f"{ends}stopped by `beta(theta={theta:g})`, {window} at once"
            row(name, offline(draws, equal, policy))
    for spec in STRATEGIES:
        row(f"`{spec}`", asyncio.run(online(pool, spec)))


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        for argument in sys.argv[1:]:
            main(argument, Path(folder))
