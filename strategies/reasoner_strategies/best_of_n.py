"""Best-of-N: draw many chains, let a verifier choose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from reasoner.answers.questions import Question
from reasoner.errors import UsageError
from reasoner.specs import Checked, Samples
from reasoner.strategy import Plan, Strategy, count_votes, sample
from reasoner.types import Answer, Completion, SamplingParams
from reasoner.voting import Tally
from reasoner_strategies._voting.gathering import Outcome, gather
from reasoner_strategies._voting.pool import proposed, rated_choice, vote


@dataclass(frozen=True, slots=True)
class BestOfN(Checked):
    """The best rated of `n` samples, or the class of answers with the highest total rating.

    `selector` "argmax" takes the answer of the best rated sample (Cobbe 2021, 2110.14168); "weighted" sums the ratings
    of each class of answers (Li 2022, 2206.02336). A sample that could not be rated drops out of the selection and
    stays in the cost. Without any rating (a single sample, a failing verifier, no budget left) the majority decides.

    With `of`, candidates are the outcomes of `n` runs of that strategy, side by side, each rated by the sequence that
    its answer comes from.
    """

    uses_verifier: ClassVar[bool] = True
    sampling: ClassVar[SamplingParams] = SamplingParams(temperature=0.8)

    n: Samples = 16
    selector: Literal["argmax", "weighted"] = "argmax"
    params: SamplingParams = SamplingParams()
    of: Strategy | None = None

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.of is not None and self.params != SamplingParams():
            raise UsageError("with `of`, sampling options belong to that strategy: set them there")

    @property
    def free_form(self) -> bool:
        """Whether it takes the best reply, rather than the class of answers with the highest total."""
        return self.selector == "argmax" and (self.of is None or bool(getattr(self.of, "free_form", False)))

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, rate those that hold an answer, select."""
        if self.of is None:
            drawn: Sequence[Completion | None] = yield from sample(question.prompt, n=self.n, params=self.params)
        else:
            drawn = yield from outcomes(self.of, self.n, question)
        majority = yield from proposed(vote(question, drawn))
        by: Literal["max", "sum"] = "max" if self.selector == "argmax" else "sum"
        return (yield from rated_choice(question, drawn, majority, by=by))


def outcomes(of: Strategy, n: int, question: Question) -> Plan[list[Completion | None]]:
    """The sequence behind the answer of each of `n` runs of a strategy; the majority is proposed as they end."""
    evidence: dict[int, Completion | None] = {}
    tally = Tally(question.space)

    def ended(index: int, outcome: Outcome) -> Plan[None]:
        evidence[index] = outcome.evidence
        tally.add(question.read(outcome.evidence) if outcome.evidence else None, index=index)
        yield from proposed(count_votes(tally))

    yield from gather((of.plan(question) for _ in range(n)), question, ended, among=n)
    return [evidence[index] for index in sorted(evidence)]
