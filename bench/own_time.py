"""The time that each strategy itself takes at its largest: 1,024 samples whose answers all differ.

    python bench/own_time.py [N [NAME...]]

Everything is on the scripted engine, with a trace that is written and thrown away. Each figure holds the time of the
engine and of the runner too, some 0.3 ms a sample. No strategy should take more than a second of its own.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Callable, Iterator

from reasoner import Cost, Question, solve
from reasoner.engine import Engine, SampleRequest
from reasoner.registry import build, entries
from reasoner.strategy import Strategy
from reasoner.testing.scripted import ScriptedEngine
from reasoner.trace.events import Event
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter, FreeVerifier

SPECS = {
    "single": "single",
    "self_consistency": "self_consistency:n={n}",
    "self_consistency, stop=lossless": "self_consistency:n={n},stop=lossless",
    "self_consistency, of=single": "self_consistency:n={n},of=single",
    "self_consistency, stop=beta": "self_consistency:n={n},stop=beta",
    "short_m_at_k": "short_m_at_k:k={n},m={n}",
    "best_of_n": "best_of_n:n={n}",
    "best_of_n, of=single": "best_of_n:n={n},of=single",
    "best_of_n, borda": "best_of_n:n={n},selector=borda",
    "universal": "universal:n={n}",
    "tournament": "tournament:n={n}",
    "tournament of all": "tournament:n={root},pairing=all",
    "tournament, swiss": "tournament:n={root},pairing=swiss",
    "aggregate": "aggregate:n={n},rounds=1",
    "gen_select": "gen_select:n={n}",
    "beam_search": "beam_search:n={n}",
    "dvts": "dvts:n={n}",
    "rebase": "rebase:n={n}",
    "particle_filter": "particle_filter:n={n}",
    "mcts": "mcts:simulations={n},k={root}",
    "ab_mcts": "ab_mcts:n={n}",
    "tree_of_thoughts": "tree_of_thoughts:b={n},k={root}",
    "refine": "refine:rounds={n},satisfied=1",
    "budget_forcing": "budget_forcing",
    "auto": "auto",
    "escalate": "escalate:n={n}",
    "code_interpreter": "self_consistency:n={n},of=code_interpreter",
}


class Middling(FreeVerifier):
    """Rates everything by its length, below 1, at no cost."""

    logprobs = None

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        return Rating(0.1 + 0.8 * (candidate.index % 97) / 97, Cost())


def spoken(form: str) -> Callable[[SampleRequest], str]:
    """A script in which no two chains have the same answer."""
    numbers: Iterator[int] = itertools.count(1)

    def reply(request: SampleRequest) -> str:
        begun = "" if request.prompt.text else f"Let us try {next(numbers)}.\n\n"
        return f"{begun}The answer is {form.format(next(numbers))}"

    return reply


async def seconds(spec: str, space: str, form: str) -> float:
    strategy: Strategy = build("strategy", spec)
    engine = ScriptedEngine(
        spoken(form), certainty=lambda request: 0.5 + request.index % 50 / 101
    )
    lines: list[int] = []

    def sink(event: Event) -> None:
        lines.append(len(event.model_dump_json()))

    verifier = Middling() if strategy.uses_verifier else None
    began = time.process_time()
    solution = await solve(
        Question.of("How many?", space=space),
        strategy,
        engine,
        verifier=verifier,
        trace=sink,
    )
    taken = time.process_time() - began
    if solution.error:
        raise solution.error
    return taken


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    if missing := set(entries("strategy")) - {name.partition(",")[0] for name in SPECS}:
        raise SystemExit(f"not measured: {', '.join(sorted(missing))}")
    print(f"{'strategy':34}{'number':>8}{'math':>8}   processor seconds, n={n:,}")
    for name in sys.argv[2:] or SPECS:
        spec = SPECS[name].format(n=n, root=round(n**0.5))
        row = [asyncio.run(seconds(spec, space, "{}")) for space in ("number", "math")]
        print(f"{name:34}{row[0]:8.2f}{row[1]:8.2f}", flush=True)


if __name__ == "__main__":
    main()
