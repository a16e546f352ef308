"""Self-consistency: draw many chains, answer with the class of answers that most of them reach."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.errors import BudgetExhausted, UsageError
from reasoner.plan import Plan, Sample, count, next_finished, propose, start
from reasoner.types import Answer, Question, SamplingParams
from reasoner.votes import Tally


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """Majority vote over `n` samples (Wang 2022, 2203.11171).

    Answers vote by equivalence class; no answer and truncated answers cost compute and never vote; ties go to the
    earliest launched. It proposes after every sample, so one run holds the result for every smaller number of samples.
    """

    uses_verifier: ClassVar[bool] = False

    n: int = 8
    params: SamplingParams = SamplingParams()

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"n={self.n} draws nothing: n is 1 or more")

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Start all samples, count each as it arrives."""
        for _ in range(self.n):
            yield from start(Sample((question.prompt,), params=self.params))
        tally, answer = Tally(question.space), None
        for _ in range(self.n):
            try:
                finished = yield from next_finished()
            except BudgetExhausted:
                break
            for completion in finished.completions:
                tally.add(question.read(completion), index=completion.index)
            standing = yield from count(tally)
            answer = standing.leader
            yield from propose(answer, standing)
        return answer
