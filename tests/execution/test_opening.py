"""How many questions of a run are open at once, and that nothing but memory depends on it."""

import asyncio
from collections import Counter

import pytest

from reasoner import Budget, Question, solve_many_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import (
    books,
    course,
    jumbled,
    meter_of,
    number_question,
    says,
    traced_cost,
    varied,
)
from reasoner.trace.events import Began, Ended, Event
from reasoner.types import Completion
from reasoner_strategies import SelfConsistency, Single
from tests.waiting import idle_time


class Counted(ScriptedEngine):
    """An engine that counts of how many questions something is in flight."""

    def __init__(self) -> None:
        # No sequence ends before as many questions are open as may be.
        super().__init__(varied, pause=jumbled(1, minimum=150, maximum=162))
        self.inside: Counter[str] = Counter()
        self.maximum = 0

    async def sample(self, request: SampleRequest) -> Completion:
        self.inside[request.question_id] += 1
        self.maximum = max(self.maximum, len(self.inside))
        try:
            return await ScriptedEngine.sample(self, request)
        finally:
            self.inside[request.question_id] -= 1
            if not self.inside[request.question_id]:
                del self.inside[request.question_id]


def questions(count: int) -> list[Question]:
    return [number_question(f"q{place}") for place in range(count)]


VOTE = SelfConsistency(3)


@pytest.mark.parametrize("concurrency", [1, 7, 40, 1000])
def test_no_more_questions_are_open_than_are_allowed_and_results_do_not_depend_on_it(
    concurrency: int,
) -> None:
    engine, events, open_now, maximum = Counted(), list[Event](), 0, 0

    def sink(event: Event) -> None:
        nonlocal open_now, maximum
        open_now += isinstance(event, Began) - isinstance(event, Ended)
        maximum = max(maximum, open_now)
        events.append(event)

    found = solve_many_sync(
        questions(50), VOTE, engine, concurrency=concurrency, trace=sink, seed=3
    )
    assert maximum == min(concurrency, 50)
    assert engine.maximum <= maximum
    assert [one.question_id for one in found] == [f"q{place}" for place in range(50)]
    free = solve_many_sync(
        questions(50), VOTE, ScriptedEngine(varied, pause=jumbled(2)), seed=3
    )
    assert [course(one)[:3] for one in found] == [course(one)[:3] for one in free]
    assert books(traced_cost(events)) == meter_of(engine)


def test_an_id_that_comes_again_while_its_question_is_open_is_refused() -> None:
    asked = iter([*questions(3), number_question("q2")])
    with pytest.raises(UsageError, match="two questions have the same id"):
        solve_many_sync(asked, Single(), ScriptedEngine(says("7")), concurrency=2)


@idle_time()
def test_the_seconds_of_each_question_begin_when_it_is_opened() -> None:
    """Each question takes about as long as it may; all of them together take much longer."""

    async def pause(request: SampleRequest) -> None:
        await asyncio.sleep(0.9)

    engine = ScriptedEngine(says("7"), pause=pause)
    found = solve_many_sync(
        questions(40), Single(), engine, each=Budget(seconds=1), concurrency=1
    )
    assert [one.ended_by for one in found] == ["strategy"] * 40


# One budget for all
