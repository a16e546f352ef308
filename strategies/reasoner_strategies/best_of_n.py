"""Best-of-N: draw many chains, let a verifier choose."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner import Answer, Question, SamplingParams
from reasoner.errors import UsageError
from reasoner.specs import CheckedOptions, Samples
from reasoner.strategy import Plan, Strategy, sample
from reasoner_strategies._voting.gathering import nested_vote
from reasoner_strategies._voting.pool import (
    Pool,
    PoolSelector,
    proposed,
    rated_choice,
    selects_by_rating,
    vote,
)


@dataclass(frozen=True, slots=True)
class BestOfN(CheckedOptions):
    """The best rated of `n` samples or of their answers.

    `selector` "argmax" takes the answer of the best rated sample (Cobbe 2021, 2110.14168); "weighted" sums the ratings
    of each class of answers (Li 2022, 2206.02336); "majority" and "last" rate nothing. "consensus" sums the ratings of
    samples with equal `parts`, such as programs that pass the same tests of `code:tests=written` (Chen 2022,
    2207.10397). A sample that could not be rated drops out of the selection and stays in the cost. Without any rating
    (a single sample, a failing verifier, no budget left) the majority decides.

    With `of`, candidates are the outcomes of `n` runs of that strategy, side by side, each rated by the sequence that
    its answer comes from.
    """

    listed_under: ClassVar[str] = "Choice among samples"

    sampling: ClassVar[SamplingParams] = SamplingParams(temperature=0.8)

    n: Samples = 16
    selector: PoolSelector = "argmax"
    params: SamplingParams = SamplingParams()
    of: Strategy | None = None

    def complete(self) -> None:
        if self.of is not None and self.params != SamplingParams():
            raise UsageError(
                "with `of`, sampling options belong to that strategy: set them there"
            )

    @property
    def uses_verifier(self) -> bool:
        """Whether its selector needs ratings, or the strategy that it chooses from does."""
        return selects_by_rating(self.selector) or (
            self.of is not None and self.of.uses_verifier
        )

    @property
    def free_form(self) -> bool:
        """Whether it takes the best reply, rather than the class of answers with the highest total."""
        return self.selector in ("argmax", "last") and (
            self.of is None or bool(getattr(self.of, "free_form", False))
        )

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, rate those that hold an answer, select."""
        if self.of is None:
            pool: Pool = yield from sample(
                question.prompt, n=self.n, params=self.params
            )
            majority = yield from proposed(vote(question, pool))
        else:
            majority, pool = yield from nested_vote(question, self.of, self.n)
        return (
            yield from rated_choice(question, pool, majority, selector=self.selector)
        )
