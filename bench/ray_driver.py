"""What an operation costs the driver of many replicas on Ray, beside one engine in the same process.

    python bench/ray_driver.py [--replicas 8 64 256] [--processes 8] [--questions 2000] [--rounds 3]

Self-consistency over 4 samples, 12 operations a question (start, next, propose), all questions in flight at once. Each
replica is a simulated engine whose sample takes no time. As many replicas as needed share an actor's process, because
256 processes of 80 MiB do not fit a small machine; the driver exchanges batches with each replica by itself, as it does
with replicas in processes of their own. Both run in turn in each round. The figure is the processor time of the driver
with all its threads, divided by the operations; that of the single engine holds the simulated engine's own.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

import ray

from reasoner import Question, SamplingParams, solve_many
from reasoner.engine import Engine
from reasoner.engines.ray import RayEngine, cluster, replica
from reasoner.engines.ray.hosts import EngineHost
from reasoner.engines.simulated import SimulatedEngine
from reasoner_strategies import SelfConsistency

STRATEGY = SelfConsistency(4, SamplingParams(max_tokens=512))
OPERATIONS = 12


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
        self.actors = [ray.remote(Hosts).options(num_cpus=0, max_concurrency=1000).remote() for _ in range(processes)]
        self.count = 0

    def make(self, host: type, options: dict[str, Any]) -> "Sharing":
        """Instead of an actor class."""
        return self

    def remote(self, *arguments: Any) -> Handle:
        """Instead of a new actor."""
        number, self.count = self.count, self.count + 1
        handle = Handle(self.actors[number % len(self.actors)], number)
        ray.get(handle.make.remote(*arguments))
        return handle


async def cost(engine: Engine, asked: Sequence[Question]) -> tuple[float, float]:
    """Microseconds of this process, and operations a second."""
    began, wall = time.process_time(), time.perf_counter()
    solutions = await solve_many(asked, STRATEGY, engine, concurrency=len(asked))
    spent, taken = time.process_time() - began, time.perf_counter() - wall
    assert all(solution.error is None and solution.cost.samples == 4 for solution in solutions)
    count = len(asked) * OPERATIONS
    return spent / count * 1e6, count / taken


async def measure(replicas: int, processes: int, questions: int, rounds: int) -> None:
    sharing = Sharing(min(processes, replicas))
    replica.new_actor = sharing.make
    engine, alone = RayEngine(SimulatedEngine(tokens=200), replicas), SimulatedEngine(tokens=200)
    asked = [Question.of(f"What is {number} + 4?") for number in range(questions)]
    try:
        await engine.start()
        rows = [(*await cost(engine, asked), *await cost(alone, asked)) for _ in range(rounds + 1)][1:]
    finally:
        await engine.close()
        for actor in sharing.actors:
            ray.kill(actor)
    us, rate, us_alone, rate_alone = (statistics.median(column) for column in zip(*rows, strict=True))
    spread = f"{min(row[0] for row in rows):.0f} to {max(row[0] for row in rows):.0f}"
    print(
        f"{replicas:8}  {len(sharing.actors):9}  {us:12.0f}  {spread:>14}  {us_alone:20.0f}  {us / us_alone:5.2f}  "
        f"{rate:12,.0f}  {rate_alone:12,.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cluster.join("")
    print(
        "replicas  processes  us/operation           range  single engine's own  ratio  operations/s  single engine's"
    )
    try:
        for replicas in given.replicas:
            asyncio.run(measure(replicas, given.processes, given.questions, given.rounds))
    finally:
        cluster.leave()


if __name__ == "__main__":
    main()
