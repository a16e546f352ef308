"""Very many questions in one run: how many are open at once, the time of the first solution, and peak memory.

    python bench/questions.py [QUESTIONS]

Self-consistency over 4 samples on the simulated engine, with questions from a generator; solutions are not kept. In the
second row all questions share one budget, so they stay open until the last one has its first sample.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Iterator

from reasoner import Budget, Question, solve_each
from reasoner.engines.simulated import SimulatedEngine
from reasoner.trace.events import Began, Ended, Event
from reasoner_strategies import SelfConsistency


def questions(count: int) -> Iterator[Question]:
    return (Question.of(f"What is {number} + 4?", id=f"q{number}", space="number") for number in range(count))


async def run(count: int, budget: Budget | None) -> None:
    current = peak_open = 0

    def sink(event: Event) -> None:
        nonlocal current, peak_open
        current += isinstance(event, Began) - isinstance(event, Ended)
        peak_open = max(peak_open, current)

    began, first = time.perf_counter(), 0.0
    async for _ in solve_each(questions(count), SelfConsistency(n=4), SimulatedEngine(), budget=budget, trace=sink):
        first = first or time.perf_counter() - began
    whole = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{count:9,}  {budget or 'none'!s:>16}  {peak_open:12,}  {first:14.2f}  {whole:7.1f}  {peak:16.0f}", flush=True
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print("questions            budget  most at once  first answer s  whole s  peak memory MiB")
    for budget in (None, Budget(tokens=count * 600)):
        asyncio.run(run(count, budget))


if __name__ == "__main__":
    main()
