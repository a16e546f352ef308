"""DeepConf: what a trace scores, who votes offline, who is cut and who stops it online."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from reasoner import Budget, Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import UsageError
from reasoner.stopping.confidence import ConfidenceFloor
from reasoner.strategy import Cancel, Finished, Handle, Next, Propose, Sample, Start
from reasoner.trace.events import Event, Sampled
from reasoner.types import NO_LOGPROB, Completion, FinishReason, Logprobs, SamplingParams, VoteState
from reasoner_strategies.deepconf import DeepConf, percentile
from tests.helpers import as_run, completion, finish, jumbled, number_question, says, varied
from tests.scripted import ScriptedEngine

QUESTION = number_question()
ONE = SamplingParams(logprobs=1)
"""With one alternative, a token's confidence is -log p of it: any value can be had exactly."""


def trace(key: str | None, *confidences: float, end: FinishReason = "stop") -> Completion:
    text = "no idea" if key is None else f"The answer is {key}"
    logprobs = Logprobs(tuple(-one for one in confidences), tuple((-one,) for one in confidences))
    return completion(text, finish=end, logprobs=logprobs, token_ids=tuple(range(len(confidences))))


def deepconf(**options: Any) -> DeepConf:
    short: dict[str, Any] = {"params": ONE, "window": 1}
    return DeepConf(**(short | options))


def votes(vote_state: VoteState) -> list[tuple[str, float, int]]:
    return [(vote.answer.key, vote.weight, vote.count) for vote in vote_state.votes]


# Offline


def offline(traces: Sequence[Completion], **options: Any) -> VoteState:
    plan = deepconf(mode="offline", n=len(traces), **options).plan(QUESTION)
    assert next(plan) == Sample((QUESTION.prompt,), len(traces), ONE)
    majority = plan.send(tuple(traces))
    assert isinstance(majority, Propose)
    chosen = plan.send(None)
    assert isinstance(chosen, Propose)
    assert finish(plan) == chosen.answer
    return chosen.vote_state


PUBLISHED = (2.0, 1.0, 3.0, 2.0, 0.5, 0.5, 4.0)


@pytest.mark.parametrize(
    ("measure", "window", "score"),
    [
        ("lowest", 3, 1.0),
        ("lowest", 2, 0.5),
        ("lowest", 99, 13 / 7),
        ("bottom_10", 3, 1.0),
        ("tail", 3, 5 / 3),
        ("mean", None, 13 / 7),
        ("tail", 1, 4.0),
        ("tail", 99, 13 / 7),
    ],
)
def test_the_score_of_the_published_trace(measure: str, window: int | None, score: float) -> None:
    vote_state = offline([trace("7", *PUBLISHED)], measure=measure, window=window)
    assert vote_state.votes[0].weight == pytest.approx(score)


def test_the_lowest_tenth_is_an_average_of_groups() -> None:
    confidences = [float(one) for one in range(1, 31)]
    assert votes(offline([trace("7", *confidences)], measure="bottom_10")) == [("7", 2.0, 1)]
    # 19 groups: a tenth is one, rounded down as in DeepConf's and optillm's code.
    assert votes(offline([trace("7", *confidences[:19])], measure="bottom_10")) == [("7", 1.0, 1)]
    assert votes(offline([trace("7", *confidences)], measure="lowest")) == [("7", 1.0, 1)]


def test_the_best_percent_vote_by_their_score() -> None:
    traces = [trace("7", 1.0), trace("7", 1.5), trace("7", 2.0), trace("8", 4.0), trace("9", 3.0)]
    assert votes(offline(traces, keep=100.0)) == [("7", 4.5, 3), ("8", 4.0, 1), ("9", 3.0, 1)]
    assert votes(offline(traces, keep=50.0)) == [("8", 4.0, 1), ("9", 3.0, 1), ("7", 2.0, 1)]
    assert votes(offline(traces, keep=10.0)) == [("8", 4.0, 1)]


def test_the_percent_is_of_the_traces_that_hold_an_answer() -> None:
    traces = [trace(None, 9.0), trace("7", 1.0), trace("8", 8.0, end="length"), trace("9", 2.0)]
    vote_state = offline(traces, keep=10.0)
    assert (votes(vote_state), vote_state.samples) == ([("9", 2.0, 1)], 4)


def test_only_as_many_alternatives_count_as_were_asked_for() -> None:
    """An engine may return the sampled token beside the best."""
    one = completion("The answer is 7", logprobs=Logprobs((-9.0,), ((-1.0, -2.0, -9.0),)), token_ids=(1,))
    plan = DeepConf(mode="offline", n=1, params=SamplingParams(logprobs=2)).plan(QUESTION)
    assert next(plan) == Sample((QUESTION.prompt,), 1, SamplingParams(logprobs=2))
    plan.send((one,))
    chosen = plan.send(None)
    assert isinstance(chosen, Propose)
    assert votes(chosen.vote_state) == [("7", 1.5, 1)]


