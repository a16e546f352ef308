"""Self-consistency: draw many chains, answer with the class of answers that most of them reach."""

from collections.abc import Sequence
from dataclasses import dataclass

from reasoner.errors import BudgetExhausted, UsageError
from reasoner.plan import Plan, Sample, check_n, count, next_finished, propose, start
from reasoner.protocols import StopRule, Strategy
from reasoner.together import Outcome, together
from reasoner.types import Answer, Completion, Question, SamplingParams, Standing
from reasoner.votes import Tally
from reasoner_strategies._voting.stopping_vote import WINDOW, check_stop, stopping_vote


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """Majority vote over `n` samples (Wang 2022, 2203.11171).

    Answers vote by equivalence class; no answer and truncated answers cost compute and never vote; ties go to the
    earliest launched. It proposes after every sample, so one run holds the result for every smaller number of samples.

    With `stop`, at most `n` are drawn: they are looked at in launch order, `window` in flight at a time, until the rule
    says that it is enough; those still running are then cancelled and paid. The answer depends neither on what finishes
    first nor on `window`. Rules that look ahead take `n` for their horizon.

    With `of`, the answers of `n` runs of that strategy vote, which run side by side.
    """

    n: int = 8
    params: SamplingParams = SamplingParams()
    of: Strategy | None = None
    stop: StopRule | None = None
    window: int = WINDOW

    def __post_init__(self) -> None:
        check_n(self.n)
        if self.of is not None and self.params != SamplingParams():
            raise UsageError("with `of`, how sequences are drawn is an option of that strategy: set it there")
        check_stop(self.stop, self.window, self.of)

    @property
    def uses_verifier(self) -> bool:
        """Only where the strategy that it votes over does."""
        return self.of is not None and self.of.uses_verifier

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Start all samples, count each as it arrives; with a rule, launch order."""
        if self.of is not None:
            return (yield from self._over(self.of, question))
        if self.stop is not None:
            return (yield from self.going_on(question, ()))
        yield from start(Sample((question.prompt,), params=self.params), self.n, cancellable=False)
        tally, answer = Tally(question.space, most=self.n), None
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

    def going_on(self, question: Question, drawn: Sequence[Completion]) -> Plan[Answer | None]:
        """The same vote where these samples, drawn with its `params`, are there already."""
        window = self.n if self.stop is None else self.window
        return (yield from stopping_vote(question, self.params, n=self.n, window=window, rule=self.stop, drawn=drawn))

    def _over(self, of: Strategy, question: Question) -> Plan[Answer | None]:
        tally, standing = Tally(question.space, most=self.n), Standing()

        def told(place: int, outcome: Outcome) -> Plan[None]:
            nonlocal standing
            tally.add(outcome.answer, index=place)
            standing = yield from count(tally)
            yield from propose(standing.leader, standing)

        yield from together((of.plan(question) for _ in range(self.n)), question, told, among=self.n)
        return standing.leader
