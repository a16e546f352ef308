"""The plan contract: what a plan is sent for each operation, and what becomes of a run when something fails."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from typing import Any

import pytest

from reasoner import Answer, Budget, Cost, Question, SamplingParams, Solution, Standing, solve
from reasoner.engines.scripted import CARD, ScriptedEngine
from reasoner.errors import (
    BudgetExhausted,
    EngineDied,
    EngineError,
    LedgerViolation,
    PlanError,
    PromptTooLong,
    RequestLost,
    VerifierError,
)
from reasoner.plan import Cancel, Finished, Handle, Next, Operation, Plan, Propose, Sample, Score, Start
from reasoner.protocols import Engine, SampleRequest
from reasoner.trace import Dropped, Ended, Event, Prompted, Proposed, Refused, Sampled, Scored
from reasoner.types import Completion, Prompt, Rating, Usage
from reasoner_strategies import BestOfN, SelfConsistency
from tests.helpers import Judge, Planned, answer, books, meter_of, number_question, says, told, turns

QUESTION = number_question()
PROMPT = QUESTION.prompt
TOKENS = 9
"""What rendering the question takes."""
REPLY = 5
"""What a reply of `says` takes."""
PARAMS = SamplingParams(max_tokens=40)
ONE = Sample((PROMPT,), 1, PARAMS)

Script = Callable[[Question], Plan[Answer | None]]


class Run:
    """One question driven to its end, with all that was seen on the way."""

    def __init__(
        self, plan: Script, engine: ScriptedEngine | None = None, *, uses_verifier: bool = False, **options: Any
    ) -> None:
        self.engine = engine or ScriptedEngine(says("7"))
        self.events: list[Event] = []
        self.complaints: list[dict[str, Any]] = []
        self.solution = asyncio.run(self._solve(Planned(plan, uses_verifier=uses_verifier), options))
        self.error = self.solution.error

    async def _solve(self, strategy: Planned, options: dict[str, Any]) -> Solution:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.complaints.append(context))
        solution = await solve(QUESTION, strategy, self.engine, trace=self.events.append, **options)
        gc.collect()
        assert self.complaints == []
        assert [event.event for event in self.events].count("ended") == 1
        assert told(self.events).taking(0) == solution.cost.taking(0)
        return solution

    def seen(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def waits_for(*indices: int) -> Callable[[SampleRequest], Awaitable[None]]:
    """A pause in which samples finish in this order of their indices."""
    order = list(indices)

    async def pause(request: SampleRequest) -> None:
        while order and order[0] != request.index:
            await asyncio.sleep(0)
        order.pop(0)

    return pause


async def hang(request: SampleRequest) -> None:
    await asyncio.get_running_loop().create_future()


# Sampling


def test_completions_come_in_launch_order_prompt_by_prompt() -> None:
    other = Prompt.chat("And how few?")
    seen: list[tuple[Completion, ...]] = []

    def plan(question: Question) -> Plan[Answer | None]:
        seen.append((yield Sample((PROMPT, other), 2, PARAMS)))
        seen.append((yield Sample((PROMPT,), 2, PARAMS)))
        return None

    run = Run(plan, ScriptedEngine(says("7"), pause=waits_for(1, 0, 1, 0, 3, 2)))
    assert [(one.prompt, one.index) for one in seen[0]] == [(PROMPT, 0), (PROMPT, 1), (other, 0), (other, 1)]
    assert [one.index for one in seen[1]] == [2, 3]
    assert [(event.op, event.index) for event in run.seen(Sampled)] == [(1, 1), (1, 0), (1, 1), (1, 0), (2, 3), (2, 2)]
    assert len({one.seed for drawn in seen for one in drawn}) == 6
    assert [event.messages[0].content[:7] for event in run.seen(Prompted)] == ["How man", "And how"]


def test_a_child_of_a_prompt_is_named_in_the_trace() -> None:
    prompts: list[Prompt] = []

    def plan(question: Question) -> Plan[Answer | None]:
        [first] = yield ONE
        prompts.append(PROMPT.then(first))
        yield Sample((prompts[0],), 1, PARAMS)
        return None

    run = Run(plan)
    first, second = run.seen(Sampled)
    assert first.child == second.prompt == prompts[0].digest


def test_where_the_budget_admits_only_some_the_reply_is_shorter() -> None:
    replies: list[int] = []

    def plan(question: Question) -> Plan[Answer | None]:
        replies.append(len((yield Sample((PROMPT,), 4, PARAMS))))
        return None

    run = Run(plan, budget=Budget(samples=3))
    assert (replies, run.solution.cost.samples) == ([3], 3)


def test_a_refusal_is_raised_into_the_plan_which_may_return_its_best() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        yield ONE
        try:
            yield ONE
        except BudgetExhausted as refusal:
            return answer(refusal.unit)
        raise AssertionError

    run = Run(plan, budget=Budget(samples=1))
    assert (run.solution.answer, run.solution.ended_by, run.error) == (answer("samples"), "budget", None)
    assert run.solution.reason == "budget samples=1: the next operation needs 1 and 0 is free"
    [refused] = run.seen(Refused)
    assert (refused.op, refused.unit, refused.needed, refused.free, refused.limit) == (2, "samples", 1, 0, 1)


@pytest.mark.parametrize("stubborn", [False, True])
def test_without_that_the_last_proposal_is_the_answer(stubborn: bool) -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        yield Propose(answer("1"), Standing())
        yield Propose(answer("2"), Standing())
        while True:
            try:
                yield ONE
            except BudgetExhausted:
                if not stubborn:
                    raise

    run = Run(plan, budget=Budget(samples=1))
    assert (run.solution.answer, run.solution.ended_by, run.error) == (answer("2"), "budget", None)
    assert [proposal.answer for proposal in run.solution.proposals] == [answer("1"), answer("2")]
    assert len(run.seen(Refused)) == 1


def test_a_plan_that_returns_nothing_leaves_its_last_proposal() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        yield Propose(answer("1"), Standing())
        return None

    run = Run(plan)
    assert (run.solution.answer, run.solution.ended_by, run.solution.reason) == (
        answer("1"), "strategy", "the strategy finished",
    )  # fmt: skip


def test_a_proposal_costs_what_was_seen_by_then() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        for _ in range(2):
            yield Start(ONE)
        for _ in range(2):
            yield Next()
            yield Propose(None, Standing())
        yield Score(QUESTION, (yield ONE))
        yield Propose(None, Standing())
        return None

    run = Run(plan, uses_verifier=True, verifier=Judge())
    each = TOKENS + REPLY
    costs = [event.cost for event in run.seen(Proposed)]
    assert [cost.tokens - cost.verifier_tokens for cost in costs] == [each, 2 * each, 3 * each]
    assert costs[2].verifier_tokens == run.solution.cost.verifier_tokens > 0


# Starting, waiting, cancelling


def test_what_was_started_arrives_in_order_of_completion() -> None:
    arrived: list[int] = []

    def plan(question: Question) -> Plan[Answer | None]:
        handles = []
        for _ in range(3):
            handles.append((yield Start(ONE)))
        for _ in range(3):
            finished: Finished = yield Next()
            arrived.append(handles.index(finished.handle))
            assert finished.completions[0].index == arrived[-1]
        return None

    Run(plan, ScriptedEngine(says("7"), pause=waits_for(2, 0, 1)))
    assert arrived == [2, 0, 1]


def test_an_operation_of_many_pieces_arrives_when_its_last_is_done() -> None:
    arrived: list[Handle] = []

    def plan(question: Question) -> Plan[Answer | None]:
        yield Start(Sample((PROMPT,), 2, PARAMS))
        yield Start(ONE)
        for _ in range(2):
            arrived.append((yield Next()).handle)
        return None

    Run(plan, ScriptedEngine(says("7"), pause=waits_for(1, 2, 0)))
    assert arrived == [2, 1]
    arrived.clear()
    Run(plan, ScriptedEngine(says("7"), pause=waits_for(1, 0, 2)))
    assert arrived == [1, 2]


def test_refusals_of_what_was_started_are_told_last_and_once() -> None:
    told_as: list[str] = []

    def plan(question: Question) -> Plan[Answer | None]:
        for _ in range(5):
            yield Start(ONE)
        for _ in range(3):
            try:
                told_as.append(str((yield Next()).completions[0].index))
            except BudgetExhausted as refusal:
                told_as.append(refusal.unit)
        return None

    run = Run(plan, budget=Budget(samples=2))
    assert told_as == ["0", "1", "samples"]
    assert run.solution.ended_by == "budget"


@pytest.mark.parametrize("budget", [None, Budget(samples=0)])
def test_waiting_for_nothing_is_an_error_of_the_plan(budget: Budget | None) -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        if budget:
            yield Start(ONE)
            with pytest.raises(BudgetExhausted):
                yield Next()
        yield Propose(answer("1"), Standing())
        yield Next()
        return None

    run = Run(plan, budget=budget)
    assert isinstance(run.error, PlanError)
    assert "has started nothing" in str(run.error)
    assert run.solution.answer == answer("1")


def test_what_is_cancelled_is_booked_and_never_arrives() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        first = yield Start(ONE)
        second = yield Start(ONE)
        finished = yield Next()
        assert finished.handle == second
        assert (yield Cancel(first)) is None
        assert (yield Cancel(first)) is None
        assert (yield Cancel(second)) is None
        assert (yield Cancel(Handle(99))) is None
        with pytest.raises(PlanError):
            yield Next()
        return answer("1")

    async def pause(request: SampleRequest) -> None:
        if request.index == 0:
            request.meter.usage = Usage(TOKENS, 0, 3)
            await hang(request)

    run = Run(plan, ScriptedEngine(says("7"), pause=pause))
    assert (run.error, run.solution.answer) == (None, answer("1"))
    cost = run.solution.cost
    assert (cost.prompt_tokens, cost.generated_tokens, cost.cancelled_tokens) == (2 * TOKENS, REPLY, 3)
    [dropped] = run.seen(Dropped)
    assert (dropped.index, dropped.why, dropped.usage) == (0, "cancelled", Usage(TOKENS, 0, 3))


def test_what_was_cancelled_before_it_ran_costs_nothing() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        handle = yield Start(Sample((PROMPT,), 3, PARAMS))
        yield Cancel(handle)
        return answer("1")

    run = Run(plan)
    assert (run.error, run.solution.cost.taking(0), run.engine.usage) == (None, Cost(), [])


def test_what_still_runs_when_the_plan_ends_is_cancelled_and_booked() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        for _ in range(3):
            yield Start(ONE)
        yield Next()
        return answer("1")

    async def pause(request: SampleRequest) -> None:
        if request.index:
            await hang(request)

    run = Run(plan, ScriptedEngine(says("7"), pause=pause))
    assert [event.why for event in run.seen(Dropped)] == ["cancelled", "cancelled"]
    assert books(run.solution.cost) == meter_of(run.engine) == (3 * TOKENS, 0, REPLY)


# Scores


def scoring(*, n: int = 3, ratings: list[Rating] | None = None) -> Script:
    def plan(question: Question) -> Plan[Answer | None]:
        drawn = yield Sample((PROMPT,), n, SamplingParams(max_tokens=REPLY))
        found = yield Score(question, tuple(reversed(drawn)))
        if ratings is not None:
            ratings.extend(found)
        return None

    return plan


def judged(judge: Judge, **options: Any) -> tuple[Run, list[Rating]]:
    ratings: list[Rating] = []
    engine = ScriptedEngine(says("1", "2", "3"))
    return Run(scoring(ratings=ratings), engine, uses_verifier=True, verifier=judge, **options), ratings


def test_ratings_come_in_the_order_of_the_candidates() -> None:
    run, ratings = judged(Judge(lambda one: one.index / 10))
    assert [rating.value for rating in ratings] == [0.2, 0.1, 0.0]
    assert [(event.index, event.value) for event in run.seen(Scored)] == [(2, 0.2), (1, 0.1), (0, 0.0)]


def _raises(error: Exception) -> Callable[[Completion], float]:
    def verdict(candidate: Completion) -> float:
        raise error

    return verdict


@pytest.mark.parametrize(
    ("verdict", "error"),
    [
        (_raises(VerifierError("no verdict")), "VerifierError: no verdict"),
        (_raises(KeyError("x")), "KeyError: 'x'"),
        (_raises(TimeoutError("too slow")), "TimeoutError: too slow"),
        (_raises(BudgetExhausted("tokens", needed=1, free=0, limit=0)), "BudgetExhausted: budget tokens=0"),
        (lambda _: 1.5, "ValueError: a rating is between 0 and 1, not 1.5"),
        (lambda _: float("nan"), "ValueError: a rating is between 0 and 1, not nan"),
        (lambda _: None, "ValueError: a rating has either a value or an error"),
    ],
)
def test_a_verifier_that_fails_gives_an_error_and_never_a_zero(verdict: Any, error: str) -> None:
    run, ratings = judged(Judge(verdict), budget=Budget(tokens=500))
    assert run.error is None
    assert [rating.value for rating in ratings] == [None] * 3
    assert all(rating.error.startswith(error) for rating in ratings)
    # What it cost is not known, so all that was reserved for it is booked.
    assert run.solution.cost.verifier_tokens == 30
    assert [event.error for event in run.seen(Scored)] == [rating.error for rating in ratings]


class Rubbish(Judge):
    """A verifier that returns something else than a rating."""

    async def score(self, question: Question, candidate: Completion, policy: Engine) -> Any:
        return 0.5


class Priceless(Judge):
    """A verifier that cannot say what it costs."""

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        raise RuntimeError("no price")


class Sleepy(Judge):
    """A verifier that never comes to a verdict."""

    async def score(self, question: Question, candidate: Completion, policy: Engine) -> Rating:
        await asyncio.get_running_loop().create_future()
        raise AssertionError


@pytest.mark.parametrize(("judge", "error"), [(Rubbish(), "AttributeError"), (Priceless(), "RuntimeError: no price")])
def test_a_verifier_that_breaks_its_contract_is_an_error_too(judge: Judge, error: str) -> None:
    run, ratings = judged(judge)
    assert run.error is None
    assert [rating.value for rating in ratings] == [None] * 3
    assert all(rating.error.startswith(error) for rating in ratings)


def test_ratings_that_the_budget_refuses_are_errors_while_others_are_not() -> None:
    spent = 3 * (TOKENS + REPLY)
    run, ratings = judged(Judge(lambda _: 0.5), budget=Budget(tokens=spent + 12))
    assert [rating.value is None for rating in ratings] == [False, True, True]
    assert ratings[1].error.startswith("not rated: budget tokens=54")
    assert len(run.seen(Scored)) == 3
    assert run.solution.cost.tokens <= spent + 12


def test_when_all_are_refused_the_plan_is_told() -> None:
    run, ratings = judged(Judge(), budget=Budget(tokens=3 * (TOKENS + REPLY) + 9))
    assert (ratings, run.solution.ended_by) == ([], "budget")
    assert run.solution.cost.verifier_tokens == 0


def test_a_verifier_that_costs_more_than_its_bound_breaks_the_run() -> None:
    run, _ = judged(Judge(bound_tokens=1), budget=Budget(tokens=500))
    assert isinstance(run.error, LedgerViolation)
    assert run.solution.cost.verifier_tokens > 0


def test_a_rating_that_nobody_waits_for_is_booked_and_recorded() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        drawn = yield ONE
        handle = yield Start(Score(question, drawn))
        yield Start(ONE)
        yield Next()
        yield Cancel(handle)
        return answer("1")

    run = Run(plan, uses_verifier=True, verifier=Sleepy())
    assert (run.error, run.solution.cost.verifier_tokens) == (None, 10)
    [scored] = run.seen(Scored)
    assert (scored.value, scored.error) == (None, "cancelled")


def test_scores_may_be_started_too() -> None:
    arrived: list[Finished] = []

    def plan(question: Question) -> Plan[Answer | None]:
        drawn = yield ONE
        handle = yield Start(Score(question, drawn))
        arrived.append((yield Next()))
        assert arrived[0].handle == handle
        return None

    run = Run(plan, uses_verifier=True, verifier=Judge(lambda _: 0.25))
    assert run.error is None
    assert [rating.value for rating in arrived[0].ratings] == [0.25]


def test_a_plan_that_scores_though_it_said_otherwise_is_at_fault() -> None:
    run = Run(scoring())
    assert isinstance(run.error, PlanError)
    assert "says that it uses no verifier" in str(run.error)


@pytest.mark.parametrize(("asked", "needed", "kept"), [(None, 0, 0), (None, 5, 5), (2, 5, 5), (7, 5, 7), (3, None, 3)])
def test_samples_carry_the_log_probabilities_that_the_verifier_needs(
    asked: int | None, needed: int | None, kept: int
) -> None:
    seen: list[int | None] = []

    def script(request: SampleRequest) -> str:
        seen.append(request.params.logprobs)
        return "The answer is 7"

    def plan(question: Question) -> Plan[Answer | None]:
        params = replace(PARAMS, logprobs=asked)
        yield Sample((PROMPT,), 1, params)
        yield Start(Sample((PROMPT,), 1, params))
        yield Next()
        return None

    Run(plan, ScriptedEngine(script), uses_verifier=True, verifier=Judge(logprobs=needed))
    assert seen == [kept, kept]


# Strategies at fault


class Mood(Exception):
    """Raised by plans of these tests."""


def failing(question: Question) -> Plan[Answer | None]:
    yield Propose(answer("1"), Standing())
    raise Mood("not today")


def stopping(question: Question) -> Plan[Answer | None]:
    yield Propose(answer("1"), Standing())
    next(iter(()))
    return None


def rubbish(question: Question) -> Generator[Any, Any, Answer | None]:
    yield Propose(answer("1"), Standing())
    yield "a sample, please"
    return None


def clinging(question: Question) -> Plan[Answer | None]:
    yield Propose(answer("1"), Standing())
    yield Start(ONE)
    try:
        yield Cancel(Handle(99))
        raise Mood("not today")
    finally:
        yield Propose(answer("2"), Standing())


def failing_at_the_end(question: Question) -> Plan[Answer | None]:
    try:
        yield Start(ONE)
        yield Propose(answer("1"), Standing())
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
        (rubbish, "the strategy yielded str, which is no operation", answer("1")),
        (failing_at_the_end, "the strategy failed with Mood: never", answer("1")),
        (eager, "the strategy failed with Mood: before it began", None),
        (no_generator, "the strategy failed with AttributeError", None),
    ],
)
def test_a_strategy_at_fault_ends_the_run_with_its_best(plan: Script, complaint: str, kept: Answer | None) -> None:
    run = Run(plan)
    assert isinstance(run.error, PlanError)
    assert complaint in str(run.error)
    assert (run.solution.answer, run.solution.ended_by, run.solution.reason) == (kept, "error", str(run.error))
    [ended] = run.seen(Ended)
    assert (ended.answer, ended.ended_by) == (kept, "error")


class Never:
    """A stop rule that stops at once, so that the plan is closed while it waits."""

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        return "at once"


def test_a_plan_that_will_not_be_closed_still_leaves_nothing_running() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        yield Start(ONE)
        try:
            yield Propose(answer("1"), Standing())
        finally:
            yield Next()
        return None

    run = Run(plan, ScriptedEngine(says("7"), pause=hang), stop=Never())
    assert isinstance(run.error, PlanError)
    assert "ignored GeneratorExit" in str(run.error)
    assert run.solution.answer == answer("1")
    assert books(run.solution.cost) == meter_of(run.engine)


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


# Engines at fault


def test_a_prompt_that_is_too_long_says_by_how_much() -> None:
    engine = ScriptedEngine(says("7"), model=replace(CARD, context=TOKENS - 3))
    run = Run(lambda question: SelfConsistency(3, PARAMS).plan(question), engine)
    assert isinstance(run.error, PromptTooLong)
    assert str(run.error) == (
        f"the prompt is {TOKENS} tokens and the model's context window is {TOKENS - 3}: "
        "shorten it by at least 4 tokens or choose a model with a longer context"
    )
    assert (run.solution.cost.taking(0), run.engine.usage) == (Cost(), [])
    assert "at least 1 token or" in str(PromptTooLong(5, 5))


def test_a_reply_is_cut_where_the_window_ends() -> None:
    drawn: list[Completion] = []

    def plan(question: Question) -> Plan[Answer | None]:
        [first] = yield ONE
        [second] = yield Sample((PROMPT.then(first),), 1, PARAMS)
        drawn.extend((first, second))
        return None

    engine = ScriptedEngine(says("7"), model=replace(CARD, context=TOKENS + 3))
    run = Run(plan, engine, budget=Budget(tokens=TOKENS + 3))
    first, second = drawn
    assert (first.text, first.finish_reason) == ("The answer is", "length")
    # The chain fills the window now: it is cut, which costs nothing.
    assert (second.text, second.finish_reason, second.usage) == ("", "length", Usage())
    assert (run.error, run.solution.cost.tokens, len(engine.usage)) == (None, TOKENS + 3, 1)


def test_a_lost_request_is_drawn_again_with_the_same_seed_and_each_attempt_is_booked() -> None:
    seeds: list[int] = []

    async def pause(request: SampleRequest) -> None:
        seeds.append(request.seed)
        if len(seeds) < 3:
            request.meter.usage = Usage(TOKENS, 0, len(seeds))
            raise RequestLost("the line broke")

    run = Run(lambda question: SelfConsistency(1, PARAMS).plan(question), ScriptedEngine(says("7"), pause=pause))
    assert (run.error, run.solution.answer and run.solution.answer.key) == (None, "7")
    assert len(set(seeds)) == 1
    cost = run.solution.cost
    assert (cost.prompt_tokens, cost.generated_tokens, cost.cancelled_tokens) == (3 * TOKENS, REPLY, 3)
    assert (cost.requests, cost.samples) == (3, 3)
    assert [event.why for event in run.seen(Dropped)] == ["lost", "lost"]


def test_a_request_that_is_lost_again_and_again_ends_the_run() -> None:
    async def pause(request: SampleRequest) -> None:
        raise RequestLost("the line broke")

    run = Run(lambda question: SelfConsistency(1, PARAMS).plan(question), ScriptedEngine(says("7"), pause=pause))
    assert isinstance(run.error, RequestLost)
    assert str(run.error) == "the line broke (tried 3 times)"
    assert run.solution.cost.requests == 3


def test_a_retry_needs_a_budget_of_its_own() -> None:
    async def pause(request: SampleRequest) -> None:
        raise RequestLost("the line broke")

    engine = ScriptedEngine(says("7"), pause=pause)
    run = Run(lambda question: SelfConsistency(1, PARAMS).plan(question), engine, budget=Budget(samples=2))
    assert (run.error, run.solution.ended_by, run.solution.cost.samples) == (None, "budget", 2)


def test_what_nobody_knows_the_cost_of_is_booked_at_its_worst() -> None:
    async def pause(request: SampleRequest) -> None:
        request.meter.usage = None
        raise EngineDied("gone")

    run = Run(lambda question: SelfConsistency(1, PARAMS).plan(question), ScriptedEngine(says("7"), pause=pause))
    assert isinstance(run.error, EngineDied)
    assert (run.solution.cost.prompt_tokens, run.solution.cost.cancelled_tokens) == (TOKENS, PARAMS.max_tokens)
    [dropped] = run.seen(Dropped)
    assert dropped.usage is None


@pytest.mark.parametrize(
    ("failure", "kind", "reason"),
    [
        (EngineDied("it died again"), EngineDied, "it died again"),
        (ZeroDivisionError("oops"), EngineError, "the engine failed with ZeroDivisionError: oops"),
    ],
)
def test_an_engine_that_fails_ends_the_run_with_the_best_so_far(
    failure: Exception, kind: type[Exception], reason: str
) -> None:
    async def pause(request: SampleRequest) -> None:
        await turns(10 * request.index)
        if request.index == 2:
            raise failure

    run = Run(lambda question: SelfConsistency(5, PARAMS).plan(question), ScriptedEngine(says("7"), pause=pause))
    assert type(run.error) is kind
    assert run.solution.answer is not None
    assert (run.solution.answer.key, run.solution.standing.samples) == ("7", 2)
    assert (run.solution.ended_by, run.solution.reason) == ("error", reason)
    assert [event.why for event in run.seen(Dropped)] == ["lost", "cancelled", "cancelled"]
    assert books(run.solution.cost) == meter_of(run.engine)


class Runaway(ScriptedEngine):
    """An engine that generates more than it was granted."""

    async def sample(self, request: SampleRequest) -> Completion:
        one = await ScriptedEngine.sample(self, request)
        return replace(one, usage=replace(one.usage, generated_tokens=request.params.max_tokens + 1))


def test_an_engine_that_takes_more_than_it_was_granted_is_stopped() -> None:
    async def go() -> Solution:
        engine = Runaway(says("7"))
        return await solve(QUESTION, SelfConsistency(4, PARAMS), engine, budget=Budget(tokens=TOKENS + 40))

    solution = asyncio.run(go())
    assert isinstance(solution.error, LedgerViolation)
    assert str(solution.error) == f"an operation used {TOKENS + 41} tokens where {TOKENS + 40} were reserved"
    # It is booked all the same, and nothing more is admitted.
    assert (solution.cost.tokens, solution.cost.samples) == (TOKENS + 41, 1)


# Deadlines and rules


def test_at_the_deadline_what_runs_is_cut_and_the_best_so_far_is_the_answer() -> None:
    async def pause(request: SampleRequest) -> None:
        if request.index:
            request.meter.usage = Usage(TOKENS, 0, 2)
            await hang(request)

    engine = ScriptedEngine(says("7"), pause=pause)
    budget = Budget(seconds=0.05)
    run = Run(lambda question: SelfConsistency(3, PARAMS).plan(question), engine, budget=budget)
    assert (run.error, run.solution.ended_by) == (None, "budget")
    assert run.solution.answer is not None
    assert [event.why for event in run.seen(Dropped)] == ["deadline", "deadline"]
    assert run.solution.cost.cancelled_tokens == 4
    [refused] = run.seen(Refused)
    # The clock is read twice, and another process may run in between.
    assert (refused.unit, refused.limit) == ("seconds", pytest.approx(0.05, abs=0.04))


def test_the_deadline_also_cuts_those_who_wait_for_the_cache() -> None:
    engine = ScriptedEngine(says("7"), pause=hang, capacity=TOKENS + 45)
    run = Run(
        lambda question: SelfConsistency(3, PARAMS).plan(question), engine, budget=Budget(seconds=0.05)
    )
    assert [event.why for event in run.seen(Dropped)] == ["deadline"] * 3
    assert len(engine.usage) == run.solution.cost.samples == 1


def test_the_deadline_also_cuts_a_verifier() -> None:
    run = Run(
        lambda question: BestOfN(2, params=PARAMS).plan(question),
        ScriptedEngine(says("7", "8")),
        uses_verifier=True,
        verifier=Sleepy(),
        budget=Budget(seconds=0.1),
    )
    assert (run.error, run.solution.ended_by) == (None, "budget")
    assert run.solution.answer is not None
    assert run.solution.cost.verifier_tokens == 20
    assert all(event.error.startswith("not rated: budget seconds=") for event in run.seen(Scored))


class AtMost:
    """A stop rule over what a plan proposes."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.costs: list[Cost] = []

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        self.costs.append(cost)
        return f"{self.samples} are enough" if standing.samples >= self.samples else None


