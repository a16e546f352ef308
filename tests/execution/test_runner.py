"""Answering questions: many at once, under one budget, through one engine."""

from typing import Any

import pytest

from reasoner import Budget, Question, SamplingParams, solve_many_sync, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import EngineUnavailable, UsageError
from reasoner.models.info import ModelInfo
from reasoner.trace.events import Event
from reasoner.types import Completion
from reasoner_strategies import SelfConsistency, Single
from tests.helpers import jumbled, number_question, says, varied
from tests.scripted import MODEL, ScriptedEngine

REPLY = 5
SHORT = SamplingParams(max_tokens=40)
TOKENS = 9


def questions(count: int) -> list[Question]:
    return [number_question(f"q{place}") for place in range(count)]


def test_a_budget_of_flops_is_kept_with_a_geometry_and_refused_without() -> None:
    one = MODEL.flops(prompt=TOKENS, cached=0, generated=REPLY)
    assert one is not None
    params = SamplingParams(max_tokens=REPLY)
    engine = ScriptedEngine(says("7"))
    solution = solve_sync(number_question(), SelfConsistency(5, params), engine, budget=Budget(flops=2 * one))
    assert (solution.cost.flops, solution.ended_by) == (2 * one, "budget")
    blind = ScriptedEngine(says("7"), model=ModelInfo("blind"))
    bounded: tuple[dict[str, Any], ...] = ({"budget": Budget(flops=1e9)}, {"each": Budget(flops=1e9)})
    for bounds in bounded:
        with pytest.raises(UsageError, match="needs the geometry of blind"):
            solve_many_sync(questions(1), Single(), blind, **bounds)
    assert solve_sync(number_question(), Single(), blind).cost.flops is None


def test_an_engine_that_cannot_start_is_an_error_of_the_call() -> None:
    class Unavailable(ScriptedEngine):
        async def start(self) -> None:
            raise EngineUnavailable("no model: pass --model")

    events: list[Event] = []
    with pytest.raises(EngineUnavailable, match="no model"):
        solve_sync(number_question(), Single(), Unavailable(says("7")), trace=events.append)
    assert events == []


class Watched(ScriptedEngine):
    """An engine that notes how many sequences were in flight at once."""

    most = 0
    inside = 0

    async def sample(self, request: SampleRequest) -> Completion:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            return await ScriptedEngine.sample(self, request)
        finally:
            self.inside -= 1


@pytest.mark.parametrize(("capacity", "most"), [(20, 1), (100, 4), (600, 13), (10_000, 18), (None, 18)])
def test_a_smaller_cache_has_fewer_sequences_in_flight(capacity: int | None, most: int) -> None:
    engine = Watched(varied, pause=jumbled(3, minimum=20, maximum=30), capacity=capacity)
    solutions = solve_many_sync(questions(3), SelfConsistency(6, SHORT), engine)
    assert [solution.cost.samples for solution in solutions] == [6] * 3
    assert engine.most == most
