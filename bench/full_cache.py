"""A KV cache that is too small for all chains of a question: what waiting and stopping cost in time.

    python bench/full_cache.py [--cache 50000 100000 200000] [--chains 64] [--repeats 2] [--together 1] recordings.jsonl

The recordings of the engine `pool` run on the product, in front of a simulated vLLM: all running chains grow by one
token a step, `BLOCK` steps at a time. Where the cache is full, the youngest chain of the latest question is preempted
and computed again later. A step for each `PREFILL` tokens of that is added to the time of all. `--together` questions
are open at once. Prints for each policy: right answers in per cent, the difference to the full vote with its 95 %
bootstrap interval over the questions, thousands of tokens and of steps a question, its steps over those of the full
vote, the samples that voted, and the chains preempted.
"""

import asyncio
import random
import tempfile
from argparse import ArgumentParser
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from parallel_thinking import SETTLED, gain, reordered
from replies import questions_in, write

from reasoner import solve_each
from reasoner.answers.equivalence import Equivalence
from reasoner.engine import SampleRequest
from reasoner.engines.pool import PoolEngine
from reasoner.types import Usage
from reasoner_evals.tasks.own_files import Pool

BLOCK = 16
PREFILL = 512
POLICIES = {
    "vote of all": "self_consistency(n={n})",
    "vote of a half": "self_consistency(n={half})",
    "vote of a quarter": "self_consistency(n={quarter})",
    "vote of an eighth": "self_consistency(n={eighth})",
    "settled": f"self_consistency(n={{n}}, stop={SETTLED})",
    "settled, window=16": f"self_consistency(n={{n}}, stop={SETTLED}, window=16)",
}


@dataclass(eq=False)
class Chain:
    """A chain in the engine."""

    rank: tuple[int, int]
    request: SampleRequest
    length: int
    ended: "asyncio.Future[None]"
    tokens: int = 0


@dataclass
class Cache:
    """Runs chains within its tokens, the earlier ones first."""

    tokens: int
    now: int = 0
    preempted: int = 0
    running: list[Chain] = field(default_factory=list)
    waiting: list[Chain] = field(default_factory=list)
    count: int = 0

    async def run(self, request: SampleRequest, length: int) -> int:
        """Generate a chain; its tokens, also where it was cancelled."""
        self.count += 1
        chain = Chain(
            (request.priority, self.count),
            request,
            length,
            asyncio.get_running_loop().create_future(),
        )
        self.waiting.append(chain)
        try:
            await chain.ended
        finally:
            for chains in (self.running, self.waiting):
                if chain in chains:
                    chains.remove(chain)
            request.meter.usage = Usage(1, 1, min(chain.tokens, length))
        return length

    async def drive(self) -> None:
        """Step as long as there is something to run."""
        while True:
            for _ in range(40 if self.step() else 6):
                await asyncio.sleep(0)

    def step(self) -> bool:
        """One block of steps; whether a chain has ended."""
        ended, preempted = False, self.preempted
        held = sum(chain.tokens + BLOCK for chain in self.running)
        while held > self.tokens and len(self.running) > 1:
            victim = max(self.running, key=lambda chain: chain.rank)
            self.running.remove(victim)
            self.waiting.append(victim)
            self.preempted += 1
            held -= victim.tokens + BLOCK
        self.waiting.sort(key=lambda chain: chain.rank)
        while self.waiting and preempted == self.preempted:
            chain = self.waiting[0]
            held += chain.tokens + BLOCK
            if held > self.tokens and self.running:
                break
            self.now += chain.tokens // PREFILL
            self.running.append(self.waiting.pop(0))
        self.now += BLOCK * bool(self.running)
        for chain in [*self.running]:
            chain.tokens += BLOCK
            if chain.tokens >= chain.length:
                self.running.remove(chain)
                if not chain.ended.done():
                    chain.ended.set_result(None)
                ended = True
            elif chain.request.progress:
                chain.request.progress.reached(chain.tokens)
        return ended


class CachedPool(PoolEngine):
    """A pool behind a `cache`."""

    cache: Cache

    async def start(self) -> None:
        """Read the file; the model knows what the cache holds."""
        await PoolEngine.start(self)
        self.model = replace(self.model, room=self.capacity or 0)

    async def end_in_turn(self, request: SampleRequest, usage: Usage) -> None:
        """Wait until the cache has generated the chain."""
        await self.cache.run(request, usage.generated_tokens)
        request.meter.usage = usage


async def measured(
    path: Path, strategy: str, tokens: int, together: int
) -> tuple[np.ndarray, int]:
    """For each question [Q, 4]: whether it is right, thousands of tokens and of steps, votes; and preemptions."""
    items = Pool(str(path)).load().items
    engine = CachedPool(str(path))
    engine.capacity, engine.cache = tokens, (cache := Cache(tokens))
    driver = asyncio.ensure_future(cache.drive())
    before = 0
    solutions = solve_each(
        [item.question for item in items], strategy, engine, concurrency=together
    )
    rows = np.zeros((len(items), 4))
    async with aclosing(solutions) as each:
        async for index, solution in each:
            if solution.error:
                raise solution.error
            item = items[index]
            right = (
                solution.answer
                and await item.grader.grade(item, solution.answer, Equivalence())
                == "right"
            )
            votes = solution.proposals[-1].vote_state.cast if solution.proposals else 0
            rows[index] = (
                100.0 * bool(right),
                solution.cost.tokens / 1e3,
                (cache.now - before) / 1e3,
                votes,
            )
            before = cache.now
    driver.cancel()
    return rows, cache.preempted


def main() -> None:
    """Print a table for each size of the cache."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--cache", type=int, nargs="+", default=[50_000, 100_000, 200_000]
    )
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--together", type=int, default=1)
    given = parser.parse_args()
    lines = questions_in(given.file)
    n = min(given.chains, *(len(line["replies"]) for line in lines))
    for tokens in given.cache:
        print(
            f"{given.file.name}: {len(lines)} questions, {n} chains each, a cache of {tokens:,} tokens"
        )
        whole = np.zeros((len(lines), 4))
        for name, strategy in POLICIES.items():
            total, preempted = np.zeros((len(lines), 4)), 0
            for repeat in range(given.repeats):
                with tempfile.TemporaryDirectory() as folder:
                    path, source = Path(folder, "pool.jsonl"), random.Random(repeat)
                    write(path, [reordered(line, n, source) for line in lines])
                    spec = strategy.format(
                        n=n, half=n // 2, quarter=n // 4, eighth=n // 8
                    )
                    values, again = asyncio.run(
                        measured(
                            path,
                            spec,
                            tokens,
                            given.together,
                        )
                    )
                total, preempted = total + values / given.repeats, preempted + again
            whole = whole if whole.any() else total
            right, used, steps, votes = total.mean(axis=0)
            print(
                f"{name:<22} {right:5.1f} % {gain(total, whole):>20} {used:8.1f}k {steps:8.2f}k "
                f"{steps / whole.mean(axis=0)[2]:5.2f} {votes:5.1f} {preempted:6}",
                flush=True,
            )


if __name__ == "__main__":
    main()
