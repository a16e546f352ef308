"""Best-of-N: draw many chains, let a verifier choose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from reasoner.errors import BudgetExhausted, UsageError
from reasoner.plan import Plan, count, propose, sample, score
from reasoner.types import Answer, Completion, Question, Rating, SamplingParams
from reasoner.votes import Tally


@dataclass(frozen=True, slots=True)
class BestOfN:
    """The best rated of `n` samples, or the class of answers with the highest total rating.

    `selector` "argmax" takes the answer of the best rated sample (Cobbe 2021, 2110.14168); "weighted" sums the ratings
    of each class of answers (Li 2022, 2206.02336). A sample that could not be rated drops out of the selection and
    stays in the cost. Without any rating (a single sample, a failing verifier, no budget left) the majority decides.
    """

    uses_verifier: ClassVar[bool] = True

    n: int = 16
    selector: Literal["argmax", "weighted"] = "argmax"
    params: SamplingParams = SamplingParams(temperature=0.8)

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"n={self.n} draws nothing: n is 1 or more")
        if self.selector not in ("argmax", "weighted"):
            raise UsageError(f"selector={self.selector!r} does not exist: choose argmax or weighted")

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, rate those that hold an answer, select."""
        drawn = yield from sample(question.prompt, n=self.n, params=self.params)
        answers = [question.read(completion) for completion in drawn]
        tally = Tally(question.space)
        for completion, answer in zip(drawn, answers, strict=True):
            tally.add(answer, index=completion.index)
        majority = yield from count(tally)
        yield from propose(majority.leader, majority)
        answered = [completion for completion, answer in zip(drawn, answers, strict=True) if answer]
        if len(answered) < 2:
            return majority.leader
        try:
            ratings = yield from score(question, answered)
        except BudgetExhausted:
            return majority.leader
        by_index = dict(zip((c.index for c in answered), ratings, strict=True))
        chosen = yield from count(self._weighed(question, drawn, by_index))
        if chosen.leader is None:
            return majority.leader
        yield from propose(chosen.leader, chosen)
        return chosen.leader

    def _weighed(self, question: Question, drawn: Sequence[Completion], ratings: Mapping[int, Rating]) -> Tally:
        tally = Tally(question.space, by="max" if self.selector == "argmax" else "sum")
        for completion in drawn:
            rating = ratings.get(completion.index)
            if rating is None or rating.value is None:
                tally.add(None, index=completion.index)
            else:
                tally.add(question.read(completion), index=completion.index, weight=rating.value)
        return tally
