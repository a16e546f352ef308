"""DeepConf: vote with the most confident traces, and cut the others while they are drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from reasoner import Answer, Completion, Question, SamplingParams
from reasoner.errors import UsageError
from reasoner.specs import CheckedOptions, Count, Range, Samples
from reasoner.stopping.confidence import (
    ConfidenceFloor,
    GroupMeasure,
    measured,
    sequence_confidence,
    token_confidence,
)
from reasoner.strategy import Plan, Sample, sample
from reasoner_strategies._voting.pool import RunningVote, proposed, rated_vote, vote
from reasoner_strategies._voting.stopping_vote import OrderedSampling

WARMUP, CONSENSUS, CONCURRENCY = 16, 0.95, 8
MAX_WINDOW, WINDOWS = 2048, 8
"""The paper's window, and the least number of windows in the longest trace if no window is given."""


@dataclass(frozen=True, slots=True)
class DeepConf(CheckedOptions):
    """A weighted vote without the least confident traces (Fu 2025, 2508.15260).

    A token's confidence is the mean of -log p over its `logprobs` best alternatives (1 to 20), a group's the mean over
    `window` tokens in a row, or over all of a shorter trace. The weight of a trace is its `measure`: its "lowest"
    group, the mean of the lowest tenth of its groups ("bottom_10"), of its last `window` tokens ("tail"), or of all
    ("mean").

    `mode` "offline" draws `n` traces and lets the best `keep` percent of those with an answer vote.

    "online" draws `warmup` whole traces. The lowest group that the best `keep` percent of them reach is the threshold.
    Every later trace is cut when a group falls below it. No trace with a group below it votes, also no warm-up trace
    and none that is too short to be cut. `concurrency` traces are in flight at a time and are counted in launch order.
    It stops when the leader has the share `consensus` of the weight (after the warm-up, too), or after `n` traces. With
    `n` at most `warmup` nothing is cut.

    A trace is all that the model generated, its thinking included. One shorter than `window` is not cut while it is
    drawn: set `window` to half the median length or less. The default is an eighth of `max_tokens`, at most 2,048 as in
    the paper.

    If the engine reports no log-probabilities, or no trace above the threshold has an answer, the majority decides.
    """

    listed_under: ClassVar[str] = "Votes"
    uses_verifier: ClassVar[bool] = False

    mode: Literal["offline", "online"] = "online"
    n: Samples = 64
    keep: Annotated[float, Range(above=0, at_most=100)] = 90.0
    window: Count | None = None
    measure: GroupMeasure = "lowest"
    warmup: Count = WARMUP
    consensus: Annotated[float, Range(above=0, at_most=1)] = CONSENSUS
    concurrency: Count = CONCURRENCY
    params: SamplingParams = SamplingParams(logprobs=20)

    def complete(self) -> None:
        if not self.params.logprobs:
            raise UsageError(
                f"logprobs must be from 1 to 20, as confidence is made of them (got {self.params.logprobs})"
            )
        online = (self.warmup, self.consensus, self.concurrency)
        if self.mode == "offline" and online != (WARMUP, CONSENSUS, CONCURRENCY):
            raise UsageError(
                "warmup, consensus and concurrency have no effect offline: leave them out, or mode=online"
            )
        self._check_window(self.params.max_tokens)

    def _check_window(self, limit: int | None) -> None:
        """Refuse a window that no trace of this many tokens can fill, where traces are to be cut by it."""
        if self.mode == "online" and self.window and limit and self.window > limit:
            raise UsageError(
                f"window={self.window} is longer than every trace, with max_tokens={limit}, so that none is ever cut: "
                "set it to half the median length or less"
            )

    @property
    def _window(self) -> int:
        return self.window or max(1, min(MAX_WINDOW, self.params.limit // WINDOWS))

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw traces, weight them, vote."""
        self._check_window(self.params.limit)
        return (
            yield from self._offline(question)
            if self.mode == "offline"
            else self._online(question)
        )

    def _offline(self, question: Question) -> Plan[Answer | None]:
        drawn = yield from sample(question.prompt, n=self.n, params=self.params)
        majority = yield from proposed(vote(question, drawn))
        scores = [
            self._score(trace, self.measure) if question.read(trace) else None
            for trace in drawn
        ]
        threshold = self._threshold(scores)
        if threshold is None:
            return majority.leader
        weights = [
            score if score is not None and score >= threshold else None
            for score in scores
        ]
        return (yield from proposed(rated_vote(question, drawn, weights))).leader

    def _online(self, question: Question) -> Plan[Answer | None]:
        first = yield from sample(
            question.prompt, n=min(self.warmup, self.n), params=self.params
        )
        threshold = self._threshold([self._score(trace, "lowest") for trace in first])
        votes = RunningVote(question.space)
        for trace in first:
            self._count(votes, question, trace, threshold)
        vote_state = yield from votes.publish()
        op = Sample((question.prompt,), params=self.params)
        if threshold is not None:
            op = replace(
                op,
                floor=ConfidenceFloor(
                    self._window, threshold, self.params.logprobs or 0
                ),
            )
        later = OrderedSampling(op, self.n - len(first), self.concurrency)
        while vote_state.share < self.consensus and (
            taken := (yield from later.take())
        ):
            self._count(votes, question, taken[1], threshold)
            vote_state = yield from proposed(votes.vote_state())
        yield from later.cancel()
        return vote_state.leader

    def _count(
        self,
        votes: RunningVote,
        question: Question,
        trace: Completion,
        threshold: float | None,
    ) -> None:
        """Count a trace; it votes with its weight if its lowest group reaches the threshold."""
        index, answer = votes.seen, question.read(trace)
        votes.count(answer, order=index)
        lowest = (
            self._score(trace, "lowest") if answer and threshold is not None else None
        )
        if (
            answer
            and threshold is not None
            and lowest is not None
            and lowest >= threshold
        ):
            weight = (
                lowest if self.measure == "lowest" else self._score(trace, self.measure)
            )
            votes.rate(answer, weight, order=index)

    def _score(self, completion: Completion, measure: GroupMeasure) -> float | None:
        """The confidence of a trace, 0 or more; None without usable log-probabilities."""
        top = completion.logprobs.top if completion.logprobs else ()
        if not top or not all(top) or not measured(top):
            return None
        tokens = [token_confidence(row[: self.params.logprobs]) for row in top]
        score = sequence_confidence(tokens, measure, self._window)
        return max(0.0, score) if math.isfinite(score) else None

    def _threshold(self, scores: Sequence[float | None]) -> float | None:
        """What the best `keep` percent of the scores reach, interpolated linearly; None without any."""
        import numpy as np

        known = [score for score in scores if score is not None]
        return (
            # The engine sums a group's confidences in another order; a trace exactly at the threshold
            # must not be cut
            float(np.percentile(known, 100 - self.keep)) * (1 - 1e-9) if known else None
        )
