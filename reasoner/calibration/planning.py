"""Forecasts: the accuracy that a budget buys, the budget that an accuracy costs.

The arms that are worth their cost are the concave hull of each bin; a mean budget over bins is the multiple-choice
knapsack, relaxed.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Final, NamedTuple

from reasoner.calibration.arm_selection import Estimate, shrunk
from reasoner.calibration.profile import MIN_QUESTIONS, ArmRow, Family
from reasoner.errors import UsageError
from reasoner.specs import Spec
from reasoner.types import ThinkingLevel, thinking_level

TAIL: Final = NormalDist().inv_cdf(0.95)
"""Standard deviations from the mean of a normal distribution to its 95th percentile."""

ROUNDING: Final = 1e-9
"""Shares of questions up to this are taken as 0."""

SHORTFALL: Final = 1e-12
"""The relative shortfall of a budget that is forgiven as rounding."""


class BinArm(NamedTuple):
    """An arm in one bin, and its accuracy there."""

    row: ArmRow
    accuracy: Estimate

    @property
    def tokens(self) -> Estimate:
        """The cost of a question."""
        return Estimate(self.row.tokens, self.row.tokens_sd**2 / self.row.questions)


class Step(NamedTuple):
    """From one arm of a bin's hull to the next: its cost and gain per question of all bins."""

    bin: int
    low: BinArm
    high: BinArm
    cost: float
    gain: float


