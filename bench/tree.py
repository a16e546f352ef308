"""CPU time and memory per node of a Monte-Carlo tree, on the scripted engine.

    python bench/tree.py

Nodes are rated steps, four to an expansion, four expansions in flight. "Solve" is the whole run, the runner, the ledger
and the scripted engine included; "plan" is the strategy alone, which is sent replies that are ready.
"""

import gc
import resource
import time
import tracemalloc
import zlib
from collections import deque

from reasoner import Cost, solve_sync
from reasoner.answers.questions import Question
from reasoner.engine import Engine, SampleRequest
from reasoner.strategy import Finished, Handle, Next, Sample, Score, Start, Startable
from reasoner.types import Completion, Logprobs, Rating, Usage
from reasoner.verifier import CostMeter, FreeVerifier
from reasoner_strategies.mcts import Mcts
from tests.scripted import ScriptedEngine

K = 4
QUESTION = Question.of("How many?", space="number", id="tree")
IDS, CHANCES = (1, 2, 3, 4, 5), Logprobs((-0.1,) * 5)


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

    async def score(self, question: Question, candidate: Completion, policy: Engine, cost_meter: CostMeter) -> Rating:
        return Rating(value_of(candidate.chain), Cost())


def search(nodes: int) -> Mcts:
    return Mcts(simulations=nodes // K, k=K)


def solved(nodes: int) -> float:
    gc.collect()
    began = time.process_time()
    solution = solve_sync(QUESTION, search(nodes), ScriptedEngine(says), verifier=Ratings())
    assert solution.error is None
    assert solution.cost.samples == nodes
    return time.process_time() - began


def drawn(op: Sample) -> tuple[Completion, ...]:
    [prompt], steps = op.prompts, []
    for index in range(K):
        ids, stop = ((index, *IDS), "\n\n") if index else ((*IDS, -1), None)
        text = f"step {index} continues so" if index else "The answer is 7"
        usage = Usage(len(prompt.token_ids), 0, len(ids))
        steps.append(Completion(prompt, text, ids, "stop", stop, usage, CHANCES, index))
    return tuple(steps)


def driven(nodes: int) -> float:
    """CPU seconds inside the plan."""
    gc.collect()
    plan, spent, asked = search(nodes).plan(QUESTION), 0.0, 0
    running: deque[tuple[Handle, Startable]] = deque()
    reply: object = None
    while True:
        began = time.process_time()
        try:
            op = plan.send(reply)
        except StopIteration:
            return spent + time.process_time() - began
        spent += time.process_time() - began
        reply = None
        if isinstance(op, Start):
            asked += 1
            reply = Handle(asked)
            running.append((reply, op.op))
        elif isinstance(op, Next):
            handle, begun = running.popleft()
            if isinstance(begun, Sample):
                reply = Finished(handle, completions=drawn(begun))
            else:
                assert isinstance(begun, Score)
                names = (f"{candidate.chain}{candidate.index}" for candidate in begun.candidates)
                reply = Finished(handle, ratings=tuple(Rating(value_of(name), Cost()) for name in names))


def main() -> None:
    print("  nodes  solve us/node  plan us/node  solve KiB/node  plan KiB/node")
    for nodes in (1_000, 10_000, 100_000):
        repeats = 3 if nodes < 100_000 else 2
        figures = [min(run(nodes) for _ in range(repeats)) / nodes * 1e6 for run in (solved, driven)]
        for run in (solved, driven):
            tracemalloc.start()
            run(nodes)
            figures.append(tracemalloc.get_traced_memory()[1] / nodes / 1024)
            tracemalloc.stop()
        print(f"{nodes:7,}  {figures[0]:13.1f}  {figures[1]:12.1f}  {figures[2]:14.2f}  {figures[3]:13.2f}", flush=True)
    print(f"peak resident set {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
