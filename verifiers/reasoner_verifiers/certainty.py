"""Certainty: the confidence of the model in its own text, from the log-probabilities of its tokens."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Literal

from reasoner import Completion, Cost, Question, Rating
from reasoner.engine import Engine, Logprobs
from reasoner.errors import VerifierError
from reasoner.specs import CheckedOptions, Count, Range
from reasoner.types import NO_LOGPROB, Part
from reasoner.verifier import CostMeter, FreeVerifier

Measure = Literal["likelihood", "self_certainty", "lowest_group"]


@dataclass(frozen=True, slots=True)
class Certainty(CheckedOptions, FreeVerifier):
    """Rates a sequence by its own log-probabilities; it costs no tokens.

    `likelihood` is the geometric mean of the token probabilities, exp(mean log p). `self_certainty` is the divergence
    of the next-token distribution from uniform (Kang 2025, 2502.18581), here over the `top_k` best alternatives
    renormalised, mapped to [0, 1) by 1 - exp(-x). Over the full vocabulary it would be another statistic.

    `lowest_group` is DeepConf's (Fu 2025, 2508.15260). A token's confidence C is the mean of -log p over its `top_k`
    best alternatives, a group's the mean over `window` tokens in a row, or over all of a shorter sequence, and the
    lowest group counts. As C is at least log(top_k), 1 - log(top_k) / C maps it to [0, 1) in its own order. The paper
    has top_k=20, window=2048.

    `measure` is what the log-probabilities of a sequence are reduced to, and `part` is which of its tokens count: those
    of its "thinking", of its "final" part, or "all".
    """

    measure: Measure = "likelihood"
    top_k: Annotated[int, Range(at_least=2, at_most=20)] = 5
    window: Count = 2048
    part: Part = "all"

    @property
    def logprobs(self) -> int:
        """Alternatives needed per token."""
        return 0 if self.measure == "likelihood" else self.top_k

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The certainty of one sequence."""
        if candidate.logprobs is None or not candidate.logprobs.sampled:
            raise VerifierError(
                "the sequence has no log-probabilities: this engine does not report them"
            )
        sampled = candidate.rows_of(candidate.logprobs.sampled, self.part)
        top = candidate.rows_of(candidate.logprobs.top, self.part)
        if not sampled:
            raise VerifierError(
                f"the sequence has no log-probabilities of its {self.part} part: choose another part"
            )
        return Rating(min(1.0, max(0.0, self._value(Logprobs(sampled, top)))), Cost())

    def _value(self, logprobs: Logprobs) -> float:
        if not _measured([logprobs.sampled]):
            raise VerifierError(
                "the engine reported no log-probability for some of the sampled tokens"
            )
        if self.measure == "likelihood":
            return math.exp(_mean(logprobs.sampled))
        if not logprobs.top:
            raise VerifierError(
                "the sequence has no alternatives' log-probabilities: this engine does not report them"
            )
        best = [row[: self.top_k] for row in logprobs.top]
        if not _measured(best):
            raise VerifierError(
                "the engine reported no log-probability for some of the best alternatives"
            )
        if self.measure == "self_certainty":
            return -math.expm1(-_mean([_divergence_from_uniform(row) for row in best]))
        confidence = _lowest_group([-_mean(row) for row in best], self.window)
        return 1 - math.log(self.top_k) / confidence if confidence > 0 else 0.0


def _measured(rows: Iterable[Sequence[float]]) -> bool:
    """Whether all these log-probabilities were measured.

    vLLM's servers report -9999 where they have none, for example if another request of the batch watches token ids.
    """
    return all(value > NO_LOGPROB for row in rows for value in row)


def _lowest_group(confidences: Sequence[float], window: int) -> float:
    """The lowest mean over `window` consecutive tokens, or the mean of all if there are fewer."""
    if len(confidences) <= window:
        return _mean(confidences)
    sums = [0.0, *accumulate(confidences)]
    return min(
        (sums[end] - sums[end - window]) / window for end in range(window, len(sums))
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _divergence_from_uniform(top: Sequence[float]) -> float:
    """KL(uniform || p) over the given alternatives, renormalised: 0 when all are equally likely."""
    norm = math.log(math.fsum(math.exp(p) for p in top))
    return max(0.0, -_mean([math.log(len(top)) + p - norm for p in top]))
