"""DeepConf: what a trace weighs, which traces vote, which end early, and what stops it."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from reasoner import Budget, Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.stopping.confidence import group_confidences
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import completion, number_question, says
from reasoner.types import (
    NO_LOGPROB,
    Completion,
    FinishReason,
    Logprobs,
    SamplingParams,
    VoteState,
)
from reasoner_strategies.deepconf import DeepConf
from tests.strategies.driving import Course, chains, follow

QUESTION = number_question()
ONE = SamplingParams(logprobs=1)
"""With one alternative, a token's confidence is -log p of it: any value can be had exactly."""
PUBLISHED = (2.0, 1.0, 3.0, 2.0, 0.5, 0.5, 4.0)


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


def warmed(traces: Sequence[Completion], **options: Any) -> VoteState:
    """The vote of a warm-up, which is all that there is."""
    plan = deepconf(n=len(traces), warmup=len(traces), **options).plan(QUESTION)
    return follow(plan, lambda _: tuple(traces), Course()).vote_states[-1]


def votes(vote_state: VoteState) -> list[tuple[str, float, int]]:
    return [(vote.answer.key, vote.weight, vote.count) for vote in vote_state.votes]


@pytest.mark.parametrize(("window", "weight"), [(3, 1.0), (2, 0.5), (99, 13 / 7)])
def test_the_weight_of_the_published_trace(window: int, weight: float) -> None:
    vote_state = warmed([trace("7", *PUBLISHED)], window=window)
    assert vote_state.votes[0].weight == pytest.approx(weight)
    assert group_confidences(PUBLISHED, 3) == pytest.approx(
        [2, 2, 1.8333, 1, 1.6667], abs=1e-4
    )


@pytest.mark.parametrize(
    ("keep", "lowest"), [(90.0, 3.0), (10.0, 15.0), (100.0, 1.0), (50.0, 9.0)]
)
def test_the_published_thresholds(keep: float, lowest: float) -> None:
    sixteen = [trace(str(place), float(place)) for place in range(1, 17)]
    vote_state = warmed(sixteen, keep=keep)
    assert [weight for _, weight, _ in votes(vote_state)] == [
        float(place) for place in range(16, int(lowest) - 1, -1)
    ]
    assert vote_state.samples == 16


def test_a_trace_too_short_for_a_window_is_one_group_and_may_not_vote() -> None:
    traces = (trace("7", 1.0), trace("8", 5.0, 5.0), trace("9", 6.0, 6.0))
    assert votes(warmed(traces, keep=60.0, window=2)) == [("9", 6.0, 1), ("8", 5.0, 1)]
    silent = (trace(None, 9.0), trace("7", 8.0), trace("8", 9.0, end="length"))
    assert votes(warmed(silent, keep=100.0)) == [("7", 8.0, 1)]


def test_only_as_many_alternatives_count_as_were_asked_for() -> None:
    """An engine may return the sampled token beside the best."""
    one = completion(
        "The answer is 7",
        logprobs=Logprobs((-9.0,), ((-1.0, -2.0, -9.0),)),
        token_ids=(1,),
    )
    assert votes(warmed([one], params=SamplingParams(logprobs=2))) == [("7", 1.5, 1)]


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        Logprobs((-1.0,)),
        Logprobs((-1.0,), ((-math.inf,),)),
        Logprobs((-1.0,), ((NO_LOGPROB,),)),
    ],
)
def test_without_log_probabilities_the_majority_decides(
    logprobs: Logprobs | None,
) -> None:
    drawn = [
        completion(f"The answer is {key}", logprobs=logprobs, token_ids=(1,))
        for key in "788"
    ]
    assert votes(warmed(drawn)) == [("8", 2.0, 2), ("7", 1.0, 1)]


# On an engine


def certain(*traces: Sequence[float]) -> Callable[[SampleRequest], Sequence[float]]:
    """An engine's certainty that gives these confidences, trace by trace over and over, with one alternative."""

    def chances(request: SampleRequest) -> Sequence[float]:
        words = request.prompt.text.split()
        number = int(words[0][1:]) if words else request.index
        rest = traces[number % len(traces)][len(words) :]
        return [math.exp(-one) for one in rest]

    return chances


def solved(
    strategy: DeepConf, engine: ScriptedEngine, budget: Budget | None = None
) -> Solution:
    solution = solve_sync(QUESTION, strategy, engine, budget=budget)
    assert solution.error is None
    return solution


def published() -> ScriptedEngine:
    """The third of four traces is the published one."""
    traces = ([1.5] * 8, [1.5] * 8, [*PUBLISHED, 4.0], [1.6] * 8)
    return ScriptedEngine(chains([8] * 4), certainty=certain(*traces))


def test_the_published_trace_ends_with_the_segment_of_its_sixth_token() -> None:
    solution = solved(deepconf(n=4, warmup=2, window=3), published())
    assert solution.cost.generated_tokens == 8 + 8 + 6 + 8
    assert [vote.answer.key for vote in solution.vote_state.votes] == ["3", "0", "1"]
    assert solution.vote_state.samples == 4


def test_with_all_kept_no_trace_that_repeats_a_warm_up_ends_early() -> None:
    source = random.Random(5)
    traces = [[source.uniform(0.1, 3.0) for _ in range(23)] for _ in range(7)]

    def run(keep: float, alternatives: int) -> tuple[int, int]:
        engine = ScriptedEngine(
            chains([23] * 35, "012" * 12), certainty=certain(*traces)
        )
        params = SamplingParams(logprobs=alternatives)
        solution = solved(
            deepconf(n=35, warmup=7, keep=keep, window=5, params=params), engine
        )
        assert solution.vote_state.samples == 35
        return solution.cost.generated_tokens, solution.vote_state.cast

    assert run(100.0, 1) == run(100.0, 4) == (35 * 23, 35)
    # Three of seven are below the median, and each is repeated four times.
    tokens, cast = run(50.0, 1)
    assert cast == 35 - 15
    assert (35 - 12) * 23 <= tokens < 35 * 23


@pytest.mark.parametrize("tokens", range(40, 130, 9))
def test_what_ended_before_the_end_of_a_budget_votes(tokens: int) -> None:
    solution = solved(
        deepconf(n=4, warmup=2, window=3), published(), Budget(tokens=tokens)
    )
    assert solution.cost.tokens <= tokens
    assert solution.answer is not None


def test_a_consensus_of_the_warm_up_ends_it() -> None:
    engine = ScriptedEngine(says("7"), certainty=lambda _: 0.5)
    solution = solved(deepconf(warmup=4), engine)
    assert (solution.cost.samples, solution.vote_state.share) == (4, 1.0)
