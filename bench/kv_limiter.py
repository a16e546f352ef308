"""The KV limiter in front of a simulated vLLM: how full the cache is, and how many sequences are preempted.

    python bench/kv_limiter.py [--lengths lognormal] [--setting 2] [--after] [--slots 4096] [--seed 0]

A discrete-event simulation of the product's limiter and a cache of 367,000 tokens in blocks of 16 that works as vLLM's
does: every running sequence takes a block when it needs one; where none is free, the last one of the lowest priority is
preempted, gives its blocks back, and is computed again later. Questions of 8 samples with a shared prompt of 200 tokens
wait from the start. Before: `max_tokens` is charged. After: what is expected. Means are over all steps at which a
sequence waits at the limiter, the start included.
"""

import argparse
import asyncio
import heapq
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from reasoner.execution.admission import KV_SHARE
from reasoner.execution.gate import Gate
from reasoner.execution.kv_limiter import (
    CacheCharge,
    CacheClaim,
    KvCacheLimiter,
    Shared,
)

CACHE: Final = 367_000
BLOCK: Final = 16
BATCHED_TOKENS: Final = 8192
SAMPLES: Final = 8
PROMPT: Final = 200
SETTINGS: Final = ((512, 280, 16_000), (8192, 3000, 4000), (32_768, 5100, 2400))
"""The limit, the mean length, and how many sequences are drawn."""


def truncated(
    limit: int, mean: int, sigma: float, numbers: np.random.Generator, count: int
) -> list[int]:
    """Lognormal lengths up to a limit; those beyond it are cut there. The mean is that after the cut."""
    normal = np.exp(sigma * numbers.standard_normal(count))
    low, high = 0.0, 64.0 * mean
    for _ in range(60):
        scale = (low + high) / 2
        low, high = (
            (scale, high)
            if np.minimum(normal * scale, limit).mean() < mean
            else (low, scale)
        )
    return [max(1, int(length)) for length in np.minimum(normal * low, limit)]


def lognormal(
    limit: int, mean: int, numbers: np.random.Generator, count: int
) -> list[int]:
    """The standard deviation is 0.8 of the mean before the cut."""
    return truncated(limit, mean, 0.7, numbers, count)


def heavy(limit: int, mean: int, numbers: np.random.Generator, count: int) -> list[int]:
    """A heavy tail: the standard deviation is 2.9 times the mean before the cut."""
    return truncated(limit, mean, 1.5, numbers, count)


def bimodal(
    limit: int, mean: int, numbers: np.random.Generator, count: int
) -> list[int]:
    """Four of five end soon, and one is long."""
    long = numbers.random(count) < 0.2
    spread = np.exp(0.2 * numbers.standard_normal(count))
    return [
        max(1, int(min(limit, length)))
        for length in spread * np.where(long, 3.4 * mean, 0.4 * mean)
    ]


def drifting(
    limit: int, mean: int, numbers: np.random.Generator, count: int
) -> list[int]:
    """The last sequences are four times as long as the first ones."""
    rising = np.linspace(0.4, 1.6, count)
    base = np.array(truncated(limit, mean, 0.7, numbers, count))
    return [max(1, int(min(limit, length))) for length in base * rising]


def normal(
    limit: int, mean: int, numbers: np.random.Generator, count: int
) -> list[int]:
    """The standard deviation is 0.3 of the mean."""
    return [
        max(1, int(min(limit, length)))
        for length in mean * (1 + 0.3 * numbers.standard_normal(count))
    ]


def exponential(
    limit: int, mean: int, numbers: np.random.Generator, count: int
) -> list[int]:
    """A sequence may end at any token with the same chance."""
    return [
        max(1, int(min(limit, length)))
        for length in mean * numbers.standard_exponential(count)
    ]


def constant(
    limit: int, mean: int, numbers: np.random.Generator, count: int
) -> list[int]:
    """All have one length, so that all that entered together end together."""
    del limit, numbers
    return [mean] * count