@dataclass(frozen=True, slots=True)
class Part:
    """The arms that the questions of one bin get, and their share of all questions.

    A `mixed` share of the bin's questions gets `next`, the next more expensive arm; the others get `base`.
    """

    share: float
    base: BinArm
    next: BinArm | None = None
    mixed: float = 0.0

    @property
    def arms(self) -> tuple[tuple[float, BinArm], ...]:
        """Each arm that is used, with its share of the bin's questions; cheapest first."""
        both = [(1 - self.mixed, self.base)] + (
            [(self.mixed, self.next)] if self.next else []
        )
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
        return _pooled(
            [(part.share, part.accuracy) for part in self.parts], self.measured
        )

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the accuracy."""
        return max(0.0, self.accuracy.upper(0.025)), min(
            1.0, self.accuracy.upper(0.975)
        )

    @property
    def tokens(self) -> Estimate:
        """The cost of a question."""
        return _pooled(
            [(part.share, part.tokens) for part in self.parts], self.measured
        )

    @property
    def tokens_p95(self) -> float:
        """The largest 95th percentile of the cost of a question, over the arms that are used."""
        return max(arm.row.tokens_p95 for part in self.parts for _, arm in part.arms)

    @property
    def sequential_tokens(self) -> float | None:
        """The mean latency of a question in tokens; None where it was not measured of every arm that is used."""
        means = [
            (part.share * share, arm.row.sequential_tokens)
            for part in self.parts
            for share, arm in part.arms
        ]
        known = [share * mean for share, mean in means if mean is not None]
        return math.fsum(known) if len(known) == len(means) else None

    @property
    def samples(self) -> int:
        """The mean number of sequences per question of the arm that draws most, at least 1."""
        return max(
            1,
            *(
                math.ceil(arm.row.samples)
                for part in self.parts
                for _, arm in part.arms
            ),
        )

    def total_p95(self, questions: int) -> float:
        """The 95th percentile of the total cost of `questions`, by a lognormal approximation: for ten or more.

        Costs that are rare and so high that none was measured are not in it: see `unseen`.
        """
        mean = questions * self.tokens.mean
        return (
            mean * math.exp(TAIL * self._total_error(questions) / mean) if mean else 0.0
        )

    @property
    def unseen(self) -> float:
        """The largest share of questions that may cost more than all that were measured, with 95 % confidence."""
        return 1 - math.pow(0.05, 1 / self.measured)

    def _total_error(self, questions: int) -> float:
        """The standard error of the total cost of `questions`."""
        mean, error = self.tokens
        single = math.fsum(
            part.share * share * (arm.row.tokens_sd**2 + (arm.row.tokens - mean) ** 2)
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

    bins: tuple[tuple[float, tuple[BinArm, ...]], ...]
    measured: int

    @property
    def minimum(self) -> float:
        """Mean tokens per question with the cheapest arm in each bin."""
        return math.fsum(share * arms[0].row.tokens for share, arms in self.bins)

    @property
    def maximum(self) -> Forecast:
        """The highest accuracy that was measured, and its cost."""
        return self.at(math.inf)

    @property
    def steps(self) -> list[Step]:
        """The steps of all hulls, steepest first."""
        unsorted = [
            Step(
                index,
                low,
                high,
                share * (high.row.tokens - low.row.tokens),
                share * (high.accuracy.mean - low.accuracy.mean),
            )
            for index, (share, arms) in enumerate(self.bins)
            for low, high in pairwise(arms)
        ]
        return sorted(
            unsorted, key=lambda step: (-_slope(step.low, step.high), step.bin)
        )

    def at(self, tokens: float) -> Forecast:
        """The best division of a mean budget of `tokens` per question; at most one bin is really mixed.

        Raises:
            UsageError: it is below `minimum`.
        """
        minimum = self.minimum
        if not tokens >= minimum - SHORTFALL * minimum:
            raise UsageError(
                f"a mean budget of {tokens:g} is too small: the cheapest arms of all bins cost {minimum:g} on average"
            )
        parts = [Part(share, arms[0]) for share, arms in self.bins]
        left = max(0.0, tokens - minimum)
        for step in self.steps:
            share = parts[step.bin].share
            if step.cost > left:
                parts[step.bin] = (
                    Part(share, step.low, step.high, left / step.cost)
                    if left
                    else Part(share, step.low)
                )
                break
            parts[step.bin] = Part(share, step.high)
            left -= step.cost
        return Forecast(tuple(parts), self.measured)

    def tokens_for(self, accuracy: float) -> float | None:
        """The smallest mean budget with at least this expected accuracy; None where there is none."""
        tokens, value = (
            self.minimum,
            math.fsum(share * arms[0].accuracy.mean for share, arms in self.bins),
        )
        if accuracy <= value:
            return tokens
        for step in self.steps:
            if accuracy <= value + step.gain + ROUNDING:
                return tokens + step.cost * min(1.0, (accuracy - value) / step.gain)
            tokens, value = tokens + step.cost, value + step.gain
        return None


def outlook(family: Family, levels: Collection[ThinkingLevel] = ()) -> Outlook:
    """The outlook on one kind of task; bins are as common as among the baseline's questions.

    Accuracies are shrunk toward the arm's mean over bins, as `arm_selection.shrunk` does. With `levels`, only arms
    with a strategy that states one of these thinking levels are used.

    Raises:
        UsageError: a bin has no arm that was measured on enough questions, or no arm has one of the levels.
    """
    stated = (
        {row.strategy: _level_of(row.strategy) for row in family.arms} if levels else {}
    )
    if levels and not set(levels) & set(stated.values()):
        known = (
            ", ".join(
                dict.fromkeys(
                    str(level) for level in stated.values() if level is not None
                )
            )
            or "none is stated"
        )
        asked = ", ".join(map(str, levels))
        raise UsageError(
            f"no arm of {family.task} was measured at thinking={asked} (measured: {known}): calibrate it"
        )
    estimates = shrunk(family)
    counts = [family.standard(index).questions for index in range(family.bins.count)]
    bins = []
    for index, count in enumerate(counts):
        rows = family.rows(index)
        # The errors are those of the bin alone: shrunk accuracies of several bins have correlated errors.
        alone = shrunk(family.model_copy(update={"arms": rows}))
        arms = [
            BinArm(
                row,
                Estimate(
                    estimates[row.arm, index].mean, alone[row.arm, index].variance
                ),
            )
            for row in rows
            if row.eligible and (not levels or stated[row.strategy] in levels)
        ]
        if not arms:
            raise UsageError(
                f"bin {index} of {family.task} has no arm with {MIN_QUESTIONS} questions: calibrate on more "
                "questions, or with fewer bins"
            )
        bins.append((count / sum(counts), hull(arms)))
    return Outlook(tuple(bins), sum(counts))


def hull(arms: Iterable[BinArm]) -> tuple[BinArm, ...]:
    """The upper concave hull: tokens and accuracies ascend, and each further token brings strictly less.

    An arm is left out if another costs no more and is no less accurate; the first of two equal ones is kept.
    """
    vertices: list[BinArm] = []
    for arm in sorted(arms, key=lambda arm: (arm.row.tokens, -arm.accuracy.mean)):
        if vertices and arm.accuracy.mean <= vertices[-1].accuracy.mean:
            continue
        while len(vertices) > 1 and _slope(vertices[-2], vertices[-1]) <= _slope(
            vertices[-1], arm
        ):
            vertices.pop()
        vertices.append(arm)
    return tuple(vertices)


def _slope(low: BinArm, high: BinArm) -> float:
    return (high.accuracy.mean - low.accuracy.mean) / (high.row.tokens - low.row.tokens)


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
    between = math.fsum(
        share * (estimate.mean - mean) ** 2 for share, estimate in parts
    )
    return Estimate(mean, within + between / measured)
