"""Votes by counts: self-consistency, alone and with a stop rule, Adaptive-Consistency and ESC."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from reasoner import Budget, SamplingParams, Solution, solve_sync
from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.stopping.rules import BetaRule, FirstOf, LockIn, Lossless, Price
from reasoner.strategy import (
    Cancel,
    Finished,
    Handle,
    Next,
    Note,
    Operation,
    Plan,
    Propose,
    Sample,
    Start,
    StopRule,
    Strategy,
    sample,
)
from reasoner.trace.events import Event, Noted
from reasoner.types import Answer, Completion, VoteState
from reasoner_strategies import AdaptiveConsistency, EarlyStopping, SelfConsistency
from tests.helpers import Planned, books, completion, finish, jumbled, meter_of, number_question, says, told, varied
from tests.scripted import ScriptedEngine
from tests.strategies.driving import REFUSED, Course, follow

QUESTION = number_question()
PARAMS = SamplingParams(max_tokens=30)
RULES: tuple[StopRule, ...] = (BetaRule(), LockIn(), Lossless(), Price(), FirstOf((Lossless(), LockIn(0.2))))
rules = pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)


def solved(strategy: Strategy, keys: str, budget: Budget | None = None) -> Solution:
    """A run on samples with these answers, "-" for none."""
    engine = ScriptedEngine(lambda request: says(*keys)(request).replace("-", "unknown"))
    solution = solve_sync(QUESTION, strategy, engine, budget=budget)
    assert solution.error is None
    return solution


def key(solution: Solution) -> str | None:
    return solution.answer.key if solution.answer else None


# All samples


def proposals(replies: Sequence[tuple[int, str | None]]) -> tuple[list[VoteState], Answer | None]:
    """What a plan proposes when samples (index, answer) arrive in this order, and its answer."""
    n = len(replies)
    plan, vote_states = SelfConsistency(n, PARAMS).plan(QUESTION), []
    assert next(plan) == Start(Sample((QUESTION.prompt,), 1, PARAMS), n, cancellable=False)
    op: Operation = plan.send(Handle(0))
    for index, answer in replies:
        assert op == Next()
        text = "no idea" if answer is None else f"The answer is {answer}"
        op = plan.send(Finished(Handle(index), (completion(text, index=index),)))
        assert isinstance(op, Propose)
        assert op.answer == op.vote_state.leader
        vote_states.append(op.vote_state)
        if len(vote_states) < n:
            op = plan.send(None)
    return vote_states, finish(plan)


def test_it_starts_all_and_proposes_after_each() -> None:
    vote_states, answer = proposals([(0, "7"), (1, "8"), (2, "8")])
    assert [state.leader and state.leader.key for state in vote_states] == ["7", "7", "8"]
    assert [(state.samples, state.tied) for state in vote_states] == [(1, False), (2, True), (3, False)]
    assert answer == vote_states[-1].leader
    assert proposals([(0, None), (1, None)])[0] == [VoteState((), count, max_samples=2) for count in (1, 2)]


def test_the_order_of_arrival_does_not_change_the_outcome() -> None:
    replies = [(0, "7"), (1, "8"), (2, None), (3, "8"), (4, "7")]
    outcomes = {(states[-1], answer) for states, answer in map(proposals, itertools.permutations(replies))}
    [(vote_state, answer)] = outcomes
    assert (vote_state.tied, answer and answer.key) == (True, "7")


# With a stop rule


@pytest.mark.parametrize(("keys", "sooner"), [("77788", 4), ("777-89", 60), ("778-9", 0), ("788-7", 0)])
def test_lossless_answers_as_all_samples_do_in_every_order(keys: str, sooner: int) -> None:
    """In so many of the orders with fewer samples."""
    for permuted in set(itertools.permutations(keys)):
        every = solved(SelfConsistency(len(keys)), "".join(permuted))
        some = solved(SelfConsistency(len(keys), stop=Lossless(), window=1), "".join(permuted))
        assert key(some) == key(every), permuted
        sooner -= some.cost.samples < every.cost.samples
    assert sooner == 0


@rules
def test_neither_the_window_nor_the_order_of_completion_changes_what_is_counted(rule: StopRule) -> None:
    """And with a window of any size no sample is drawn that a stop could waste."""
    outcomes = set()
    for window, order in itertools.product((1, 3, 16), range(3)):
        strategy, engine = SelfConsistency(16, stop=rule, window=window), ScriptedEngine(varied, pause=jumbled(order))
        solution = solve_sync(QUESTION, strategy, engine)
        assert solution.cost.samples == solution.vote_state.samples
        curve = tuple((proposal.answer, proposal.vote_state) for proposal in solution.proposals)
        outcomes.add((solution.answer, solution.vote_state, solution.reason, curve))
    assert len(outcomes) == 1


@dataclass(frozen=True, slots=True)
class Quarrel:
    """Stops as soon as two answers differ, which cannot be foreseen."""

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        return "they differ" if len(vote_state.votes) > 1 else None


def test_samples_in_flight_at_the_stop_are_cancelled_and_paid() -> None:
    cancelled = 0
    for order in range(8):
        engine, events = ScriptedEngine(varied, pause=jumbled(order, maximum=40)), list[Event]()
        strategy = SelfConsistency(16, stop=Quarrel(), window=8)
        solution = solve_sync(QUESTION, strategy, engine, trace=events.append, seed=order)
        assert books(solution.cost) == meter_of(engine)
        assert told(events).taking(0) == solution.cost.taking(0)
        cancelled += solution.cost.cancelled_tokens
    assert cancelled > 0


def test_the_rule_ends_it_and_gives_its_reason() -> None:
    events: list[Event] = []
    strategy = SelfConsistency(40, stop=BetaRule())
    solution = solve_sync(QUESTION, strategy, ScriptedEngine(says("7")), trace=events.append)
    assert (solution.ended_by, solution.vote_state.samples, solution.vote_state.max_samples) == ("rule", 4, 40)
    assert solution.reason == BetaRule().stop(solution.vote_state, Cost())
    assert [event.text for event in events if isinstance(event, Noted) and event.ends] == [solution.reason]
    nested = solved(SelfConsistency(3, of=strategy), "7")
    assert (nested.ended_by, key(nested), nested.vote_state.samples, len(nested.remarks)) == ("strategy", "7", 3, 3)


@pytest.mark.parametrize("strategy", [AdaptiveConsistency(n=9), EarlyStopping(n=9, window=3)])
def test_strategies_around_a_rule_end_as_one_with_a_rule(strategy: Strategy) -> None:
    stopped = solved(strategy, "7")
    assert (stopped.ended_by, stopped.vote_state.max_samples) == ("rule", 9)
    assert solved(strategy, "789").ended_by == "strategy"


def test_a_rule_sees_the_cost_of_the_samples() -> None:
    seen: list[int] = []

    class Watching:
        def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
            seen.append(cost.tokens)
            return "enough" if vote_state.samples == 3 else None

    solution = solved(SelfConsistency(8, stop=Watching(), window=1), "789")
    assert seen == [proposal.cost.tokens for proposal in solution.proposals]


@pytest.mark.parametrize("stop", [None, Lossless(), BetaRule()])
@pytest.mark.parametrize("drawn", [0, 1, 4, 9])
def test_a_vote_continued_from_samples_is_the_vote_from_the_start(stop: StopRule | None, drawn: int) -> None:
    strategy = SelfConsistency(8, stop=stop)

    def plan(question: Question) -> Plan[Answer | None]:
        first: tuple[Completion, ...] = ()
        if drawn:
            first = yield from sample(question.prompt, n=drawn, params=strategy.params)
        return (yield from strategy.continued(question, first))

    for seed in range(3):
        begun, whole = (
            solve_sync(QUESTION, one, ScriptedEngine(varied), seed=seed) for one in (Planned(plan), strategy)
        )
        assert (begun.answer, begun.vote_state) == (whole.answer, whole.vote_state)
        assert begun.cost.samples <= max(whole.cost.samples, drawn)


# Adaptive-Consistency: which samples are launched, and when they count


class Arrivals:
    """A plan whose samples arrive in an order of the test's choosing."""

    def __init__(self, strategy: AdaptiveConsistency, keys: Sequence[str | None]) -> None:
        self.plan, self.keys = strategy.plan(QUESTION), keys
        self.launched, self.over = 0, False
        self.proposed: list[tuple[str | None, int]] = []
        self.ends: list[Operation] = []
        self.answer: str | None = None
        self._send(None)

    def _send(self, reply: object) -> None:
        try:
            op = self.plan.throw(reply) if isinstance(reply, Exception) else self.plan.send(reply)
            while op != Next():
                reply = None
                match op:
                    case Start():
                        assert op.op == Sample((QUESTION.prompt,), 1, PARAMS)
                        reply = Handle(self.launched)
                        self.launched += 1
                    case Propose():
                        self.proposed.append((op.answer.key if op.answer else None, op.vote_state.samples))
                    case Cancel() | Note():
                        self.ends.append(op)
                op = self.plan.send(reply)
        except StopIteration as end:
            self.answer, self.over = end.value.key if end.value else None, True

    def arrive(self, *indices: int) -> None:
        for index in indices:
            text = "no idea" if self.keys[index] is None else f"The answer is {self.keys[index]}"
            self._send(Finished(Handle(index), (completion(text, index=index),)))


