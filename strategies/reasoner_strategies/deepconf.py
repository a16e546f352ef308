"""DeepConf: vote with the most confident traces, and cut the others while they are drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

from reasoner.confidence import ConfidenceFloor, group_confidences, lowest_tenth, token_confidence
from reasoner.errors import UsageError
from reasoner.plan import MOST_SAMPLES, Plan, Sample, count, propose, sample
from reasoner.types import Answer, Completion, Question, SamplingParams
from reasoner.votes import Tally
from reasoner_strategies.launching import LaunchOrder
from reasoner_strategies.pool import rated_vote, vote

Mode = Literal["offline", "online"]
Measure = Literal["lowest", "bottom_10", "tail"]
WARMUP, CONSENSUS, CONCURRENCY = 16, 0.95, 8
SLACK = 1e-9
"""The engine adds up a group's confidences in another order; a trace at the threshold itself is not to be cut."""


@dataclass(frozen=True, slots=True)
class DeepConf:
    """A vote weighted by the confidence of each trace, least confident left out (Fu 2025, 2508.15260).

    A token's confidence is the mean of -log p over its `logprobs` best alternatives (1 to 20), a group's the mean over
    `window` tokens in a row, or over all of a shorter trace. A trace weighs its `measure`: its "lowest" group, the mean
    of the lowest tenth of its groups ("bottom_10"), or of its last `window` tokens ("tail").

    "offline" draws `n` traces and lets the best `keep` percent of those with an answer vote.

    "online" draws `warmup` whole traces. The lowest group that the best `keep` percent of them reach is the threshold:
    every later trace is cut where a group falls below it, and a warm-up that would have been cut does not vote.
    `concurrency` traces are in flight at a time and looked at in launch order. It stops where the leader holds the
    share `consensus` of the weight (already after the warm-up, too), or after `n` traces. A trace shorter than `window`
    is never cut: set `window` to half the median length or less. With `n` of `warmup` or fewer nothing is cut.

    Where an engine reports no log-probabilities the majority decides.
    """

    uses_verifier: ClassVar[bool] = False

    mode: Mode = "online"
    n: int = 64
    keep: float = 90.0
    window: int = 2048
    measure: Measure = "lowest"
    warmup: int = WARMUP
    consensus: float = CONSENSUS
    concurrency: int = CONCURRENCY
    params: SamplingParams = SamplingParams(logprobs=20)

    def __post_init__(self) -> None:
        ranges: tuple[tuple[str, bool, str], ...] = (
            ("mode", self.mode in get_args(Mode), "offline or online"),
            ("n", 1 <= self.n <= MOST_SAMPLES, f"1 to {MOST_SAMPLES:,} traces"),
            ("keep", 0 < self.keep <= 100, "above 0, up to 100 percent"),
            ("window", self.window >= 1, "1 token or more"),
            ("measure", self.measure in get_args(Measure), ", ".join(get_args(Measure))),
            ("warmup", self.warmup >= 1, "1 trace or more"),
            ("consensus", 0 < self.consensus <= 1, "a share of the weight, above 0, up to 1"),
            ("concurrency", self.concurrency >= 1, "1 trace in flight or more"),
        )
        for name, fine, allowed in ranges:
            if not fine:
                raise UsageError(f"{name}={getattr(self, name)} is out of range: {name} is {allowed}")
        if not self.params.logprobs:
            raise UsageError(f"logprobs={self.params.logprobs} leaves nothing to be confident by: logprobs is 1 to 20")
        online = (self.warmup, self.consensus, self.concurrency)
        if self.mode == "offline" and online != (WARMUP, CONSENSUS, CONCURRENCY):
            raise UsageError("warmup, consensus and concurrency have no effect offline: leave them out, or mode=online")

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw traces, weigh them, vote."""
        answer = yield from self._offline(question) if self.mode == "offline" else self._online(question)
        return answer

    def _offline(self, question: Question) -> Plan[Answer | None]:
        drawn = yield from sample(question.prompt, n=self.n, params=self.params)
        majority = yield from vote(question, drawn)
        yield from propose(majority.leader, majority)
        scores = [self._score(one, self.measure) if question.read(one) else None for one in drawn]
        known = [score for score in scores if score is not None]
        if not known:
            return majority.leader
        least = percentile(known, 100 - self.keep)
        kept = [score if score is not None and score >= least else None for score in scores]
        standing = yield from rated_vote(question, drawn, kept)
        yield from propose(standing.leader, standing)
        return standing.leader

    def _online(self, question: Question) -> Plan[Answer | None]:
        first = yield from sample(question.prompt, n=min(self.warmup, self.n), params=self.params)
        lowest = [self._score(one, "lowest") for one in first]
        known = [score for score in lowest if score is not None]
        least = percentile(known, 100 - self.keep) if known else None
        tally = Tally(question.space)
        for place, (one, score) in enumerate(zip(first, lowest, strict=True)):
            short = len(one.token_ids) < self.window
            kept = least is None or (score is not None and (short or score >= least))
            self._add(tally, question, one if kept else None, place, weighed=least is not None)
        standing = yield from count(tally)
        yield from propose(standing.leader, standing)
        rest = LaunchOrder(self._later(question, least), self.n - len(first), self.concurrency)
        place = len(first)
        while standing.share < self.consensus and (completion := (yield from rest.take())) is not None:
            self._add(tally, question, completion, place, weighed=least is not None)
            place += 1
            standing = yield from count(tally)
            yield from propose(standing.leader, standing)
        yield from rest.cancel()
        return standing.leader

    def _later(self, question: Question, least: float | None) -> Sample:
        """How traces are drawn after the warm-up."""
        op = Sample((question.prompt,), params=self.params)
        if least is None or not self.params.logprobs:
            return op
        return replace(op, floor=ConfidenceFloor(self.window, least * (1 - SLACK), self.params.logprobs))

    def _add(self, tally: Tally, question: Question, one: Completion | None, place: int, *, weighed: bool) -> None:
        weight = (self._score(one, self.measure) if weighed else 1.0) if one else None
        answer = question.read(one) if one and weight is not None else None
        tally.add(answer, index=place, weight=weight or 0.0)

    def _score(self, completion: Completion, measure: Measure) -> float | None:
        """The confidence of a trace, 0 or more; None where its log-probabilities do not tell."""
        top = completion.logprobs.top if completion.logprobs else ()
        if not top or not all(top):
            return None
        tokens = [token_confidence(row[: self.params.logprobs]) for row in top]
        if measure == "tail":
            score = _mean(tokens[-self.window :])
        else:
            groups = group_confidences(tokens, self.window)
            score = min(groups) if measure == "lowest" else lowest_tenth(groups)
        return max(0.0, score) if math.isfinite(score) else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of these lie below, between two of them in proportion."""
    ranked = sorted(values)
    place = (len(ranked) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (place - below) * (ranked[above] - ranked[below])
