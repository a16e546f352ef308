"""Two replicas of real vLLM as Ray actors, beside one engine."""

import asyncio
import os
import signal

import psutil

from reasoner import Question, SamplingParams, Solution, solve_many
from reasoner.engine import reset_caches
from reasoner.engines.ray import RayEngine
from reasoner.engines.vllm import VllmEngine
from reasoner.trace.events import Event, Sampled
from reasoner_strategies import SelfConsistency
from tests.helpers import told

GREEDY = SelfConsistency(3, SamplingParams(temperature=0, max_tokens=16))
QUESTIONS: list[Question | str] = [
    Question.of(f"A crate holds {number} boxes of 12 eggs. How many eggs are there?", id=f"q{number}")
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
    return sum(one.cost.cached_tokens for one in solutions), sum(one.cost.prompt_tokens for one in solutions)


async def both(alone_engine: VllmEngine) -> None:
    # In 32 bits greedy decoding does not depend on what else is in the batch.
    inner = VllmEngine(alone_engine.model_id, max_model_len=512, kv_gib=0.25, dtype="float32")
    engine, heard = RayEngine(inner, replicas=2), list[str]()
    engine.notify = heard.append
    before, after = list[Event](), list[Event]()
    try:
        await engine.start()
        hosts = [process for process in psutil.Process().children(recursive=True) if "EngineHost" in process.name()]
        replicated = await solve_many(QUESTIONS, GREEDY, engine, trace=before.append)
        assert {engine.replica_of(f"q{number}") for number in range(3, 9)} == {0, 1}
        # One is killed while it works: what it had is drawn again, with the same tokens.
        await engine.reset_caches()
        run = asyncio.ensure_future(solve_many(QUESTIONS, GREEDY, engine, trace=after.append))
        # Each has a question and its request, so whichever process is killed had work in flight.
        while min(engine._placement._loads) < 2:  # noqa: ASYNC110 - the engine sets no event
            await asyncio.sleep(0)
        os.kill(hosts[0].pid, signal.SIGKILL)
        again = await run
        assert len(heard) == 1
    finally:
        await engine.close()
    assert psutil.wait_procs(hosts, timeout=10)[1] == []
    events = list[Event]()
    await reset_caches(alone_engine)
    alone = await solve_many(QUESTIONS, GREEDY, alone_engine, trace=events.append)
    for solutions, recorded in ((replicated, before), (again, after)):
        assert [solution.error for solution in solutions if solution.error] == []
        assert [solution.answer for solution in solutions] == [solution.answer for solution in alone]
        assert texts(recorded) == texts(events)
        total = told(recorded)
        assert total.tokens == sum(solution.cost.tokens for solution in solutions)
    assert cached(replicated) == cached(alone)
    assert cached(alone)[0] > 0


def test_two_replicas_are_one_engine_and_one_may_be_killed(engine: VllmEngine) -> None:
    asyncio.run(both(engine))
