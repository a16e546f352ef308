"""Forecasts: the accuracy that a budget buys, the budget that an accuracy costs."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

from reasoner.calibration.arm_selection import Estimate, shrunk
from reasoner.calibration.pareto import Mix, Point, fill, hull, steps
from reasoner.calibration.profile import MIN_QUESTIONS, ArmRow, Family
from reasoner.errors import UsageError
from reasoner.specs import Spec
from reasoner.types import ThinkingLevel, thinking_level

TAIL: Final = NormalDist().inv_cdf(0.95)
"""Standard deviations from the mean of a normal distribution to its 95th percentile."""

ROUNDING: Final = 1e-9
"""Shares of questions up to this are taken as 0."""


class BinArm(NamedTuple):
    """An arm in one bin, and its accuracy there."""

    row: ArmRow
    accuracy: Estimate

    @property
    def tokens(self) -> Estimate:
        """The cost of a question."""
        return Estimate(self.row.tokens, self.spread**2 / self.row.questions)

    @property
    def spread(self) -> float:
        """The standard deviation of the cost of single questions, taking their 95th percentile for a normal one."""
        return max(0.0, self.row.tokens_p95 - self.row.tokens) / TAIL


@dataclass(frozen=True, slots=True)
class Part:
    """The arms that the questions of one bin get, and their share of all questions."""

    share: float
    mix: Mix[BinArm]

    @property
    def arms(self) -> tuple[tuple[float, BinArm], ...]:
        """Each arm that is used, with its share of the bin's questions; cheapest first."""
        mix = self.mix
        both = [(1 - mix.share, mix.base.of)] + ([(mix.share, mix.next.of)] if mix.next else [])
        return tuple((share, arm) for share, arm in both if share > ROUNDING)

    @property
    def accuracy(self) -> Estimate:
        """The accuracy on questions of the bin."""
        return _mixed((share, arm.accuracy) for share, arm in self.arms)

    @property
    def tokens(self) -> Estimate:
        """The cost of a question of the bin."""
        return _mixed((share, arm.tokens) for share, arm in self.arms)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected result of one division of a budget; one part per bin.

    `measured` is the number of questions from which the size of each bin was estimated.
    """

    parts: tuple[Part, ...]
    measured: int

    @property
    def accuracy(self) -> Estimate:
        """The accuracy; its error is that of the calibration."""
        return _pooled([(part.share, part.accuracy) for part in self.parts], self.measured)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the accuracy."""
        return max(0.0, self.accuracy.upper(0.025)), min(1.0, self.accuracy.upper(0.975))

    @property
    def tokens(self) -> Estimate:
        """The cost of a question."""
        return _pooled([(part.share, part.tokens) for part in self.parts], self.measured)

    @property
    def tokens_p95(self) -> float:
        """The largest 95th percentile of the cost of a question, over the arms that are used."""
        return max(arm.row.tokens_p95 for part in self.parts for _, arm in part.arms)

    @property
    def samples(self) -> int:
        """The mean number of sequences per question of the arm that draws most, at least 1."""
        return max(1, *(math.ceil(arm.row.samples) for part in self.parts for _, arm in part.arms))

    def total_p95(self, questions: int) -> float:
        """The 95th percentile of the total cost of `questions`, by a normal approximation: for ten or more."""
        return questions * self.tokens.mean + TAIL * self._total_error(questions)

    def _total_error(self, questions: int) -> float:
        """The standard error of the total cost of `questions`."""
        mean, error = self.tokens
        single = math.fsum(
            part.share * share * (arm.spread**2 + (arm.row.tokens - mean) ** 2)
            for part in self.parts
            for share, arm in part.arms
        )
        return math.sqrt(questions * single + questions**2 * error)


