"""Searching over long documents when only a few fit the KV cache: what keeping a question's branches together saves.

    python bench/documents.py

8 documents of about 700 tokens, a beam search over each, room for about three. As it is, three are searched at a time,
and branches of earlier questions go first inside vLLM; against all at once, first come, first served.
"""

import asyncio
import dataclasses
import random
import sys
from typing import Any
from unittest import mock

from reasoner import Question, solve_many
from reasoner.engine import SampleRequest, reset_caches
from reasoner.engines.vllm import VllmEngine
from reasoner.execution import session
from reasoner.registry import build
from reasoner.trace.events import Event, Sampled
from reasoner.types import Completion
from reasoner_verifiers import Certainty

SPEC = (
    "beam_search:n=8,width=4,step_tokens=16,max_steps=5,max_tokens=80,temperature=0.8"
)
KV_GIB = 0.065


def questions() -> list[Question]:
    asked = []
    for number in range(8):
        source = random.Random(number)
        cargo = ("tea", "rope", "salt", "wool", "iron", "glass")
        log = " ".join(
            f"Day {day}: {source.randint(2, 99)} sacks of {source.choice(cargo)}."
            for day in range(1, 56)
        )
        asked.append(
            Question.of(
                "Which day was the busiest, and why?",
                context=f"Harbour log {number}. {log}",
                space="text",
            )
        )
    return asked


async def run(engine: VllmEngine) -> tuple[int, int]:
    """Prompt tokens of all requests, and those that were in the cache."""
    await reset_caches(engine)
    events: list[Event] = []
    solutions = await solve_many(
        questions(),
        build("strategy", SPEC),
        engine,
        verifier=Certainty(),
        trace=events.append,
    )
    assert all(solution.error is None for solution in solutions)
    usages = [event.usage for event in events if isinstance(event, Sampled)]
    return sum(usage.prompt_tokens for usage in usages), sum(
        usage.cached_tokens for usage in usages
    )


def first_come() -> Any:
    """All questions at once, and the engine without their priorities."""
    sample = VllmEngine.sample

    async def without_priority(self: VllmEngine, request: SampleRequest) -> Completion:
        return await sample(self, dataclasses.replace(request, priority=0))

    return mock.patch.object(
        session, "questions_that_fit", return_value=8
    ), mock.patch.multiple(VllmEngine, sample=without_priority)


async def main() -> None:
    engine = VllmEngine(max_model_len=1024, kv_gib=KV_GIB)
    await engine.start()
    print(f"room for {engine.capacity:,} tokens", file=sys.stderr)
    for _ in range(2):
        prompt, cached = await run(engine)
        print(
            f"as it is: {prompt:,} prompt tokens, {cached:,} from cache: {cached / prompt:.3f}"
        )
        opened, vllm = first_come()
        with opened, vllm:
            prompt, cached = await run(engine)
        print(
            f"first come, first served: {prompt:,} prompt tokens, {cached:,} from cache: {cached / prompt:.3f}"
        )
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main())
