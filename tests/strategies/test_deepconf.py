"""DeepConf: what a trace scores, which traces vote, which are cut while they are drawn, and what stops it."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from reasoner import Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.stopping.confidence import ConfidenceFloor
from reasoner.strategy import (
    Cancel,
    Finished,
    Handle,
    Next,
    Plan,
    Propose,
    Sample,
    Start,
)
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import completion, number_question, says
from reasoner.trace.events import Event, Sampled
from reasoner.types import (
    NO_LOGPROB,
    Answer,
    Completion,
    FinishReason,
    Logprobs,
    SamplingParams,
    VoteState,
)
from reasoner_strategies.deepconf import DeepConf
from tests.helpers import as_run, finish
from tests.strategies.driving import Course, follow

QUESTION = number_question()
ONE = SamplingParams(logprobs=1)
"""With one alternative, a token's confidence is -log p of it: any value can be had exactly."""


def trace(
    key: str | None, *confidences: float, end: FinishReason = "stop"
) -> Completion:
    text = "no idea" if key is None else f"The answer is {key}"
    logprobs = Logprobs(
        tuple(-one for one in confidences), tuple((-one,) for one in confidences)
    )
    return completion(
        text, finish=end, logprobs=logprobs, token_ids=tuple(range(len(confidences)))
    )


def deepconf(**options: Any) -> DeepConf:
    short: dict[str, Any] = {"params": ONE, "window": 1}
    return DeepConf(**(short | options))


def votes(vote_state: VoteState) -> list[tuple[str, float, int]]:
    return [(vote.answer.key, vote.weight, vote.count) for vote in vote_state.votes]


# Offline


def offline(traces: Sequence[Completion], **options: Any) -> VoteState:
    plan = deepconf(mode="offline", n=len(traces), **options).plan(QUESTION)
    return follow(plan, lambda _: tuple(traces), Course()).vote_states[-1]


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
def test_the_score_of_the_published_trace(
    measure: str, window: int | None, score: float
) -> None:
    vote_state = offline([trace("7", *PUBLISHED)], measure=measure, window=window)
    assert vote_state.votes[0].weight == pytest.approx(score)


def test_the_best_percent_of_traces_with_an_answer_vote_by_their_score() -> None:
    traces = [
        trace("7", 1.0),
        trace("7", 1.5),
        trace("7", 2.0),
        trace("8", 4.0),
        trace("9", 3.0),
    ]
    assert votes(offline(traces, keep=100.0)) == [
        ("7", 4.5, 3),
        ("8", 4.0, 1),
        ("9", 3.0, 1),
    ]
    assert votes(offline(traces, keep=50.0)) == [
        ("8", 4.0, 1),
        ("9", 3.0, 1),
        ("7", 2.0, 1),
    ]
    silent = [
        trace(None, 9.0),
        trace("7", 1.0),
        trace("8", 8.0, end="length"),
        trace("9", 2.0),
    ]
    assert (votes(offline(silent, keep=10.0)), offline(silent).samples) == (
        [("9", 2.0, 1)],
        4,
    )


def test_only_as_many_alternatives_count_as_were_asked_for() -> None:
    """An engine may return the sampled token beside the best."""
    one = completion(
        "The answer is 7",
        logprobs=Logprobs((-9.0,), ((-1.0, -2.0, -9.0),)),
        token_ids=(1,),
    )
    assert votes(offline([one], params=SamplingParams(logprobs=2))) == [("7", 1.5, 1)]


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        Logprobs((-1.0,)),
        Logprobs((-1.0,), ((-math.inf,),)),
        Logprobs((-1.0,), ((NO_LOGPROB,),)),
    ],
)
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_without_log_probabilities_the_majority_decides(
    mode: str, logprobs: Logprobs | None
) -> None:
    drawn = [
        completion(f"The answer is {key}", logprobs=logprobs, token_ids=(1,))
        for key in "788"
    ]
    course = follow(
        deepconf(mode=mode, n=3).plan(QUESTION), lambda _: tuple(drawn), Course()
    )
    assert (course.key, votes(course.vote_states[-1])) == (
        "8",
        [("8", 2.0, 2), ("7", 1.0, 1)],
    )


# Online: warm-up and threshold


def after_warm_up(
    strategy: DeepConf, *warm_ups: Completion
) -> tuple[Plan[Answer | None], Propose, Any]:
    """The plan after its warm-up, the vote of the warm-up, and the operation that comes next."""
    plan = strategy.plan(QUESTION)
    next(plan)
    warm = plan.send(warm_ups)
    assert isinstance(warm, Propose)
    return plan, warm, plan.send(None)


@pytest.mark.parametrize(
    ("keep", "minimum", "voting"), [(90.0, 2.5, 14), (10.0, 14.5, 2), (100.0, 1.0, 16)]
)
def test_the_published_thresholds(keep: float, minimum: float, voting: int) -> None:
    sixteen = [trace(str(place), float(place)) for place in range(1, 17)]
    _, warm, start = after_warm_up(deepconf(n=17, keep=keep), *sixteen)
    assert (len(warm.vote_state.votes), warm.vote_state.samples) == (voting, 16)
    assert (warm.answer and warm.answer.key) == "16"
    floor = ConfidenceFloor(1, minimum * (1 - 1e-9), 1)
    assert start == Start(Sample((QUESTION.prompt,), 1, ONE, floor))


