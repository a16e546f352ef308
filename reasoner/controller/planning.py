"""What a budget is expected to bring, what an accuracy is expected to cost, and how many sequences fit the cache."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Final, NamedTuple

from reasoner.controller.choosing import Estimate, shrunk
from reasoner.controller.frontier import Mix, Point, fill, hull
from reasoner.controller.profile import LEAST_QUESTIONS, ArmRow, Family
from reasoner.errors import UsageError, require
from reasoner.models.card import ModelCard
from reasoner.models.geometry import sequences_that_fit

TAIL: Final = NormalDist().inv_cdf(0.95)
"""Standard deviations from the mean of a normal law to its 95th percentile."""

ROUNDING: Final = 1e-9
"""A share of questions that is none."""


class Way(NamedTuple):
    """An arm in one bin, and how often it is right there."""

    row: ArmRow
    accuracy: Estimate

    @property
    def tokens(self) -> Estimate:
        """What a question costs."""
        return Estimate(self.row.tokens, self.spread**2 / self.row.questions)

    @property
    def spread(self) -> float:
        """The standard deviation of what single questions cost, as if their 95th percentile were a normal law's."""
        return max(0.0, self.row.tokens_p95 - self.row.tokens) / TAIL


@dataclass(frozen=True, slots=True)
class Part:
    """What the questions of one bin get, and their share of all."""

    share: float
    mix: Mix[Way]

    @property
    def ways(self) -> tuple[tuple[float, Way], ...]:
        """Each arm that is used, with its share of the bin's questions; cheapest first."""
        mix = self.mix
        both = [(1 - mix.share, mix.base.of)] + ([(mix.share, mix.next.of)] if mix.next else [])
        return tuple((share, way) for share, way in both if share > ROUNDING)

    @property
    def accuracy(self) -> Estimate:
        """How often a question of the bin is answered rightly."""
        return _mixed((share, way.accuracy) for share, way in self.ways)

    @property
    def tokens(self) -> Estimate:
        """What a question of the bin costs."""
        return _mixed((share, way.tokens) for share, way in self.ways)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of one way to divide a budget; one part a bin.

    `measured` is how many questions told how common each bin is.
    """

    parts: tuple[Part, ...]
    measured: int

    @property
    def accuracy(self) -> Estimate:
        """How often a question is answered rightly; the error is that of the calibration."""
        return _pooled([(part.share, part.accuracy) for part in self.parts], self.measured)

    @property
    def interval(self) -> tuple[float, float]:
        """Where the accuracy is, with 95 % confidence."""
        return max(0.0, self.accuracy.lower(0.975)), min(1.0, self.accuracy.lower(0.025))

    @property
    def tokens(self) -> Estimate:
        """What a question costs."""
        return _pooled([(part.share, part.tokens) for part in self.parts], self.measured)

    @property
    def tokens_p95(self) -> float:
        """What 19 of 20 questions cost at most: the largest 95th percentile of the arms that are used."""
        return max(way.row.tokens_p95 for part in self.parts for _, way in part.ways)

    @property
    def samples(self) -> int:
        """Sequences of a question, on average, of the arm that draws most; 1 at least."""
        return max(1, *(math.ceil(way.row.samples) for part in self.parts for _, way in part.ways))

    def total_p95(self, questions: int) -> float:
        """What so many questions together cost at most, 19 times of 20: by a normal law, so for ten and more."""
        mean, error = self.tokens
        single = math.fsum(
            part.share * share * (way.spread**2 + (way.row.tokens - mean) ** 2)
            for part in self.parts
            for share, way in part.ways
        )
        return questions * mean + TAIL * math.sqrt(questions * single + questions**2 * error)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What any mean budget is expected to bring on questions like those that were measured.

    `bins` are the share of each among the questions, and the arms worth their cost. Nothing is extrapolated: beyond the
    dearest of them, more brings nothing.
    """

    bins: tuple[tuple[float, tuple[Point[Way], ...]], ...]
    measured: int

    @property
    def least(self) -> float:
        """Tokens a question of the cheapest arm in each bin, on average."""
        return math.fsum(share * points[0].cost for share, points in self.bins)

    @property
    def most(self) -> Forecast:
        """The highest accuracy that was measured, and what it costs."""
        return self.at(math.inf)

    def at(self, tokens: float) -> Forecast:
        """The best division of a mean budget of `tokens` a question.

        Raises:
            UsageError: it is below `least`.
        """
        mixes = fill(self.bins, tokens)
        parts = (Part(share, mix) for (share, _), mix in zip(self.bins, mixes, strict=True))
        return Forecast(tuple(parts), self.measured)

    def tokens_for(self, accuracy: float) -> float | None:
        """The least mean budget whose expected accuracy reaches this one; None where no division does."""
        value = math.fsum(share * points[0].value for share, points in self.bins)
        if accuracy <= value:
            return self.least
        steps = [
            (share * (high.cost - low.cost), share * (high.value - low.value))
            for share, points in self.bins
            for low, high in pairwise(points)
        ]
        tokens = self.least
        for cost, gain in sorted(steps, key=lambda step: -step[1] / step[0]):
            if accuracy <= value + gain:
                return tokens + cost * (accuracy - value) / gain
            tokens, value = tokens + cost, value + gain
        return None


