"""A strategy, a verifier and a stop rule of your own."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner import (
    Answer,
    Completion,
    Cost,
    Question,
    Rating,
    SamplingParams,
    VoteState,
)
from reasoner.engine import Engine
from reasoner.specs import CheckedOptions, Count, Samples
from reasoner.strategy import Plan, count_votes, propose, sample
from reasoner.verifier import CostMeter, FreeVerifier
from reasoner.voting import Tally


@dataclass(frozen=True, slots=True)
class InARow(CheckedOptions):
    """Samples one by one until `row` answers in a row are equal, at most `n`; the most frequent answer."""

    uses_verifier: ClassVar[bool] = False

    n: Samples = 8
    row: Count = 2
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Propose after each sample, so that the end of a budget costs no answer."""
        tally, state = Tally(question.space), VoteState()
        for _ in range(self.n):
            for completion in (yield from sample(question.prompt, params=self.params)):
                tally.add(question.read(completion), index=completion.index)
            state = yield from count_votes(tally)
            yield from propose(state.leader, state)
            if state.streak >= self.row:
                break
        return state.leader


@dataclass(frozen=True, slots=True)
class Brevity(FreeVerifier):
    """Rates a reply by its length: 1 for 0 tokens, 0.5 for `half` tokens. It costs nothing."""

    half: int = 50

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The rating; raise a `VerifierError` where there is none, never return 0 instead."""
        return Rating(
            self.half / (self.half + candidate.usage.generated_tokens), Cost()
        )


@dataclass(frozen=True, slots=True)
class Ahead:
    """Stops when the leader is `votes` ahead of the next answer."""

    votes: int = 3

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The reason, in one line."""
        counts = [vote.count for vote in vote_state.votes[:2]] + [0, 0]
        return (
            f"{self.votes} votes ahead" if counts[0] - counts[1] >= self.votes else None
        )
