"""What every strategy promises when its run is cut off and resumed: nothing lost, nothing done twice."""

import asyncio
import itertools
import random
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from reasoner.budget import Budget
from reasoner.engine import Engine
from reasoner.engines.replay import ReplayEngine
from reasoner.execution.runner import solve
from reasoner.solution import Solution
from reasoner.strategy import Strategy
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import (
    QUESTION,
    jumbled,
    meter_of,
    short,
    traced_cost,
    turns,
    varied,
    verifier_for,
    write_trace,
)  # fmt: skip
from reasoner.trace.events import Began, Ended, Event, Sampled
from reasoner.trace.history import read_histories
from reasoner.verifier import Verifier

SEED = 3
"""With seed 0 two siblings of a search are equal, and the script tells their greedy rollouts apart; no model does."""


async def _resumed(
    strategy: Strategy,
    events: list[Event],
    engine: Engine,
    *,
    budget: Budget | None = None,
    verifier: Verifier | None = None,
) -> Solution:
    """The solution of a run that is resumed after these events; those that come then are appended."""
    history, judge = read_histories(list(events)), verifier_for(strategy, verifier)
    work = solve(
        QUESTION, short(strategy), engine, verifier=judge, budget=budget, trace=events.append, seed=SEED,
        history=history,
    )  # fmt: skip
    solution = await asyncio.wait_for(work, timeout=30)
    assert solution.error is None, f"the resumed run ended with an error: {solution.error!r}"
    return solution


def _fresh(order: int) -> ScriptedEngine:
    return ScriptedEngine(varied, pause=jumbled(order))


def _drawn_once(events: list[Event], moment: int) -> None:
    drawn = Counter((event.prompt, event.index) for event in events if isinstance(event, Sampled))
    assert max(drawn.values()) == 1, f"cut off at {moment} and resumed, it drew a sample twice"


def _same(again: Solution, whole: Solution, moment: int) -> None:
    same = (again.answer, again.vote_state) == (whole.answer, whole.vote_state)
    assert same, f"cut off at {moment} and resumed, it answers {again.answer} and not {whole.answer}"


def killed_at_any_event_it_resumes_to_the_same_result(strategy: Strategy, *, wide: bool = False) -> None:
    """Within its budget, with one ledger, and without drawing anything twice."""
    orders, kills = (10, 12) if wide else (1, 4)

    async def kill(budget: Budget | None, order: int) -> None:
        events: list[Event] = []
        whole = await _resumed(strategy, events, _fresh(order), budget=budget)
        cuts = range(len(events))
        for moment in sorted({0, 1, len(events) - 1, *random.Random(len(events)).sample(cuts, min(kills, len(cuts)))}):
            after = events[:moment]
            again = await _resumed(strategy, after, _fresh(order + 1), budget=budget)
            cost, listed = again.cost, traced_cost(after)
            assert budget is None or cost.tokens <= 300, (
                f"cut off at {moment} and resumed, it exceeded 300 tokens: {cost}"
            )
            assert cost.taking(0) == listed.taking(0), (
                f"cut off at {moment}, {cost} is not what the trace says: {listed}"
            )
            _drawn_once(after, moment)
            starts = len({event.t for event in after if isinstance(event, Began)})
            assert starts <= 2, f"cut off once, it began {starts} times"
            if budget is None:
                _same(again, whole, moment)

    for budget, order in itertools.product((None, Budget(tokens=300)), range(orders)):
        asyncio.run(kill(budget, order))


def interrupted_it_resumes_and_pays_for_what_was_cut_off(strategy: Strategy, *, wide: bool = False) -> None:
    """Ctrl-C books what was in flight; resumed, that is drawn again, and both are paid for."""

    async def interrupt(moment: int, path: Path) -> bool:
        whole, events, engine = await _resumed(strategy, [], _fresh(moment)), list[Event](), _fresh(moment)
        work = asyncio.ensure_future(_resumed(strategy, events, engine))
        await turns(moment)
        work.cancel()
        await asyncio.wait([work])
        if not work.cancelled() or not events or read_histories(events)[QUESTION.id].finished:
            return False
        second = _fresh(moment + 1)
        solution = await _resumed(strategy, events, second)
        _drawn_once(events, moment)
        cost, spent = solution.cost, tuple(map(sum, zip(meter_of(engine), meter_of(second), strict=True)))
        paid = cost.prompt_tokens, cost.cached_tokens, cost.generated_tokens + cost.cancelled_tokens
        assert paid == spent, f"interrupted at {moment}, it paid for {paid}, and the engines counted {spent}"
        _same(solution, whole, moment)
        replay = ReplayEngine(str(write_trace(path, events)))
        await replay.start()
        _same(await _resumed(strategy, [], replay, verifier=replay.verifier()), solution, moment)
        return True

    with TemporaryDirectory() as folder:
        moments = range(1, 60) if wide else range(1, 40, 16)
        cut = [asyncio.run(interrupt(moment, Path(folder) / f"{moment}.jsonl")) for moment in moments]
    assert any(cut), "it could not be interrupted"


def what_is_finished_is_not_asked_again(strategy: Strategy, *, wide: bool = False) -> None:
    """A failed question that is asked again draws only what it dropped."""

    async def ask_again() -> None:
        events: list[Event] = []
        await _resumed(strategy, events, _fresh(0))
        history = read_histories(events)[QUESTION.id]
        assert history.finished, "the trace of a finished question is not finished"
        assert not history.extent(QUESTION.prompt.digest), "a finished question keeps what was drawn"
        [ended] = [event for event in events if isinstance(event, Ended)]
        after: list[Event] = [*events[:-1], ended.model_copy(update={"ended_by": "error"})]
        engine, before = ScriptedEngine(varied), len(after)
        solution = await _resumed(strategy, after, engine)
        assert after[before].event == "began", "a failed question was not asked again"
        if not any(event.event == "dropped" for event in events):
            assert engine.usage == [], "what was drawn before was drawn again"
            assert [event.event for event in after[before:]] == ["began", "ended"], "what was done was done again"
            assert solution.cost.taking(0) == ended.cost.taking(0), "what was paid for was paid for again"

    asyncio.run(ask_again())


RESUMING_LAWS = (
    killed_at_any_event_it_resumes_to_the_same_result, interrupted_it_resumes_and_pays_for_what_was_cut_off,
    what_is_finished_is_not_asked_again,
)  # fmt: skip
"""The laws of strategies that are cut off and resumed."""
