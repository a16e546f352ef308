"""Plans side by side: each gets its own replies, whatever finishes first, and refusals reach all that wait."""

import asyncio
from collections.abc import Sequence

import pytest

from reasoner import Answer, Budget
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
    propose,
    sample,
    score,
    start,
)
from reasoner.trace.events import Dropped
from reasoner_strategies._voting.gathering import Outcome, gather
from tests.execution.one_question import PARAMS, PROMPT, QUESTION, Run
from tests.helpers import Judge, books, jumbled, meter_of, says, varied
from tests.scripted import ScriptedEngine


def chain(length: int) -> Plan[Answer | None]:
    """Samples one after the other, each continuing the last."""
    prompt = PROMPT
    for _ in range(length):
        [drawn] = yield from sample(prompt, params=PARAMS)
        prompt = prompt.then(drawn)
    return QUESTION.read(drawn)


def side_by_side(plans: Sequence[Plan[Answer | None]], ended: list[tuple[int, Outcome]]) -> Plan[Answer | None]:
    def told(place: int, outcome: Outcome) -> Plan[None]:
        ended.append((place, outcome))
        yield from propose(outcome.answer, outcome.vote_state)

    yield from gather(plans, QUESTION, told, among=len(plans))
    return ended[0][1].answer if ended else None


def test_a_short_plan_does_not_wait_for_a_long_one() -> None:
    ended: list[tuple[int, Outcome]] = []
    run = Run(lambda _: side_by_side([chain(4), chain(1), chain(2)], ended), ScriptedEngine(says("7")))
    assert run.error is None
    assert [place for place, _ in ended] == [1, 2, 0]
    assert run.solution.cost.samples == 7
    assert all(outcome.answer and outcome.answer.key == "7" for _, outcome in ended)
    assert all(outcome.evidence and QUESTION.read(outcome.evidence) == outcome.answer for _, outcome in ended)


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


@pytest.mark.parametrize("seed", range(8))
def test_each_is_sent_what_it_started_itself(seed: int) -> None:
    ended: list[tuple[int, Outcome]] = []
    engine = ScriptedEngine(says("7"), pause=jumbled(seed))
    run = Run(lambda _: side_by_side([starting(4, 2), chain(3), starting(3, 3), starting(2, 1)], ended), engine)
    assert run.error is None
    assert sorted(place for place, _ in ended) == [0, 1, 2, 3]
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

    ended: list[tuple[int, Outcome]] = []
    run = Run(lambda _: side_by_side([forgetful(), forgetful()], ended), ScriptedEngine(says("7"), pause=pause))
    assert run.error is None
    assert len(run.seen(Dropped)) == 2
    assert [place for place, _ in ended] == [0, 1]


def bounded(kept: list[str]) -> Plan[Answer | None]:
    """Goes on until it is refused, and then returns what it has."""
    found: Answer | None = None
    prompt = PROMPT
    while True:
        try:
            [drawn] = yield from sample(prompt, params=PARAMS)
        except BudgetExhausted:
            kept.append("refused")
            return found
        found, prompt = QUESTION.read(drawn), prompt.then(drawn)


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 7])
def test_a_refusal_reaches_every_plan_that_waits(samples: int) -> None:
    ended: list[tuple[int, Outcome]] = []
    kept: list[str] = []
    plans = [bounded(kept), bounded(kept), bounded(kept)]
    run = Run(lambda _: side_by_side(plans, ended), budget=Budget(samples=samples))
    assert run.error is None
    assert len(kept) == len(ended) == 3
    assert run.solution.cost.samples == samples
    assert run.solution.ended_by == "budget"
    assert sum(outcome.answer is not None for _, outcome in ended) == min(samples, 3)


def test_scores_go_to_who_asked() -> None:
    def rated(n: int) -> Plan[Answer | None]:
        drawn = yield from sample(PROMPT, n=n, params=PARAMS)
        ratings = yield from score(QUESTION, drawn)
        assert len(ratings) == n
        return QUESTION.read(drawn[0])

    ended: list[tuple[int, Outcome]] = []
    run = Run(
        lambda _: side_by_side([rated(1), rated(3), rated(2)], ended),
        ScriptedEngine(varied, pause=jumbled(1)),
        uses_verifier=True,
        verifier=Judge(),
    )
    assert run.error is None
    assert len(ended) == 3


# Strategies that hold another
