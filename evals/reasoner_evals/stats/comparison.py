"""The paired comparison of two arms over the same questions, and the difference that it can detect."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reasoner.errors import UsageError
from reasoner_evals.stats.arrays import Floats
from reasoner_evals.stats.intervals import NEAR, Groups, Interval, difference, totals_by
from reasoner_evals.stats.score import score_test
from reasoner_evals.stats.spread import two_sided

POWER = 2.8
"""Standard errors that 80 % power needs at the 5 % level."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The first arm minus the second, question by question."""

    difference: Interval
    """The mean difference and its 95 % interval; `n` counts the questions that have a value in both arms."""
    p_value: float
    """Two-sided, for no difference: below 0.05 exactly if the interval excludes 0.

    Not adjusted for other comparisons (see `holm`).
    """
    test: str
    """mcnemar for single outcomes, otherwise the method of the interval."""
    better: int
    """Questions on which the first arm is ahead."""
    worse: int
    """Questions on which the second arm is ahead."""
    detectable: float
    """The least difference that these questions detect with 80 % power at the 5 % level."""

    @property
    def resolvable(self) -> bool:
        """Whether these questions can detect a difference of this size."""
        return abs(self.difference.mean) >= self.detectable > 0


def compare(first: Floats, second: Floats, groups: Groups | None = None) -> Comparison:
    """Compare two arms by their shares of the same questions, both [Q]; NaN without a value.

    With `groups`, whole groups count as one. Raises UsageError if a group key is missing.
    """
    differences = first - second
    estimate, p_value = difference(differences, groups)
    both = ~np.isnan(differences)
    paired = differences[both]
    better, worse = int((paired > NEAR).sum()), int((paired < -NEAR).sum())
    units = paired if groups is None else totals_by(np.asarray(groups)[both], paired)[0]
    outcomes = groups is None and np.all(np.isin((first[both], second[both]), (0, 1)))
    test = "mcnemar" if outcomes else estimate.method
    # With single questions and 0/1 outcomes this is 2.8 * sqrt(d / n) for the discordant share d.
    detectable = POWER * math.sqrt(float(np.sum(units**2))) / len(paired) if len(paired) else math.nan
    return Comparison(estimate, p_value, test, better, worse, detectable)


def mcnemar(better: int, worse: int) -> float:
    """The two-sided p-value of McNemar's test on the questions where single outcomes differ; 1 if none does.

    Without continuity correction, as Fagerland, Lydersen & Laake (2013) advise; its interval is Tango's.
    """
    return two_sided(score_test(better, worse), math.inf)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of one family of comparisons, adjusted by Holm's step-down rule (1979), in the order given."""
    if any(not 0 <= p <= 1 for p in p_values):
        raise UsageError("p-values must be between 0 and 1")
    adjusted, minimum = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        minimum = max(minimum, min((len(p_values) - rank) * p_values[index], 1.0))
        adjusted[index] = minimum
    return adjusted


def minimum_detectable(n: int, discordant: float) -> float:
    """The least paired difference that `n` questions detect (80 % power, 5 % level), given the share that differ."""
    if n < 1 or not 0 <= discordant <= 1:
        raise UsageError(
            f"at least one question and a share between 0 and 1 are needed (got n={n}, discordant={discordant:g})"
        )
    return POWER * math.sqrt(discordant / n)
