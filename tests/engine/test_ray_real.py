"""Two replicas of real vLLM as Ray actors, beside one engine."""

import asyncio

import psutil

from reasoner import Question, SamplingParams, Solution, solve_many
from reasoner.engine import reset_caches
from reasoner.engines.ray import RayEngine
from reasoner.engines.vllm import VllmEngine
from reasoner.testing.support import traced_cost
from reasoner.trace.events import Event, Sampled
from reasoner_strategies import SelfConsistency
from tests.waiting import all_end

GREEDY = SelfConsistency(3, SamplingParams(temperature=0, max_tokens=16))
QUESTIONS: list[Question | str] = [
    Question.of(
        f"A crate holds {number} boxes of 12 eggs. How many eggs are there?",
        id=f"q{number}",
    )
    for number in range(3, 9)
]


def texts(events: list[Event]) -> dict[tuple[str, int], tuple[str, tuple[int, ...]]]:
    return {
        (event.prompt, event.index): (event.text, tuple(event.token_ids))
        for event in events
        if isinstance(event, Sampled)
    }


def cached(solutions: list[Solution]) -> tuple[int, int]:
    """Cached and computed prompt tokens."""
    return sum(one.cost.cached_tokens for one in solutions), sum(
        one.cost.prompt_tokens for one in solutions
    )


async def both(alone_engine: VllmEngine) -> None:
    # In 32 bits greedy decoding does not depend on what else is in the batch.
    inner = VllmEngine(
        alone_engine.model_id, max_model_len=512, kv_gib=0.25, dtype="float32"
    )
    engine, before, events = RayEngine(inner, replicas=2), list[Event](), list[Event]()
    try:
        await engine.start()
        hosts = [
            process
            for process in psutil.Process().children(recursive=True)
            if "EngineHost" in process.name()
        ]
        replicated = await solve_many(QUESTIONS, GREEDY, engine, trace=before.append)
        assert {engine._placement.of(f"q{number}") for number in range(3, 9)} == {0, 1}
    finally:
        await engine.close()
    all_end(hosts)
    await reset_caches(alone_engine)
    alone = await solve_many(QUESTIONS, GREEDY, alone_engine, trace=events.append)
    assert [solution.error for solution in replicated if solution.error] == []
    assert [solution.answer for solution in replicated] == [
        solution.answer for solution in alone
    ]
    assert texts(before) == texts(events)
    assert traced_cost(before).tokens == sum(
        solution.cost.tokens for solution in replicated
    )
    assert cached(replicated) == cached(alone)
    assert cached(alone)[0] > 0


def test_two_replicas_are_one_engine(engine: VllmEngine) -> None:
    asyncio.run(both(engine))
