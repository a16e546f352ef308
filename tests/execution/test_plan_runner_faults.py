"""What becomes of a run when the strategy or the engine is at fault."""

import asyncio
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from reasoner import Answer, Budget, Question, Solution, VoteState, solve
from reasoner.engine import SampleRequest
from reasoner.errors import (
    EngineDied,
    EngineError,
    LedgerViolation,
    PlanError,
    RequestLost,
)
from reasoner.strategy import Next, Operation, Plan, Propose, Start
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import books, meter_of, says, turns
from reasoner.trace.events import Dropped, Ended
from reasoner.types import Completion, Usage
from reasoner_strategies import SelfConsistency
from tests.execution.one_question import (
    ONE,
    PARAMS,
    QUESTION,
    REPLY,
    TOKENS,
    Run,
    Script,
)
from tests.helpers import answer

# Strategies


class Mood(Exception):
    """Raised by plans of these tests."""


def failing(question: Question) -> Plan[Answer | None]:
    yield Propose(answer("1"), VoteState())
    raise Mood("not today")


def stopping(question: Question) -> Plan[Answer | None]:
    yield Propose(answer("1"), VoteState())
    next(iter(()))
    return None


def rubbish(question: Question) -> Generator[Any, Any, Answer | None]:
    yield Propose(answer("1"), VoteState())
    yield "a sample, please"
    return None


def failing_at_the_end(question: Question) -> Plan[Answer | None]:
    try:
        yield Start(ONE)
        yield Propose(answer("1"), VoteState())
    finally:
        raise Mood("never")


def eager(question: Question) -> Plan[Answer | None]:
    raise Mood("before it began")


def no_generator(question: Question) -> Any:
    return answer("1")


@pytest.mark.parametrize(
    ("plan", "complaint", "kept"),
    [
        (failing, "the strategy failed with Mood: not today", answer("1")),
        (stopping, "the strategy failed with RuntimeError", answer("1")),
        (rubbish, "the strategy yielded str, which is not an operation", answer("1")),
        (failing_at_the_end, "the strategy failed with Mood: never", answer("1")),
        (eager, "the strategy failed with Mood: before it began", None),
        (no_generator, "the strategy failed with AttributeError", None),
    ],
)
def test_a_strategy_at_fault_ends_the_run_with_its_best(
    plan: Script, complaint: str, kept: Answer | None
) -> None:
    run = Run(plan)
    assert isinstance(run.error, PlanError)
    assert complaint in str(run.error)
    assert (run.solution.answer, run.solution.ended_by, run.solution.reason) == (
        kept,
        "error",
        str(run.error),
    )
    [ended] = run.seen(Ended)
    assert (ended.answer, ended.ended_by) == (kept, "error")


def test_an_error_of_the_plan_is_raised_where_it_was_made() -> None:
    caught: list[Exception] = []

    def plan(question: Question) -> Generator[Operation, Any, Answer | None]:
        for op in (Next(), "rubbish"):
            try:
                yield op  # type: ignore[misc]
            except PlanError as error:
                caught.append(error)
        return answer("1")

    run = Run(plan)
    assert (len(caught), run.error, run.solution.answer) == (2, None, answer("1"))


# Engines


def test_a_lost_request_is_drawn_again_with_the_same_seed_and_each_attempt_is_booked() -> (
    None
):
    seeds: list[int] = []

    async def pause(request: SampleRequest) -> None:
        seeds.append(request.seed)
        if len(seeds) < 3:
            request.meter.usage = Usage(TOKENS, 0, len(seeds))
            raise RequestLost("the line broke")

    run = Run(
        lambda question: SelfConsistency(1, PARAMS).plan(question),
        ScriptedEngine(says("7"), pause=pause),
    )
    assert (run.error, run.solution.answer and run.solution.answer.key) == (None, "7")
    assert len(set(seeds)) == 1
    cost = run.solution.cost
    assert (cost.prompt_tokens, cost.generated_tokens, cost.cancelled_tokens) == (
        3 * TOKENS,
        REPLY,
        3,
    )
    assert (cost.requests, cost.samples) == (3, 3)
    assert [event.why for event in run.seen(Dropped)] == ["lost", "lost"]


def test_a_request_that_is_lost_repeatedly_ends_the_run() -> None:
    async def pause(request: SampleRequest) -> None:
        raise RequestLost("the line broke")

    run = Run(
        lambda question: SelfConsistency(1, PARAMS).plan(question),
        ScriptedEngine(says("7"), pause=pause),
    )
    assert isinstance(run.error, RequestLost)
    assert str(run.error) == "the line broke (tried 3 times)"
    assert run.solution.cost.requests == 3


@pytest.mark.parametrize(
    ("failure", "kind", "reason"),
    [
        (EngineDied("it died again"), EngineDied, "it died again"),
        (
            ZeroDivisionError("oops"),
            EngineError,
            "the engine failed with ZeroDivisionError: oops",
        ),
    ],
)
def test_an_engine_that_fails_ends_the_run_with_the_best_so_far(
    failure: Exception, kind: type[Exception], reason: str
) -> None:
    async def pause(request: SampleRequest) -> None:
        await turns(10 * request.index)
        if request.index == 2:
            raise failure

    run = Run(
        lambda question: SelfConsistency(5, PARAMS).plan(question),
        ScriptedEngine(says("7"), pause=pause),
    )
    assert type(run.error) is kind
    assert run.solution.answer is not None
    assert (run.solution.answer.key, run.solution.vote_state.samples) == ("7", 2)
    assert run.solution.ended_by == "error"
    assert run.solution.reason.partition(" (")[0] == reason
    assert [event.why for event in run.seen(Dropped)] == [
        "lost",
        "cancelled",
        "cancelled",
    ]
    assert books(run.solution.cost) == meter_of(run.engine)


class Runaway(ScriptedEngine):
    """An engine that generates more than it was granted."""

    async def sample(self, request: SampleRequest) -> Completion:
        one = await ScriptedEngine.sample(self, request)
        return replace(
            one, usage=replace(one.usage, generated_tokens=request.params.limit + 1)
        )


def test_an_engine_that_takes_more_than_it_was_granted_is_stopped() -> None:
    async def go() -> Solution:
        engine = Runaway(says("7"))
        return await solve(
            QUESTION,
            SelfConsistency(4, PARAMS),
            engine,
            budget=Budget(tokens=TOKENS + 40),
        )

    solution = asyncio.run(go())
    assert isinstance(solution.error, LedgerViolation)
    assert (
        str(solution.error)
        == f"an operation used {TOKENS + 41} tokens where {TOKENS + 40} were reserved"
    )
    # It is booked all the same, and nothing more is admitted.
    assert (solution.cost.tokens, solution.cost.samples) == (TOKENS + 41, 1)
