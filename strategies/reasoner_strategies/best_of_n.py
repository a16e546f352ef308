"""Best-of-N: draw many chains, let a verifier choose."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from reasoner import Answer, Completion, Question, SamplingParams, VoteState
from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.texts import YesNoSpace
from reasoner.errors import UsageError
from reasoner.registry import DEFAULT_VERIFIER, VOTE_VERIFIER
from reasoner.specs import CheckedOptions, Range, Samples
from reasoner.strategy import Plan, Strategy, sample
from reasoner_strategies._voting.gathering import nested_vote
from reasoner_strategies._voting.pool import (
    Pool,
    PoolSelector,
    Weights,
    proposed,
    rated_choice,
    selects_by_rating,
    softmax,
    vote,
)


@dataclass(frozen=True, slots=True)
class BestOfN(CheckedOptions):
    """The best rated of `n` samples or of their answers.

    `selector` "argmax" takes the answer of the best rated sample (Cobbe 2021, 2110.14168); "weighted" sums the ratings
    of each class of answers (Li 2022, 2206.02336); "majority" and "last" rate nothing. "consensus" sums the ratings of
    samples with equal `parts`, such as programs that pass the same tests of `code:tests=written` (Chen 2022,
    2207.10397).

    "softmax" is a vote with the weights exp(rating / `softmax_temperature`): towards 0 the best rated sample decides,
    towards infinity the majority; 1 leaves ratings in [0, 1] nearly equal (CISC: Taubenfeld 2025, 2502.06233, by
    `certainty`). "borda" is a vote by rank: the sample of rank r among `n` has the weight (n - r + 1)^`power`, and
    equal ratings share the mean of theirs (Kang 2025, 2502.18581, by `certainty:measure=self_certainty`).

    A sample that could not be rated drops out of the selection and stays in the cost. Without any rating (a single
    sample, a failing verifier, no budget left) the majority decides.

    With `of`, candidates are the outcomes of `n` runs of that strategy, side by side, each rated by the sequence that
    its answer comes from. With `candidates` "options", nothing is drawn where a question lists options: these are
    rated, as by the verifier `likelihood`.
    """

    listed_under: ClassVar[str] = "Choice among samples"

    sampling: ClassVar[SamplingParams] = SamplingParams(temperature=0.8)

    n: Samples = 16
    selector: PoolSelector = "argmax"
    params: SamplingParams = SamplingParams()
    of: Strategy | None = None
    candidates: Literal["samples", "options"] = "samples"
    softmax_temperature: Annotated[float, Range(above=0)] = 1.0
    power: Annotated[float, Range(at_least=0, at_most=10)] = 0.5

    def complete(self) -> None:
        if self.of is not None and self.params != SamplingParams():
            raise UsageError(
                "with `of`, sampling options belong to that strategy: set them there"
            )
        if self.of is not None and self.candidates == "options":
            raise UsageError("candidates=options asks no strategy: leave `of` out")

    @property
    def uses_verifier(self) -> bool:
        """Whether its selector needs ratings, or the strategy that it chooses from does."""
        return selects_by_rating(self.selector) or (
            self.of is not None and self.of.uses_verifier
        )

    @property
    def default_verifier(self) -> str:
        """What rates where no verifier is named: for a weighted vote, certainty times checked calculations."""
        return VOTE_VERIFIER if self.selector == "weighted" else DEFAULT_VERIFIER

    @property
    def free_form(self) -> bool:
        """Whether it takes the best reply, rather than the class of answers with the highest total."""
        return self.selector in ("argmax", "last") and (
            self.of is None or bool(getattr(self.of, "free_form", False))
        )

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw and propose the majority, or list the options; rate those that hold an answer, and select."""
        options = listed(question) if self.candidates == "options" else ()
        pool: Pool = options
        majority = VoteState()
        if self.of is None and not options:
            pool = yield from sample(question.prompt, n=self.n, params=self.params)
            majority = yield from proposed(vote(question, pool))
        elif self.of is not None:
            majority, pool = yield from nested_vote(question, self.of, self.n)
        return (
            yield from rated_choice(
                question,
                pool,
                majority,
                selector=self.selector,
                weights_of=self._weights_of,
            )
        )

    def _weights_of(self, ratings: Weights) -> Weights:
        """The weights that the selector makes of ratings."""
        if self.selector == "softmax":
            return confidence_weights(ratings, self.softmax_temperature)
        if self.selector == "borda":
            return borda_weights(ratings, self.power)
        return ratings


def listed(question: Question) -> tuple[Completion, ...]:
    """The options that a question lists, each as a reply that gives it; none if it lists none."""
    space, names = question.space, tuple[str, ...]()
    if isinstance(space, ChoiceSpace):
        names = space.known
    elif isinstance(space, YesNoSpace):
        names = ("yes", "no")
    return tuple(
        Completion(question.prompt, f"The answer is {name}", (), "stop", index=index)
        for index, name in enumerate(names)
    )


def confidence_weights(ratings: Weights, temperature: float) -> list[float | None]:
    """The softmax of the ratings; None stays None."""
    shares = softmax(ratings, temperature)
    return [
        None if rating is None else share
        for rating, share in zip(ratings, shares, strict=True)
    ]


def borda_weights(ratings: Weights, power: float) -> list[float | None]:
    """The weight of each by its rank among all, best first; None stays None and ranks last."""
    rated = sorted((rating for rating in ratings if rating is not None), reverse=True)
    shared: dict[float, list[float]] = {}
    for index, rating in enumerate(rated):
        shared.setdefault(rating, []).append(float(len(ratings) - index) ** power)
    return [
        None if rating is None else sum(shared[rating]) / len(shared[rating])
        for rating in ratings
    ]
