"""A majority vote that counts its samples one by one in launch order, until a rule stops it."""

from collections.abc import Sequence
from dataclasses import replace

from reasoner.budget import Cost
from reasoner.errors import UsageError, require
from reasoner.plan import Plan, Sample, count, propose, stopped
from reasoner.protocols import StopRule, Strategy
from reasoner.types import Answer, Completion, Question, SamplingParams, Standing, Vote
from reasoner.votes import LONGEST_STREAK, Tally
from reasoner_strategies._search.ordered_sampling import OrderedSampling

WINDOW = 4
"""Samples in flight by default."""
_NO_ANSWER = Answer("", "")


def check_stop(stop: StopRule | None, window: int, of: Strategy | None) -> None:
    """Check that a stop rule, its window and the strategy inside fit together; UsageError if they do not."""
    if stop is not None and of is not None:
        raise UsageError("`stop` counts single samples, and `of` draws none: leave one of them out")
    require(window, "window", at_least=1)
    if stop is None and window != WINDOW:
        raise UsageError(
            f"window={window} has no effect: without `stop` all samples are in flight at once; leave it out"
        )


def stopping_vote(
    question: Question,
    params: SamplingParams,
    *,
    n: int,
    window: int,
    rule: StopRule | None,
    drawn: Sequence[Completion] = (),
) -> Plan[Answer | None]:
    """The majority of up to `n` samples, proposed after each one, until the rule stops it.

    `drawn` are samples that exist already and were drawn in the same way: they are counted first. The answer and the
    samples that vote depend neither on what finishes first nor on `window`. At most `window` samples are in flight, and
    no more than the rule needs at least before it may stop, so that few are wasted; at the stop the rest is cancelled.
    """
    tally, cost, answer = Tally(question.space, most=n), Cost(), None
    first, window_now = list(drawn[:n]), _samples_to_stop(rule, tally.standing(), window)
    rest = OrderedSampling(Sample((question.prompt,), params=params), n - len(first), window_now)
    for index in range(n):
        completion = first[index] if index < len(first) else (yield from rest.take())
        if completion is None:
            break
        tally.add(question.read(completion), index=index)
        cost += cost_of(completion)
        standing = (yield from count(tally)).listed()
        answer = standing.leader
        yield from propose(answer, standing)
        if rule and index + 1 < n and (reason := rule.stop(standing, cost)):
            yield from rest.cancel()
            yield from stopped(reason)
            break
        rest.window = _samples_to_stop(rule, standing, window)
    return answer


def _samples_to_stop(rule: StopRule | None, standing: Standing, window: int) -> int:
    """How many more samples the rule needs at least before it may stop, up to `window`: all may be for the leader."""
    leader, *others = standing.votes or (Vote(_NO_ANSWER, 0.0, 0),)
    for more in range(1, window if rule else 0):
        votes = (replace(leader, weight=leader.weight + more, count=leader.count + more), *others)
        samples, streak = standing.samples + more, min(standing.streak + more, LONGEST_STREAK)
        if rule and rule.stop(Standing(votes, samples, streak=streak, most=standing.most, tail=standing.tail), Cost()):
            return more
    return max(1, window)


def cost_of(completion: Completion) -> Cost:
    """The cost of one sample as far as a plan knows it; its flops are unknown."""
    used = completion.usage
    return Cost(
        prompt_tokens=used.prompt_tokens - used.cached_tokens,
        cached_tokens=used.cached_tokens,
        generated_tokens=used.generated_tokens,
        requests=1,
        samples=1,
        flops=None,
    )
