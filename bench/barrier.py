"""Wall-clock of search without a step barrier against the same search with one, on replies of very different lengths.

    python bench/barrier.py [ROUNDS [SPEC...]]

Each strategy runs as it is, and with a barrier (`barred`: it gets no result until everything that it started has
finished); 1 question at a time, and 4 at once. The two alternate in one process, with an empty cache before each.
"""

import asyncio
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reasoner import Answer, Question, solve_many
from reasoner.engine import reset_caches
from reasoner.engines.vllm import VllmEngine
from reasoner.registry import build
from reasoner.strategy import (
    Cancel,
    Finished,
    Handle,
    Next,
    Plan,
    Start,
    Strategy,
    next_finished,
)
from reasoner.trace.events import Event, Sampled
from reasoner_evals.tasks import arithmetic
from reasoner_verifiers import Certainty

SPECS = (
    "ab_mcts:n=24,concurrency=8,max_tokens=160,temperature=1.2",
    "adaptive_consistency:n=32,window=8,max_tokens=160,temperature=1.2",
)
"""At this temperature the replies to sums are of very different lengths."""
QUESTIONS = 4


@dataclass(frozen=True, slots=True)
class Barred:
    """A strategy whose every result is held back until all that it started has finished."""

    inner: Strategy

    @property
    def uses_verifier(self) -> bool:
        return self.inner.uses_verifier

    def plan(self, question: Question) -> Plan[Answer | None]:
        return barred(self.inner.plan(question))


def all_of(running: set[Handle]) -> Plan[deque[Finished]]:
    ready: deque[Finished] = deque()
    while running:
        ready.append((yield from next_finished()))
        running.discard(ready[-1].handle)
    return ready


def barred(plan: Plan[Answer | None]) -> Plan[Answer | None]:
    running: set[Handle] = set()
    ready: deque[Finished] = deque()
    reply: Any = None
    while True:
        try:
            op = plan.send(reply)
        except StopIteration as end:
            answer: Answer | None = end.value
            return answer
        if isinstance(op, Next):
            ready = ready or (yield from all_of(running))
            reply = ready.popleft()
            continue
        reply = yield op
        if isinstance(op, Start):
            running.add(reply)
        if isinstance(op, Cancel):
            running.discard(op.handle)
            ready = deque(result for result in ready if result.handle != op.handle)


async def seconds(
    engine: VllmEngine, strategy: Strategy, asked: Sequence[Question], width: int
) -> tuple[float, int]:
    """The time for all questions, `width` at once, and the tokens that were generated for them."""
    await reset_caches(engine)
    verifier = Certainty() if strategy.uses_verifier else None
    began, generated = time.perf_counter(), 0
    for first in range(0, len(asked), width):
        for solution in await solve_many(
            asked[first : first + width], strategy, engine, verifier=verifier
        ):
            assert solution.error is None
            generated += solution.cost.generated_tokens + solution.cost.cancelled_tokens
    return time.perf_counter() - began, generated


async def skew(
    engine: VllmEngine, strategy: Strategy, asked: Sequence[Question]
) -> str:
    """How the lengths of what it draws are spread, in tokens by percentile."""
    events: list[Event] = []
    verifier = Certainty() if strategy.uses_verifier else None
    await solve_many(asked, strategy, engine, verifier=verifier, trace=events.append)
    lengths = sorted(
        event.usage.generated_tokens for event in events if isinstance(event, Sampled)
    )
    return ", ".join(
        f"{share}: {lengths[int(share / 100 * (len(lengths) - 1))]}"
        for share in (10, 50, 90, 99)
    )


async def main(rounds: int, specs: Sequence[str]) -> None:
    engine = VllmEngine(max_model_len=1024)
    await engine.start()
    asked = [
        item.question
        for item in arithmetic.Arithmetic("development").load().items[:QUESTIONS]
    ]
    for spec in specs:
        free: Strategy = build("strategy", spec)
        print(
            f"{spec.partition(':')[0]}, lengths by percentile: {await skew(engine, free, asked)}",
            flush=True,
        )
        for width in (1, 4):
            ratios, tokens = [], {"free": 0, "barred": 0}
            for turn in range(rounds):
                took: dict[str, float] = {}
                for way in ("free", "barred") if turn % 2 else ("barred", "free"):
                    strategy = free if way == "free" else Barred(free)
                    took[way], tokens[way] = await seconds(
                        engine, strategy, asked, width
                    )
                ratios.append(took["barred"] / took["free"])
            spread = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
            print(
                f"{spec.partition(':')[0]}, {width} at once: with a barrier {statistics.median(ratios):.2f} times as "
                f"long ({spread}); tokens generated {tokens['free']:,}, with a barrier {tokens['barred']:,}",
                flush=True,
            )
    await engine.close()


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:] or SPECS)
    )
