"""Deadlines and rules, which end a run from outside."""

import pytest

from reasoner import Answer, Budget, Cost, Question, VoteState
from reasoner.engine import SampleRequest
from reasoner.errors import PlanError
from reasoner.strategy import Plan, sample
from reasoner.trace.events import Dropped, Refused, Scored
from reasoner.types import Usage
from reasoner_strategies import BestOfN, SelfConsistency
from tests.execution.one_question import PARAMS, REPLY, TOKENS, Run, hang
from tests.helpers import DEADLINE, Sleepy, books, meter_of, says, turns
from tests.scripted import ScriptedEngine


def test_at_the_deadline_what_runs_is_cut_and_the_best_so_far_is_the_answer() -> None:
    async def pause(request: SampleRequest) -> None:
        if request.index:
            request.meter.usage = Usage(TOKENS, 0, 2)
            await hang(request)

    engine = ScriptedEngine(says("7"), pause=pause)
    budget = Budget(seconds=DEADLINE)
    run = Run(lambda question: SelfConsistency(3, PARAMS).plan(question), engine, budget=budget)
    assert (run.error, run.solution.ended_by) == (None, "budget")
    assert run.solution.answer is not None
    assert [event.why for event in run.seen(Dropped)] == ["deadline", "deadline"]
    assert run.solution.cost.cancelled_tokens == 4
    [refused] = run.seen(Refused)
    # The clock is read twice, and another process may run in between.
    assert (refused.unit, refused.limit) == ("seconds", pytest.approx(DEADLINE, abs=0.5))


def test_the_deadline_also_cuts_those_who_wait_for_the_cache() -> None:
    engine = ScriptedEngine(says("7"), pause=hang, capacity=TOKENS + 45)
    run = Run(lambda question: SelfConsistency(3, PARAMS).plan(question), engine, budget=Budget(seconds=DEADLINE))
    assert [event.why for event in run.seen(Dropped)] == ["deadline"] * 3
    assert len(engine.usage) == run.solution.cost.samples == 1


def test_the_deadline_also_cuts_a_verifier() -> None:
    run = Run(
        lambda question: BestOfN(2, params=PARAMS).plan(question),
        ScriptedEngine(says("7", "8")),
        uses_verifier=True,
        verifier=Sleepy(),
        budget=Budget(seconds=DEADLINE),
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

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        self.costs.append(cost)
        return f"{self.samples} are enough" if vote_state.samples >= self.samples else None


def test_a_rule_from_outside_ends_the_plan_at_a_proposal() -> None:
    async def pause(request: SampleRequest) -> None:
        await turns(10 * request.index)

    rule, engine = AtMost(2), ScriptedEngine(says("7"), pause=pause)
    run = Run(lambda question: SelfConsistency(5, PARAMS).plan(question), engine, stop=rule)
    assert (run.error, run.solution.ended_by, run.solution.reason) == (None, "rule", "2 are enough")
    assert run.solution.vote_state.samples == len(run.solution.proposals) == 2
    assert [event.why for event in run.seen(Dropped)] == ["cancelled"] * 3
    assert books(run.solution.cost) == meter_of(engine)
    assert [cost.tokens for cost in rule.costs] == [TOKENS + REPLY, 2 * (TOKENS + REPLY)]


def test_a_rule_that_fails_is_an_error_beside_the_answer() -> None:
    class Broken:
        def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
            raise ZeroDivisionError("no rule")

    run = Run(lambda question: SelfConsistency(2, PARAMS).plan(question), stop=Broken())
    assert isinstance(run.error, PlanError)
    assert str(run.error).startswith(
        "the stop rule failed with ZeroDivisionError: no rule (tests/execution/test_plan_runner_limits.py:"
    )
    assert run.solution.answer is not None


def test_a_sample_that_is_admitted_in_part_says_that_the_budget_ended_it() -> None:
    class Four:
        uses_verifier = False

        def plan(self, question: Question) -> Plan[Answer | None]:
            drawn = yield from sample(question.prompt, n=4, params=PARAMS)
            return question.read(drawn[0])

    run = Run(Four().plan, ScriptedEngine(says("7")), budget=Budget(samples=2))
    assert run.solution.cost.samples == 2
    assert run.solution.answer is not None
    assert run.solution.ended_by == "budget"
    [refused] = run.seen(Refused)
    assert (refused.unit, refused.limit) == ("samples", 2)
