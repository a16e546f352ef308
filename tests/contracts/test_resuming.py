"""What every registered strategy promises when its run is cut off and resumed: nothing lost, nothing done twice."""

import asyncio
import itertools
import random
from collections import Counter
from pathlib import Path

import pytest

from reasoner import Budget, Solution, solve_many
from reasoner.engines.replay import ReplayEngine
from reasoner.trace.events import Began, Ended, Event, Sampled
from reasoner.trace.history import read_histories
from tests.contracts.test_strategies import NAMES, QUESTION, judge_for, made
from tests.helpers import jumbled, meter_of, told, turns, varied, write_trace
from tests.scripted import ScriptedEngine
from tests.sweeps import widths

SEED = 3
"""With seed 0 two siblings of `lookahead` are equal, and the script tells their greedy rollouts apart; no model does."""

pytestmark = pytest.mark.parametrize("name", NAMES)


async def resumed(
    name: str, before: list[Event], *, engine: ScriptedEngine, budget: Budget | None = None
) -> tuple[Solution, list[Event]]:
    """The run that is resumed after these events, and all events then."""
    strategy, events = made(name), list(before)
    [solution] = await asyncio.wait_for(
        solve_many(
            [QUESTION],
            strategy,
            engine,
            verifier=judge_for(strategy),
            each=budget,
            trace=events.append,
            seed=SEED,
            history=read_histories(before),
        ),
        timeout=30,
    )
    return solution, events


def fresh(order: int) -> ScriptedEngine:
    return ScriptedEngine(varied, pause=jumbled(order))


def names_drawn(events: list[Event]) -> Counter[tuple[str, int]]:
    return Counter((event.prompt, event.index) for event in events if isinstance(event, Sampled))


def moments(events: list[Event], count: int) -> list[int]:
    """Where to cut: early, late, and anywhere, but after the question was closed."""
    places = range(len(events))
    return sorted({0, 1, len(events) - 1, *random.Random(len(events)).sample(places, min(count, len(places)))})


@widths(("orders", "kills"), (1, 4), (10, 12))
def test_killed_at_any_event_it_resumes_to_the_same_result(name: str, orders: int, kills: int) -> None:
    async def test(budget: Budget | None, order: int) -> None:
        whole, events = await resumed(name, [], engine=fresh(order), budget=budget)
        for moment in moments(events, kills):
            engine = fresh(order + 1)
            again, all_events = await resumed(name, events[:moment], engine=engine, budget=budget)
            assert again.error is None
            assert budget is None or again.cost.tokens <= 300
            assert again.cost.taking(0) == told(all_events).taking(0)
            assert max(names_drawn(all_events).values()) == 1
            assert len({event.t for event in all_events if isinstance(event, Began)}) <= 2
            if budget:
                continue
            assert (again.answer, again.vote_state) == (whole.answer, whole.vote_state), moment

    for budget, order in itertools.product((None, Budget(tokens=300)), range(orders)):
        asyncio.run(test(budget, order))


@widths("moments", range(1, 40, 16), range(1, 60))
def test_interrupted_it_resumes_and_pays_for_what_was_cut_off(name: str, moments: range, tmp_path: Path) -> None:
    """Ctrl-C books what was in flight; going on, that is drawn again, and both are paid for."""

    async def test(moment: int) -> bool:
        whole, _ = await resumed(name, [], engine=fresh(moment))
        strategy, events, engine = made(name), list[Event](), fresh(moment)
        work = asyncio.ensure_future(
            solve_many([QUESTION], strategy, engine, verifier=judge_for(strategy), trace=events.append, seed=SEED)
        )
        await turns(moment)
        work.cancel()
        await asyncio.wait([work])
        if not work.cancelled() or not events or read_histories(events)["q"].finished:
            return False
        second = fresh(moment + 1)
        solution, after = await resumed(name, events, engine=second)
        assert solution.error is None
        assert max(names_drawn(after).values()) == 1
        spent = [sum(pair) for pair in zip(meter_of(engine), meter_of(second), strict=True)]
        assert [solution.cost.prompt_tokens, solution.cost.cached_tokens] == spent[:2]
        assert solution.cost.generated_tokens + solution.cost.cancelled_tokens == spent[2]
        assert (solution.answer, solution.vote_state) == (whole.answer, whole.vote_state)
        replay = ReplayEngine(str(write_trace(tmp_path / "trace.jsonl", after)))
        await replay.start()
        [again] = await asyncio.wait_for(
            solve_many([QUESTION], strategy, replay, verifier=judge_for(strategy, replay.verifier()), seed=SEED),
            timeout=30,
        )
        assert again.error is None
        assert (again.answer, again.vote_state) == (solution.answer, solution.vote_state)
        return True

    assert sum(asyncio.run(test(moment)) for moment in moments)


def test_what_is_finished_is_not_asked_again_and_a_failure_is(name: str) -> None:
    async def test() -> None:
        _, events = await resumed(name, [], engine=fresh(0))
        history = read_histories(events)["q"]
        assert history.finished
        assert not history.extent(QUESTION.prompt.digest)
        [ended] = [event for event in events if isinstance(event, Ended)]
        failed = [*events[:-1], ended.model_copy(update={"ended_by": "error"})]
        engine = ScriptedEngine(varied)
        solution, after = await resumed(name, failed, engine=engine)
        assert solution.error is None
        assert after[len(failed)].event == "began"
        if not any(event.event == "dropped" for event in events):
            assert engine.usage == []
            assert [event.event for event in after[len(failed) :]] == ["began", "ended"]
            assert solution.cost.taking(0) == ended.cost.taking(0)

    asyncio.run(test())