def outlook(family: Family) -> Outlook:
    """What was measured on one kind of task, ready to be asked; bins are as common as among the baseline's questions.

    Accuracies are drawn toward the arm's mean over bins, as in `choosing.shrunk`.

    Raises:
        UsageError: a bin has no arm that was measured on enough questions.
    """
    estimates = shrunk(family)
    places = range(family.bins.count)
    counts = [family.standard(place).questions for place in places]
    bins = []
    for place, count in zip(places, counts, strict=True):
        rows = family.rows(place)
        # Their errors are those of the bin alone, where nothing is shrunk: shrunk accuracies of bins err together.
        alone = shrunk(family.model_copy(update={"arms": rows}))
        ways = [
            Way(row, Estimate(estimates[row.arm, place].mean, alone[row.arm, place].variance))
            for row in rows
            if row.eligible
        ]
        if not ways:
            raise UsageError(
                f"bin {place} of {family.task} has no arm with {LEAST_QUESTIONS} questions: calibrate on more, or on "
                "fewer bins"
            )
        bins.append((count / sum(counts), hull(Point(way.row.tokens, way.accuracy.mean, way) for way in ways)))
    return Outlook(tuple(bins), sum(counts))


def sequence_p95(family: Family) -> float:
    """Tokens of one sequence, its prompt counted, that 19 of 20 stay within, in the hardest bin.

    By the arms of one sample, and by the baseline: a sample's share of what the question costs.
    """
    return max(
        row.tokens_p95 / max(1.0, row.samples)
        for row in family.arms
        if not row.verifier and (row.samples <= 1 or row.arm == (family.baseline, "", ""))
    )


@dataclass(frozen=True, slots=True)
class Fit:
    """How many sequences a KV cache of `tokens` tokens holds at once: with a prompt each, and with a shared one."""

    tokens: int
    apart: int
    shared: int


def fit(card: ModelCard, *, kv_bytes: int, own: int, prompt: int = 0, samples: int = 1) -> Fit:
    """How many sequences of `own` tokens after a prompt of `prompt` fit, where `samples` of a question share it or not.

    Shared, a question takes prompt + samples x own tokens; the last question may have fewer samples. Blocks that are
    not full are not counted. All are 0 where the model's geometry is unknown.

    Raises:
        UsageError: `own` or `samples` is below 1, `prompt` below 0.
    """
    require(own, "own", at_least=1)
    require(samples, "samples", at_least=1)
    require(prompt, "prompt", at_least=0)
    tokens = sequences_that_fit(card, kv_bytes=kv_bytes, tokens=1)
    whole, left = divmod(tokens, prompt + samples * own)
    shared = whole * samples + max(0, (left - prompt) // own)
    return Fit(tokens, sequences_that_fit(card, kv_bytes=kv_bytes, tokens=prompt + own), shared)


def _mixed(parts: Iterable[tuple[float, Estimate]]) -> Estimate:
    """Arms of one bin: they were measured on the same questions, so they may err together."""
    mean = error = 0.0
    for share, one in parts:
        mean += share * one.mean
        error += share * math.sqrt(one.variance)
    return Estimate(mean, error**2)


def _pooled(parts: Sequence[tuple[float, Estimate]], measured: int) -> Estimate:
    """Bins: they err apart, and how common each is has an error too."""
    mean = math.fsum(share * one.mean for share, one in parts)
    within = math.fsum(share**2 * one.variance for share, one in parts)
    between = math.fsum(share * (one.mean - mean) ** 2 for share, one in parts)
    return Estimate(mean, within + between / measured)
