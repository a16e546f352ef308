"""How far a confidence can be trusted: whether it is a probability, whether it ranks, and the gain of abstaining by it.

`confidence` and `right` are [n], one per question; higher is surer. Questions of equal confidence share their mean
correctness, so that results do not depend on their order. No value may be missing: leave out questions without one, or
give them the lowest confidence if the strategy had to answer.
"""

import math
from dataclasses import dataclass

import numpy as np

from reasoner_evals.stats import Floats
from reasoner_evals.stats.estimators import ranks

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram."""

    low: float
    high: float
    confidence: float
    accuracy: float
    n: int


def reliability(confidence: Floats, right: Floats) -> tuple[Bin, ...]:
    """Bins of equal mass, least sure first; at most one per question. Confidence is in [0, 1]."""
    sure, correct = _ranked(confidence, right)
    parts = zip(*(np.array_split(column, min(BINS, len(sure))) for column in (sure, correct)), strict=True)
    return tuple(Bin(float(s[0]), float(s[-1]), float(s.mean()), float(c.mean()), len(s)) for s, c in parts)


def calibration_error(confidence: Floats, right: Floats) -> float:
    """ECE over bins of equal mass: the mean distance of confidence and accuracy (Naeini 2015; Nguyen 2015)."""
    parts = reliability(confidence, right)
    return sum(part.n * abs(part.confidence - part.accuracy) for part in parts) / len(right)


def auroc(scores: Floats, right: Floats) -> float:
    """The chance that a right one scores above a wrong one, ties counting half; NaN unless there are both."""
    good = right == 1
    positive, negative = int(good.sum()), int((~good).sum())
    if not positive or not negative:
        return math.nan
    above = float(ranks(scores)[good].sum()) - positive * (positive + 1) / 2
    return above / (positive * negative)


def auroc_within(right: Floats, scores: Floats) -> Floats:
    """AUROC of each question of a pool [Q, N] over its rated samples, which selection depends on; NaN without both."""
    rated = ~np.isnan(right) & ~np.isnan(scores)
    rows = zip(right, scores, rated, strict=True)
    return np.array([auroc(score[row], correct[row]) if row.any() else math.nan for correct, score, row in rows])


def risk_coverage(confidence: Floats, right: Floats) -> Floats:
    """[n]: the share of wrong answers among the 1 to n surest questions.

    Its mean is AURC, the mean risk over all coverages (Geifman & El-Yaniv 2017, 1705.08500); lower is better.
    """
    _, correct = _ranked(confidence, right)
    risk: Floats = 1 - np.cumsum(correct[::-1]) / np.arange(1, len(correct) + 1)
    return risk


def _ranked(confidence: Floats, right: Floats) -> tuple[Floats, Floats]:
    """The confidences ascending, and for each the mean correctness at that confidence."""
    levels, inverse, size = np.unique(confidence, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=right) / size
    return np.repeat(levels, size), np.repeat(means, size)
