"""What a plan has seen: the results that it has received, what they cost, and what it has said about them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from reasoner.budget import NO_COST, Cost
from reasoner.execution.executor import OperationExecutor
from reasoner.execution.programs import with_output
from reasoner.strategy import Execute, Finished, Note, Score
from reasoner.types import (
    CANCELLED,
    NOT_RATED,
    Answer,
    AnswerSpace,
    Completion,
    CutSamples,
    Extraction,
    Proposal,
    Rating,
    Reading,
)

Examination = Score | Execute
"""What a plan asks about replies that it has; it may wait for it at once, or start it."""


@dataclass(slots=True)
class _Text:
    """A text that a plan received, and what decides between it and others; equal texts count once."""

    ended: bool
    index: int
    reading: Reading
    rating: float = -1.0
    cut: bool = False
    extracted: Answer | None = None
    """The answer of its probe."""


@dataclass(slots=True)
class RatingFailures:
    """The ratings of one question that failed, not those that the budget refused."""

    failed: int = 0
    first: str = ""
    rated: bool = False

    def add(self, rating: Rating) -> None:
        """Add a rating that the plan received, or that was recorded."""
        self.rated = self.rated or rating.value is not None
        if (
            rating.error
            and rating.error != CANCELLED
            and not rating.error.startswith(NOT_RATED)
        ):
            self.failed += 1
            self.first = self.first or rating.error

    @property
    def unrated(self) -> str:
        """That no rating succeeded, and why the first failed; empty if any did or none was tried."""
        if self.rated or not self.failed:
            return ""
        which = (
            "the only rating" if self.failed == 1 else f"all {self.failed:,} ratings"
        )
        return f"{which} failed ({self.first})"


@dataclass(slots=True)
class PlanView:
    """What the plan of one question has seen; `limits` are the most tokens of its chains."""

    executor: OperationExecutor
    limits: frozenset[int]
    cost: Cost = NO_COST
    """The cost of all received results."""
    failures: RatingFailures = field(default_factory=RatingFailures)
    remarks: list[Note] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    confidence: float | None = None
    """How sure the last proposal is, where it has a leader."""
    cut: CutSamples = CutSamples()
    _texts: dict[tuple[str, str], _Text] = field(default_factory=dict)
    """By the earlier steps of a chain and its last one, which are joined only when they are read."""

    @property
    def now(self) -> int:
        """The virtual time: where the latest of the received results ended."""
        return self.cost.sequential_tokens

    @property
    def best(self) -> Answer | None:
        """The answer that it has proposed last."""
        return self.proposals[-1].answer if self.proposals else None

    def receive(self, finished: Finished, op: Examination | None) -> None:
        """Add the results of an operation; `op` is the examination, None for samples."""
        if op is None:
            self.receive_completions(finished.completions, finished.end)
            return
        for rating in finished.ratings:
            self.cost += rating.cost
            self.failures.add(rating)
        program = finished.execution
        if isinstance(op, Execute) and op.reply and program and not program.failure:
            self.add(with_output(op.reply, program, self.executor.question.space))

    def receive_probes(
        self, chains: Iterable[Completion], extractions: Iterable[Extraction | None]
    ) -> None:
        """Add what the model said of chains that had no answer."""
        for chain, extraction in zip(chains, extractions, strict=True):
            self.add(replace(chain, extraction=extraction))
            self.cost += extraction.cost.taking(0) if extraction else NO_COST

    def receive_completions(self, completions: Sequence[Completion], end: int) -> None:
        """Add the sequences of an operation that ended at a virtual time."""
        for completion in completions:
            self.add(completion)
            if completion.usage.prompt_tokens or completion.usage.generated_tokens:
                # Each is waited for until all of the operation have ended.
                self.cost += self.executor.cost_of(
                    completion, at=end - completion.usage.generated_tokens
                )
            if completion.extraction:
                self.cost += completion.extraction.cost

    def add(self, completion: Completion) -> None:
        """Add a completion that the plan received."""
        key = completion.prompt.text, completion.text
        text = self._texts.setdefault(
            key, _Text(completion.ended, completion.index, completion.reading)
        )
        probed = completion.extraction.answer if completion.extraction else None
        text.extracted = text.extracted or probed
        text.cut = text.cut or (completion.truncated and probed is None)

    def count(self, granted: int, completion: Completion, limited_by: str) -> None:
        """Count a sequence, as cut if its chain reached its own limit, not a step's or a budget's.

        `limited_by` is the option that limits it, where its operation says so.
        """
        cut, limit = self.cut, granted + len(completion.prompt.token_ids)
        at_limit = (
            completion.finish_reason == "length"
            and completion.usage.generated_tokens >= granted
        )
        if at_limit and (limited_by or limit in self.limits):
            thinking, option = (
                cut.thinking + completion.unclosed,
                limited_by or cut.option,
            )
            self.cut = CutSamples(
                cut.cut + 1,
                cut.samples + 1,
                thinking,
                max(cut.max_tokens, limit),
                option,
            )
        else:
            self.cut = CutSamples(
                cut.cut, cut.samples + 1, cut.thinking, cut.max_tokens, cut.option
            )

    def rate(self, candidates: Iterable[Completion], ratings: Iterable[object]) -> None:
        """Add the ratings of candidates; what is not a rating with a value is ignored."""
        for candidate, rating in zip(candidates, ratings, strict=False):
            text = self._texts.get((candidate.prompt.text, candidate.text))
            if text and isinstance(rating, Rating) and rating.value is not None:
                text.rating = rating.value

    def text_of(self, answer: Answer | None, space: AnswerSpace) -> str:
        """The best reply that gives the answer: complete, rated high, sampled early; without any, the best of all."""
        best = sorted(
            self._texts.items(),
            key=lambda item: (not item[1].ended, -item[1].rating, item[1].index),
        )
        if answer is not None:
            for key, text in best:
                read = text.extracted or (
                    None if text.cut else text.reading.by(space, *key)
                )
                if read is not None and read.key == answer.key:
                    return "".join(key)
        return "".join(best[0][0]) if best else ""
