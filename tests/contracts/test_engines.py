"""What every engine that needs no model promises; the others are held to the same beside their own tests."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reasoner import solve
from reasoner.engine import Engine, SampleRequest
from reasoner.engines.ray import RayEngine, cluster
from reasoner.engines.remote.warm import offered
from reasoner.engines.remote.warm import warm as find_warm
from reasoner.engines.replay import ReplayEngine
from reasoner.engines.simulated import SimulatedEngine
from reasoner.stopping.confidence import ConfidenceFloor
from reasoner.trace.events import Event
from reasoner.types import Completion, Prompt, SamplingParams, Usage
from reasoner_strategies import SelfConsistency
from tests.helpers import number_question, says, turns, write_trace
from tests.scripted import ScriptedEngine

QUESTION = number_question()
PARAMS = SamplingParams(max_tokens=3, logprobs=2)
Make = Callable[[Path], Awaitable[Engine]]


async def scripted(folder: Path) -> Engine:
    return ScriptedEngine(says("7"), block_size=2)


async def simulated(folder: Path) -> Engine:
    return SimulatedEngine(tokens=2)


async def replay(folder: Path) -> Engine:
    events: list[Event] = []
    await solve(QUESTION, SelfConsistency(8, PARAMS), SimulatedEngine(tokens=2), trace=events.append)
    return ReplayEngine(str(write_trace(folder / "t.jsonl", events)))


async def ray(folder: Path) -> Engine:
    if not RAY:
        cluster.join("")
        RAY.append(RayEngine(SimulatedEngine(tokens=2), replicas=2))
    return RAY[0]


async def warm(folder: Path) -> Engine:
    server = offered(SimulatedEngine(tokens=2))
    await server.__aenter__()
    OFFERED.append(server)
    found = await asyncio.to_thread(find_warm, SimulatedEngine(tokens=2))
    assert found
    return found


OFFERED: list[object] = []
"""What ends with the event loop of each test."""
RAY: list[RayEngine] = []
"""The engine on Ray that all tests of this module share, as its start takes seconds."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module", autouse=True)
def _leave() -> Iterator[None]:
    yield
    if RAY:
        asyncio.run(RAY.pop().close())
        cluster.leave()


pytestmark = pytest.mark.parametrize(
    "make", [scripted, simulated, replay, warm, pytest.param(ray, marks=pytest.mark.process)]
)


async def draw(engine: Engine, index: int = 0, *, prompt: Prompt = QUESTION.prompt, seed: int = 1) -> Completion:
    rendered = await engine.render(prompt)
    return await engine.sample(SampleRequest("q", prompt, rendered, PARAMS, index, seed))


def test_usage_is_the_rendered_prompt_and_what_was_generated_within_the_limit(make: Make, tmp_path: Path) -> None:
    async def test() -> None:
        engine = await make(tmp_path)
        await engine.start()
        for index in range(8):
            one = await draw(engine, index)
            rendered = await engine.render(QUESTION.prompt)
            assert one.usage.prompt_tokens == rendered.tokens
            assert 0 <= one.usage.cached_tokens < one.usage.prompt_tokens
            assert len(one.token_ids) == one.usage.generated_tokens <= PARAMS.limit
            assert (one.prompt, one.index) == (QUESTION.prompt, index)
            assert one.finish_reason in ("stop", "length")
            assert one.logprobs is not None
            assert len(one.logprobs.sampled) == len(one.logprobs.top) == len(one.token_ids)
            assert {len(top) for top in one.logprobs.top} <= {2}

    asyncio.run(test())


def test_a_continuation_is_as_long_as_the_prompt_and_what_was_generated(make: Make, tmp_path: Path) -> None:
    async def test() -> None:
        engine = await make(tmp_path)
        await engine.start()
        head = await engine.render(QUESTION.prompt)
        one = await draw(engine)
        grown = await engine.render(QUESTION.prompt.then(one))
        assert grown.tokens == head.tokens + len(one.continuation)
        if head.token_ids is not None:
            assert grown.token_ids == head.token_ids + one.continuation

    asyncio.run(test())


def test_a_sequence_below_the_floor_is_cut_where_its_window_is_full(make: Make, tmp_path: Path) -> None:
    async def test() -> None:
        engine = await make(tmp_path)
        await engine.start()
        if isinstance(engine, ReplayEngine):
            return  # What was cut when it was recorded is recorded as cut.
        rendered = await engine.render(QUESTION.prompt)
        wanted = SampleRequest("q", QUESTION.prompt, rendered, replace(PARAMS, max_tokens=30), 0, 3)
        for minimum, cut in ((1e9, True), (0.0, False)):
            floor = ConfidenceFloor(window=2, minimum=minimum, top_k=2)
            one = await engine.sample(replace(wanted, floor=floor))
            whole = await engine.sample(wanted)
            if cut and whole.usage.generated_tokens > 2:
                assert (one.finish_reason, one.usage.generated_tokens, one.truncated) == ("abort", 2, True)
                assert one.token_ids == whole.token_ids[:2]
                assert one.logprobs is not None
                assert len(one.logprobs.sampled) == len(one.logprobs.top) == 2
            else:
                assert one == whole

    asyncio.run(test())


def test_the_meter_says_what_a_cancelled_request_cost(make: Make, tmp_path: Path) -> None:
    async def test() -> None:
        engine = await make(tmp_path)
        await engine.start()
        rendered = await engine.render(QUESTION.prompt)
        request = SampleRequest("q", QUESTION.prompt, rendered, PARAMS, 0, 1)
        task = asyncio.ensure_future(engine.sample(request))
        await turns(1)
        task.cancel()
        await asyncio.wait([task])
        usage = request.meter.usage
        assert usage is not None
        # Nothing was computed where it had not left this process.
        assert usage == Usage() or usage.prompt_tokens == rendered.tokens
        assert usage.generated_tokens <= PARAMS.limit

    asyncio.run(test())
