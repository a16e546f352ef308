"""What an operation costs the driver of many replicas on Ray, beside one engine in the same process.

    python bench/ray_driver.py [--replicas 8 64 256] [--processes 8] [--questions 2000] [--rounds 3] [--seconds 0]

Self-consistency over 4 samples, 12 operations a question (start, next, propose), all questions in flight at once. Each
replica is a simulated engine whose sample takes no time, or an exponential time with a mean of this many seconds. As
many replicas as needed share an actor's process, because 256 processes of 80 MiB do not fit a small machine; the driver
exchanges batches with each replica by itself, as it does with replicas in processes of their own. All run in turn in
each round. The figure is the processor time of the driver with all its threads, divided by the operations; the time of
the single engine holds the simulated engine's own. Python's cycle collector is set as the command `reasoner` sets it,
and once more as Python does, which is what a program that calls `solve_many` has. KiB are the peak of Python's memory
during a run, as tracemalloc counts it, for each question.
"""

import argparse
import asyncio
import gc
import os
import random
import statistics
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray

from reasoner import Question, SamplingParams, solve_many
from reasoner.cli import rarely_collect
from reasoner.engine import Engine, SampleRequest
from reasoner.engines.ray import RayEngine, cluster, replica
from reasoner.engines.ray.replica import EngineHost
from reasoner.engines.simulated import SimulatedEngine
from reasoner.types import Completion
from reasoner_strategies import SelfConsistency

STRATEGY = SelfConsistency(4, SamplingParams(max_tokens=512))
OPERATIONS = 12
AS_PYTHON = gc.get_threshold()
rarely_collect()
AS_COMMAND = gc.get_threshold()


@dataclass(slots=True)
class Timed(SimulatedEngine):
    """A simulated engine whose samples take an exponential time with a mean of `seconds`."""

    seconds: float = 0.0

    async def sample(self, request: SampleRequest) -> Completion:
        if self.seconds:
            await asyncio.sleep(
                random.Random(request.seed).expovariate(1 / self.seconds)
            )
        return await SimulatedEngine.sample(self, request)


class Hosts:
    """Several hosts in one actor."""

    def __init__(self) -> None:
        self.hosts: dict[int, EngineHost] = {}

    async def call(self, number: int, method: str, *arguments: Any) -> Any:
        """A method of one host, which is made by the first call."""
        if method == "make":
            self.hosts[number] = EngineHost(*arguments)
            return None
        return await getattr(self.hosts[number], method)(*arguments)


class Handle:
    """One of the hosts in an actor, in the form of an actor's handle."""

    def __init__(self, actor: Any, number: int) -> None:
        self.actor, self.number = actor, number

    def __getattr__(self, method: str) -> "Method":
        return Method(self, method)


class Method:
    """A method of a `Handle`."""

    def __init__(self, handle: Handle, name: str) -> None:
        self.handle, self.name = handle, name

    def remote(self, *arguments: Any) -> Any:
        """The reference of the result."""
        return self.handle.actor.call.remote(self.handle.number, self.name, *arguments)


class Sharing:
    """Makes replicas as `ray.remote` would make actors, in a fixed number of processes."""

    def __init__(self, processes: int) -> None:
        self.actors = [
            ray.remote(Hosts).options(num_cpus=0, max_concurrency=1000).remote()
            for _ in range(processes)
        ]
        self.count = 0

    def make(self, options: dict[str, Any]) -> "Sharing":
        """Instead of an actor class."""
        return self

    def remote(self, *arguments: Any) -> Handle:
        """Instead of a new actor."""
        number, self.count = self.count, self.count + 1
        handle = Handle(self.actors[number % len(self.actors)], number)
        ray.get(handle.make.remote(*arguments))
        return handle


class Cost(NamedTuple):
    """Microseconds of this process per operation, and operations a second."""

    us: float
    rate: float


async def cost(engine: Engine, asked: Sequence[Question]) -> Cost:
    gc.collect()
    began, wall = time.process_time(), time.perf_counter()
    solutions = await solve_many(asked, STRATEGY, engine, concurrency=len(asked))
    spent, taken = time.process_time() - began, time.perf_counter() - wall
    assert all(
        solution.error is None and solution.cost.samples == 4 for solution in solutions
    )
    count = len(asked) * OPERATIONS
    return Cost(spent / count * 1e6, count / taken)


async def memory(engine: Engine, asked: Sequence[Question]) -> float:
    """The peak of Python's memory during a run, above that before it, in KiB per question."""
    gc.collect()
    tracemalloc.start()
    await solve_many(asked, STRATEGY, engine, concurrency=len(asked))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / len(asked) / 1024


async def measure(replicas: int, given: argparse.Namespace) -> None:
    sharing = Sharing(min(given.processes, replicas))
    replica.new_actor = sharing.make
    alone = Timed(tokens=200, seconds=given.seconds)
    engine = RayEngine(alone, replicas)
    asked = [Question.of(f"What is {number} + 4?") for number in range(given.questions)]
    rows = []
    try:
        await engine.start()
        for _ in range(given.rounds + 1):
            gc.set_threshold(*AS_COMMAND)
            row = [await cost(engine, asked), await cost(alone, asked)]
            gc.set_threshold(*AS_PYTHON)
            rows.append([*row, await cost(engine, asked), await cost(alone, asked)])
        gc.set_threshold(*AS_COMMAND)
        kib = await memory(engine, asked), await memory(alone, asked)
    finally:
        await engine.close()
        for actor in sharing.actors:
            ray.kill(actor)
    columns = [column(runs) for runs in zip(*rows[1:], strict=True)]
    print(
        f"{replicas:8}  {'  '.join(columns)}  {kib[0]:6.1f}  {kib[1]:7.1f}  {os.getloadavg()[0]:4.1f}",
        flush=True,
    )


def column(runs: Sequence[Cost]) -> str:
    """The median with its range, and the median of the operations a second."""
    us = sorted(run.us for run in runs)
    rate = statistics.median(run.rate for run in runs)
    return (
        f"{statistics.median(us):4.0f} ({us[0]:3.0f} to {us[-1]:3.0f}) {rate:6,.0f}/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicas", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.0)
    given = parser.parse_args()
    cluster.join("")
    titles = (
        "Ray",
        "single engine",
        "Ray, Python's collector",
        "single, Python's collector",
    )
    print(
        f"replicas  {'  '.join(f'{title:27}' for title in titles)}  KiB Ray  single  load"
    )
    print("          us per operation (range) and operations per second")
    try:
        for replicas in given.replicas:
            asyncio.run(measure(replicas, given))
    finally:
        cluster.leave()


if __name__ == "__main__":
    main()