def whole(limit: int, mean: int, numbers: np.random.Generator, count: int) -> list[int]:
    """All are cut at the limit: the worst case for a limiter that expects less."""
    del mean, numbers
    return [limit] * count


LENGTHS: Final = {
    law.__name__: law
    for law in (
        lognormal,
        heavy,
        bimodal,
        drifting,
        normal,
        exponential,
        constant,
        whole,
    )
}


class MaxTokensLimiter(KvCacheLimiter):
    """The limiter as it was: it charges `max_tokens` until a sequence ends."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)

    def charge(
        self,
        shared: Shared,
        *,
        kind: Hashable,
        limit: int,
        priority: int = 0,
    ) -> CacheCharge:
        return super().charge(
            (*shared, (f"{random.random()}", limit)),
            kind=None,
            limit=1,
            priority=priority,
        )

    def give(self, ask: CacheClaim) -> None:
        charge = ask.charged(self)
        charge.generated, charge.ended = 1, True
        super().give(ask)


@dataclass(eq=False)
class Asked:
    """A sequence that asks the limiter for room."""

    charge: CacheCharge

    def charged(self, _limiter: KvCacheLimiter) -> CacheCharge:
        return self.charge


@dataclass(order=True)
class Sequence:
    """A sequence within the engine; the first in order is scheduled first and preempted last."""

    priority: int
    arrival: int
    length: int = field(compare=False)
    done: "asyncio.Future[None]" = field(compare=False)
    generated: int = field(default=0, compare=False)
    preempted: int = field(default=0, compare=False)
    to_compute: int = field(default=0, compare=False)
    """Tokens that must be computed before it generates the next one."""

    def blocks(self) -> int:
        """Blocks of its own, the last and partly filled one of the prompt included."""
        return -(-(PROMPT % BLOCK + self.generated + 1) // BLOCK)


class SimulatedVllm:
    """Blocks, priorities, preemption and recomputation as in vLLM 0.32's scheduler, one token a step."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.free = CACHE // BLOCK
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self.prompts: Counter[int] = Counter()
        self.steps = 0
        self.arrivals = 0
        self.recomputed = 0

    async def sample(self, priority: int, length: int) -> int:
        self.arrivals += 1
        sequence = Sequence(
            priority, self.arrivals, length, asyncio.get_running_loop().create_future()
        )
        heapq.heappush(self.waiting, sequence)
        await sequence.done
        return sequence.preempted

    @property
    def used(self) -> float:
        return 1 - self.free * BLOCK / CACHE

    def step(self) -> bool:
        """One step of the engine; whether a sequence ended in it."""
        self.steps += 1
        preempted = False
        while self._short():
            victim = max(self.running)
            self.running.remove(victim)
            self._release(victim)
            victim.preempted += 1
            preempted = True
            self.recomputed += victim.generated + PROMPT % BLOCK
            heapq.heappush(self.waiting, victim)
        ended = False
        budget = BATCHED_TOKENS - len(self.running)
        left = []
        for sequence in self.running:
            if sequence.to_compute:
                part = min(budget, sequence.to_compute)
                sequence.to_compute -= part
                budget -= part
                left.append(sequence)
                continue
            before = sequence.blocks()
            sequence.generated += 1
            if sequence.generated >= sequence.length:
                self.free += before
                self._leave_prompt(sequence)
                sequence.done.set_result(None)
                ended = True
            else:
                self.free -= sequence.blocks() - before
                left.append(sequence)
        self.running = left
        while not preempted and self.waiting and len(self.running) < self.slots:
            first = self.waiting[0]
            shared = 0 if self.prompts[first.priority] else PROMPT // BLOCK
            tokens = shared * BLOCK + PROMPT % BLOCK + first.generated
            if self.free < first.blocks() + shared or budget < 1:
                break
            heapq.heappop(self.waiting)
            self.free -= first.blocks() + shared
            self.prompts[first.priority] += 1
            self.running.append(first)
            first.to_compute = max(tokens - budget, 0)
            budget = max(budget - tokens, 0)
        return ended

    def _short(self) -> bool:
        need = sum(
            (PROMPT % BLOCK + running.generated + 1) % BLOCK == 0
            and not running.to_compute
            for running in self.running
        )
        return need > self.free

    def _release(self, sequence: Sequence) -> None:
        self.free += sequence.blocks()
        self._leave_prompt(sequence)

    def _leave_prompt(self, sequence: Sequence) -> None:
        self.prompts[sequence.priority] -= 1
        if not self.prompts[sequence.priority]:
            self.free += PROMPT // BLOCK