@dataclass(frozen=True, slots=True)
class Outlook:
    """The expected accuracy of any mean budget, on questions like those that were measured.

    `bins` are the share of each among the questions, and the arms worth their cost. Nothing is extrapolated: a budget
    above the most expensive arm gains nothing.
    """

    bins: tuple[tuple[float, tuple[Point[BinArm], ...]], ...]
    measured: int

    @property
    def minimum(self) -> float:
        """Mean tokens per question with the cheapest arm in each bin."""
        return math.fsum(share * points[0].cost for share, points in self.bins)

    @property
    def maximum(self) -> Forecast:
        """The highest accuracy that was measured, and its cost."""
        return self.at(math.inf)

    def at(self, tokens: float) -> Forecast:
        """The best division of a mean budget of `tokens` per question.

        Raises:
            UsageError: it is below `minimum`.
        """
        mixes = fill(self.bins, tokens)
        parts = (Part(share, mix) for (share, _), mix in zip(self.bins, mixes, strict=True))
        return Forecast(tuple(parts), self.measured)

    def tokens_for(self, accuracy: float) -> float | None:
        """The smallest mean budget whose expected accuracy reaches this one; None where none does."""
        value = math.fsum(share * points[0].value for share, points in self.bins)
        if accuracy <= value:
            return self.minimum
        tokens = self.minimum
        for step in steps([points for _, points in self.bins], [share for share, _ in self.bins]):
            if accuracy <= value + step.gain + ROUNDING:
                return tokens + step.cost * min(1.0, (accuracy - value) / step.gain)
            tokens, value = tokens + step.cost, value + step.gain
        return None


def outlook(family: Family, levels: Collection[ThinkingLevel] = ()) -> Outlook:
    """The outlook on one kind of task; bins are as common as among the baseline's questions.

    Accuracies are shrunk toward the arm's mean over bins, as `arm_selection.shrunk` does. With `levels`, only arms
    whose strategy states one of these thinking levels are used.

    Raises:
        UsageError: a bin has no arm that was measured on enough questions, or no arm has one of the levels.
    """
    stated = {row.strategy: _level_of(row.strategy) for row in family.arms} if levels else {}
    if levels and not set(levels) & set(stated.values()):
        known = (
            ", ".join(dict.fromkeys(str(level) for level in stated.values() if level is not None)) or "none is stated"
        )
        asked = ", ".join(map(str, levels))
        raise UsageError(f"no arm of {family.task} was measured at thinking={asked} (measured: {known}): calibrate it")
    estimates = shrunk(family)
    counts = [family.standard(index).questions for index in range(family.bins.count)]
    bins = []
    for index, count in enumerate(counts):
        rows = family.rows(index)
        # The errors are those of the bin alone: shrunk accuracies of several bins have correlated errors.
        alone = shrunk(family.model_copy(update={"arms": rows}))
        arms = [
            BinArm(row, Estimate(estimates[row.arm, index].mean, alone[row.arm, index].variance))
            for row in rows
            if row.eligible and (not levels or stated[row.strategy] in levels)
        ]
        if not arms:
            raise UsageError(
                f"bin {index} of {family.task} has no arm with {MIN_QUESTIONS} questions: calibrate on more "
                "questions, or with fewer bins"
            )
        bins.append((count / sum(counts), hull(Point(arm.row.tokens, arm.accuracy.mean, arm) for arm in arms)))
    return Outlook(tuple(bins), sum(counts))


def _level_of(strategy: str) -> ThinkingLevel | None:
    """The thinking level that a spec states; None if it states none."""
    level = Spec.parse(strategy).options.get("thinking")
    return thinking_level(level) if isinstance(level, str) else None


def _mixed(parts: Iterable[tuple[float, Estimate]]) -> Estimate:
    """The mean over arms of one bin: measured on the same questions, so their errors are taken as correlated."""
    mean = error = 0.0
    for share, estimate in parts:
        mean += share * estimate.mean
        error += share * math.sqrt(estimate.variance)
    return Estimate(mean, error**2)


def _pooled(parts: Sequence[tuple[float, Estimate]], measured: int) -> Estimate:
    """The mean over bins: their errors are independent, and the size of each bin has an error too."""
    mean = math.fsum(share * estimate.mean for share, estimate in parts)
    within = math.fsum(share**2 * estimate.variance for share, estimate in parts)
    between = math.fsum(share * (estimate.mean - mean) ** 2 for share, estimate in parts)
    return Estimate(mean, within + between / measured)
