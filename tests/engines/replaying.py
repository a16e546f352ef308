"""Runs that are recorded and replayed."""

import asyncio
from pathlib import Path
from typing import Any

from reasoner import Question, SamplingParams, Solution, solve
from reasoner.engine import Engine, SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.strategy import StopRule, Strategy
from reasoner.trace.events import Delivered, Event, Proposed, Sampled
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter, Verifier
from tests.helpers import Judge, Pause, course, number_question, says, turns, write_trace
from tests.scripted import ScriptedEngine

SHORT = SamplingParams(max_tokens=40)


async def live_and_again(
    path: Path, engine: ScriptedEngine, strategy: Strategy, verifier: Verifier | None, options: dict[str, Any]
) -> tuple[Solution, Solution, list[Event], list[Event]]:
    live: list[Event] = []
    again: list[Event] = []
    first = await solve(number_question(), strategy, engine, verifier=verifier, trace=live.append, **options)
    replay = ReplayEngine(str(write_trace(path, live)))
    await replay.start()
    judge = replay.verifier() if verifier else None
    second = await asyncio.wait_for(
        solve(number_question(), strategy, replay, verifier=judge, trace=again.append, **options), timeout=30
    )
    return first, second, live, again


def twice(
    path: Path, engine: ScriptedEngine, strategy: Strategy, *, verifier: Verifier | None = None, **options: Any
) -> tuple[Solution, list[Event]]:
    """Run live, then replay the trace of it; both must take the same course. The live solution and its events."""
    first, second, live, again = asyncio.run(live_and_again(path, engine, strategy, verifier, options))
    assert course(second) == course(first)
    assert type(second.error) is type(first.error)
    assert all_drawn(again) == all_drawn(live)
    assert [e for e in map(handed_over, again) if e] == [e for e in map(handed_over, live) if e]
    return first, live


def all_drawn(events: list[Event]) -> list[tuple[Any, ...]]:
    """What was drawn, by name: what finished when was the engine's business, what was handed over when is the plan's."""
    return sorted((drawn(event) for event in events if isinstance(event, Sampled)), key=lambda row: row[:2])


def handed_over(event: Event) -> object:
    match event:
        case Delivered():
            return event.op
        case Proposed():
            return event.answer, event.vote_state, event.cost.taking(0)
    return None


def drawn(event: Sampled) -> tuple[Any, ...]:
    return event.prompt, event.index, event.text, event.token_ids, event.usage, event.child, event.seed


async def at_once(request: SampleRequest) -> None:
    await turns(1)


def record(path: Path, strategy: Strategy, *, pause: Pause = at_once) -> Path:
    async def go() -> list[Event]:
        events: list[Event] = []
        engine = ScriptedEngine(says("7", "8"), pause=pause)
        await solve(number_question(), strategy, engine, trace=events.append)
        return events

    return write_trace(path, asyncio.run(go()))


def replayed(path: Path, strategy: Strategy, *, stop: StopRule | None = None, seed: int = 0) -> Solution:
    async def go() -> Solution:
        return await asyncio.wait_for(
            solve(number_question(), strategy, ReplayEngine(str(path)), stop=stop, seed=seed), timeout=30
        )

    return asyncio.run(go())


def replay_with(path: Path, strategy: Strategy) -> Solution:
    async def go() -> Solution:
        engine = ReplayEngine(str(path))
        await engine.start()
        return await solve(number_question(), strategy, engine, verifier=engine.verifier())

    return asyncio.run(go())


class Slow(Judge):
    """A verifier that comes to no verdict on the first candidate."""

    async def score(self, question: Question, candidate: Completion, policy: Engine, cost_meter: CostMeter) -> Rating:
        if candidate.index == 0:
            await asyncio.get_running_loop().create_future()
        return await Judge.score(self, question, candidate, policy, cost_meter)