@pytest.mark.parametrize(
    "logprobs",
    [None, Logprobs((-1.0,)), Logprobs((-1.0,), ((-math.inf,),)), Logprobs((-1.0,), ((NO_LOGPROB,),))],
)
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_without_log_probabilities_the_majority_decides(mode: str, logprobs: Logprobs | None) -> None:
    drawn = tuple(
        completion(f"The answer is {key}", logprobs=logprobs, token_ids=(1,), index=place)
        for place, key in enumerate("788")
    )
    plan = deepconf(mode=mode, n=3).plan(QUESTION)
    next(plan)
    majority = plan.send(drawn)
    assert isinstance(majority, Propose)
    assert majority.answer is not None
    assert (finish(plan), votes(majority.vote_state)) == (majority.answer, [("8", 2.0, 2), ("7", 1.0, 1)])


# Online: warm-up and threshold


SIXTEEN = [trace(str(place), float(place)) for place in range(1, 17)]


@pytest.mark.parametrize(("keep", "minimum", "voting"), [(90.0, 2.5, 14), (10.0, 14.5, 2), (100.0, 1.0, 16)])
def test_the_published_thresholds(keep: float, minimum: float, voting: int) -> None:
    assert percentile([float(place) for place in range(16, 0, -1)], 100 - keep) == minimum
    plan = deepconf(n=17, keep=keep).plan(QUESTION)
    assert next(plan) == Sample((QUESTION.prompt,), 16, ONE)
    warm = plan.send(tuple(SIXTEEN))
    assert isinstance(warm, Propose)
    assert (len(warm.vote_state.votes), warm.vote_state.samples) == (voting, 16)
    assert warm.answer is not None
    assert warm.answer.key == "16"
    start = plan.send(None)
    assert isinstance(start, Start)
    assert isinstance(start.op, Sample)
    floor = start.op.floor
    assert floor is not None
    assert start.op == Sample((QUESTION.prompt,), 1, ONE, floor)
    assert (floor.window, floor.top_k) == (1, 1)
    assert floor.minimum == pytest.approx(minimum, rel=1e-6)
    assert floor.minimum < minimum


def test_a_trace_too_short_to_be_cut_is_one_group_and_may_not_vote() -> None:
    """Neither among the warm-ups nor later, as in the code of the paper."""
    warm_ups = (trace("7", 1.0), trace("8", 5.0, 5.0), trace("9", 6.0, 6.0))
    plan = deepconf(n=4, warmup=3, keep=60.0, window=2).plan(QUESTION)
    next(plan)
    warm = plan.send(warm_ups)
    assert isinstance(warm, Propose)
    assert votes(warm.vote_state) == [("9", 6.0, 1), ("8", 5.0, 1)]
    op = plan.send(None)
    assert isinstance(op, Start)
    assert isinstance(plan.send(Handle(1)), Next)
    later = plan.send(Finished(Handle(1), (trace("7", 2.0),)))
    assert isinstance(later, Propose)
    assert (votes(later.vote_state), later.vote_state.samples) == ([("9", 6.0, 1), ("8", 5.0, 1)], 4)


def test_where_no_trace_above_the_threshold_holds_an_answer_the_majority_decides() -> None:
    plan = deepconf(n=3, warmup=3, keep=10.0).plan(QUESTION)
    next(plan)
    warm = plan.send((trace(None, 9.0), trace("7", 1.0), trace("8", 2.0)))
    assert isinstance(warm, Propose)
    assert votes(warm.vote_state) == [("7", 1.0, 1), ("8", 1.0, 1)]


def test_by_default_traces_are_cut_and_how_many_are_kept_decides_the_vote() -> None:
    """Replies of some 70 tokens, each of a confidence of its own, as long as a small model's."""

    def sure(request: SampleRequest) -> list[float]:
        source = random.Random(request.index)
        return [source.uniform(0.2, 0.9) for _ in range(request.index % 5 + 2)]

    engine = ScriptedEngine(lambda one: f"{'so ' * 66}The answer is {one.index % 4}", certainty=sure)
    vote_states, cut = set(), []
    for keep in (90, 50, 10):
        solution, drawn = solved(DeepConf(keep=keep, consensus=1.0), engine)
        vote_states.add(solution.vote_state)
        cut.append(sum(one.finish_reason == "abort" for one in drawn))
    assert len(vote_states) == 3
    assert 0 < cut[0] < cut[1] < cut[2]
    assert as_run(DeepConf()).params.max_tokens == 512


