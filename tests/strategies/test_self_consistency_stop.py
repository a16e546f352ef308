"""Self-consistency and best-of-N that hold a stop rule."""

import itertools
import random
from dataclasses import dataclass

import pytest

from reasoner import Solution, solve_sync
from reasoner.budget import Budget, Cost
from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner.stopping.rules import BetaRule, Confidence, FirstOf, LockIn, Lossless, Price
from reasoner.strategy import StopRule, Strategy
from reasoner.trace.events import Event, Noted, Sampled
from reasoner.types import Completion, SamplingParams, VoteState
from reasoner_evals.runs.arms import Grid, arms_of
from reasoner_strategies import AdaptiveConsistency, BestOfN, EarlyStopping, SelfConsistency
from tests.helpers import Judge, books, jumbled, meter_of, number_question, says, told, varied
from tests.scripted import ScriptedEngine
from tests.sweeps import cases, widths

QUESTION = number_question()
RULES: tuple[StopRule, ...] = (BetaRule(), LockIn(), Lossless(), Price(), FirstOf((Lossless(), LockIn(0.2))))


def solved(strategy: Strategy, *keys: str, order: int = 0, budget: Budget | None = None) -> Solution:
    engine = ScriptedEngine(says(*keys), pause=jumbled(order))
    solution = solve_sync(QUESTION, strategy, engine, budget=budget, verifier=judge(keys))
    assert solution.error is None
    return solution


def judge(keys: tuple[str, ...]) -> Judge:
    """One that likes the 9s."""
    return Judge(lambda candidate: 0.9 if "9" in candidate.text else 0.2)


def leader(solution: Solution) -> str | None:
    return solution.answer.key if solution.answer else None


# Lossless


@pytest.mark.parametrize(
    ("keys", "sooner"),
    [
        (("7", "7", "7", "8", "8"), 4),
        (("7", "7", "7", "none", "8", "9"), 60),
        (("7", "7", "8", "none", "9"), 0),
        (("7", "8", "8", "none", "7"), 0),
    ],
)
def test_with_the_lossless_rule_it_answers_as_all_samples_do_in_every_order(keys: tuple[str, ...], sooner: int) -> None:
    """In so many of the orders with fewer samples."""
    for permuted in set(itertools.permutations(keys)):
        every = solved(SelfConsistency(len(keys)), *permuted)
        some = solved(SelfConsistency(len(keys), stop=Lossless(), window=1), *permuted)
        assert leader(some) == leader(every), permuted
        sooner -= some.cost.samples < every.cost.samples
    assert sooner == 0


@pytest.mark.slow
def test_with_the_lossless_rule_random_pools_with_ties_give_the_same_answer() -> None:
    source, sooner = random.Random(6), 0
    for _ in range(150):
        n = source.randint(1, 12)
        keys = source.choices(["7", "8", "9", "none"], weights=source.choices(range(1, 6), k=4), k=n)
        some, every = solved(SelfConsistency(n, stop=Lossless()), *keys), solved(SelfConsistency(n), *keys)
        assert leader(some) == leader(every), keys
        sooner += some.vote_state.samples < n
    assert sooner > 30


# Order, window, cost


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@cases("seed", range(3), thin=[0])
def test_neither_the_window_nor_the_order_of_completion_changes_what_is_counted(rule: StopRule, seed: int) -> None:
    outcomes = {
        (one.answer, one.vote_state, one.reason, tuple((p.answer, p.vote_state) for p in one.proposals))
        for window in (1, 3, 16)
        for order in range(4)
        for engine in [ScriptedEngine(varied, pause=jumbled(order))]
        for one in [solve_sync(QUESTION, SelfConsistency(16, stop=rule, window=window), engine, seed=seed)]
    }
    assert len(outcomes) == 1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("window", [1, 4, 16])
