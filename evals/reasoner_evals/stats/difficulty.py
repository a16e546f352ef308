"""Bins of difficulty from half of the samples, measured on the other half, so that luck is not taken for difficulty."""

import math
from dataclasses import dataclass

import numpy as np

from reasoner.errors import require
from reasoner_evals.stats.arrays import Floats, Ints, check_pool, ranks

BINS = 5


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Which questions are hard, and the samples that did not decide it."""

    bins: Ints
    """[Q], 0 the hardest; -1 where a question has fewer than two usable samples."""
    estimate: Floats
    """[Q], pass@1 over the half that decided."""
    measured: Floats
    """[Q, N], the pool with the half that decided missing (NaN): take all results by bin from this."""


def difficulty(right: Floats, *, bins: int = BINS, seed: int = 0) -> Difficulty:
    """Sort the questions of a pool [Q, N] into bins of about equal size; questions of equal estimate share a bin."""
    check_pool(right)
    require(bins, "bins", at_least=1)
    measured, estimate = right.copy(), np.full(len(right), math.nan)
    for row, samples in enumerate(right):
        usable = np.flatnonzero(~np.isnan(samples))
        if len(usable) > 1:
            half = np.random.default_rng((seed, row)).permutation(usable)[: len(usable) // 2]
            estimate[row] = samples[half].mean()
            measured[row, half] = np.nan
    placed = np.full(len(right), -1, dtype=np.int64)
    there = ~np.isnan(estimate)
    if there.any():
        share = (ranks(estimate[there]) - 0.5) / there.sum()
        placed[there] = np.floor(share * bins).astype(np.int64)
    return Difficulty(placed, estimate, measured)
