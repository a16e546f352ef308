"""What every registered strategy promises, built-in or a third party's: one suite, run over the catalog."""

import asyncio
import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reasoner import Answer, Budget, Solution, solve, solve_sync
from reasoner.answers.numbers import NumberSpace
from reasoner.engine import SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import BudgetExhausted, VerifierError
from reasoner.execution.admission import Admission
from reasoner.registry import build, entries, load
from reasoner.strategy import Strategy
from reasoner.trace.events import ATTEMPTS, Began, Ended, Event, Sampled
from reasoner.types import Completion
from reasoner.verifier import Verifier
from tests.helpers import (
    Judge,
    books,
    course,
    jumbled,
    meter_of,
    number_question,
    says,
    told,
    turns,
    unsteady,
    varied,
    write_trace,
)
from tests.scripted import ScriptedEngine
from tests.sweeps import widths

NAMES = sorted(entries("strategy"))
RETRIES = ATTEMPTS - 1
"""How often a sequence can be lost without an error."""
QUESTION = number_question()
IN_LAUNCH_ORDER = {"revise", "self_consistency"}
"""Strategies that wait for all, and count in launch order: a proposal has the cost of what came early too."""

pytestmark = pytest.mark.parametrize("name", NAMES)


def made(name: str, options: str = "") -> Strategy:
    """The strategy with its own defaults, but for short replies where it draws samples itself."""
    short = ["max_tokens=40"] if has_params(name) and "max_tokens" not in options else []
    strategy: Strategy = build("strategy", f"{name}:{','.join([*short, *filter(None, [options])])}")
    return strategy


def has_params(name: str) -> bool:
    return any(field.name == "params" for field in dataclasses.fields(load("strategy", name)))


def judge_for(strategy: Strategy, judge: Verifier | None = None) -> Verifier | None:
    return (judge or Judge()) if strategy.uses_verifier else None


def run(name: str, engine: ScriptedEngine, judge: Verifier | None = None, **options: Any) -> Solution:
    strategy = made(name)
    return solve_sync(QUESTION, strategy, engine, verifier=judge_for(strategy, judge), **options)


# Budgets


@widths(("budgets", "seeds"), ((0, 5, 50, 200, 5000), 1), ((0, 1, 5, 20, 50, 90, 200, 500, 5000), 10))
def test_no_budget_of_tokens_is_exceeded_and_the_books_are_the_engines(
    name: str, budgets: tuple[int, ...], seeds: int
) -> None:
    for tokens, seed in itertools.product(budgets, range(seeds)):
        engine, judge = ScriptedEngine(varied, pause=jumbled(seed, lost=0.1, losses=RETRIES), block_size=seed), Judge()
        events: list[Event] = []
        solution = run(name, engine, judge, budget=Budget(tokens=tokens), seed=seed, trace=events.append)
        assert solution.error is None
        assert solution.cost.tokens <= tokens
        assert books(solution.cost) == meter_of(engine)
        assert solution.cost.verifier_tokens == sum(judge.spent)
        assert told(events).taking(0) == solution.cost.taking(0)
        if tokens <= 5:
            assert (solution.ended_by, solution.answer, solution.cost.tokens) == ("budget", None, 0)
            assert "budget tokens=" in solution.reason


