"""Votes by counts: self-consistency, alone and with a stop rule, Adaptive-Consistency and ESC."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Budget, SamplingParams, Solution, solve_sync
from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.models.info import ModelInfo
from reasoner.registry import build
from reasoner.stopping.rules import (
    BetaRule,
    FirstOf,
    LockIn,
    Lossless,
    NoMajority,
    Price,
)
from reasoner.strategy import (
    Cancel,
    DescribeModel,
    Finished,
    Handle,
    Next,
    Plan,
    Propose,
    Sample,
    Start,
    StopRule,
    Strategy,
    sample,
)
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import (
    Planned,
    completion,
    jumbled,
    number_question,
    says,
    varied,
)
from reasoner.trace.events import Event, Noted
from reasoner.types import Answer, Completion, Usage, VoteState
from reasoner_strategies import SelfConsistency
from tests.helpers import finish
from tests.strategies.driving import REFUSED, Course, Running, follow

QUESTION = number_question()
PARAMS = SamplingParams(max_tokens=30)
RULES: tuple[StopRule, ...] = (
    BetaRule(),
    LockIn(),
    Lossless(),
    Price(),
    FirstOf((Lossless(), LockIn(0.2), NoMajority(0.2))),
)
rules = pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)


def solved(strategy: Strategy, keys: str, budget: Budget | None = None) -> Solution:
    """A run on samples with these answers, "-" for none."""
    engine = ScriptedEngine(
        lambda request: says(*keys)(request).replace("-", "unknown")
    )
    solution = solve_sync(QUESTION, strategy, engine, budget=budget)
    assert solution.error is None
    return solution


def key(solution: Solution) -> str | None:
    return solution.answer.key if solution.answer else None


# All samples

TEXTS = ("The answer is 7", "The answer is 8", "no idea", "The answer is 8")


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))])
def test_it_starts_all_and_proposes_after_each_in_launch_order(
    order: tuple[int, ...],
) -> None:
    plan, vote_states = SelfConsistency(4, PARAMS).plan(QUESTION), list[VoteState]()
    assert next(plan) == Start(
        Sample((QUESTION.prompt,), 1, PARAMS), 4, cancellable=False
    )
    op = plan.send(Handle(0))
    for index in order:
        assert op == Next()
        op = plan.send(
            Finished(Handle(index), (completion(TEXTS[index], index=index),))
        )
        while isinstance(op, Propose) and len(vote_states) < 4:
            vote_states.append(op.vote_state)
            op = op if len(vote_states) == 4 else plan.send(None)
    assert [state.leader and state.leader.key for state in vote_states] == [
        "7",
        "7",
        "7",
        "8",
    ]
    assert [(state.samples, state.tied) for state in vote_states] == [
        (1, False),
        (2, True),
        (3, True),
        (4, False),
    ]
    assert finish(plan) == vote_states[-1].leader


# With a stop rule


@rules
def test_in_launch_order_neither_the_window_nor_what_ends_first_changes_what_is_counted(
    rule: StopRule,
) -> None:
    """And with a window of any size no sample is drawn that a stop could waste."""
    outcomes = set()
    for window, order in itertools.product((1, 3, 16), range(3)):
        strategy = SelfConsistency(16, stop=rule, order="launch", window=window)
        engine = ScriptedEngine(varied, pause=jumbled(order))
        solution = solve_sync(QUESTION, strategy, engine)
        assert solution.cost.samples == solution.vote_state.samples
        curve = tuple(
            (proposal.answer, proposal.vote_state) for proposal in solution.proposals
        )
        outcomes.add(
            (
                solution.answer,
                solution.vote_state,
                solution.reason.partition("; ")[0],
                curve,
            )
        )
    assert len(outcomes) == 1


def test_the_rule_ends_it_and_gives_its_reason() -> None:
    events: list[Event] = []
    strategy = SelfConsistency(40, stop=BetaRule(), order="launch")
    solution = solve_sync(
        QUESTION, strategy, ScriptedEngine(says("7")), trace=events.append
    )
    assert (
        solution.ended_by,
        solution.vote_state.samples,
        solution.vote_state.max_samples,
    ) == ("rule", 4, 40)
    reason, _, clock = solution.reason.partition("; ")
    assert (reason, clock) == (
        BetaRule().stop(solution.vote_state, Cost()),
        "5 sequential tokens",
    )
    assert [
        event.text for event in events if isinstance(event, Noted) and event.ends
    ] == [solution.reason]
    nested = solved(SelfConsistency(3, of=strategy), "7")
    assert (
        nested.ended_by,
        key(nested),
        nested.vote_state.samples,
        len(nested.remarks),
    ) == ("strategy", "7", 3, 3)


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
def test_a_vote_continued_from_samples_is_the_vote_from_the_start(
    stop: StopRule | None, drawn: int
) -> None:
    strategy = SelfConsistency(8, stop=stop, order="launch" if stop else "length")

    def plan(question: Question) -> Plan[Answer | None]:
        first: tuple[Completion, ...] = ()
        if drawn:
            first = yield from sample(question.prompt, n=drawn, params=strategy.params)
        return (yield from strategy.continued(question, first))

    for seed in range(3):
        continued, whole = (
            solve_sync(QUESTION, one, ScriptedEngine(varied), seed=seed)
            for one in (Planned(plan), strategy)
        )
        assert (continued.answer, continued.vote_state) == (
            whole.answer,
            whole.vote_state,
        )
        assert continued.cost.samples <= max(whole.cost.samples, drawn)


@dataclass
class Clock:
    """Samples of these lengths and answers on a clock of one token a tick; of those that end at once the first."""

    drawn: list[tuple[int, str]]
    starts: list[int] = field(default_factory=list)
    ended: list[tuple[int, int, str]] = field(default_factory=list)
    """When each ended, its index and its answer."""
    running_after: list[list[int]] = field(default_factory=list)
    """When those that ran at each of these ends had started."""

    def next_to_end(self, running: Running) -> int:
        now = self.ended[-1][0] if self.ended else 0
        self.starts += [now] * (max(handle for handle, _ in running) - len(self.starts))
        ends = [
            self.starts[handle - 1] + self.drawn[handle - 1][0] for handle, _ in running
        ]
        place = ends.index(min(ends))
        index = running[place][0] - 1
        self.ended.append((ends[place], index, self.drawn[index][1]))
        self.running_after.append(
            [
                self.starts[handle - 1]
                for at, (handle, _) in enumerate(running)
                if at != place
            ]
        )
        return place

    def reply(self, op: Sample | Cancel | DescribeModel) -> object:
        if not isinstance(op, Sample):
            return ModelInfo("model")
        _, index, key = self.ended[-1]
        said = completion(f"The answer is {key}".replace("-", "unknown"), index=index)
        return (replace(said, usage=Usage(5, 0, self.drawn[index][0])),)

    def first(self, key: str) -> int:
        return min(index for _, index, each in self.ended if each == key)


# Adaptive-Consistency: which samples are launched, and when they count


def arriving(
    strategy: SelfConsistency,
    keys: str,
    which: Callable[[Running], int] = lambda _: 0,
    refused: Sequence[int] = (),
) -> Course:
    """The course on samples with these answers; `which` of those in flight arrives next."""
    arrived: list[int] = []

    def choose(running: Running) -> int:
        place = which(running)
        arrived.append(running[place][0] - 1)
        return place

    def reply(op: Sample) -> object:
        assert op == Sample((QUESTION.prompt,), 1, PARAMS)
        text = keys[arrived[-1]].replace("-", "unknown")
        return (
            REFUSED
            if arrived[-1] in refused
            else (completion(f"The answer is {text}", index=arrived[-1]),)
        )

    return follow(strategy.plan(QUESTION), reply, Course(), which=choose)


def test_it_launches_only_as_many_as_the_rule_needs_before_it_may_stop() -> None:
    """At theta 0.95, 4 to 0 may stop, and after an 8 among four, 6 to 1."""
    course = arriving(
        SelfConsistency(40, PARAMS, stop=BetaRule(), order="launch", window=9),
        "7778777777",
    )
    assert (len(course.samples), course.most, course.key) == (7, 4, "7")
    assert [state.samples for state in course.vote_states] == [*range(1, 8)]


# By length


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from("777889-")),
        min_size=1,
        max_size=24,
    ),
    st.integers(1, 30) | st.none(),
    st.sampled_from(RULES),
)
def test_samples_are_counted_as_they_end_on_the_virtual_clock(
    drawn: list[tuple[int, str]], window: int | None, rule: StopRule
) -> None:
    """Against the clock written out: places, starts and ends; the rule is asked after each."""
    n, clock = len(drawn), Clock(drawn)
    strategy = SelfConsistency(n, PARAMS, stop=rule, window=window)
    course = follow(
        strategy.plan(QUESTION), clock.reply, Course(), which=clock.next_to_end
    )
    votes = [key for _, _, key in clock.ended if key != "-"]
    assert course.key == max(
        dict.fromkeys(votes),
        key=lambda key: (votes.count(key), -clock.first(key)),
        default=None,
    )
    for count, state in enumerate(course.vote_states, 1):
        lengths = [drawn[index][0] for _, index, _ in clock.ended[:count]]
        now, mean = clock.ended[count - 1][0], sum(lengths) / count
        assert state.samples == count
        assert state.stragglers == sum(
            now - began > 0.8 * mean for began in clock.running_after[count - 1]
        )
        stops = count < n and rule.stop(state, Cost()) is not None
        assert stops == (count == len(course.vote_states) < n)
    assert course.most <= (window or n)


@pytest.mark.parametrize(("room", "most"), [(0, 40), (400, 26), (150, 10), (10, 4)])
def test_as_many_run_as_fit_the_kv_cache(room: int, most: int) -> None:
    """Of samples of at most 30 tokens, taken to have 15."""
    clock = Clock([(7, "7")] * 40)

    def reply(op: Sample | Cancel | DescribeModel) -> object:
        return (
            ModelInfo("model", room=room)
            if isinstance(op, DescribeModel)
            else clock.reply(op)
        )

    plan = SelfConsistency(40, PARAMS, stop=Lossless()).plan(QUESTION)
    assert follow(plan, reply, Course(), which=clock.next_to_end).most == most


# Published settings


def test_the_windows_of_esc_are_drawn_one_after_the_other() -> None:
    solution = solved(build("strategy", "early_stopping"), "77779" * 3 + "88888")
    assert (key(solution), solution.cost.samples) == ("7", 20)
    assert solution.reason.startswith("the latest 5 samples gave one answer")
    assert solved(build("strategy", "early_stopping"), "7").cost.samples == 5


def test_adaptive_consistency_is_the_vote_with_the_beta_rule() -> None:
    assert build("strategy", "adaptive_consistency:max_tokens=30") == (
        SelfConsistency(40, PARAMS, stop=BetaRule())
    )
