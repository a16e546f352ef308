"""A strategy of your own: two samples, and a third only if they disagree. Runs without a model."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner import Answer, Question, SamplingParams, ask, solve_sync
from reasoner.engines.simulated import SimulatedEngine
from reasoner.plan import Plan, count, propose, sample
from reasoner.votes import Tally


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
            standing = yield from count(tally)
            yield from propose(standing.leader, standing)
            if standing.share > 0.5:
                break
        return standing.leader


if __name__ == "__main__":
    solution = solve_sync(ask("What is 3 + 4?"), TwoOfThree(), SimulatedEngine())
    print(solution.answer.text if solution.answer else "no answer", "from", solution.cost.samples, "samples")
