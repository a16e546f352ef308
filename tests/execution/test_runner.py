"""Answering questions: many at once, under one budget, through one engine."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from reasoner import Budget, Prices, Question, SamplingParams, solve_many, solve_many_sync, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import EngineUnavailable, UsageError
from reasoner.models.info import ModelInfo
from reasoner.trace.events import Began, Ended, Event, Sampled
from reasoner_strategies import BestOfN, SelfConsistency, Single
from reasoner_verifiers import Certainty
from tests.helpers import books, meter_of, number_question, says, told, turns
from tests.scripted import MODEL, ScriptedEngine

SHORT = SamplingParams(max_tokens=40)
REPLY = 5
TOKENS = 9


def questions(count: int) -> list[Question]:
    return [number_question(f"q{place}") for place in range(count)]


def by_question(request: SampleRequest) -> str:
    return f"The answer is {request.question_id[1:]}"


# One question


def test_the_trace_begins_with_all_that_decides_the_run() -> None:
    events: list[Event] = []
    engine = ScriptedEngine(says("7"))
    engine.notes = ("careful",)
    solve_many_sync(
        questions(1),
        BestOfN(n=3, selector="weighted"),
        engine,
        verifier=Certainty(),
        budget=Budget(tokens=4000),
        each=Budget(tokens=500, samples=9),
        seed=42,
        trace=events.append,
    )
    began, ended = events[0], events[-1]
    assert isinstance(began, Began)
    assert (began.strategy, began.verifier) == ("best_of_n:n=3,selector=weighted", "certainty")
    assert (began.engine, began.model, began.notes, began.seed) == ("scripted", MODEL, ("careful",), 42)
    assert (
        began.engine_spec
        == f"{ScriptedEngine.__module__}:ScriptedEngine:script={says.__module__}:says.<locals>.<lambda>"
    )
    assert began.budget == "all tokens=4000; each tokens=500,samples=9"
    assert (began.question_id, began.text, began.answer_space) == ("q0", "How many?", "number")
    assert isinstance(ended, Ended)
    assert ended.notes == ("careful",)
    assert all(earlier.t <= later.t for earlier, later in pairwise(events))


# Many


async def _only_the_first(request: SampleRequest) -> None:
    if request.question_id != "q0":
        await asyncio.get_running_loop().create_future()
    for _ in range(30):
        await asyncio.sleep(0)


def test_two_questions_of_one_name_are_refused() -> None:
    engine = ScriptedEngine(says("7"))
    with pytest.raises(UsageError, match="two questions have the same id"):
        solve_many_sync([number_question("q"), number_question("q")], Single(), engine)
    assert engine.usage == []


# Budgets over many


def test_a_budget_of_dollars_is_kept_with_prices_and_refused_without() -> None:
    prices = Prices(prompt=1, generated=10)
    budget = Budget(usd=3 * (TOKENS + REPLY * 10) / 1e6)
    params = SamplingParams(max_tokens=REPLY)
    engine = ScriptedEngine(says("7"))
    solution = solve_sync(number_question(), SelfConsistency(5, params), engine, budget=budget, prices=prices)
    assert (solution.cost.samples, solution.ended_by) == (3, "budget")
    assert prices.usd(solution.cost) <= 3 * (TOKENS + REPLY * 10) / 1e6
    with pytest.raises(UsageError, match="usd budget needs prices"):
        solve_sync(number_question(), Single(), engine, budget=budget)


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


# The engine


def test_an_engine_that_cannot_start_is_an_error_of_the_call() -> None:
    class Unavailable(ScriptedEngine):
        async def start(self) -> None:
            raise EngineUnavailable("no model: pass --model")

    events: list[Event] = []
    with pytest.raises(EngineUnavailable, match="no model"):
        solve_sync(number_question(), Single(), Unavailable(says("7")), trace=events.append)
    assert events == []


# Cancelling


def test_a_cancelled_call_books_what_was_in_flight_and_ends_the_trace() -> None:
    events, engine = list[Event](), ScriptedEngine(by_question, pause=_only_the_first)

    async def test() -> None:
        run = asyncio.ensure_future(solve_many(questions(3), Single(SHORT), engine, trace=events.append))
        await turns()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(test())
    ended = {event.question_id: event for event in events if isinstance(event, Ended)}
    assert {name: event.reason for name, event in ended.items()} == {
        "q0": "the strategy finished", "q1": "interrupted", "q2": "interrupted",
    }  # fmt: skip
    assert (ended["q0"].answer and ended["q0"].answer.key, ended["q1"].answer) == ("0", None)
    assert ended["q1"].cost.prompt_tokens == TOKENS
    assert books(told(events)) == meter_of(engine)
    assert sum(isinstance(event, Sampled) for event in events) == 1
