"""One vLLM server against two of them, and against both behind a router: answers, cached share, counts.

    python bench/fleet.py ROUTER_URL REPLICA_URL REPLICA_URL [ROUNDS]

How the servers are started is in docs/scale.md. 12 questions of 6 samples, all at once, each variant with empty caches;
the variants alternate. The counts are compared with the servers' own.
"""

import asyncio
import sys
import time
from collections import defaultdict
from typing import Any, NamedTuple

from reasoner import Question, solve_many
from reasoner.budget import Cost
from reasoner.engine import ReplicaUsage, reset_caches
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.openai.caches import counters
from reasoner.trace.events import Event, Sampled
from reasoner.types import SamplingParams
from reasoner_strategies import SelfConsistency

QUESTIONS, SAMPLES, BLOCK = 12, 6, 32
STRATEGY = SelfConsistency(n=SAMPLES, params=SamplingParams(max_tokens=32))


class Round(NamedTuple):
    """What one run of a variant showed."""

    seconds: float
    texts: dict[tuple[str, int], str]
    whole: int
    cost: Cost
    servers: list[ReplicaUsage]


def questions() -> list[Question | str]:
    return [
        Question.of(
            f"A baker has {7 * n + 3} trays of {n + 4} rolls and sells {5 * n + 2} rolls. How many rolls are left? "
            "Explain each step as a careful teacher would, then give the number.",
            id=f"q{n}",
        )
        for n in range(QUESTIONS)
    ]


async def run(urls: tuple[str, ...], servers: tuple[str, ...]) -> Round:
    """One run on `urls`, where `servers` are the replicas behind them."""
    engine = OpenAIEngine(base_url=urls, replica_urls=servers)
    await engine.start()
    await reset_caches(engine)
    before, events, began = await counters(engine._servers), list[Event](), time.perf_counter()
    solutions = await solve_many(questions(), STRATEGY, engine, trace=events.append)
    seconds = time.perf_counter() - began
    after = await counters(engine._servers)
    await engine.close()
    assert all(solution.error is None for solution in solutions), solutions[0].error
    sampled = [event for event in events if isinstance(event, Sampled)]
    cached, blocks = defaultdict[str, int](int), dict[str, int]()
    for event in sampled:
        cached[event.question_id] += event.usage.cached_tokens
        blocks[event.question_id] = (event.usage.prompt_tokens - 1) // BLOCK * BLOCK
    whole = sum(cached[name] >= (SAMPLES - 1) * block for name, block in blocks.items())
    texts = {(event.question_id, event.index): event.text for event in sampled}
    cost = sum((solution.cost for solution in solutions), Cost())
    return Round(seconds, texts, whole, cost, [usage.since(before[name]) for name, usage in after.items()])


def line(name: str, done: Round, reference: Round) -> str:
    cost, servers = done.cost, done.servers
    prompt = cost.prompt_tokens + cost.cached_tokens
    same = sum(done.texts[key] == text for key, text in reference.texts.items())
    computed = sum(server.prompt_tokens - server.cached_tokens for server in servers)
    generated = sum(server.generated_tokens for server in servers)
    exact = (cost.prompt_tokens, cost.generated_tokens) == (computed, generated)
    loads = " + ".join(f"{server.requests}" for server in servers)
    return (
        f"{name:12} {done.seconds:6.1f} s  {done.whole}/{QUESTIONS} whole  {cost.cached_tokens / prompt:6.2%} cached  "
        f"{same}/{len(reference.texts)} replies as on one  ledger {'=' if exact else '!='} counters  requests {loads}"
    )


def main(router: str, first: str, second: str, rounds: str = "3") -> None:
    variants: list[tuple[str, Any, Any]] = [
        ("one server", (first,), (first,)),
        ("two servers", (first, second), (first, second)),
        ("router", (router,), (first, second)),
    ]
    for number in range(int(rounds)):
        done = [asyncio.run(run(urls, servers)) for _, urls, servers in variants]
        for (name, _, _), each in zip(variants, done, strict=True):
            print(f"round {number}: {line(name, each, done[0])}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
