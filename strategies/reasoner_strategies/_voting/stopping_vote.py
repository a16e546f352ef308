"""Samples that overlap in time and are counted one by one in launch order, until a rule stops the vote."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted
from reasoner.strategy import (
    Handle,
    Plan,
    Sample,
    StopRule,
    cancel,
    count_votes,
    next_finished,
    note_stop,
    propose,
    start,
)
from reasoner.types import Answer, Completion, SamplingParams, Vote, VoteState
from reasoner.voting import MAX_STREAK, Tally

_NO_ANSWER = Answer("", "")


@dataclass(slots=True)
class OrderedSampling:
    """Up to `n` draws of one operation, at most `window` of them launched beyond the last one taken.

    It is the state of one plan. The samples that it returns do not depend on what finishes first; only the cost of the
    cancelled ones does.
    """

    op: Sample
    n: int
    window: int
    _running: dict[Handle, int] = field(default_factory=dict)
    _arrived: dict[int, Completion] = field(default_factory=dict)
    _launched: int = 0
    _taken: int = 0
    _refused: bool = False

    def take(self) -> Plan[Completion | None]:
        """The next sample in launch order; None if there are no more. Those that the budget refused are skipped."""
        while self._taken not in self._arrived and not (self._refused and self._arrived):
            while not self._refused and self._launched < min(self.n, self._taken + self.window):
                self._running[(yield from start(self.op))] = self._launched
                self._launched += 1
            if not self._running:
                return None
            try:
                finished = yield from next_finished()
            except BudgetExhausted:
                self._refused = True
                self._running.clear()
                continue
            self._arrived[self._running.pop(finished.handle)] = finished.completions[0]
        if self._taken not in self._arrived:
            self._taken = min(self._arrived)
        self._taken += 1
        return self._arrived.pop(self._taken - 1)

    def cancel(self) -> Plan[None]:
        """Abort what is still running; it is booked as cancelled."""
        for handle in self._running:
            yield from cancel(handle)
        self._running.clear()


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
    at most as many as the rule needs before it may stop, so that few are wasted; at the stop the rest is cancelled.
    """
    tally, cost, answer = Tally(question.space, max_samples=n), Cost(), None
    first, window_now = list(drawn[:n]), _samples_to_stop(rule, tally.vote_state(), window)
    later = OrderedSampling(Sample((question.prompt,), params=params), n - len(first), window_now)
    for index in range(n):
        completion = first[index] if index < len(first) else (yield from later.take())
        if completion is None:
            break
        tally.add(question.read(completion), index=index)
        used = completion.usage
        prompt_tokens = used.prompt_tokens - used.cached_tokens
        cost += Cost(prompt_tokens, used.cached_tokens, used.generated_tokens, requests=1, samples=1, flops=None)
        vote_state = (yield from count_votes(tally)).listed()
        answer = vote_state.leader
        yield from propose(answer, vote_state)
        if rule and index + 1 < n and (reason := rule.stop(vote_state, cost)):
            yield from later.cancel()
            yield from note_stop(reason)
            break
        later.window = _samples_to_stop(rule, vote_state, window)
    return answer


def _samples_to_stop(rule: StopRule | None, vote_state: VoteState, window: int) -> int:
    """How many more samples, up to `window`, the rule needs before it may stop, if all of them are for the leader."""
    leader, *others = vote_state.votes or (Vote(_NO_ANSWER, 0.0, 0),)
    for more in range(1, window if rule else 0):
        votes = (replace(leader, weight=leader.weight + more, count=leader.count + more), *others)
        samples, streak = vote_state.samples + more, min(vote_state.streak + more, MAX_STREAK)
        agreed = replace(vote_state, votes=votes, samples=samples, streak=streak, tied=False)
        if rule and rule.stop(agreed, Cost()):
            return more
    return max(1, window)
