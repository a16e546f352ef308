"""A strategy of your own: two samples, and a third only if they disagree. Runs without a model."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner import Answer, Question, SamplingParams, solve_sync
from reasoner.strategy import Plan, count_votes, propose, sample
from reasoner.voting import Tally


@dataclass(frozen=True, slots=True)
class TwoOfThree:
    """Two samples, and a third only if they disagree."""

    uses_verifier: ClassVar[bool] = False

    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Sample twice, and once more if no answer leads."""
        tally = Tally(question.space)
        for n in (2, 1):
            drawn = yield from sample(question.prompt, n=n, params=self.params)
            for completion in drawn:
                tally.add(question.read(completion), index=completion.index)
            vote_state = yield from count_votes(tally)
            yield from propose(vote_state.leader, vote_state)
            if vote_state.share > 0.5:
                break
        return vote_state.leader


if __name__ == "__main__":
    print(solve_sync("What is 3 + 4?", TwoOfThree(), "simulated"))
