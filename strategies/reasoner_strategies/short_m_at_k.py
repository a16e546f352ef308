"""short-m@k: of chains drawn side by side, the shortest vote."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from reasoner.answers.questions import Question
from reasoner.errors import BudgetExhausted, require
from reasoner.specs import Checked, Count, Length, Range, Samples
from reasoner.strategy import MAX_CHAINS, Plan
from reasoner.types import Answer, SamplingParams, VoteState
from reasoner_strategies._search.steps import Path, StepOptions, advance
from reasoner_strategies._voting.pool import proposed, vote


@dataclass(frozen=True, slots=True)
class ShortMAtK(Checked):
    """The majority of the `m` shortest of `k` chains; the others are stopped (Hassid 2025, 2505.17813).

    The order is by length in tokens, earliest launched first, and does not depend on time. All chains therefore advance
    in rounds of `every` tokens, and each round continues them token by token. The search stops after the round in which
    `m` have finished, so each chain still running costs up to `every` - 1 tokens more than necessary; a small `every`
    costs more requests, with prompts in the prefix cache; 0 is a 64th of `max_tokens`, and at least 64. Cut chains
    never finish. Ties go to the answer of the shortest chain. The paper tested it on reasoning models with m=1 and m=3.
    """

    uses_verifier: ClassVar[bool] = False

    k: Annotated[Samples, Range(at_least=1, at_most=MAX_CHAINS)] = 8
    m: Count = 1
    every: Length = 0
    params: SamplingParams = SamplingParams()

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        require(self.m, f"m, with k={self.k},", at_most=self.k)

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Advance all chains until `m` have finished."""
        every, limit = self.every or max(64, self.params.limit // 64), self.params.limit
        stepping = StepOptions(step="", step_tokens=every, max_steps=limit + 1, params=self.params)
        chains, vote_state, ended = [Path(question.prompt)] * self.k, VoteState(), 0
        while any(chain.open for chain in chains):
            try:
                chains = yield from advance(stepping, chains)
            except BudgetExhausted:
                break
            finished = sorted((chain for chain in chains if chain.finished), key=lambda chain: chain.tokens)
            if ended != (ended := sum(not chain.open for chain in chains)):
                vote_state = yield from proposed(vote(question, [chain.last for chain in finished[: self.m]]))
            if len(finished) >= self.m:
                break
        return vote_state.leader