def test_it_launches_only_as_many_as_the_rule_needs_before_it_may_stop() -> None:
    plan = Arrivals(AdaptiveConsistency(window=9, params=PARAMS), ["7", "7", "7", "8", *["7"] * 9])
    assert plan.launched == 4
    plan.arrive(0, 1, 2)
    assert (plan.launched, plan.over) == (4, False)
    # At theta 0.95, 6 to 1 is the least that stops.
    plan.arrive(3)
    assert (plan.launched, plan.over) == (7, False)
    plan.arrive(4, 5, 6)
    assert (plan.over, plan.answer, plan.launched) == (True, "7", 7)
    assert plan.proposed == [("7", number) for number in range(1, 8)]
    assert [type(op) for op in plan.ends] == [Note]


def test_samples_count_in_launch_order() -> None:
    """Three short replies that agree arrive first; another one was launched before them."""
    plan = Arrivals(AdaptiveConsistency(params=PARAMS), ["8", "7", "7", "7", "7", "7", "7"])
    plan.arrive(1, 2, 3)
    assert (plan.proposed, plan.launched) == ([], 4)
    plan.arrive(0)
    assert (plan.proposed[-1], plan.over, plan.launched) == (("7", 4), False, 7)
    plan.arrive(6, 5, 4)
    assert (plan.over, plan.answer, plan.proposed[-1]) == (True, "7", ("7", 7))
    source, courses = random.Random(1), []
    keys = [source.choice(["7", "8", None]) for _ in range(12)]
    for _ in range(20):
        plan, left = Arrivals(AdaptiveConsistency(n=12, window=12, theta=0.99, params=PARAMS), keys), set(range(12))
        while left and not plan.over:
            plan.arrive(index := source.choice(sorted(left & set(range(plan.launched)))))
            left.remove(index)
        courses.append((plan.proposed, plan.answer))
    assert all(course == courses[0] for course in courses)