@widths("maximum", 4, 40)
def test_no_budget_of_samples_is_exceeded_and_enough_is_enough(name: str, maximum: int) -> None:
    free = run(name, ScriptedEngine(varied))
    assert free.ended_by in {"strategy", "rule"}
    spent = []
    enough = free.cost.samples
    for limit in {*range(min(enough, maximum) + 1), enough // 2, max(0, enough - 1), enough, enough + 1}:
        solution = run(name, ScriptedEngine(varied), budget=Budget(samples=limit))
        assert solution.error is None
        assert solution.cost.samples <= limit
        spent.append((limit, solution.cost.samples))
        if limit >= enough:
            assert course(solution) == course(free)
        else:
            assert solution.ended_by == "budget" or solution.answer == free.answer
        if limit == 0:
            assert (solution.ended_by, solution.answer) == ("budget", None)
    counts = [count for _, count in sorted(spent)]
    assert counts == sorted(counts)
    assert counts[1] == 1


@widths("refusals", 10, 100)
def test_it_survives_a_refusal_at_every_operation(name: str, refusals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget may end at any moment, in the middle of a level or between a step and its rating."""
    admit, calls = Admission.admit, 0

    async def refusing(self: Admission, price: Any, *, max_tokens: int, last: int) -> Any:
        nonlocal calls
        calls += 1
        if calls > last:
            raise BudgetExhausted("tokens", needed=9, free=0, limit=1)
        return await admit(self, price, max_tokens=max_tokens)

    def once(last: int) -> Solution:
        nonlocal calls
        calls = 0
        monkeypatch.setattr(Admission, "admit", functools.partialmethod(refusing, last=last))
        return run(name, ScriptedEngine(varied))

    free = once(10**9)
    for last in sorted({*range(min(calls, refusals // 2)), *range(0, calls, 1 + 2 * calls // refusals)}):
        solution = once(last)
        assert solution.error is None, last
        # A rule may have stopped before anybody looked at what was refused.
        assert solution.ended_by == "budget" or solution.answer == free.answer
        led = [proposal.answer for proposal in solution.proposals if proposal.answer]
        assert (solution.answer is not None) >= bool(led)
    assert free.ended_by in {"strategy", "rule"}


# Anytime


def test_proposals_lead_to_the_answer_and_only_grow_in_cost_and_samples(name: str) -> None:
    solution = run(name, ScriptedEngine(varied, pause=jumbled(1)))
    assert solution.proposals
    assert solution.proposals[-1].answer == solution.answer
    for earlier, later in zip(solution.proposals, solution.proposals[1:], strict=False):
        assert earlier.cost.tokens <= later.cost.tokens
        assert earlier.vote_state.samples <= later.vote_state.samples
    assert solution.proposals[-1].cost.tokens <= solution.cost.tokens


def only(reply: str) -> Callable[[SampleRequest], str]:
    """Every sequence is this text."""
    return lambda _: reply


def test_without_any_answer_it_abstains(name: str) -> None:
    for reply in ("no idea", "", "The answer is"):
        solution = run(name, ScriptedEngine(only(reply)))
        assert (solution.answer, solution.error, solution.vote_state.votes) == (None, None, ()), reply
        assert solution.cost.samples >= 1


def test_when_all_answers_are_equal_that_is_the_answer(name: str) -> None:
    solution = run(name, ScriptedEngine(says("7")))
    assert solution.answer is not None
    assert (solution.answer.key, solution.vote_state.share) == ("7", 1.0)


class Counted(NumberSpace):
    """Keeps the texts that it reads."""

    texts: ClassVar[list[str]] = []

    def read(self, text: str) -> Answer | None:
        self.texts.append(text)
        return NumberSpace.read(self, text)


def test_each_completion_is_read_once(name: str) -> None:
    Counted.texts.clear()
    strategy, question, events = made(name), dataclasses.replace(QUESTION, space=Counted()), list[Event]()
    solution = solve_sync(question, strategy, ScriptedEngine(varied), verifier=judge_for(strategy), trace=events.append)
    assert solution.error is None
    # With the sentence before the answer, which it forced and nobody sampled.
    own = name == "budget_forcing"
    assert len(Counted.texts) <= solution.cost.samples + own


class Broken(Judge):
    """A verifier that always fails."""

    async def score(self, question: object, candidate: Completion, policy: object, cost_meter: object) -> Any:
        raise VerifierError("out of order")


def test_a_verifier_that_always_fails_costs_no_answer_and_is_no_zero(name: str) -> None:
    events: list[Event] = []
    solution = run(name, ScriptedEngine(says("7", "8", "8")), Broken(), trace=events.append)
    assert solution.error is None
    assert solution.answer is not None
    for event in events:
        assert event.event != "scored" or (event.value is None and "out of order" in event.error)


# Order, seeds, replay


@widths("schedules", 10, 400)
def test_all_schedules_take_one_course(name: str, schedules: int) -> None:
    """Whatever ends first, at whatever pace, and whatever the engine tells of it on the way."""
    solutions = [
        run(name, ScriptedEngine(varied, pause=jumbled(order), growing=unsteady(order)), seed=3)
        for order in range(schedules)
    ]
    assert {solution.error for solution in solutions} == {None}
    ends = [(one.answer, one.vote_state, one.ended_by, one.cost.sequential_tokens) for one in solutions]
    assert len(set(ends)) == 1
    assert len({tuple((each.answer, each.vote_state) for each in one.proposals) for one in solutions}) == 1
    if name not in IN_LAUNCH_ORDER:
        assert len({course(solution)[3] for solution in solutions}) == 1
    # What was in flight when a strategy stopped had come more or less far, or had even ended.
    whole = [one for one in solutions if not one.cost.cancelled_tokens and one.ended_by != "rule"]
    assert len({course(solution)[:3] for solution in whole}) <= 1


def test_the_seed_decides_the_samples(name: str) -> None:
    def seeds(seed: int) -> list[int]:
        events: list[Event] = []
        run(name, ScriptedEngine(varied), seed=seed, trace=events.append)
        return [event.seed for event in events if isinstance(event, Sampled)]

    assert seeds(1) == seeds(1)
    assert not set(seeds(1)) & set(seeds(2))
    assert len(set(seeds(1))) == len(seeds(1))


@widths("seeds", 1, 10)
def test_it_repeats_itself_from_its_trace(name: str, seeds: int, tmp_path: Path) -> None:
    async def test(budget: Budget | None, seed: int) -> None:
        strategy, live = made(name), list[Event]()
        engine = ScriptedEngine(varied, pause=jumbled(seed, lost=0.1, losses=RETRIES, minimum=1), block_size=2)
        first = await solve(
            QUESTION, strategy, engine, verifier=judge_for(strategy), budget=budget, seed=seed, trace=live.append
        )
        replay = ReplayEngine(str(write_trace(tmp_path / f"{seed}.jsonl", live)))
        await replay.start()
        judge = judge_for(strategy, replay.verifier())
        second = await asyncio.wait_for(
            solve(QUESTION, strategy, replay, verifier=judge, budget=budget, seed=seed), timeout=30
        )
        assert second.error is None
        assert course(second) == course(first), (budget, seed)

    for budget, seed in itertools.product((None, Budget(samples=3), Budget(tokens=120)), range(seeds)):
        asyncio.run(test(budget, seed))


@widths("moments", range(0, 30, 4), range(100))
def test_cancelled_at_any_moment_it_loses_no_cost(name: str, moments: range) -> None:
    async def test(moment: int) -> bool:
        strategy, engine, events = made(name), ScriptedEngine(varied, pause=jumbled(moment)), list[Event]()
        judge = Judge()
        work = asyncio.ensure_future(
            solve(QUESTION, strategy, engine, verifier=judge_for(strategy, judge), trace=events.append)
        )
        await turns(moment)
        work.cancel()
        await asyncio.wait([work])
        assert books(told(events)) == meter_of(engine)
        ended = [event for event in events if isinstance(event, Ended)]
        assert len(ended) == any(event.event == "began" for event in events)
        if work.cancelled() and ended:
            assert ended[0].reason in ("interrupted", "the strategy finished") or ended[0].ended_by == "rule"
            assert books(ended[0].cost) == meter_of(engine)
        return work.cancelled()

    cut_short = [asyncio.run(test(moment)) for moment in moments]
    assert any(cut_short)


def test_a_strategy_that_uses_scores_gets_a_verifier_by_default_and_no_other_does(name: str) -> None:
    events: list[Event] = []
    strategy = made(name)
    assert solve_sync(QUESTION, strategy, ScriptedEngine(varied), trace=events.append).error is None
    assert [event.verifier for event in events if isinstance(event, Began)] == [
        "certainty" if strategy.uses_verifier else ""
    ]
