"""The arrays that the statistics take, and their checks."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reasoner.errors import UsageError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def check_pool(right: Floats, *others: Floats | Ints) -> None:
    """Refuse invalid pools: `right` is [Q, N] of 0, 1 and NaN, and the other arrays have its shape."""
    if right.ndim != 2 or right.size == 0:
        raise UsageError(f"a pool must have the shape [questions, samples] and not be empty (got {right.shape})")
    if not np.all(np.isnan(right) | (right == 0) | (right == 1)):
        raise UsageError("each sample of a pool must be right (1), not right (0) or missing (NaN)")
    for other in others:
        if other.shape != right.shape:
            raise UsageError(f"the arrays of a pool must have one shape (got {right.shape} and {other.shape})")


def check_sizes(ks: Sequence[int]) -> None:
    """Refuse sample counts below 1, and an empty list."""
    if not ks or min(ks) < 1:
        raise UsageError(f"sample counts must be at least 1, and at least one is needed (got {list(ks)})")


def counts(right: Floats) -> tuple[Ints, Ints]:
    """The number of usable and of right samples of each question of a pool."""
    usable = ~np.isnan(right)
    return usable.sum(axis=1).astype(np.int64), np.nansum(right, axis=1).astype(np.int64)


def ranks(values: Floats) -> Floats:
    """The ranks of [n] values in ascending order, from 1; equal values share their mean rank.

    As scipy.stats.rankdata, whose import takes a second.
    """
    _, inverse, size = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(size) - (size - 1) / 2)[inverse]
