"""What every engine that needs no model promises; the others are held to the same beside their own tests."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from reasoner import solve
from reasoner.engine import Engine
from reasoner.engines.ray import RayEngine, cluster
from reasoner.engines.replay import ReplayEngine
from reasoner.engines.simulated import SimulatedEngine
from reasoner.testing.engines import ENGINE_LAWS, EngineLaw
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import number_question, says, write_trace
from reasoner.trace.events import Event
from reasoner.types import SamplingParams
from reasoner_strategies import SelfConsistency
from tests.running import running

QUESTION = number_question()
PARAMS = SamplingParams(max_tokens=3, logprobs=2)
Make = Callable[[Path], Awaitable[Engine]]


async def scripted(folder: Path) -> Engine:
    return ScriptedEngine(says("7"), block_size=2)


async def simulated(folder: Path) -> Engine:
    return SimulatedEngine(tokens=2)


async def replay(folder: Path) -> Engine:
    events: list[Event] = []
    await solve(
        QUESTION,
        SelfConsistency(8, PARAMS),
        SimulatedEngine(tokens=2),
        trace=events.append,
    )
    return ReplayEngine(str(write_trace(folder / "t.jsonl", events)))


async def ray(folder: Path) -> Engine:
    if not RAY:
        cluster.join("")
        RAY.append(RayEngine(SimulatedEngine(tokens=2), replicas=2))
    return RAY[0]


RAY: list[RayEngine] = []
"""The engine on Ray that all tests of this module share, as its start takes seconds."""


@pytest.fixture(scope="module", autouse=True)
def _leave() -> Iterator[None]:
    yield
    if RAY:
        asyncio.run(RAY.pop().close())
        cluster.leave()


pytestmark = pytest.mark.parametrize(
    "make",
    [scripted, simulated, replay, pytest.param(ray, marks=pytest.mark.process)],
)


@pytest.mark.parametrize("law", ENGINE_LAWS, ids=lambda law: law.__name__)
@running
async def test_it_keeps_the_law(make: Make, law: EngineLaw, tmp_path: Path) -> None:
    engine = await make(tmp_path)
    await engine.start()
    await law(engine)
