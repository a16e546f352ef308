"""The plan contract: what a plan is sent when it samples, proposes, starts, waits and cancels; deadlines and rules."""

import pytest

# Sampling and proposing
from reasoner import Answer, Budget, Cost, Question, VoteState
from reasoner.engine import SampleRequest
from reasoner.errors import BudgetExhausted, PlanError
from reasoner.strategy import Cancel, Handle, Next, Plan, Propose, Sample, Score, Start
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, books, meter_of, says, turns
from reasoner.trace.events import Dropped, Prompted, Proposed, Refused, Sampled
from reasoner.types import Completion, Prompt, Usage
from reasoner_strategies import SelfConsistency
from tests.execution.one_question import (
    ONE,
    PARAMS,
    PROMPT,
    QUESTION,
    REPLY,
    TOKENS,
    Run,
    hang,
    waits_for,
)
from tests.helpers import answer
from tests.waiting import idle_time


def test_completions_come_in_launch_order_prompt_by_prompt() -> None:
    other = Prompt.chat("And how few?")
    seen: list[tuple[Completion, ...]] = []

    def plan(question: Question) -> Plan[Answer | None]:
        seen.append((yield Sample((PROMPT, other), 2, PARAMS)))
        seen.append((yield Sample((PROMPT,), 2, PARAMS)))
        return None

    run = Run(plan, ScriptedEngine(says("7"), pause=waits_for(1, 0, 1, 0, 3, 2)))
    assert [(one.prompt, one.index) for one in seen[0]] == [
        (PROMPT, 0),
        (PROMPT, 1),
        (other, 0),
        (other, 1),
    ]
    assert [one.index for one in seen[1]] == [2, 3]
    assert [(event.op, event.index) for event in run.seen(Sampled)] == [
        (1, 1),
        (1, 0),
        (1, 1),
        (1, 0),
        (2, 3),
        (2, 2),
    ]
    assert len({one.seed for drawn in seen for one in drawn}) == 6
    assert [event.messages[0].content[:7] for event in run.seen(Prompted)] == [
        "How man",
        "And how",
    ]


def test_a_refusal_is_raised_into_the_plan_which_may_return_its_best() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        yield ONE
        try:
            yield ONE
        except BudgetExhausted as refusal:
            return answer(refusal.unit)
        raise AssertionError

    run = Run(plan, budget=Budget(samples=1))
    assert (run.solution.answer, run.solution.ended_by, run.error) == (
        answer("samples"),
        "budget",
        None,
    )
    assert (
        run.solution.reason
        == "budget samples=1: the next operation needs 1 but 0 are left"
    )
    [refused] = run.seen(Refused)
    assert (refused.op, refused.unit, refused.needed, refused.free, refused.limit) == (
        2,
        "samples",
        1,
        0,
        1,
    )


@pytest.mark.parametrize("stubborn", [False, True])
def test_the_last_proposal_is_the_answer_after_a_refusal(stubborn: bool) -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        yield Propose(answer("1"), VoteState())
        yield Propose(answer("2"), VoteState())
        while True:
            try:
                yield ONE
            except BudgetExhausted:
                if not stubborn:
                    raise

    run = Run(plan, budget=Budget(samples=1))
    assert (run.solution.answer, run.solution.ended_by, run.error) == (
        answer("2"),
        "budget",
        None,
    )
    assert [proposal.answer for proposal in run.solution.proposals] == [
        answer("1"),
        answer("2"),
    ]
    assert len(run.seen(Refused)) == 1


def test_a_proposal_costs_what_was_seen_by_then() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        for _ in range(2):
            yield Start(ONE)
        for _ in range(2):
            yield Next()
            yield Propose(None, VoteState())
        yield Score(QUESTION, (yield ONE))
        yield Propose(None, VoteState())
        return None

    run = Run(plan, uses_verifier=True, verifier=Judge())
    each = TOKENS + REPLY
    costs = [event.cost for event in run.seen(Proposed)]
    assert [cost.tokens - cost.verifier_tokens for cost in costs] == [
        each,
        2 * each,
        3 * each,
    ]
    assert costs[2].verifier_tokens == run.solution.cost.verifier_tokens > 0


