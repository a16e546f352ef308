"""One budget for many questions: whose turn it is, that none is starved, and that it ends at the budget or before."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Budget, Cost, Ledger, Question, Solution, solve_many_sync
from reasoner.engine import SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.execution.scheduler import Allocation
from reasoner.registry import build, entries
from reasoner.strategy import Sample, next_finished, propose, sample, start
from reasoner.trace.events import Event, Refused, Sampled
from reasoner.trace.history import read_histories
from reasoner.types import Answer, SamplingParams, VoteState
from reasoner_strategies import SelfConsistency
from tests.helpers import Judge, Planned, books, course, jumbled, meter_of, number_question, says, varied, write_trace
from tests.scripted import ScriptedEngine
from tests.sweeps import widths

SHORT = SamplingParams(max_tokens=40)
EASY, HARD = 10, 10
VOTE = SelfConsistency(16, SHORT)


def asked(count: int = EASY + HARD) -> list[Question]:
    return [number_question(f"q{place}") for place in range(count)]


def mixed(request: SampleRequest) -> str:
    """Half of the questions have one answer, the others two that are nearly as frequent."""
    source = random.Random(request.seed)
    share = 1.0 if int(request.question_id[1:]) < EASY else 0.55
    return f"The answer is {7 if source.random() < share else 8}"


def solved(
    engine: ScriptedEngine | None = None, strategy: Any = VOTE, count: int = 20, **options: Any
) -> list[Solution]:
    return solve_many_sync(asked(count), strategy, engine or ScriptedEngine(mixed), **options)


def samples(solutions: Sequence[Solution]) -> list[int]:
    return [solution.cost.samples for solution in solutions]


# The budget


@pytest.mark.parametrize("tokens", [0, 1, 20, 50, 90, 200, 281, 400, 900, 2000, 10**7])
@widths("seeds", 1, 3)
def test_no_budget_is_exceeded_and_none_is_starved(tokens: int, seeds: int) -> None:
    for seed in range(seeds):
        engine = ScriptedEngine(mixed, pause=jumbled(seed, lost=0.05, losses=2), block_size=seed)
        solutions = solved(engine, budget=Budget(tokens=tokens), allocation=Allocation(), seed=seed)
        assert all(solution.error is None for solution in solutions)
        spent = solutions[0].cost
        for one in solutions[1:]:
            spent += one.cost
        assert spent.tokens <= tokens
        assert books(spent) == meter_of(engine)
        # A sample costs up to 5 + 40, 14 in the mean: what is enough for a useful one of each serves all.
        if tokens >= 20 * (2 * (5 + 16)):
            assert min(samples(solutions)) >= 1
            assert all(solution.answer for solution in solutions)


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 5))
def test_of_a_budget_of_samples_each_question_gets_one_before_any_gets_two(budget: int, many: int, wave: int) -> None:
    solutions = solved(count=many, budget=Budget(samples=budget), allocation=Allocation(wave=wave))
    drawn = samples(solutions)
    assert sum(drawn) <= budget
    if many > 1:
        assert min(drawn) == 0 or sum(drawn) >= many
        assert sum(one > 0 for one in drawn) == min(many, budget)


def test_units_other_than_tokens_are_kept_to() -> None:
    for budget in (Budget(generated=300), Budget(samples=50), Budget(tokens=900, samples=30)):
        solutions = solved(budget=budget)
        assert sum(one.cost.generated_tokens + one.cost.cancelled_tokens for one in solutions) <= (
            budget.generated or 10**9
        )
        assert sum(samples(solutions)) <= (budget.samples or 10**9)
        assert all(one.answer for one in solutions)


def test_without_bounds_every_vote_is_that_of_all_samples() -> None:
    free = solved()
    for options in ({"budget": Budget(tokens=10**9)}, {"allocation": Allocation()}):
        divided = solved(**options)
        assert [one.answer for one in divided] == [one.answer for one in free]
        assert sum(samples(divided)) < sum(samples(free))
        assert {one.ended_by for one in divided} <= {"price", "strategy"}


def test_a_question_that_is_decided_gives_what_is_left_to_others() -> None:
    solutions = solved(budget=Budget(tokens=20 * 14 * 6))
    easy, hard = samples(solutions)[:EASY], samples(solutions)[EASY:]
    assert sum(hard) > 2 * sum(easy)


def test_a_budget_is_divided_at_a_price_and_a_limit_of_time_is_not() -> None:
    """A limit of seconds is no amount to divide: only a safe lead ends a vote."""
    divided = samples(solved(budget=Budget(tokens=10**6)))
    assert divided == samples(solved(budget=Budget(tokens=10**6), allocation=Allocation(price=0.001)))
    timed = samples(solved(budget=Budget(seconds=3600)))
    assert timed == samples(solved(allocation=Allocation(price=0.0)))
    assert sum(divided) < sum(timed)


def test_what_is_not_worth_its_price_is_returned_and_said() -> None:
    dear = solved(budget=Budget(tokens=10**6), allocation=Allocation(price=0.01))
    cheap = solved(budget=Budget(tokens=10**6), allocation=Allocation(price=0.0002))
    assert sum(samples(dear)) < sum(samples(cheap)) < sum(samples(solved()))
    ended = [one for one in dear if one.ended_by == "price"]
    assert ended
    assert {one.reason.partition(", ")[2] or one.reason for one in ended} <= {
        "but must gain 0.01",
        "no remaining sample can change the answer",
    }
    assert all(one.answer for one in dear)


def test_a_question_without_any_answer_does_not_take_it_all() -> None:
    def silent(request: SampleRequest) -> str:
        return "no idea" if request.question_id == "q0" else mixed(request)

    solutions = solved(ScriptedEngine(silent), budget=Budget(samples=100))
    assert 1 <= samples(solutions)[0] < 10


# Any strategy


@pytest.mark.parametrize("name", sorted(entries("strategy")))
def test_every_strategy_shares_a_budget(name: str) -> None:
    strategy = build("strategy", name)
    judge = Judge() if strategy.uses_verifier else None
    for tokens in (40, 400, 1500):
        engine = ScriptedEngine(varied, pause=jumbled(tokens))
        solutions = solve_many_sync(asked(4), strategy, engine, verifier=judge, budget=Budget(tokens=tokens))
        assert all(one.error is None for one in solutions)
        assert sum(one.cost.tokens for one in solutions) <= tokens


def test_a_plan_that_gives_up_what_waits_frees_its_turn() -> None:
    def hasty(question: Question) -> Any:
        for _ in range(3):
            yield from start(Sample((question.prompt,), params=SHORT))
        first = yield from next_finished()
        answer = question.read(first.completions[0])
        yield from propose(answer, VoteState())
        return answer

    solutions = solved(strategy=Planned(hasty), count=5, budget=Budget(tokens=500), allocation=Allocation(abreast=1))
    assert [one.answer is not None for one in solutions] == [True] * 5


def test_a_plan_that_waits_for_one_thing_while_another_comes_back_gets_its_turn() -> None:
    def busy(question: Question) -> Any:
        yield from start(Sample((question.prompt,), params=SHORT))
        drawn = yield from sample(question.prompt, n=2, params=SHORT)
        yield from next_finished()
        answer = question.read(drawn[0])
        yield from propose(answer, VoteState())
        return answer

    for seed in range(10):
        engine = ScriptedEngine(mixed, pause=jumbled(seed))
        solutions = solved(engine, Planned(busy), 4, budget=Budget(samples=40), seed=seed)
        assert samples(solutions) == [3] * 4


# Again


def test_the_course_is_the_same_each_time_and_a_trace_replays_it(tmp_path: Any) -> None:
    events: list[Event] = []
    first = solved(budget=Budget(tokens=1500), trace=events.append)
    assert [course(one) for one in solved(budget=Budget(tokens=1500))] == [course(one) for one in first]
    assert any(isinstance(event, Refused) for event in events)
    replayed = solve_many_sync(asked(), VOTE, ReplayEngine(str(write_trace(tmp_path / "t.jsonl", events))))
    for one, other in zip(first, replayed, strict=True):
        assert (one.answer, one.ended_by, one.reason) == (other.answer, other.ended_by, other.reason)


@pytest.mark.parametrize("cut", [41, 45, 90, 150, 222])
def test_an_interrupted_run_goes_on_within_the_same_budget(cut: int) -> None:
    events: list[Event] = []
    solved(budget=Budget(tokens=1500), trace=events.append)
    history = read_histories(events[:cut])
    before = sum(one.spent.tokens for one in history.values())
    engine = ScriptedEngine(mixed)
    solutions = solved(engine, budget=Budget(tokens=1500), history=history)
    assert sum(one.cost.tokens for one in solutions) <= 1500
    drawn = meter_of(engine)
    assert before > 0
    assert drawn[0] + drawn[2] <= 1500 - before
    assert all(isinstance(one.answer, Answer) for one in solutions)


def test_decisions_do_not_depend_on_what_the_answers_are() -> None:
    def renamed(request: SampleRequest) -> str:
        return mixed(request).replace("7", "123").replace("8", "4")

    budget = Budget(samples=90)
    assert samples(solved(budget=budget)) == samples(solved(ScriptedEngine(renamed), budget=budget))


def test_one_answer_to_all_is_cheap() -> None:
    solutions = solved(ScriptedEngine(says("7")), budget=Budget(tokens=10**6))
    assert max(samples(solutions)) <= 12


def test_a_question_that_cost_more_than_its_budget_does_not_stop_the_run_that_goes_on() -> None:
    events: list[Event] = []
    solved(count=3, each=Budget(tokens=300), trace=events.append)
    cut = next(place for place, event in enumerate(events) if isinstance(event, Sampled))
    first = events[cut]
    assert isinstance(first, Sampled)
    # What a server counted beyond all bounds.
    dear = first.model_copy(update={"cost": replace(first.cost, generated_tokens=5000)})
    history = read_histories([*events[:cut], dear])
    for budget in (None, Budget(tokens=2000), Budget(tokens=6000)):
        solutions = solved(count=3, each=Budget(tokens=300), budget=budget, history=history)
        by_id = {one.question_id: one for one in solutions}
        over = by_id.pop(first.question_id)
        assert (over.ended_by, over.cost.tokens - dear.cost.tokens) == ("budget", 0)
        assert all(one.error is None for one in solutions)
        served = budget is None or (budget.tokens or 0) > 5014
        assert [one.answer is not None for one in by_id.values()] == [served] * 2


def test_a_run_that_spent_more_than_its_budget_ends_each_question_by_it() -> None:
    solutions = solved(count=3, budget=Budget(tokens=2000), spent=Cost(generated_tokens=5005, samples=1))
    assert [(one.ended_by, one.answer, one.error) for one in solutions] == [("budget", None, None)] * 3


@pytest.mark.parametrize("unit", [{"seconds": 0}, {"seconds": 1e-9}, {"seconds": 1e-5}, {"tokens": 0}, {"samples": 0}])
@pytest.mark.parametrize("bound", ["budget", "each"])
def test_without_time_or_room_every_question_has_a_solution_all_the_same(unit: Any, bound: str) -> None:
    options: dict[str, Any] = {bound: Budget(**unit)}
    solutions = solved(count=9, **options)
    assert [(one.ended_by, one.error) for one in solutions] == [("budget", None)] * 9


def test_a_deadline_that_passes_at_any_moment_ends_questions_and_not_the_call() -> None:
    """The clock jumps when it is read for the nth time, which it is between any two steps."""
    for last in range(1, 80):
        clock = Clock(last)
        with pytest.MonkeyPatch.context() as patch:
            defaults = Ledger.__init__.__kwdefaults__
            assert defaults
            patch.setitem(defaults, "clock", clock)
            solutions = solved(ScriptedEngine(says("7")), SelfConsistency(2, SHORT), 4, budget=Budget(seconds=60))
        assert [one.error for one in solutions] == [None] * 4
        assert {one.ended_by for one in solutions} <= {"budget", "strategy"}


class Clock:
    """A clock that jumps once."""

    def __init__(self, last: int) -> None:
        self.last, self.readings = last, 0

    def __call__(self) -> float:
        self.readings += 1
        return 1000.0 if self.readings >= self.last else 0.0