def certain(*traces: Sequence[float]) -> Callable[[SampleRequest], Sequence[float]]:
    """An engine's certainty that gives these confidences, trace by trace over and over, with one alternative."""
    return lambda request: [math.exp(-one) for one in traces[request.index % len(traces)]]


def solved(strategy: DeepConf, engine: ScriptedEngine, **options: Any) -> tuple[Solution, list[Sampled]]:
    events: list[Event] = []
    solution = solve_sync(QUESTION, strategy, engine, trace=events.append, **options)
    assert solution.error is None
    return solution, [event for event in events if isinstance(event, Sampled)]


def test_the_published_trace_is_cut_after_its_sixth_token() -> None:
    confidences = ([1.5] * 8, [1.5] * 8, [*PUBLISHED, 4.0], [1.6] * 8)
    engine = ScriptedEngine(lambda one: f"so it goes The answer is {one.index}", certainty=certain(*confidences))
    solution, drawn = solved(deepconf(n=4, warmup=2, window=3, consensus=1.0), engine)
    assert [(one.finish_reason, one.usage.generated_tokens) for one in sorted(drawn, key=lambda one: one.index)] == [
        ("stop", 8),
        ("stop", 8),
        ("abort", 6),
        ("stop", 8),
    ]
    assert solution.cost.cancelled_tokens == 6
    assert [vote.answer.key for vote in solution.vote_state.votes] == ["3", "0", "1"]
    assert solution.vote_state.samples == 4


def test_with_all_kept_none_is_cut_that_replays_a_warm_up() -> None:
    source = random.Random(5)
    traces = [[source.uniform(0.1, 3.0) for _ in range(23)] for _ in range(7)]

    def say(request: SampleRequest) -> str:
        return f"{'so ' * 19}The answer is {request.index % 3}"

    for alternatives in (1, 4):
        strategy = deepconf(
            n=35, warmup=7, keep=100.0, window=5, consensus=1.0, params=SamplingParams(logprobs=alternatives)
        )
        solution, drawn = solved(strategy, ScriptedEngine(say, certainty=certain(*traces)))
        assert {one.finish_reason for one in drawn} == {"stop"}
        assert (len(drawn), solution.vote_state.samples, solution.cost.cancelled_tokens) == (35, 35, 0)
    _, drawn = solved(
        deepconf(n=35, warmup=7, keep=50.0, window=5, consensus=1.0), ScriptedEngine(say, certain(*traces))
    )
    # Three of seven are below the median, and each is replayed four times.
    assert sum(one.finish_reason == "abort" for one in drawn) == 12


@pytest.mark.parametrize(("window", "end"), [(6, "stop"), (4, "abort")])
def test_a_trace_shorter_than_the_window_is_never_cut(window: int, end: str) -> None:
    """The last trace has five tokens, all of them far below the threshold."""
    sure, unsure = [2.0] * 5, [0.1] * 5
    engine = ScriptedEngine(lambda one: f"The answer is {one.index}", certainty=certain(sure, sure, unsure))
    _, drawn = solved(deepconf(n=3, warmup=2, window=window), engine)
    assert [one.finish_reason for one in drawn] == ["stop", "stop", end]


# Online: the stop


def begun(strategy: DeepConf, *warm_ups: Completion) -> tuple[Any, int]:
    """The plan after its warm-up, waiting, and how many traces it has launched since."""
    plan, launched = strategy.plan(QUESTION), 0
    next(plan)
    plan.send(warm_ups)
    op = plan.send(None)
    while isinstance(op, Start):
        launched += 1
        op = plan.send(Handle(launched - 1))
    assert op == Next()
    return plan, launched


def test_it_stops_at_a_consensus_and_cancels_the_rest() -> None:
    plan, launched = begun(
        deepconf(n=64, warmup=2, keep=100.0, consensus=0.75, concurrency=3), trace("7", 2.0), trace("8", 1.0)
    )
    assert launched == 3
    op = plan.send(Finished(Handle(0), (trace("7", 1.0),)))
    assert isinstance(op, Propose)
    assert op.vote_state.share == 0.75
    assert [plan.send(None), plan.send(None)] == [Cancel(Handle(1)), Cancel(Handle(2))]
    answer = finish(plan)
    assert answer is not None
    assert answer.key == "7"


def test_a_consensus_of_the_warm_up_is_one() -> None:
    solution, drawn = solved(deepconf(warmup=4), ScriptedEngine(says("7"), certainty=lambda _: 0.5))
    assert (len(drawn), solution.vote_state.share) == (4, 1.0)