def test_a_trace_too_short_to_be_cut_is_one_group_and_may_not_vote() -> None:
    """Neither in the warm-up nor later, as in the code of the paper."""
    warm_ups = (trace("7", 1.0), trace("8", 5.0, 5.0), trace("9", 6.0, 6.0))
    plan, warm, _ = after_warm_up(
        deepconf(n=4, warmup=3, keep=60.0, window=2), *warm_ups
    )
    assert votes(warm.vote_state) == [("9", 6.0, 1), ("8", 5.0, 1)]
    assert isinstance(plan.send(Handle(1)), Next)
    later = plan.send(Finished(Handle(1), (trace("7", 2.0),)))
    assert isinstance(later, Propose)
    assert (votes(later.vote_state), later.vote_state.samples) == (
        [("9", 6.0, 1), ("8", 5.0, 1)],
        4,
    )


def test_traces_weigh_their_measure_while_the_lowest_group_sets_the_threshold() -> None:
    weights = {}
    for measure in ("lowest", "tail"):
        strategy = deepconf(n=3, warmup=2, keep=100.0, measure=measure)
        _, warm, start = after_warm_up(
            strategy, trace("7", 1.0, 9.0), trace("8", 2.0, 3.0)
        )
        weights[measure] = votes(warm.vote_state)
        assert start.op.floor == ConfidenceFloor(1, 1.0 * (1 - 1e-9), 1)
    assert weights == {
        "lowest": [("8", 2.0, 1), ("7", 1.0, 1)],
        "tail": [("7", 9.0, 1), ("8", 3.0, 1)],
    }


def test_it_stops_at_a_consensus_and_cancels_the_rest() -> None:
    strategy = deepconf(n=64, warmup=2, keep=100.0, consensus=0.75, concurrency=3)
    plan, _, op = after_warm_up(strategy, trace("7", 2.0), trace("8", 1.0))
    for handle in range(3):
        assert isinstance(op, Start)
        op = plan.send(Handle(handle))
    assert op == Next()
    op = plan.send(Finished(Handle(0), (trace("7", 1.0),)))
    assert isinstance(op, Propose)
    assert op.vote_state.share == 0.75
    assert [plan.send(None), plan.send(None)] == [Cancel(Handle(1)), Cancel(Handle(2))]
    answer = finish(plan)
    assert (answer and answer.key) == "7"


# On an engine


def certain(*traces: Sequence[float]) -> Callable[[SampleRequest], Sequence[float]]:
    """An engine's certainty that gives these confidences, trace by trace over and over, with one alternative."""
    return lambda request: [
        math.exp(-one) for one in traces[request.index % len(traces)]
    ]


def solved(
    strategy: DeepConf, engine: ScriptedEngine
) -> tuple[Solution, list[Sampled]]:
    events: list[Event] = []
    solution = solve_sync(QUESTION, strategy, engine, trace=events.append)
    assert solution.error is None
    drawn = [event for event in events if isinstance(event, Sampled)]
    return solution, sorted(drawn, key=lambda event: event.index)


def test_the_published_trace_is_cut_after_its_sixth_token() -> None:
    confidences = ([1.5] * 8, [1.5] * 8, [*PUBLISHED, 4.0], [1.6] * 8)
    engine = ScriptedEngine(
        lambda one: f"so it goes The answer is {one.index}",
        certainty=certain(*confidences),
    )
    solution, drawn = solved(deepconf(n=4, warmup=2, window=3, consensus=1.0), engine)
    ends = [(event.finish_reason, event.usage.generated_tokens) for event in drawn]
    assert ends == [("stop", 8), ("stop", 8), ("abort", 6), ("stop", 8)]
    assert solution.cost.cancelled_tokens == 6
    assert [vote.answer.key for vote in solution.vote_state.votes] == ["3", "0", "1"]
    assert solution.vote_state.samples == 4


def test_with_all_kept_no_trace_that_repeats_a_warm_up_is_cut() -> None:
    source = random.Random(5)
    traces = [[source.uniform(0.1, 3.0) for _ in range(23)] for _ in range(7)]

    def cut(keep: float, alternatives: int) -> int:
        engine = ScriptedEngine(
            lambda one: f"{'so ' * 19}The answer is {one.index % 3}",
            certainty=certain(*traces),
        )
        params = SamplingParams(logprobs=alternatives)
        _, drawn = solved(
            deepconf(n=35, warmup=7, keep=keep, window=5, consensus=1.0, params=params),
            engine,
        )
        assert len(drawn) == 35
        return sum(event.finish_reason == "abort" for event in drawn)

    assert (cut(100.0, 1), cut(100.0, 4)) == (0, 0)
    # Three of seven are below the median, and each is repeated four times.
    assert cut(50.0, 1) == 12


def test_a_window_that_no_trace_fills_is_refused_where_it_would_cut() -> None:
    with pytest.raises(
        UsageError, match=r"window=2048 is longer than every trace, with max_tokens=512"
    ):
        deepconf(window=2048, params=SamplingParams(logprobs=1, max_tokens=512))
    assert deepconf(
        mode="offline", window=2048, params=SamplingParams(logprobs=1, max_tokens=512)
    )
    # Where the model's own limit decides, the run says so.
    solution = solve_sync(QUESTION, DeepConf(window=2048), ScriptedEngine(says("7")))
    assert isinstance(solution.error, UsageError)


def test_a_consensus_of_the_warm_up_ends_it_and_the_default_window_is_an_eighth() -> (
    None
):
    solution, drawn = solved(
        deepconf(warmup=4), ScriptedEngine(says("7"), certainty=lambda _: 0.5)
    )
    assert (len(drawn), solution.vote_state.share) == (4, 1.0)
    assert as_run(DeepConf())._window == 512 // 8
    assert (
        DeepConf(params=SamplingParams(logprobs=1, max_tokens=1 << 20))._window == 2048
    )