# Starting, waiting, cancelling


def test_refusals_of_started_operations_come_last_and_once() -> None:
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
        yield Propose(answer("1"), VoteState())
        yield Next()
        return None

    run = Run(plan, budget=budget)
    assert isinstance(run.error, PlanError)
    assert "has started nothing" in str(run.error)
    assert run.solution.answer == answer("1")


def test_a_cancelled_operation_is_booked_and_not_delivered() -> None:
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
            request.meter.usage = Usage(TOKENS, 0, REPLY + 1)
            assert request.progress
            request.progress.reached(REPLY + 1)
            await hang(request)

    run = Run(plan, ScriptedEngine(says("7"), pause=pause))
    assert (run.error, run.solution.answer) == (None, answer("1"))
    cost = run.solution.cost
    assert (cost.prompt_tokens, cost.generated_tokens, cost.cancelled_tokens) == (
        2 * TOKENS,
        REPLY,
        REPLY + 1,
    )
    [dropped] = run.seen(Dropped)
    assert (dropped.index, dropped.why, dropped.usage) == (
        0,
        "cancelled",
        Usage(TOKENS, 0, REPLY + 1),
    )


@idle_time()
def test_at_the_deadline_what_runs_is_cut_and_the_best_so_far_is_the_answer() -> None:
    async def pause(request: SampleRequest) -> None:
        if request.index:
            request.meter.usage = Usage(TOKENS, 0, 2)
            await hang(request)

    engine = ScriptedEngine(says("7"), pause=pause)
    budget = Budget(seconds=1)
    run = Run(
        lambda question: SelfConsistency(3, PARAMS).plan(question),
        engine,
        budget=budget,
    )
    assert (run.error, run.solution.ended_by) == (None, "budget")
    assert run.solution.answer is not None
    assert [event.why for event in run.seen(Dropped)] == ["deadline", "deadline"]
    assert run.solution.cost.cancelled_tokens == 4
    [refused] = run.seen(Refused)
    assert (refused.unit, refused.limit) == ("seconds", 1)


class AtMost:
    """A stop rule over what a plan proposes."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.costs: list[Cost] = []

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        self.costs.append(cost)
        return (
            f"{self.samples} are enough" if vote_state.samples >= self.samples else None
        )


def test_a_rule_from_outside_ends_the_plan_at_a_proposal() -> None:
    async def pause(request: SampleRequest) -> None:
        await turns(10 * request.index)

    rule, engine = AtMost(2), ScriptedEngine(says("7"), pause=pause)
    run = Run(
        lambda question: SelfConsistency(5, PARAMS).plan(question), engine, stop=rule
    )
    assert (run.error, run.solution.ended_by, run.solution.reason) == (
        None,
        "rule",
        "2 are enough",
    )
    assert run.solution.vote_state.samples == len(run.solution.proposals) == 2
    assert [event.why for event in run.seen(Dropped)] == ["cancelled"] * 3
    assert books(run.solution.cost) == meter_of(engine)
    assert [cost.tokens for cost in rule.costs] == [
        TOKENS + REPLY,
        2 * (TOKENS + REPLY),
    ]


def test_a_rule_that_fails_is_an_error_beside_the_answer() -> None:
    class Broken:
        def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
            raise ZeroDivisionError("no rule")

    run = Run(lambda question: SelfConsistency(2, PARAMS).plan(question), stop=Broken())
    assert isinstance(run.error, PlanError)
    assert str(run.error).startswith(
        "the stop rule failed with ZeroDivisionError: no rule (tests/execution/test_plan_runner.py:"
    )
    assert run.solution.answer is not None