def test_what_was_cut_counts_as_looked_at_and_never_votes() -> None:
    plan, _ = begun(deepconf(n=8, warmup=2, keep=100.0, concurrency=1), trace("7", 2.0), trace("8", 1.0))
    op = plan.send(Finished(Handle(0), (trace("8", 9.0, end="abort"),)))
    assert isinstance(op, Propose)
    assert (votes(op.vote_state), op.vote_state.samples) == ([("7", 2.0, 1), ("8", 1.0, 1)], 3)


def test_traces_weigh_their_measure_while_the_lowest_group_sets_the_threshold() -> None:
    warm_ups = (trace("7", 1.0, 9.0), trace("8", 2.0, 3.0))
    weights = {}
    for measure in ("lowest", "tail"):
        plan = deepconf(n=3, warmup=2, keep=100.0, measure=measure).plan(QUESTION)
        next(plan)
        warm = plan.send(warm_ups)
        assert isinstance(warm, Propose)
        weights[measure] = votes(warm.vote_state)
        start = plan.send(None)
        assert isinstance(start, Start)
        assert isinstance(start.op, Sample)
        assert start.op.floor == ConfidenceFloor(1, 1.0 * (1 - 1e-9), 1)
    assert weights == {"lowest": [("8", 2.0, 1), ("7", 1.0, 1)], "tail": [("7", 9.0, 1), ("8", 3.0, 1)]}


def test_the_order_of_completion_does_not_decide() -> None:
    def sure(request: SampleRequest) -> list[float]:
        source = random.Random(request.seed)
        return [source.uniform(0.2, 0.9) for _ in range(40)]

    strategy = deepconf(n=40, warmup=6, keep=60.0, window=4, consensus=0.7, concurrency=5)
    for seed in range(4):
        outcomes = set()
        for order in range(8):
            engine = ScriptedEngine(varied, certainty=sure, pause=jumbled(order))
            solution, _ = solved(strategy, engine, seed=seed)
            outcomes.add((solution.answer, solution.vote_state))
        assert len(outcomes) == 1


def test_fewer_traces_than_a_warm_up_are_all_whole() -> None:
    solution, drawn = solved(deepconf(n=3), ScriptedEngine(says("7", "8"), certainty=lambda _: 0.5))
    assert (len(drawn), solution.vote_state.samples) == (3, 3)


@pytest.mark.parametrize("samples", range(1, 12))
def test_a_budget_leaves_the_vote_of_what_was_drawn(samples: int) -> None:
    engine = ScriptedEngine(says("7", "8", "8"), certainty=lambda _: 0.5)
    solution, _ = solved(deepconf(n=12, warmup=4, consensus=1.0), engine, budget=Budget(samples=samples))
    assert (solution.ended_by, solution.cost.samples, solution.vote_state.samples) == ("budget", samples, samples)
    assert solution.answer is not None
    assert solution.answer.key == ("7" if samples in (1, 2, 4) else "8")


def test_with_constant_confidence_it_is_the_majority() -> None:
    """The simulated engine is always equally sure: nothing is cut, all weigh the same."""
    strategy = DeepConf(mode="offline", n=9, params=SamplingParams(logprobs=5, max_tokens=10_000))
    solution = solve_sync(QUESTION, strategy, SimulatedEngine(tokens=20))
    [first, second] = solution.vote_state.votes
    assert [first.weight, second.weight] == pytest.approx([first.count / 2, second.count / 2])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mode": "both"}, "mode must be offline or online .got"),
        ({"n": 0}, "n must be .*got 0"),
        ({"keep": 0.0}, "keep must be .*got 0.0"),
        ({"keep": 101.0}, "keep must be .*got 101.0"),
        ({"window": 0}, "window must be .*got 0"),
        ({"measure": "median"}, "measure must be lowest, bottom_10, tail or mean .got"),
        ({"window": 513}, "window=513 never fills"),
        ({"window": 2048, "mode": "offline"}, "set window to 256 or less, or raise max_tokens"),
        ({"window": 9, "mode": "offline", "measure": "mean"}, "window=9 has no effect offline with measure=mean"),
        ({"warmup": 0}, "warmup must be .*got 0"),
        ({"consensus": 0.0}, "consensus must be .*got 0.0"),
        ({"concurrency": 0}, "concurrency must be .*got 0"),
        ({"params": SamplingParams()}, "logprobs must be from 1 to 20"),
        ({"params": SamplingParams(logprobs=0)}, "logprobs must be from 1 to 20"),
        ({"mode": "offline", "warmup": 4}, "have no effect offline"),
        ({"mode": "offline", "consensus": 0.5}, "have no effect offline"),
        ({"mode": "offline", "concurrency": 2}, "have no effect offline"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        as_run(DeepConf(**options))
