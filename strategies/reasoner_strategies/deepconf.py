"""DeepConf: vote with the most confident traces, and cut the others while they are drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

from reasoner.confidence import ConfidenceFloor, group_confidences, lowest_tenth, measured, token_confidence
from reasoner.errors import UsageError, require, require_choice
from reasoner.plan import Plan, Sample, check_n, propose, sample
from reasoner.types import Answer, Completion, Question, SamplingParams
from reasoner_strategies._search.ordered_sampling import LaunchOrder
from reasoner_strategies._voting.pool import rated_vote, vote
from reasoner_strategies._voting.running_vote import RunningVote

Mode = Literal["offline", "online"]
Measure = Literal["lowest", "bottom_10", "tail", "mean"]
WARMUP, CONSENSUS, CONCURRENCY = 16, 0.95, 8
LONGEST_WINDOW, WINDOWS = 2048, 8
"""The paper's window, and how many windows at least fit the longest trace where none is given."""
SLACK = 1e-9
"""The engine adds up a group's confidences in another order; a trace at the threshold itself is not to be cut."""


@dataclass(frozen=True, slots=True)
class DeepConf:
    """A vote weighted by the confidence of each trace, least confident left out (Fu 2025, 2508.15260).

    A token's confidence is the mean of -log p over its `logprobs` best alternatives (1 to 20), a group's the mean over
    `window` tokens in a row, or over all of a shorter trace. A trace weighs its `measure`: its "lowest" group, the mean
    of the lowest tenth of its groups ("bottom_10"), of its last `window` tokens ("tail"), or of all ("mean").

    "offline" draws `n` traces and lets the best `keep` percent of those with an answer vote.

    "online" draws `warmup` whole traces. The lowest group that the best `keep` percent of them reach is the threshold.
    Every later trace is cut where a group falls below it, and no trace votes whose lowest group does, neither a warm-up
    nor a trace too short to be cut. `concurrency` traces are in flight at a time and looked at in launch order. It
    stops where the leader holds the share `consensus` of the weight (already after the warm-up, too), or after `n`
    traces. With `n` of `warmup` or fewer nothing is cut.

    A trace shorter than `window` is not cut while it is drawn: set `window` to half the median length or less. Without
    it, it is an eighth of `max_tokens`, 2,048 at most as in the paper.

    Where an engine reports no log-probabilities, or no trace above the threshold holds an answer, the majority decides.
    """

    uses_verifier: ClassVar[bool] = False

    mode: Mode = "online"
    n: int = 64
    keep: float = 90.0
    window: int | None = None
    measure: Measure = "lowest"
    warmup: int = WARMUP
    consensus: float = CONSENSUS
    concurrency: int = CONCURRENCY
    params: SamplingParams = SamplingParams(logprobs=20)

    def __post_init__(self) -> None:
        require_choice(self.mode, "mode", get_args(Mode))
        check_n(self.n)
        require(self.keep, "keep", above=0, at_most=100)
        require(self.window, "window", at_least=1)
        require_choice(self.measure, "measure", get_args(Measure))
        require(self.warmup, "warmup", at_least=1)
        require(self.consensus, "consensus", above=0, at_most=1)
        require(self.concurrency, "concurrency", at_least=1)
        if not self.params.logprobs:
            raise UsageError(f"logprobs={self.params.logprobs} leaves nothing to be confident by: logprobs is 1 to 20")
        if self.window is not None and self.window > self.params.max_tokens:
            longest = self.params.max_tokens
            raise UsageError(
                f"window={self.window} never fills, so nothing is cut: max_tokens is {longest}; "
                f"set window to {max(1, longest // 2)} or less, or raise max_tokens"
            )
        if self.mode == "offline" and self.measure == "mean" and self.window is not None:
            raise UsageError(f"window={self.window} has no effect offline with measure=mean: leave one of them out")
        online = (self.warmup, self.consensus, self.concurrency)
        if self.mode == "offline" and online != (WARMUP, CONSENSUS, CONCURRENCY):
            raise UsageError("warmup, consensus and concurrency have no effect offline: leave them out, or mode=online")

    @property
    def _window(self) -> int:
        return self.window or max(1, min(LONGEST_WINDOW, self.params.max_tokens // WINDOWS))

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw traces, weigh them, vote."""
        return (yield from self._offline(question) if self.mode == "offline" else self._online(question))

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
        least = percentile(known, 100 - self.keep) * (1 - SLACK) if known else None
        votes = RunningVote(question.space)
        for one in first:
            self._look(votes, question, one, least)
        standing = yield from votes.standing()
        yield from propose(standing.leader, standing)
        rest = LaunchOrder(self._later(question, least), self.n - len(first), self.concurrency)
        while standing.share < self.consensus and (completion := (yield from rest.take())) is not None:
            self._look(votes, question, completion, least)
            standing = yield from votes.standing()
            yield from propose(standing.leader, standing)
        yield from rest.cancel()
        return standing.leader

    def _later(self, question: Question, least: float | None) -> Sample:
        """How traces are drawn after the warm-up."""
        op = Sample((question.prompt,), params=self.params)
        if least is None or not self.params.logprobs:
            return op
        return replace(op, floor=ConfidenceFloor(self._window, least, self.params.logprobs))

    def _look(self, votes: RunningVote, question: Question, one: Completion, least: float | None) -> None:
        """Count a trace; it votes with its weight where its lowest group reaches `least`."""
        place, answer = votes.seen, question.read(one)
        votes.look(answer, order=place)
        lowest = self._score(one, "lowest") if answer and least is not None else None
        if answer and least is not None and lowest is not None and lowest >= least:
            votes.rate(answer, self._score(one, self.measure), order=place)

    def _score(self, completion: Completion, measure: Measure) -> float | None:
        """The confidence of a trace, 0 or more; None where its log-probabilities do not tell."""
        top = completion.logprobs.top if completion.logprobs else ()
        if not top or not all(top) or not measured(top):
            return None
        tokens = [token_confidence(row[: self.params.logprobs]) for row in top]
        if measure == "tail":
            score = _mean(tokens[-self._window :])
        elif measure == "mean":
            score = _mean(tokens)
        else:
            groups = group_confidences(tokens, self._window)
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
