"""The replies of one question so far, to say at its end which of them gives the answer."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from reasoner.types import CANCELLED, NOT_RATED, Answer, AnswerSpace, Completion, CutSamples, Rating, Reading


class _Standing(NamedTuple):
    """What decides between replies: whether the model ended it, its rating, its rank in launch order, negated."""

    ended: bool
    rating: float
    rank: int


@dataclass(slots=True)
class CutCounter:
    """How many samples of one question were cut; `limits` are the most tokens of a chain of its strategy."""

    limits: frozenset[int]
    counts: CutSamples = CutSamples()

    def add(self, granted: int, completion: Completion, limited_by: str = "") -> None:
        """Count a sequence, as cut if its chain reached its own limit, not that of a step or a budget.

        `limited_by` is the option that limits it, where its operation says so.
        """
        cut, limit = self.counts, granted + len(completion.prompt.token_ids)
        at_limit = completion.finish_reason == "length" and completion.usage.generated_tokens >= granted
        if at_limit and (limited_by or limit in self.limits):
            thinking, option = cut.thinking + completion.unclosed, limited_by or cut.option
            self.counts = CutSamples(cut.cut + 1, cut.samples + 1, thinking, max(cut.max_tokens, limit), option)
        else:
            self.counts = replace(cut, samples=cut.samples + 1)


@dataclass(slots=True)
class RatingFailures:
    """The ratings of one question that failed, not those that the budget refused."""

    failed: int = 0
    first: str = ""
    rated: bool = False

    def add(self, rating: Rating) -> None:
        """Add a rating that the plan received, or that was recorded."""
        self.rated = self.rated or rating.value is not None
        if rating.error and rating.error != CANCELLED and not rating.error.startswith(NOT_RATED):
            self.failed += 1
            self.first = self.first or rating.error

    @property
    def unrated(self) -> str:
        """That no rating succeeded, and why the first failed; empty if any did or none was tried."""
        if self.rated or not self.failed:
            return ""
        which = "the only rating" if self.failed == 1 else f"all {self.failed:,} ratings"
        return f"{which} failed ({self.first})"


@dataclass(slots=True)
class Replies:
    """The texts that a plan received, without their tokens; equal texts count once."""

    _standing: dict[tuple[str, str], _Standing] = field(default_factory=dict)
    """By the earlier steps of a chain and its last one, which are joined only when they are read."""
    _read: dict[tuple[str, str], Answer | None] = field(default_factory=dict)
    """Where the answer space does not tell the answer: None for a text that was cut, else that of its probe."""
    _readings: dict[tuple[str, str], Reading] = field(default_factory=dict)

    def add(self, completion: Completion) -> None:
        """Add a completion that the plan received."""
        text = completion.prompt.text, completion.text
        if completion.extraction:
            self._read.setdefault(text, completion.extraction.answer)
        elif completion.truncated:
            self._read[text] = None
        self._readings.setdefault(text, completion.reading)
        self._standing.setdefault(text, _Standing(completion.ended, -1.0, -completion.index))

    def rate(self, candidates: Iterable[Completion], ratings: Iterable[object]) -> None:
        """Add the ratings of candidates; what is not a rating with a value is ignored."""
        for candidate, rating in zip(candidates, ratings, strict=False):
            text = candidate.prompt.text, candidate.text
            if isinstance(rating, Rating) and rating.value is not None and text in self._standing:
                self._standing[text] = self._standing[text]._replace(rating=rating.value)

    def text_of(self, answer: Answer | None, space: AnswerSpace) -> str:
        """The best reply that gives the answer: complete, rated high, sampled early; without any, the best of all."""
        best = sorted(self._standing, key=self._standing.__getitem__, reverse=True)
        if answer is not None:
            for text in best:
                read = self._read[text] if text in self._read else self._readings[text].by(space, *text)
                if read is not None and read.key == answer.key:
                    return "".join(text)
        return "".join(best[0]) if best else ""
