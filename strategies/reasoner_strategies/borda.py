"""Borda vote: samples are weighted by rank, not by rating."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

from reasoner import Answer, Question, SamplingParams
from reasoner.specs import CheckedOptions, Range, Samples
from reasoner.strategy import Plan, sample
from reasoner_strategies._voting.pool import proposed, rated_choice, vote


@dataclass(frozen=True, slots=True)
class Borda(CheckedOptions):
    """A vote weighted by the rank of each sample (Kang 2025, 2502.18581).

    The sample of rank r among `n` has the weight (n - r + 1)^`power`. The run's verifier ranks;
    `certainty:measure=self_certainty` is the paper's. Equal ratings share the mean of their weights. A sample without
    an answer or a rating takes one of the last ranks and has no vote; without any rating the majority decides. `power`
    is 0 (the majority of what was rated) to 10; the paper's code has 0.5.
    """

    listed_under: ClassVar[str] = "Votes"
    uses_verifier: ClassVar[bool] = True

    n: Samples = 16
    power: Annotated[float, Range(at_least=0, at_most=10)] = 0.5
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, rate the samples with an answer, vote by rank."""
        drawn = yield from sample(question.prompt, n=self.n, params=self.params)
        majority = yield from proposed(vote(question, drawn))
        weights = partial(borda_weights, power=self.power)
        return (yield from rated_choice(question, drawn, majority, weights_of=weights))


def borda_weights(ratings: Sequence[float | None], power: float) -> list[float | None]:
    """The weight of each by its rank among all, best first; None stays None and ranks last."""
    rated = sorted((rating for rating in ratings if rating is not None), reverse=True)
    shared: dict[float, list[float]] = {}
    for index, rating in enumerate(rated):
        shared.setdefault(rating, []).append(float(len(ratings) - index) ** power)
    return [
        None if rating is None else sum(shared[rating]) / len(shared[rating])
        for rating in ratings
    ]
