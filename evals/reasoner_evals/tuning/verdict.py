"""The verdict of questions that a race never saw, and a forecast for other budgets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from reasoner_evals.stats import Floats
from reasoner_evals.stats.intervals import (
    Groups,
    Interval,
    PairedTest,
    compare,
    holm,
    interval,
)
from reasoner_evals.tuning.race import MARGIN, SLACK, Race

CLAIM: Final = 0.05
"""The level at which a gain is claimed, after Holm's adjustment."""
BUDGETS: Final = (0.25, 0.5, 1.0, 2.0)
"""The parts of the budget of a forecast."""


@dataclass(frozen=True, slots=True)
class JudgedStrategy:
    """One strategy on the questions that judge: arrays [Q]."""

    spec: str
    right: Floats
    tokens: Floats
    sequential: Floats
    seconds: Floats


@dataclass(frozen=True, slots=True)
class StrategyComparison:
    """The chosen strategy against a baseline."""

    name: str
    """Such as `one greedy sample`."""
    other: JudgedStrategy
    test: PairedTest
    p_value: float
    """Adjusted for all baselines (Holm)."""

    @property
    def gain(self) -> bool:
        """Whether the chosen strategy is shown to be more accurate."""
        return self.test.difference.mean > 0 and self.p_value < CLAIM

    @property
    def loss(self) -> bool:
        """Whether it is shown to be less accurate."""
        return self.test.difference.mean < 0 and self.p_value < CLAIM


@dataclass(frozen=True, slots=True)
class TuningVerdict:
    """The verdict of the questions that judge."""

    chosen: JudgedStrategy
    accuracy: Interval
    comparisons: tuple[StrategyComparison, ...]
    """Without the baseline that was chosen itself."""
    single: str
    """The name of the baseline that is a single sample."""
    questions: int

    @property
    def better(self) -> StrategyComparison | None:
        """The baseline that is shown to be more accurate by most; None without any."""
        lost = [each for each in self.comparisons if each.loss]
        return min(lost, key=lambda each: each.test.difference.mean, default=None)

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        single = next(
            (each for each in self.comparisons if each.name == self.single), None
        )
        if single is None:
            return f"Nothing beats {self.single} here."
        gained = 100 * single.test.difference.mean
        if single.gain:
            return f"{self.chosen.spec} beats {single.name} by {gained:.1f} points (p = {single.p_value:.2g})."
        return (
            f"No gain over {single.name} is shown: {gained:+z.1f} points on {self.questions} questions "
            f"(p = {single.p_value:.2g}), and they show {100 * single.test.detectable:.0f} points or more."
        )


SINGLES: Final = ("one greedy sample", "one sample")
"""The names of the first baseline: the second one is for models that think."""


def verdict(
    chosen: JudgedStrategy,
    baselines: Sequence[tuple[str, JudgedStrategy]],
    groups: Groups | None = None,
) -> TuningVerdict:
    """Compare the chosen strategy with each baseline, question by question; all p-values are one family.

    The first baseline is a single sample.
    """
    others = [(name, other) for name, other in baselines if other.spec != chosen.spec]
    tests = [compare(chosen.right, other.right, groups) for _, other in others]
    adjusted = holm([test.p_value for test in tests])
    comparisons = tuple(
        StrategyComparison(name, other, test, p_value)
        for (name, other), test, p_value in zip(others, tests, adjusted, strict=True)
    )
    accuracy = interval(chosen.right, groups)
    return TuningVerdict(chosen, accuracy, comparisons, baselines[0][0], accuracy.n)


class Forecast(NamedTuple):
    """What a budget is expected to give."""

    part: float
    """Of the budget that was tuned for."""
    tokens: float
    """The part of the budget."""
    spec: str
    """Empty where it was extrapolated, or nothing fits."""
    accuracy: float
    low: float
    high: float


def forecasts(race: Race, specs: Sequence[str], budget: float) -> list[Forecast]:
    """The most accurate candidate within each part of the budget, by the questions of the race.

    Beyond the budget the gain of each doubling is taken to shrink as it did before; that has no interval.
    """
    made: list[Forecast] = []
    for part in BUDGETS:
        tokens = part * budget
        if part > 1:
            steps = [each.accuracy for each in made if not math.isnan(each.accuracy)]
            made.append(
                Forecast(part, tokens, "", _extrapolated(steps), math.nan, math.nan)
            )
        elif (who := best_within(race, part)) is None:
            made.append(Forecast(part, tokens, "", math.nan, math.nan, math.nan))
        else:
            estimate = interval(race.right[who], race.groups)
            made.append(
                Forecast(
                    part, tokens, specs[who], estimate.mean, estimate.low, estimate.high
                )
            )
    return made


def best_within(race: Race, part: float) -> int | None:
    """The cheapest candidate within a margin of the most accurate one within a part of the budget; None without any.

    One that went out counts with what it had reached by then.
    """
    fitting = [
        who
        for who in range(len(race.right))
        if race.asked(who) and race.shares[who] <= SLACK * part
    ]
    if not fitting:
        return None
    best = max(race.accuracy(who) for who in fitting)
    near = [who for who in fitting if race.accuracy(who) >= best - MARGIN]
    return min(near, key=lambda who: (race.cost(who), who))


def _extrapolated(steps: Sequence[float]) -> float:
    """The next value of a sequence whose steps shrink by one ratio, at most the last two's; in [0, 1]."""
    if len(steps) < 3:
        return steps[-1] if steps else math.nan
    before, last = steps[-2] - steps[-3], steps[-1] - steps[-2]
    ratio = min(max(last / before, 0.0), 1.0) if before > 0 else 0.0
    return float(np.clip(steps[-1] + max(last, 0.0) * ratio, 0.0, 1.0))


class Point(NamedTuple):
    """A candidate on the frontier: none that costs less is as accurate."""

    tokens: float
    accuracy: float
    spec: str


def frontier(
    race: Race, specs: Sequence[str], cost: Floats | None = None
) -> list[Point]:
    """The candidates that are more accurate than each cheaper one, from the cheapest on. `cost` [K] replaces tokens."""
    costs = (
        [race.cost(who) for who in range(len(specs))] if cost is None else cost.tolist()
    )
    points: list[Point] = []
    asked = [who for who in range(len(specs)) if race.asked(who)]
    for who in sorted(asked, key=lambda who: (costs[who], -race.accuracy(who))):
        if not points or race.accuracy(who) > points[-1].accuracy:
            points.append(Point(costs[who], race.accuracy(who), specs[who]))
    return points
