"""One sample: the baseline that everything else has to beat."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.plan import Plan, count, propose, sample
from reasoner.types import Answer, Question, SamplingParams
from reasoner.votes import Tally


@dataclass(frozen=True, slots=True)
class Single:
    """One sequence, greedy unless `temperature` says otherwise (chain of thought: Wei 2022, 2201.11903).

    A truncated sequence holds no answer.
    """

    uses_verifier: ClassVar[bool] = False

    params: SamplingParams = SamplingParams(temperature=0.0)

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw one sequence and read its answer."""
        drawn = yield from sample(question.prompt, params=self.params)
        tally = Tally(question.space)
        for completion in drawn:
            tally.add(question.read(completion), index=completion.index)
        standing = yield from count(tally)
        yield from propose(standing.leader, standing)
        return standing.leader
