"""Self-consistency: draw many chains, answer with the class of answers that most of them reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from reasoner import Answer, Completion, Question, SamplingParams
from reasoner.errors import UsageError
from reasoner.specs import CheckedOptions, Count, Samples
from reasoner.stopping.rules import Order
from reasoner.strategy import (
    BudgetExhausted,
    Plan,
    Sample,
    StopRule,
    Strategy,
    Tally,
    next_finished,
    start,
)
from reasoner_strategies._voting.gathering import nested_vote
from reasoner_strategies._voting.pool import LaunchOrder
from reasoner_strategies._voting.stopping_vote import stopping_vote


@dataclass(frozen=True, slots=True)
class SelfConsistency(CheckedOptions):
    """Majority vote over `n` samples (Wang 2022, 2203.11171).

    Answers vote by equivalence class. Samples without an answer, and truncated ones, cost compute and never vote. Ties
    go to the earliest launched. It proposes after every sample, so one run holds the result for every smaller `n`.

    With `stop`, at most `n` are drawn until the rule stops the vote; those still running are then cancelled and paid.
    They are counted by length: in the order in which they end if all of them grow by one token at a time, which depends
    on the replies and on `window`, and never on what finishes first. As the shortest come first, stragglers, which run
    longer than most that ended, count for the runner-up. Eight times as many samples run as the rule needs before it
    may stop, at most `window`, which is by default what fits the engine's KV cache. In launch order (`order=launch`) 4
    run by default, the answer does not depend on `window`, and samples are independent draws, as `ppr` assumes; it
    waits longer. Rules that look ahead use `n` as their horizon.

    With `of`, the answers of `n` runs of that strategy vote; they run side by side.
    """

    listed_under: ClassVar[str] = "Votes"

    n: Samples = 8
    params: SamplingParams = SamplingParams()
    of: Strategy | None = None
    stop: StopRule | None = None
    order: Order = "length"
    window: Count | None = None

    def complete(self) -> None:
        if self.of is not None and self.params != SamplingParams():
            raise UsageError(
                "with `of`, sampling options belong to that strategy: set them there"
            )
        if self.stop is not None and self.of is not None:
            raise UsageError(
                "`stop` counts single samples, and `of` draws none: leave one of them out"
            )
        if self.stop is None and (self.window or self.order != "length"):
            given = f"window={self.window}" if self.window else f"order={self.order}"
            raise UsageError(
                f"{given} has no effect: without `stop` all samples are in flight at once; leave it out"
            )

    @property
    def uses_verifier(self) -> bool:
        """Only if the strategy that it votes over does."""
        return self.of is not None and self.of.uses_verifier

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Start all samples and count them in launch order; with a rule, in its order."""
        if self.of is not None:
            vote_state, _ = yield from nested_vote(
                question, self.of, self.n, max_samples=self.n
            )
            return vote_state.leader
        if self.stop is not None:
            return (yield from self.continued(question, ()))
        op = Sample((question.prompt,), params=self.params)
        first = yield from start(op, self.n, cancellable=False)
        votes = LaunchOrder(Tally(question.space, max_samples=self.n))
        for _ in range(self.n):
            try:
                finished = yield from next_finished()
            except BudgetExhausted:
                break
            for completion in finished.completions:
                tokens = completion.usage.generated_tokens
                yield from votes.add(
                    question.read(completion),
                    index=finished.handle - first,
                    tokens=tokens,
                )
        return (yield from votes.close()).leader

    def continued(
        self, question: Question, drawn: Sequence[Completion]
    ) -> Plan[Answer | None]:
        """The same vote after these samples, which were drawn with its `params`."""
        order, window = (self.order, self.window) if self.stop else ("launch", self.n)
        counted = stopping_vote(
            question,
            self.params,
            n=self.n,
            rule=self.stop,
            order=order,
            window=window,
            drawn=drawn,
        )
        return (yield from counted)