@widths("seeds", 5, 20)
def test_nothing_is_drawn_that_a_stop_could_make_vain(rule: StopRule, window: int, seeds: int) -> None:
    for seed in range(seeds):
        solution = solve_sync(
            QUESTION, SelfConsistency(16, stop=rule, window=window), ScriptedEngine(varied), seed=seed
        )
        assert solution.cost.samples == solution.vote_state.samples


@dataclass(frozen=True, slots=True)
class Quarrel:
    """Stops as soon as two answers differ: nobody could have told when that would be."""

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        return "they differ" if len(vote_state.votes) > 1 else None


def test_what_is_in_flight_at_the_stop_is_cancelled_and_paid() -> None:
    cancelled = 0
    for order in range(12):
        engine, events = ScriptedEngine(varied, pause=jumbled(order, maximum=40)), list[Event]()
        strategy = SelfConsistency(16, stop=Quarrel(), window=8)
        solution = solve_sync(QUESTION, strategy, engine, trace=events.append, seed=order)
        assert books(solution.cost) == meter_of(engine)
        assert told(events).taking(0) == solution.cost.taking(0)
        cancelled += solution.cost.cancelled_tokens
    assert cancelled > 0


def test_one_in_flight_draws_none_too_many() -> None:
    for n in (3, 8, 40):
        solution = solved(SelfConsistency(n, stop=Lossless(), window=1), "7")
        assert solution.cost.samples == n // 2 + 1


# Why it ended


def test_the_rule_ends_it_and_says_why() -> None:
    events: list[Event] = []
    solution = solve_sync(
        QUESTION, SelfConsistency(40, stop=BetaRule()), ScriptedEngine(says("7")), trace=events.append
    )
    assert (solution.ended_by, solution.vote_state.samples, solution.vote_state.max_samples) == ("rule", 4, 40)
    assert solution.reason == BetaRule().stop(solution.vote_state, Cost())
    assert [event.text for event in events if isinstance(event, Noted) and event.ends] == [solution.reason]


@pytest.mark.parametrize("strategy", [AdaptiveConsistency(n=9), EarlyStopping(n=9, window=3)])
def test_the_strategies_made_around_a_rule_say_so_too(strategy: Strategy) -> None:
    stopped = solved(strategy, "7")
    assert stopped.ended_by == "rule"
    assert stopped.vote_state.max_samples == 9
    assert solved(strategy, *"789").ended_by == "strategy"


def test_where_all_were_drawn_nothing_stopped_it() -> None:
    """Also where the rule would have, had there been more to come."""
    solution = solved(SelfConsistency(4, stop=BetaRule()), "7")
    assert (solution.ended_by, solution.cost.samples) == ("strategy", 4)


def test_inside_another_strategy_it_ends_itself_alone() -> None:
    whole = solved(SelfConsistency(3, of=SelfConsistency(40, stop=BetaRule())), "7")
    assert (whole.ended_by, leader(whole), whole.vote_state.samples) == ("strategy", "7", 3)
    assert len(whole.remarks) == 3


def test_the_end_of_a_budget_keeps_the_answer() -> None:
    solution = solved(SelfConsistency(40, stop=Lossless(), window=1), "7", "8", "8", budget=Budget(samples=3))
    assert (solution.ended_by, leader(solution), solution.vote_state.samples) == ("budget", "8", 3)


def test_a_rule_sees_what_the_samples_cost() -> None:
    seen: list[int] = []

    class Watching:
        def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
            seen.append(cost.tokens)
            return "enough" if vote_state.samples == 3 else None

    solution = solved(SelfConsistency(8, stop=Watching(), window=1), "7", "8", "9")
    assert seen == [proposal.cost.tokens for proposal in solution.proposals]


# Samples that are there already


