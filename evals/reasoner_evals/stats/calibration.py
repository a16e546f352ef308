"""How far a confidence can be trusted: is it a probability, does it rank, and what abstaining by it buys.

`confidence` and `right` are [n], one per question; higher is surer. Questions of equal confidence share their mean
correctness, so that nothing depends on their order. Every value must be there: leave out questions without one, or give
them the least confidence if the strategy had to answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reasoner.errors import UsageError, require
from reasoner_evals.stats.arrays import Floats, ranks

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram."""

    low: float
    high: float
    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """The share of wrong answers among the surest questions, for 1 to n of these."""

    coverage: Floats
    """[n], ascending to 1."""
    risk: Floats
    """[n], in [0, 1]."""

    @property
    def area(self) -> float:
        """AURC, the mean risk over all coverages (Geifman & El-Yaniv 2017, 1705.08500); lower is better."""
        return float(self.risk.mean())


@dataclass(frozen=True, slots=True)
class Abstention:
    """Answering only from a confidence on."""

    threshold: float
    coverage: float
    """The share of questions answered."""
    accuracy: float
    """Among those answered; NaN where none is."""


def reliability(confidence: Floats, right: Floats, *, bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of equal mass, least sure first; fewer where there are fewer questions. Confidence is in [0, 1]."""
    _check(confidence, right, probability=True)
    require(bins, "bins", at_least=1)
    sure, correct = _ranked(confidence, right)
    parts = zip(*(np.array_split(column, min(bins, len(sure))) for column in (sure, correct)), strict=True)
    return tuple(Bin(float(s[0]), float(s[-1]), float(s.mean()), float(c.mean()), len(s)) for s, c in parts)


def calibration_error(confidence: Floats, right: Floats, *, bins: int = BINS) -> float:
    """ECE over bins of equal mass: the mean distance of confidence and accuracy (Naeini 2015; Nguyen 2015)."""
    parts = reliability(confidence, right, bins=bins)
    return sum(part.n * abs(part.confidence - part.accuracy) for part in parts) / len(right)


def brier(confidence: Floats, right: Floats) -> float:
    """The mean squared distance of confidence in [0, 1] and correctness."""
    _check(confidence, right, probability=True)
    return float(np.mean((confidence - right) ** 2))


def auroc(scores: Floats, right: Floats) -> float:
    """The chance that a right one scores above a wrong one, ties half; NaN where there are not both."""
    _check(scores, right)
    good = right == 1
    positive, negative = int(good.sum()), int((~good).sum())
    if not positive or not negative:
        return math.nan
    above = float(ranks(scores)[good].sum()) - positive * (positive + 1) / 2
    return above / (positive * negative)


def auroc_within(right: Floats, scores: Floats) -> Floats:
    """AUROC of each question of a pool [Q, N] over its rated samples: what selection lives on; NaN without both."""
    if right.shape != scores.shape or right.ndim != 2:
        raise UsageError(f"a pool is two arrays of one shape [questions, samples], not {right.shape}, {scores.shape}")
    rated = ~np.isnan(right) & ~np.isnan(scores)
    return np.array(
        [
            auroc(score[kept], correct[kept]) if kept.any() else math.nan
            for correct, score, kept in zip(right, scores, rated, strict=True)
        ]
    )


def risk_coverage(confidence: Floats, right: Floats) -> RiskCoverage:
    """Answer the surest first: risk at each coverage."""
    _check(confidence, right)
    _, correct = _ranked(confidence, right)
    answered = np.arange(1, len(correct) + 1)
    return RiskCoverage(answered / len(correct), 1 - np.cumsum(correct[::-1]) / answered)


def abstention(confidence: Floats, right: Floats, thresholds: Sequence[float]) -> tuple[Abstention, ...]:
    """What answering only from each threshold on would give."""
    _check(confidence, right)
    kept = [confidence >= threshold for threshold in thresholds]
    return tuple(
        Abstention(threshold, float(chosen.mean()), float(right[chosen].mean()) if chosen.any() else math.nan)
        for threshold, chosen in zip(thresholds, kept, strict=True)
    )


def _ranked(confidence: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Confidence ascending, and with it the mean correctness of all that have that confidence."""
    levels, place, size = np.unique(confidence, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=right) / size
    return np.repeat(levels, size), np.repeat(means, size)


def _check(confidence: Floats, right: Floats, *, probability: bool = False) -> None:
    if confidence.ndim != 1 or confidence.shape != right.shape or not len(right):
        raise UsageError(f"this takes one confidence and one outcome each, not {confidence.shape} and {right.shape}")
    if np.isnan(confidence).any() or not np.all((right == 0) | (right == 1)):
        raise UsageError("every confidence is a number and every outcome 0 or 1: leave out what is missing")
    if probability and np.any((confidence < 0) | (confidence > 1)):
        raise UsageError("a confidence that is read as a probability lies between 0 and 1")
