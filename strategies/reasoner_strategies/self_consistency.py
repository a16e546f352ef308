"""Self-consistency: draw many chains, answer with the class of answers that most of them reach."""

from dataclasses import dataclass

from reasoner.errors import BudgetExhausted, UsageError
from reasoner.plan import Plan, Sample, count, next_finished, propose, start
from reasoner.protocols import Strategy
from reasoner.together import Outcome, together
from reasoner.types import Answer, Question, SamplingParams, Standing
from reasoner.votes import Tally


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """Majority vote over `n` samples (Wang 2022, 2203.11171).

    Answers vote by equivalence class; no answer and truncated answers cost compute and never vote; ties go to the
    earliest launched. It proposes after every sample, so one run holds the result for every smaller number of samples.

    With `of`, the answers of `n` runs of that strategy vote, which run side by side.
    """

    n: int = 8
    params: SamplingParams = SamplingParams()
    of: Strategy | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"n={self.n} draws nothing: n is 1 or more")
        if self.of is not None and self.params != SamplingParams():
            raise UsageError("with `of`, how sequences are drawn is an option of that strategy: set it there")

    @property
    def uses_verifier(self) -> bool:
        """Only where the strategy that it votes over does."""
        return self.of is not None and self.of.uses_verifier

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Start all samples, count each as it arrives."""
        if self.of is not None:
            answer = yield from self._over(self.of, question)
            return answer
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

    def _over(self, of: Strategy, question: Question) -> Plan[Answer | None]:
        found: dict[int, Answer | None] = {}
        standing = Standing()

        def told(place: int, outcome: Outcome) -> Plan[None]:
            nonlocal standing
            found[place] = outcome.answer
            tally = Tally(question.space)
            for at, answer in found.items():
                tally.add(answer, index=at)
            standing = yield from count(tally)
            yield from propose(standing.leader, standing)

        yield from together([of.plan(question) for _ in range(self.n)], question, told)
        return standing.leader
