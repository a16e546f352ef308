"""Processor time per node of a Monte-Carlo tree, and of a generation of AB-MCTS, on the scripted engine.

    python bench/tree.py [TREEQUEST_PYTHON]

Nodes are rated steps, four to an expansion, four expansions in flight; runner, ledger and engine are included. With the
Python of an environment that has treequest, first a generation of AB-MCTS beside it, in turn, both in processor time.
"""

import gc
import resource
import subprocess
import sys
import time
import zlib

from reasoner import Cost, solve_sync
from reasoner.answers.questions import Question
from reasoner.engine import Engine, SampleRequest
from reasoner.testing.scripted import ScriptedEngine
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter, FreeVerifier
from reasoner_strategies import AbMcts
from reasoner_strategies.mcts import Mcts

K = 4
QUESTION = Question.of("How many?", space="number", id="tree")
TREEQUEST = """
import random, sys, time, treequest
nodes = int(sys.argv[1])
for _ in range(2):
    ratings = iter([random.Random(number).random() for number in range(nodes)])
    tree, began = treequest.ABMCTSA(), time.process_time()
    state = tree.init_tree()
    for _ in range(nodes):
        state = tree.step(state, {"generate": lambda parent: ("an answer", next(ratings))})
print((time.process_time() - began) / nodes * 1e6)
"""


def value_of(chain: str) -> float:
    return zlib.crc32(chain.encode()) / (1 << 32)


def says(request: SampleRequest) -> str:
    """Every fourth step ends its chain; nine chains of ten agree."""
    if request.index % K:
        return f"step {request.index} continues so\n\nmore"
    return f"The answer is {7 if value_of(request.prompt.text) < 0.9 else 8}"


class Ratings(FreeVerifier):
    """A rating without a cost, for each chain its own."""

    logprobs = None

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        return Rating(value_of(candidate.chain), Cost())


def search(nodes: int) -> Mcts:
    return Mcts(simulations=nodes // K, k=K)


def solved(nodes: int) -> float:
    gc.collect()
    began = time.process_time()
    solution = solve_sync(
        QUESTION, search(nodes), ScriptedEngine(says), verifier=Ratings()
    )
    assert solution.error is None
    assert solution.cost.samples == nodes
    return time.process_time() - began


def generation(nodes: int) -> float:
    """Microseconds of a generation of our AB-MCTS, in a run of its own."""
    began = time.process_time()
    solution = solve_sync(
        QUESTION, AbMcts(n=nodes), ScriptedEngine(says), verifier=Ratings()
    )
    assert solution.error is None
    return (time.process_time() - began) / nodes * 1e6


def beside(treequest: str) -> None:
    """Print the time of a generation of both, in turn."""
    for nodes in (16, 256):
        rounds = [
            (
                generation(nodes),
                float(
                    subprocess.check_output([treequest, "-c", TREEQUEST, str(nodes)])
                ),
            )
            for _ in range(5)
        ]
        ours, theirs = (min(column) for column in zip(*rounds, strict=True))
        print(
            f"AB-MCTS, n={nodes}: a generation {ours:.0f} us with runner and engine, treequest {theirs:.0f} us alone"
        )


def main() -> None:
    if sys.argv[1:]:
        beside(sys.argv[1])
    print("  nodes  us/node")
    for nodes in (1_000, 10_000, 100_000):
        took = (
            min(solved(nodes) for _ in range(3 if nodes < 100_000 else 2)) / nodes * 1e6
        )
        print(f"{nodes:7,}  {took:7.1f}", flush=True)
    print(
        f"peak resident set {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
    )


if __name__ == "__main__":
    main()
