"""Samples that overlap in time and are counted one by one, by length or in launch order, until a rule stops."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reasoner import Answer, Completion, Cost, Question, SamplingParams
from reasoner.stopping.rules import LAUNCH_WINDOW, STRAGGLER_LENGTH, Order, width
from reasoner.strategy import (
    BudgetExhausted,
    Handle,
    Plan,
    Sample,
    StopRule,
    Tally,
    cancel,
    count_votes,
    model_info,
    next_finished,
    note_stop,
    propose,
    start,
)


@dataclass(slots=True)
class OrderedSampling:
    """Up to `n` draws of one operation, at most `window` of them in flight, or launched beyond the last one taken.

    It is the state of one plan. The samples that it returns do not depend on what finishes first; only the cost of the
    cancelled ones does. By "length" they come in the order of their virtual end: a sample starts when another one has
    made room for it, takes a unit of time for each token, and the next to end is the next to come.
    """

    op: Sample
    n: int
    window: int
    order: Order = "launch"
    now: int = 0
    """The latest virtual end of the samples that were taken, in tokens."""
    _running: dict[Handle, tuple[int, int]] = field(default_factory=dict)
    """The launch index and the virtual start of each."""
    _arrived: dict[int, tuple[Completion, int]] = field(default_factory=dict)
    """Each with its virtual end, by launch index."""
    _launched: int = 0
    _taken: int = 0
    _lengths: int = 0
    _refused: bool = False

    def take(self) -> Plan[tuple[int, Completion] | None]:
        """The next sample and its launch index; None if there are no more. Those that were refused are skipped."""
        while not self._due():
            while not self._refused and self._launched < self.n:
                in_flight = (
                    len(self._running)
                    if self.order == "length"
                    else self._launched - self._taken
                )
                if in_flight >= self.window:
                    break
                self._running[(yield from start(self.op))] = self._launched, self.now
                self._launched += 1
            if not self._running:
                return None
            try:
                finished = yield from next_finished()
            except BudgetExhausted:
                self._refused = True
                self._running.clear()
                continue
            index, began = self._running.pop(finished.handle)
            completion = finished.completions[0]
            self._lengths += completion.usage.generated_tokens
            self._arrived[index] = completion, began + completion.usage.generated_tokens
        index = self._taken if self._taken in self._arrived else min(self._arrived)
        self._taken = self._taken + 1 if self.order == "length" else index + 1
        completion, end = self._arrived.pop(index)
        self.now = max(self.now, end)
        return index, completion

    def _due(self) -> bool:
        """Whether the next sample has arrived."""
        if self.order == "length":
            return bool(self._arrived)
        return self._taken in self._arrived or (self._refused and bool(self._arrived))

    @property
    def stragglers(self) -> int:
        """How many running samples are longer by now than `STRAGGLER_LENGTH` of the mean length of those that ended."""
        ended = self._launched - len(self._running)
        if self.order == "launch" or not ended:
            return 0
        limit = STRAGGLER_LENGTH * self._lengths / ended
        return sum(self.now - began > limit for _, began in self._running.values())

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
    rule: StopRule | None,
    order: Order = "length",
    window: int | None = None,
    drawn: Sequence[Completion] = (),
) -> Plan[Answer | None]:
    """The majority of up to `n` samples, proposed after each one, until the rule stops it.

    `drawn` are samples that exist already and were drawn in the same way: they are counted first. In launch order, the
    answer and the samples that vote depend neither on what finishes first nor on `window`; by length they depend on
    `window` too. At most `window` samples are in flight, `LAUNCH_WINDOW` in launch order by default, and of these no
    more than the rule needs before it may stop, so that few are wasted; by length `ABUNDANCE` times as many, and by
    default as many as fit the engine's KV cache. At the stop the rest is cancelled.
    """
    window = window or (
        LAUNCH_WINDOW if order == "launch" else (yield from samples_that_fit(params, n))
    )
    tally, cost, answer = Tally(question.space, max_samples=n), Cost(), None
    first = list(drawn[:n])
    later = OrderedSampling(
        Sample((question.prompt,), params=params),
        n - len(first),
        width(rule, tally.vote_state(), window, order),
        order,
    )
    for count in range(1, n + 1):
        if count <= len(first):
            index, completion = count - 1, first[count - 1]
        elif taken := (yield from later.take()):
            index, completion = len(first) + taken[0], taken[1]
        else:
            break
        used = completion.usage
        tally.add(question.read(completion), index=index, tokens=used.generated_tokens)
        prompt_tokens = used.prompt_tokens - used.cached_tokens
        cost += Cost(
            prompt_tokens,
            used.cached_tokens,
            used.generated_tokens,
            requests=1,
            samples=1,
            flops=None,
        )
        vote_state = replace(
            (yield from count_votes(tally)).listed(), stragglers=later.stragglers
        )
        answer = vote_state.leader
        yield from propose(answer, vote_state)
        if rule and count < n and (reason := rule.stop(vote_state, cost)):
            yield from later.cancel()
            yield from note_stop(
                f"{reason}; {later.now:,} sequential tokens" if later.now else reason
            )
            break
        later.window = width(rule, vote_state, window, order)
    return answer


def samples_that_fit(params: SamplingParams, n: int) -> Plan[int]:
    """How many samples of `n` fit the engine's KV cache at once, at least `LAUNCH_WINDOW`; all where it is unknown."""
    room = (yield from model_info()).room
    return (
        # The part of `max_tokens` that samples are taken to have, for how many fit the engine's KV cache
        min(n, max(LAUNCH_WINDOW, int(room / (0.5 * params.limit)))) if room else n
    )
