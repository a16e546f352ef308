"""A run has Python search rarely for cycles, and leaves no trace of that."""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from reasoner import solve_each, solve_many
from reasoner.engine import SampleRequest
from reasoner.system.machine import COLLECT_EVERY
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import number_question

SEEN: list[int] = []
QUESTIONS = [number_question(f"q{index}") for index in range(5)]


@pytest.fixture(autouse=True)
def _as_python(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    SEEN.clear()
    yield
    gc.set_threshold(*before)


def look(request: SampleRequest) -> str:
    SEEN.append(gc.get_threshold()[0])
    return "7"


async def cancelled() -> None:
    asking = asyncio.Event()

    async def pause(_: SampleRequest) -> None:
        asking.set()
        await asyncio.Event().wait()

    engine = ScriptedEngine(look, pause=pause)
    task = asyncio.ensure_future(solve_many(QUESTIONS, "single", engine))
    await asking.wait()
    SEEN.append(gc.get_threshold()[0])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def nested() -> None:
    async for _ in solve_each(QUESTIONS, "single", ScriptedEngine(look)):
        await solve_many(QUESTIONS, "single", ScriptedEngine(look))
        SEEN.append(gc.get_threshold()[0])


@pytest.mark.parametrize("use", [cancelled, nested])
def test_the_search_is_rare_during_a_run_and_as_before_at_its_end(
    use: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    asyncio.run(use())
    assert set(SEEN) == {COLLECT_EVERY}
    assert gc.get_threshold() == (700, 10, 10)
