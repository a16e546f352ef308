"""Plans side by side: each gets its own replies, whatever finishes first, and refusals reach all that wait."""

import asyncio
from collections.abc import Callable

import pytest

from reasoner import Answer, Budget, Question
from reasoner.engine import SampleRequest
from reasoner.errors import BudgetExhausted
from reasoner.strategy import (
    BRANCH,
    Finished,
    Handle,
    Plan,
    Sample,
    cancel,
    next_finished,
    sample,
    score,
    start,
)
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, books, jumbled, meter_of, says, varied
from reasoner.trace.events import Dropped
from reasoner.voting import Tally
from reasoner_strategies._voting.gathering import Gathering
from reasoner_strategies._voting.pool import LaunchOrder
from tests.execution.one_question import PARAMS, PROMPT, QUESTION, Run


def chain(length: int) -> Plan[Answer | None]:
    """Samples one after the other, each continuing the last."""
    prompt = PROMPT
    for _ in range(length):
        [drawn] = yield from sample(prompt, params=PARAMS)
        prompt = prompt.then(drawn)
    return QUESTION.read(drawn)


def side_by_side(
    *plans: Plan[Answer | None],
) -> tuple[Gathering, Callable[[Question], Plan[Answer | None]]]:
    gathering = Gathering(
        iter(enumerate(plans)), QUESTION, len(plans), LaunchOrder(Tally(QUESTION.space))
    )

    def plan(question: Question) -> Plan[Answer | None]:
        yield from gathering.run()
        return gathering.votes.vote_state.leader

    return gathering, plan


def test_a_short_plan_does_not_wait_for_a_long_one() -> None:
    gathering, plan = side_by_side(chain(4), chain(1), chain(2))
    run = Run(plan, ScriptedEngine(says("7")))
    assert run.error is None
    assert list(gathering.evidence) == [1, 2, 0]
    assert run.solution.cost.samples == 7
    read = [each and QUESTION.read(each) for each in gathering.evidence.values()]
    assert read == [run.solution.answer] * 3


def starting(n: int, wanted: int) -> Plan[Answer | None]:
    """Starts some, takes the first that arrive, cancels the rest."""
    handles: list[Handle] = []
    while len(handles) < n:
        handles += [(yield from start(Sample((PROMPT,), params=PARAMS)))]
    got: list[Finished] = []
    while len(got) < wanted:
        got += [(yield from next_finished())]
    assert {one.handle for one in got} <= set(handles)
    for handle in handles:
        yield from cancel(handle)
    return QUESTION.read(got[-1].completions[0])


@pytest.mark.parametrize("seed", range(3))
def test_each_is_sent_what_it_started_itself(seed: int) -> None:
    engine = ScriptedEngine(says("7"), pause=jumbled(seed))
    gathering, plan = side_by_side(
        starting(4, 2), chain(3), starting(3, 3), starting(2, 1)
    )
    run = Run(plan, engine)
    assert run.error is None
    assert sorted(gathering.evidence) == [0, 1, 2, 3]
    assert books(run.solution.cost) == meter_of(engine)


def forgetful() -> Plan[Answer | None]:
    """Starts what it never waits for."""
    yield from start(Sample((PROMPT,), params=PARAMS))
    [drawn] = yield from sample(PROMPT, params=PARAMS)
    return QUESTION.read(drawn)


def test_what_a_plan_leaves_behind_is_cancelled_and_not_taken_for_another_s() -> None:
    async def pause(request: SampleRequest) -> None:
        for _ in range(50 if request.index % BRANCH == 0 else 1):
            await asyncio.sleep(0)

    gathering, plan = side_by_side(forgetful(), forgetful())
    run = Run(plan, ScriptedEngine(says("7"), pause=pause))
    assert run.error is None
    assert len(run.seen(Dropped)) == 2
    assert list(gathering.evidence) == [0, 1]


def bounded(kept: list[str]) -> Plan[Answer | None]:
    """Continues until it is refused, and then returns what it has."""
    found: Answer | None = None
    prompt = PROMPT
    while True:
        try:
            [drawn] = yield from sample(prompt, params=PARAMS)
        except BudgetExhausted:
            kept.append("refused")
            return found
        found, prompt = QUESTION.read(drawn), prompt.then(drawn)


@pytest.mark.parametrize("samples", [0, 2, 7])
def test_a_refusal_reaches_every_plan_that_waits(samples: int) -> None:
    kept: list[str] = []
    gathering, plan = side_by_side(bounded(kept), bounded(kept), bounded(kept))
    run = Run(plan, budget=Budget(samples=samples))
    assert run.error is None
    assert len(kept) == len(gathering.evidence) == 3
    assert run.solution.cost.samples == samples
    assert run.solution.ended_by == "budget"
    assert sum(each is not None for each in gathering.evidence.values()) == min(
        samples, 3
    )


def test_scores_go_to_who_asked() -> None:
    def rated(n: int) -> Plan[Answer | None]:
        drawn = yield from sample(PROMPT, n=n, params=PARAMS)
        ratings = yield from score(QUESTION, drawn)
        assert len(ratings) == n
        return QUESTION.read(drawn[0])

    gathering, plan = side_by_side(rated(1), rated(3), rated(2))
    run = Run(
        plan,
        ScriptedEngine(varied, pause=jumbled(1)),
        uses_verifier=True,
        verifier=Judge(),
    )
    assert run.error is None
    assert len(gathering.evidence) == 3
