"""short-m@k: of chains drawn side by side, the shortest vote."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from reasoner import Answer, Question, SamplingParams, VoteState
from reasoner.errors import require
from reasoner.specs import CheckedOptions, Count, Range, Samples
from reasoner.strategy import (
    MAX_CHAINS,
    BudgetExhausted,
    Handle,
    Plan,
    Sample,
    Tally,
    cancel,
    count_votes,
    next_finished,
    start,
)
from reasoner_strategies._voting.pool import proposed


@dataclass(frozen=True, slots=True)
class ShortMAtK(CheckedOptions):
    """A vote of the `m` shortest of `k` chains; the rest stop (Hassid 2025, 2505.17813).

    The order is by length in tokens, earliest launched first, and does not depend on time. Cut chains never finish.
    Ties go to the answer of the shortest chain. The paper tested it on reasoning models with m=1 and m=3.
    """

    listed_under: ClassVar[str] = "Votes"
    uses_verifier: ClassVar[bool] = False

    k: Annotated[Samples, Range(at_least=1, at_most=MAX_CHAINS)] = 8
    m: Count = 1
    params: SamplingParams = SamplingParams()

    def complete(self) -> None:
        require(self.m, f"m, with k={self.k},", at_most=self.k)

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw all chains at once until `m` have finished, and stop the others."""
        first = yield from start(Sample((question.prompt,), params=self.params), self.k)
        running, finished = set(range(first, first + self.k)), 0
        tally, vote_state = Tally(question.space), VoteState()
        while running and finished < self.m:
            try:
                arrived = yield from next_finished()
            except BudgetExhausted:
                break
            running.discard(arrived.handle)
            for chain in arrived.completions:
                if not chain.truncated:
                    tally.add(question.read(chain), index=finished)
                    finished += 1
            vote_state = yield from proposed(count_votes(tally))
        for handle in sorted(running):
            yield from cancel(Handle(handle))
        return vote_state.leader
