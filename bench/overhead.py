"""Calls per sample, time per operation and memory per question of the runner itself, on the scripted engine.

    python bench/overhead.py

Self-consistency over 4 samples: 12 operations a question (start, next, propose). All questions are in flight at once.
The engine's own time is measured on the same requests and subtracted.
"""

import asyncio
import cProfile
import gc
import resource
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

from reasoner import Budget, Question, solve_many
from reasoner.engine import SampleRequest
from reasoner.testing.scripted import ScriptedEngine
from reasoner_strategies import SelfConsistency

SAMPLES = 4
OPERATIONS = 3 * SAMPLES


def engine() -> ScriptedEngine:
    return ScriptedEngine(
        lambda request: f"The answer is {7 if request.index % 3 else 8}"
    )


async def alone(asked: list[Question]) -> float:
    scripted = engine()
    strategy = SelfConsistency(n=SAMPLES)
    began = time.perf_counter()
    for question in asked:
        for index in range(SAMPLES):
            rendered = await scripted.render(question.prompt)
            request = SampleRequest(
                question.id, question.prompt, rendered, strategy.params, index, 0
            )
            await scripted.sample(request)
    return time.perf_counter() - began


async def through_runner(asked: list[Question]) -> float:
    began = time.perf_counter()
    await solve_many(
        asked,
        SelfConsistency(n=SAMPLES),
        engine(),
        each=Budget(tokens=10_000),
        concurrency=len(asked),
    )
    return time.perf_counter() - began


def calls(
    run: Callable[[list[Question]], Coroutine[Any, Any, float]], asked: list[Question]
) -> float:
    """Python calls a sample, C's included; not of pstats, which counts the constructors of one dataclass only."""
    profile = cProfile.Profile()
    profile.enable()
    asyncio.run(run(asked))
    profile.disable()
    return sum(entry.callcount for entry in profile.getstats()) / len(asked) / SAMPLES


def main() -> None:
    few = [Question.of(f"What is {number} + 4?") for number in range(200)]
    asyncio.run(through_runner(few))
    whole, own = calls(through_runner, few), calls(alone, few)
    print(f"{whole - own:.0f} calls a sample, and {own:.0f} of the engine")
    print("questions  us/operation  of it collector  KiB/question")
    for size in (100, 1_000, 3_000, 10_000):
        asked = [Question.of(f"What is {number} + 4?") for number in range(size)]
        best = min(asyncio.run(through_runner(asked)) for _ in range(3))
        own = min(asyncio.run(alone(asked)) for _ in range(3))
        gc.disable()
        still = min(asyncio.run(through_runner(asked)) for _ in range(2))
        gc.enable()
        gc.collect()
        tracemalloc.start()
        asyncio.run(through_runner(asked))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        count = size * OPERATIONS
        whole, collector = (best - own) / count * 1e6, (best - still) / count * 1e6
        print(
            f"{size:9,}  {whole:12.1f}  {collector:15.1f}  {peak / size / 1024:12.1f}"
        )
    print(
        f"peak resident set {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
    )


if __name__ == "__main__":
    main()
