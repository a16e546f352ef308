"""The mixed model of AB-MCTS-M: groups of ratings whose means differ, and what the next rating of each may be."""

import random
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

MEAN, MEAN_SIGMA, BETWEEN_SIGMA, WITHIN_SIGMA = 0.5, 0.2, 0.2, 0.3
"""The prior: of the mean of all groups, normal, and of the deviations between and within groups, half-normal."""
_STEPS: Final = 20
_BETWEEN, _WITHIN = (
    np.repeat(np.geomspace(0.002, 5 * BETWEEN_SIGMA, _STEPS), _STEPS) ** 2,
    np.tile(np.geomspace(0.002, 5 * WITHIN_SIGMA, _STEPS), _STEPS) ** 2,
)
"""The variances of the cells of a grid; on a logarithmic one a density is multiplied by both deviations."""
_LOG_WITHIN = np.log(_WITHIN) / 2
_LOG_PRIOR = (
    np.log(_BETWEEN) / 2
    + _LOG_WITHIN
    - _BETWEEN / BETWEEN_SIGMA**2 / 2
    - _WITHIN / WITHIN_SIGMA**2 / 2
)


class Ratings(NamedTuple):
    """A group of ratings: their number, their mean, and the sum of their squared deviations from it."""

    size: int
    mean: float
    spread: float


def draw_ratings(groups: Sequence[Ratings], source: random.Random) -> list[float]:
    """The next rating of each group, and last a new group's, each drawn from its own posterior law.

    With given deviations everything is normal; those are integrated over a grid.
    """
    counts, means, spreads = np.array(groups, dtype=float).T
    # Groups of one size have one variance: their sums are enough.
    sizes, kind = np.unique(counts, return_inverse=True)
    number, total, squares = (
        np.bincount(kind, weights=each)
        for each in (np.ones_like(means), means, means**2)
    )
    variance = _BETWEEN[:, None] + _WITHIN[:, None] / sizes
    precision = MEAN_SIGMA**-2 + (1 / variance) @ number
    center = (MEAN * MEAN_SIGMA**-2 + (1 / variance) @ total) / precision
    weights = (
        _LOG_PRIOR
        - np.log(variance) @ number / 2
        - (counts.sum() - len(counts)) * _LOG_WITHIN
    )
    weights -= spreads.sum() / _WITHIN / 2 + np.log(precision) / 2
    weights -= ((1 / variance) @ squares - precision * center**2) / 2
    ends = np.exp(weights - weights.max()).cumsum()
    chosen = ends.searchsorted(
        [source.random() * ends[-1] for _ in range(len(groups) + 1)], side="right"
    )
    cell = np.minimum(chosen, len(ends) - 1)
    between, within, middle = _BETWEEN[cell], _WITHIN[cell], center[cell]
    sizes = np.append(counts, 0)
    known = sizes * between / (sizes * between + within)
    law = (1 - known) * between + (1 - known) ** 2 / precision[cell] + within
    normal = [source.gauss(0, 1) for _ in cell]
    ratings: list[float] = (
        middle + known * (np.append(means, 0) - middle) + np.sqrt(law) * normal
    ).tolist()
    return ratings
