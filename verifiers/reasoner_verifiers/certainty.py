"""Certainty: how sure the model was of what it wrote, from the log-probabilities it reported anyway."""

import math
from dataclasses import dataclass
from typing import Literal

from reasoner.budget import Cost
from reasoner.errors import UsageError, VerifierError
from reasoner.protocols import Engine
from reasoner.types import Completion, Logprobs, Question, Rating


@dataclass(frozen=True, slots=True)
class Certainty:
    """Rates a sequence by its own log-probabilities; it costs no tokens.

    `measure` "likelihood" is the geometric mean of the token probabilities, exp(mean log p). "self_certainty" is the
    divergence of the next-token distribution from uniform (Kang 2025, 2502.18581), here over the `top_k` best
    alternatives renormalised, mapped to [0, 1) by 1 - exp(-x). Over the full vocabulary it would be another statistic.
    """

    measure: Literal["likelihood", "self_certainty"] = "likelihood"
    top_k: int = 5

    def __post_init__(self) -> None:
        if self.measure not in ("likelihood", "self_certainty"):
            raise UsageError(f"measure={self.measure!r} does not exist: choose likelihood or self_certainty")
        if not 2 <= self.top_k <= 20:
            raise UsageError(f"top_k={self.top_k} is out of range: top_k is 2 to 20")

    @property
    def logprobs(self) -> int:
        """Alternatives needed per token."""
        return self.top_k if self.measure == "self_certainty" else 0

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """Nothing: the log-probabilities came with the sample."""
        return Cost()

    async def score(self, question: Question, candidate: Completion, policy: Engine) -> Rating:
        """The certainty of one sequence.

        Raises:
            VerifierError: the sequence carries no log-probabilities.
        """
        if candidate.logprobs is None or not candidate.logprobs.sampled:
            raise VerifierError("the sequence has no log-probabilities: this engine does not report them")
        if self.measure == "likelihood":
            return Rating(min(1.0, math.exp(_mean(candidate.logprobs.sampled))), Cost())
        return Rating(-math.expm1(-self._self_certainty(candidate.logprobs)), Cost())

    def _self_certainty(self, logprobs: Logprobs) -> float:
        if not logprobs.top:
            raise VerifierError("the sequence has no alternatives' log-probabilities: this engine does not report them")
        return _mean([_divergence_from_uniform(top[: self.top_k]) for top in logprobs.top])


def _mean(values: tuple[float, ...] | list[float]) -> float:
    return math.fsum(values) / len(values)


def _divergence_from_uniform(top: tuple[float, ...]) -> float:
    """KL(uniform || p) over the given alternatives, renormalised: 0 when all are equally likely."""
    norm = math.log(math.fsum(math.exp(p) for p in top))
    return max(0.0, -_mean([math.log(len(top)) + p - norm for p in top]))
