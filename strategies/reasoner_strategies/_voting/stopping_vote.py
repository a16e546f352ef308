"""A majority vote whose samples are looked at one by one in launch order, until a rule says that it is enough."""

from collections.abc import Sequence
from dataclasses import replace

from reasoner.budget import Cost
from reasoner.errors import UsageError, require
from reasoner.plan import Plan, Sample, count, propose, stopped
from reasoner.protocols import StopRule, Strategy
from reasoner.types import Answer, Completion, Question, SamplingParams, Standing, Vote
from reasoner.votes import LONGEST_STREAK, Tally
from reasoner_strategies._search.ordered_sampling import LaunchOrder

WINDOW = 4
"""The most samples in flight, unless told otherwise."""
NOBODY = Answer("", "")


def check_stop(stop: StopRule | None, window: int, of: Strategy | None) -> None:
    """How a strategy's stop rule, its window and the strategy inside it go together.

    Raises:
        UsageError: they do not.
    """
    if stop is not None and of is not None:
        raise UsageError("`stop` looks at single samples, and `of` draws none: leave one of them out")
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
    """The majority of up to `n` samples, `window` of them in flight; each look proposes, and then the rule may end it.

    `drawn` are samples that are there already and were drawn in the same way: they are looked at first. The answer and
    the samples that have a vote depend neither on what finishes first nor on `window`. No more are in flight than it
    takes at least until the rule may stop, so that nothing is drawn in vain; what runs all the same is cancelled.
    """
    tally, cost, answer = Tally(question.space, most=n), Cost(), None
    here = list(drawn[:n])
    rest = LaunchOrder(Sample((question.prompt,), params=params), n - len(here), _least(rule, tally.standing(), window))
    for place in range(n):
        completion = here[place] if place < len(here) else (yield from rest.take())
        if completion is None:
            break
        tally.add(question.read(completion), index=place)
        cost += cost_of(completion)
        standing = (yield from count(tally)).listed()
        answer = standing.leader
        yield from propose(answer, standing)
        if rule and place + 1 < n and (reason := rule.stop(standing, cost)):
            yield from rest.cancel()
            yield from stopped(reason)
            break
        rest.window = _least(rule, standing, window)
    return answer


def _least(rule: StopRule | None, standing: Standing, most: int) -> int:
    """How many more samples it takes until the rule may stop, up to `most`: all of them may be for the leader."""
    leader, *others = standing.votes or (Vote(NOBODY, 0.0, 0),)
    for more in range(1, most if rule else 0):
        votes = (replace(leader, weight=leader.weight + more, count=leader.count + more), *others)
        samples, streak = standing.samples + more, min(standing.streak + more, LONGEST_STREAK)
        if rule and rule.stop(Standing(votes, samples, streak=streak, most=standing.most, tail=standing.tail), Cost()):
            return more
    return max(1, most)


def cost_of(completion: Completion) -> Cost:
    """What one sample cost, as far as a plan can know: its flops are not."""
    used = completion.usage
    return Cost(
        prompt_tokens=used.prompt_tokens - used.cached_tokens,
        cached_tokens=used.cached_tokens,
        generated_tokens=used.generated_tokens,
        requests=1,
        samples=1,
        flops=None,
    )
