"""How far confidences, [n], can be trusted; questions of equal confidence share their mean correctness."""

import numpy as np

from reasoner_evals.stats import Floats

BINS = 10


def calibration_error(confidence: Floats, right: Floats) -> float:
    """ECE over bins of equal mass: the mean distance of confidence and accuracy (Naeini 2015; Nguyen 2015)."""
    columns = (
        np.array_split(column, min(BINS, len(right)))
        for column in _ranked(confidence, right)
    )
    return sum(
        len(own) * abs(float(sure.mean() - own.mean()))
        for sure, own in zip(*columns, strict=True)
    ) / len(right)


def risk_coverage(confidence: Floats, right: Floats) -> Floats:
    """[n]: the share of wrong answers among the 1 to n surest questions.

    Its mean is AURC, the mean risk over all coverages (Geifman & El-Yaniv 2017, 1705.08500); lower is better.
    """
    _, correct = _ranked(confidence, right)
    risk: Floats = 1 - np.cumsum(correct[::-1]) / np.arange(1, len(correct) + 1)
    return risk


def _ranked(confidence: Floats, right: Floats) -> tuple[Floats, Floats]:
    """The confidences ascending, and for each the mean correctness at that confidence."""
    levels, inverse, size = np.unique(
        confidence, return_inverse=True, return_counts=True
    )
    means = np.bincount(inverse, weights=right) / size
    return np.repeat(levels, size), np.repeat(means, size)
