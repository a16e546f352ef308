"""DeepConf: vote with the most confident traces, and end the others early."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Final

from reasoner import Answer, Completion, Question, SamplingParams
from reasoner.errors import UsageError
from reasoner.specs import CheckedOptions, Count, Range, Samples
from reasoner.stopping.confidence import measured, sequence_confidence, token_confidence
from reasoner.strategy import BudgetExhausted, Plan, sample
from reasoner_strategies._search.steps import Path, StepOptions
from reasoner_strategies._voting.pool import RunningVote
from reasoner_strategies._voting.self_comparison import replies_to

CONSENSUS: Final = 0.95
BATCH: Final = 8
"""Traces that are drawn side by side after the warm-up."""
MAX_WINDOW, WINDOWS = 2048, 8
"""The paper's window, and the least number of windows in the longest trace if no window is given."""


@dataclass(frozen=True, slots=True)
class DeepConf(CheckedOptions):
    """A weighted vote without the least confident traces (Fu 2025, 2508.15260).

    A token's confidence is the mean of -log p over its `logprobs` best alternatives (1 to 20), a group's the mean over
    `window` tokens in a row, or over all of a shorter trace. A trace weighs as much as its lowest group.

    `warmup` traces are drawn whole. The lowest group that the best `keep` percent of them reach is the threshold: no
    trace with a group below it votes. Later traces are drawn 8 at a time, in segments of `window` tokens, and one with
    a group below the threshold ends there; the paper ends it at the token. It stops once the leader has 0.95 of the
    weight, after the warm-up too, or after `n` traces.

    A trace is all that the model generated, its thinking included. Set `window` to half the median length or less: a
    shorter trace is not ended early. The default is an eighth of `max_tokens`, at most 2,048 as in the paper.

    If the engine reports no log-probabilities, or no trace above the threshold has an answer, the majority decides.
    """

    listed_under: ClassVar[str] = "Votes"
    uses_verifier: ClassVar[bool] = False

    n: Samples = 64
    keep: Annotated[float, Range(above=0, at_most=100)] = 90.0
    window: Count | None = None
    warmup: Count = 16
    params: SamplingParams = SamplingParams(logprobs=20)

    def complete(self) -> None:
        if not self.params.logprobs:
            raise UsageError(
                f"logprobs must be from 1 to 20, as confidence is made of them (got {self.params.logprobs})"
            )

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw and count the warm-up; then batch after batch, segment by segment."""
        import numpy as np

        limit, votes = self.params.limit, RunningVote(question.space)
        window = self.window or max(1, min(MAX_WINDOW, limit // WINDOWS))
        segments = StepOptions(
            step="", step_tokens=window, max_steps=limit + 1, params=self.params
        )
        drawn = yield from sample(
            question.prompt, n=min(self.warmup, self.n), params=self.params
        )
        batch = [_Trace(window, Path(question.prompt)) for _ in drawn]
        for trace, completion in zip(batch, drawn, strict=True):
            trace.grow(segments, completion)
        known = [trace.lowest for trace in batch if trace.lowest is not None]
        # A trace exactly at the threshold is kept, whatever was rounded.
        threshold = (
            float(np.percentile(known, 100 - self.keep)) * (1 - 1e-9) if known else 0.0
        )
        more = True
        while True:
            for trace in batch:
                trace.count(question, votes, threshold)
            vote_state = yield from votes.publish()
            left = self.n - votes.seen
            if not (more and left) or vote_state.share >= CONSENSUS:
                return vote_state.leader
            batch = [
                _Trace(window, Path(question.prompt)) for _ in range(min(BATCH, left))
            ]
            try:
                while growing := [each for each in batch if each.grows(threshold)]:
                    yield from _grow(segments, growing)
            except BudgetExhausted:
                more, batch = False, [each for each in batch if each.path.finished]


@dataclass(slots=True, eq=False)
class _Trace:
    """A trace so far, with the confidences of its tokens; None where they were not reported."""

    window: int
    path: Path
    tokens: list[float] | None = field(default_factory=list)

    @property
    def lowest(self) -> float | None:
        """The confidence of its lowest group, 0 or more; None if it is unknown."""
        if not self.tokens:
            return None
        score = sequence_confidence(self.tokens, "lowest", self.window)
        return max(0.0, score) if math.isfinite(score) else None

    def below(self, threshold: float) -> bool:
        """Whether a group is below the threshold."""
        return self.lowest is not None and self.lowest < threshold

    def grows(self, threshold: float) -> bool:
        """Whether it has a next segment."""
        return self.path.open and not self.below(threshold)

    def grow(self, segments: StepOptions, completion: Completion) -> None:
        """Append what was drawn."""
        self.path = segments.grown(self.path, completion, order=0)
        top = completion.logprobs.top if completion.logprobs else ()
        if self.tokens is None or not top or not all(top) or not measured(top):
            self.tokens = None
            return
        self.tokens += [
            token_confidence(row[: segments.params.logprobs]) for row in top
        ]

    def count(self, question: Question, votes: RunningVote, threshold: float) -> None:
        """Count it; it votes with its lowest group if that reaches the threshold."""
        order = votes.seen
        answer = question.read(self.path.last) if self.path.last else None
        votes.count(answer, order=order)
        if answer and not self.below(threshold):
            votes.rate(answer, self.lowest, order=order)


def _grow(segments: StepOptions, traces: Sequence[_Trace]) -> Plan[None]:
    """Draw the next segment of traces of one length; one that the budget refused ends."""
    prompts = [trace.path.prompt for trace in traces]
    params = segments.draws(traces[0].path)
    drawn = yield from replies_to(prompts, params, answers=True)
    for trace, completion in zip(traces, drawn, strict=True):
        if completion:
            trace.grow(segments, completion)
        else:
            trace.path = replace(trace.path, cut=True)