@dataclass
class Outcome:
    """One run: the median in flight, shares of the cache, of sequences and of generated tokens, and steps."""

    in_flight: float
    used: float
    preempted: float
    recomputed: float
    steps: int


async def simulate(
    limiter: KvCacheLimiter, lengths: list[int], limit: int, slots: int
) -> Outcome:
    engine, gate = SimulatedVllm(slots), Gate()
    inside = 0
    preemptions: list[int] = []
    at_gate = len(lengths)

    async def sample(number: int, length: int) -> None:
        nonlocal inside, at_gate
        question = number // SAMPLES
        asked = Asked(
            limiter.charge(
                ((f"{question}", PROMPT),), kind="", limit=limit, priority=question
            )
        )
        if blocked := gate.enter(asked, (limiter,)):
            await gate.wait(asked, (limiter,), blocked)
        inside, at_gate = inside + 1, at_gate - 1
        preemptions.append(await engine.sample(question, length))
        inside -= 1
        asked.charge.generated, asked.charge.ended = length, length < limit
        gate.leave(asked, (limiter,))

    tasks = [
        asyncio.ensure_future(sample(number, length))
        for number, length in enumerate(lengths)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    used, in_flight = [], []
    while len(preemptions) < len(lengths):
        if engine.step():
            for _ in range(4):
                await asyncio.sleep(0)
        if at_gate:
            used.append(engine.used)
            in_flight.append(inside)
    await asyncio.gather(*tasks)
    assert engine.free == CACHE // BLOCK
    return Outcome(
        statistics.median(in_flight),
        statistics.fmean(used),
        sum(count > 0 for count in preemptions) / len(lengths),
        engine.recomputed / sum(lengths),
        engine.steps,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lengths", choices=LENGTHS)
    parser.add_argument(
        "--slots", type=int, default=4096, help="sequences that the engine runs at once"
    )
    parser.add_argument(
        "--after", action="store_true", help="only the limiter as it is"
    )
    parser.add_argument("--setting", type=int, choices=range(len(SETTINGS)))
    options = parser.parse_args()
    print(
        "lengths      limit   mean  limiter   in flight  cache used  preempted  computed again    steps  seconds"
    )
    for name in [options.lengths] if options.lengths else LENGTHS:
        for limit, mean, count in (
            SETTINGS
            if options.setting is None
            else SETTINGS[options.setting : options.setting + 1]
        ):
            lengths = LENGTHS[name](
                limit, mean, np.random.default_rng(options.seed), count
            )
            makers: dict[str, Callable[[int], Any]] = {
                "before": MaxTokensLimiter,
                "after": KvCacheLimiter,
            }
            for when, maker in makers.items():
                if options.after and when == "before":
                    continue
                began = time.perf_counter()
                got = asyncio.run(
                    simulate(
                        maker(int(CACHE * KV_SHARE)), lengths, limit, options.slots
                    )
                )
                print(
                    f"{name:10} {limit:7,} {statistics.fmean(lengths):6.0f}  {when:8}  {got.in_flight:9.0f}"
                    f"  {got.used:10.1%}  {got.preempted:9.2%}  {got.recomputed:14.2%}  {got.steps:7,}"
                    f"  {time.perf_counter() - began:7.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