@pytest.mark.parametrize("stop", [None, Lossless(), BetaRule()])
@pytest.mark.parametrize("drawn", [0, 1, 4, 9])
def test_going_on_from_samples_is_the_vote_from_the_start(stop: StopRule | None, drawn: int) -> None:
    from reasoner.answers.questions import Question
    from reasoner.strategy import Plan, sample
    from reasoner.types import Answer
    from tests.helpers import Planned

    strategy = SelfConsistency(8, stop=stop)

    def plan(question: Question) -> Plan[Answer | None]:
        first: tuple[Completion, ...] = ()
        if drawn:
            first = yield from sample(question.prompt, n=drawn, params=strategy.params)
        answer = yield from strategy.continued(question, first)
        return answer

    for seed in range(5):
        begun, whole = (
            solve_sync(QUESTION, one, ScriptedEngine(varied), seed=seed) for one in (Planned(plan), strategy)
        )
        assert (begun.answer, begun.vote_state) == (whole.answer, whole.vote_state)
        assert begun.cost.samples <= max(whole.cost.samples, drawn)


# Best-of-N


def test_best_of_n_reads_the_rated_standing() -> None:
    """The third sample is rated so high that its class has most of the weight."""
    rule = Confidence(threshold=0.6, min_samples=1)
    solution = solved(BestOfN(8, "weighted", stop=rule, window=1), "7", "8", "9", "9", "7")
    assert (solution.ended_by, leader(solution), solution.cost.samples) == ("rule", "7", 1)
    later = solved(
        BestOfN(8, "weighted", stop=Confidence(threshold=0.8, min_samples=2), window=1), "7", "8", "9", "9", "7"
    )
    assert (later.ended_by, leader(later), later.cost.samples) == ("rule", "9", 4)
    assert later.vote_state.votes[0].weight == pytest.approx(1.8)
    assert "0.8182" in later.reason


@pytest.mark.parametrize("selector", ["argmax", "weighted"])
def test_best_of_n_without_a_stop_in_time_is_best_of_n(selector: str) -> None:
    class Never:
        def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
            return None

    keys = ("7", "8", "none", "9", "8", "7")
    slow = solved(BestOfN(6, selector, stop=Never()), *keys)  # type: ignore[arg-type]
    plain = solved(BestOfN(6, selector), *keys)  # type: ignore[arg-type]
    assert (slow.answer, slow.vote_state.votes) == (plain.answer, plain.vote_state.votes)
    assert slow.cost.verifier_tokens == plain.cost.verifier_tokens


def test_best_of_n_with_a_rule_rates_only_what_it_looks_at() -> None:
    events: list[Event] = []
    engine = ScriptedEngine(says("9"), pause=jumbled(3))
    rule = Confidence(min_samples=2)
    solve_sync(QUESTION, BestOfN(8, stop=rule), engine, verifier=judge(()), trace=events.append)
    assert sum(event.event == "scored" for event in events) == 2
    assert sum(isinstance(event, Sampled) for event in events) >= 2


# Options


@pytest.mark.parametrize("cls", [SelfConsistency, BestOfN])
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"window": 2}, "window=2 has no effect: without `stop`"),
        ({"window": 0, "stop": BetaRule()}, "window must be .*got 0"),
        ({"stop": BetaRule(), "of": AdaptiveConsistency()}, "leave one of them out"),
        ({"window": 2, "of": AdaptiveConsistency()}, "window=2 has no effect"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    cls: type[SelfConsistency] | type[BestOfN], options: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        cls(**options)  # type: ignore[arg-type]


def test_both_kinds_of_stop_are_written_apart() -> None:
    strategy = build("strategy", "self_consistency:stop=beta,params.stop=END")
    assert strategy == SelfConsistency(params=SamplingParams(stop=("END",)), stop=BetaRule())


@pytest.mark.parametrize("spec", ["self_consistency:stop=lock_in", "best_of_n:stop=confidence"])
def test_an_evaluation_runs_it_and_draws_no_pool(spec: str) -> None:
    [arm] = arms_of(Grid(("t",), (spec,)))
    assert (arm.pool, arm.rule) == (0, "")
