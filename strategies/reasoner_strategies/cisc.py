"""CISC: a vote weighted by confidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

from reasoner import Answer, Question, SamplingParams
from reasoner.specs import CheckedOptions, Range, Samples
from reasoner.strategy import Plan, sample
from reasoner_strategies._voting.pool import proposed, rated_choice, softmax, vote


@dataclass(frozen=True, slots=True)
class Cisc(CheckedOptions):
    """A vote weighted by the confidence in each sample (Taubenfeld 2025, 2502.06233).

    The confidence is the rating of the run's verifier: `certainty` for the paper's answer likelihood, a judge for its
    P(True). The weight of a sample is exp(confidence / `softmax_temperature`), above 0: towards 0 the most confident
    sample decides, towards infinity the majority. Tune it for each model and task; 1 leaves ratings in [0, 1] nearly
    equal. What could not be rated has no vote; without any rating the majority decides.
    """

    listed_under: ClassVar[str] = "Votes"
    uses_verifier: ClassVar[bool] = True

    n: Samples = 10
    softmax_temperature: Annotated[float, Range(above=0)] = 1.0
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, rate the samples with an answer, vote by softmax."""
        drawn = yield from sample(question.prompt, n=self.n, params=self.params)
        majority = yield from proposed(vote(question, drawn))
        weights = partial(confidence_weights, temperature=self.softmax_temperature)
        return (yield from rated_choice(question, drawn, majority, weights_of=weights))


def confidence_weights(
    ratings: Sequence[float | None], temperature: float
) -> list[float | None]:
    """The softmax of the ratings; None stays None."""
    shares = softmax(ratings, temperature)
    return [
        None if rating is None else share
        for rating, share in zip(ratings, shares, strict=True)
    ]