@pytest.mark.parametrize(("refused", "answer"), [({1}, "7"), ({0, 2}, "8"), ({3}, "8"), ({0, 1, 2, 3}, None)], ids=str)
def test_refused_samples_are_skipped(refused: set[int], answer: str | None) -> None:
    plan = Arrivals(AdaptiveConsistency(n=4, params=PARAMS), ["7", "8", "8", "9"])
    plan.arrive(*reversed([index for index in range(4) if index not in refused]))
    plan._send(REFUSED)
    assert (plan.over, plan.launched, plan.answer) == (True, 4, answer)
    assert [samples for _, samples in plan.proposed] == list(range(1, 5 - len(refused)))


# Early stopping by windows


def test_a_window_that_agrees_outvotes_the_majority_before_it() -> None:
    """Twelve 7s in windows that do not agree, then five 8s."""
    solution = solved(EarlyStopping(40, 5), "77779" * 3 + "88888")
    assert (key(solution), solution.cost.samples, solution.vote_state.samples) == ("8", 20, 20)
    assert solution.vote_state.leader is not None
    assert solution.vote_state.leader.key == "7"


@pytest.mark.parametrize("blank", [completion("no idea"), completion("The answer is 7", finish="length")])
def test_a_window_with_an_abstention_does_not_agree(blank: Completion) -> None:
    """Nor does one in which no sample has an answer."""
    seven = completion("The answer is 7")
    windows = iter([(blank, blank, blank), (seven, blank, seven)])
    course = follow(EarlyStopping(n=6, window=3).plan(QUESTION), lambda _: next(windows), Course())
    assert [op.n for op in course.samples] == [3, 3]
    assert [(state.samples, len(state.votes)) for state in course.vote_states] == [(3, 0), (6, 1)]


@pytest.mark.parametrize(
    ("keys", "n", "window", "budget", "answer"),
    [
        ("87787", 5, 2, None, "7"),  # 7 and 8 are level after whole windows, and the rest decides
        ("78789", 5, 2, None, "7"),  # the rest is not a window
        ("788", 3, 5, None, "8"),
        ("77888", 9, 3, 5, "8"),  # two of three of a window agree, against the majority
        ("77888", 9, 3, 4, "7"),
    ],
)
def test_the_rest_after_whole_windows_only_votes(
    keys: str, n: int, window: int, budget: int | None, answer: str
) -> None:
    limit = Budget(samples=budget) if budget else None
    solution = solved(EarlyStopping(n, window), keys, budget=limit)
    assert (key(solution), solution.cost.samples) == (answer, budget or n)
