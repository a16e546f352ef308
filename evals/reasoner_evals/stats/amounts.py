"""The interval of a ratio of totals of amounts, such as tokens, which are skewed: a studentized bootstrap."""

import math
from collections.abc import Callable

import numpy as np

from reasoner_evals.stats.arrays import Floats
from reasoner_evals.stats.spread import LEVEL, critical_value

DRAWS = 4000
"""Bootstrap resamples."""
FEW = 10
"""With fewer units, a t interval: they say too little about their distribution."""
MANY = 2000
"""Above this, a t interval, which equals the bootstrap's, at a fraction of the price."""
_NORMAL = 5.99
"""Jarque and Bera's statistic above which values are not normal, at the 5 % level."""
_FLAT = 1e-12
_WIDE = 3.0
"""Logs of a larger standard deviation are of no amounts that a lognormal describes: their mean would be 90 medians."""
_BATCH = 1 << 20


def ratio_bounds(tops: Floats, bottoms: Floats, seed: int, draws: int) -> tuple[float, float, str]:
    """The 95 % interval of sum(tops) / sum(bottoms) over two or more units, both [U], and its method.

    Percentiles of the studentized ratio (Hall 1988), on the log scale if all amounts are positive. Resamples are drawn
    from the units. If their logs look normal, they are drawn from the fitted lognormal, whose parameters vary as
    uncertain as they are (Krishnamoorthy & Mathew 2003): a few units often lack the rare large amounts.
    """
    units = len(tops)
    ratios, errors = _studentized(tops[None], bottoms[None])
    ratio, error = float(ratios[0]), float(errors[0])
    positive = bool(np.all(tops > 0) and np.all(bottoms > 0))
    logs = np.log(np.stack((tops, bottoms))) if positive else None
    if not FEW <= units <= MANY or error <= _FLAT * abs(ratio) or not bottoms.all():
        high_pivot = critical_value(units - 1.0)
        low_pivot, method = -high_pivot, "t"
    else:
        if logs is not None and all(map(_looks_normal, logs)):
            draw = _lognormal_pivots(logs)
        else:
            draw = _resampled_pivots(tops, bottoms, ratio, positive=positive)
        source, size, tail = np.random.default_rng(seed), max(_BATCH // units, 1), (1 - LEVEL) / 2
        pivots = np.concatenate([draw(source, min(size, draws - at)) for at in range(0, draws, size)])
        low_pivot, high_pivot = np.quantile(pivots[np.isfinite(pivots)], (tail, 1 - tail)).tolist()
        method = "bootstrap"
    if positive:
        relative = error / ratio
        return ratio * math.exp(-high_pivot * relative), ratio * math.exp(-low_pivot * relative), method
    return ratio - high_pivot * error, ratio - low_pivot * error, method


def _studentized(tops: Floats, bottoms: Floats) -> tuple[Floats, Floats]:
    """The ratios of totals, and their standard errors, of samples [B, U]."""
    units, below = tops.shape[1], bottoms.sum(axis=1)
    ratio = tops.sum(axis=1) / below
    residuals = tops - ratio[:, None] * bottoms
    return ratio, np.sqrt(units / (units - 1) * np.einsum("bu,bu->b", residuals, residuals)) / below


def _resampled_pivots(
    tops: Floats, bottoms: Floats, ratio: float, *, positive: bool
) -> Callable[[np.random.Generator, int], Floats]:
    """Draws studentized ratios of units that are resampled."""

    def draw(source: np.random.Generator, draws: int) -> Floats:
        chosen = source.integers(0, len(tops), size=(draws, len(tops)), dtype=np.int32)
        drawn, error = _studentized(tops[chosen], bottoms[chosen])
        with np.errstate(divide="ignore", invalid="ignore"):
            pivots = np.log(drawn / ratio) * drawn / error if positive else (drawn - ratio) / error
        return np.asarray(pivots)

    return draw


def _lognormal_pivots(logs: Floats) -> Callable[[np.random.Generator, int], Floats]:
    """Draws studentized ratios, on the log scale, of lognormal units with the covariance of these logs [2, U]."""
    varies = np.ptp(logs, axis=1) > _FLAT
    units, used = logs.shape[1], int(varies.sum())
    covariance = np.atleast_2d(np.cov(logs[varies]))
    root = np.linalg.cholesky(covariance + _FLAT * np.trace(covariance) * np.eye(used))
    signs = np.array((1.0, -1.0))[varies]

    def draw(source: np.random.Generator, draws: int) -> Floats:
        # Each covariance is inverse Wishart: Bartlett's factor of its precision.
        factor = np.zeros((draws, used, used))
        for index in range(used):
            factor[:, index, index] = np.sqrt(source.chisquare(units - 1 - index, draws))
            factor[:, index, :index] = source.standard_normal((draws, index))
        mixing = root @ np.swapaxes(np.linalg.inv(factor), 1, 2) * math.sqrt(units - 1)
        amounts = np.full((2, draws, units), 1.0)
        normal = source.standard_normal((draws, used, units))
        amounts[varies] = np.exp(np.swapaxes(mixing @ normal, 0, 1))
        truth = (mixing**2).sum(axis=2) @ signs / 2
        ratio, error = _studentized(*amounts)
        return np.asarray((np.log(ratio) - truth) * ratio / error)

    return draw


def _looks_normal(values: Floats) -> bool:
    """Whether these may be the logs of lognormal amounts, by Jarque and Bera's test (1980); constant ones are."""
    deviations = values - values.mean()
    variance = float(np.mean(deviations**2))
    if not _FLAT < variance < _WIDE**2:
        return variance <= _FLAT
    skewness = float(np.mean(deviations**3)) / variance**1.5
    excess = float(np.mean(deviations**4)) / variance**2 - 3
    statistic: float = len(values) / 6 * (skewness**2 + excess**2 / 4)
    return statistic < _NORMAL