def test_a_rule_from_outside_ends_the_plan_at_a_proposal() -> None:
    async def pause(request: SampleRequest) -> None:
        await turns(10 * request.index)

    rule, engine = AtMost(2), ScriptedEngine(says("7"), pause=pause)
    run = Run(lambda question: SelfConsistency(5, PARAMS).plan(question), engine, stop=rule)
    assert (run.error, run.solution.ended_by, run.solution.reason) == (None, "rule", "2 are enough")
    assert run.solution.standing.samples == len(run.solution.proposals) == 2
    assert [event.why for event in run.seen(Dropped)] == ["cancelled"] * 3
    assert books(run.solution.cost) == meter_of(engine)
    assert [cost.tokens for cost in rule.costs] == [TOKENS + REPLY, 2 * (TOKENS + REPLY)]


def test_a_rule_does_not_hide_what_waits_unseen() -> None:
    # Refusals that the plan never came to see are no complaints of the event loop either: `Run` checks.
    run = Run(
        lambda question: SelfConsistency(6, PARAMS).plan(question), stop=AtMost(2), budget=Budget(samples=3)
    )
    assert run.solution.ended_by == "rule"


def test_a_rule_that_fails_is_an_error_beside_the_answer() -> None:
    class Broken:
        def stop(self, standing: Standing, cost: Cost) -> str | None:
            raise Mood("no rule")

    run = Run(lambda question: SelfConsistency(2, PARAMS).plan(question), stop=Broken())
    assert isinstance(run.error, PlanError)
    assert str(run.error) == "the stop rule failed with Mood: no rule"
    assert run.solution.answer is not None
