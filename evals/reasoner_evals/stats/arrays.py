"""The arrays that the statistics take, and the checks they must pass."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reasoner.errors import UsageError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def check_pool(right: Floats, *others: Floats | Ints) -> None:
    """Refuse what is no pool: `right` is [Q, N] of 0, 1 and NaN, and the other arrays have its shape."""
    if right.ndim != 2 or right.size == 0:
        raise UsageError(f"a pool has the shape [questions, samples] with one of each at least, not {right.shape}")
    if not np.all(np.isnan(right) | (right == 0) | (right == 1)):
        raise UsageError("a sample is right (1), not right (0) or missing (NaN): the pool holds other values")
    for other in others:
        if other.shape != right.shape:
            raise UsageError(f"the arrays of one pool have one shape, not {right.shape} and {other.shape}")


def check_sizes(ks: Sequence[int]) -> None:
    """Refuse sample counts that draw nothing."""
    if not ks or min(ks) < 1:
        raise UsageError(f"sample counts are 1 or more and there is one at least, not {list(ks)}")


def counts(right: Floats) -> tuple[Ints, Ints]:
    """How many usable and how many right samples each question of a pool has."""
    usable = ~np.isnan(right)
    return usable.sum(axis=1).astype(np.int64), np.nansum(right, axis=1).astype(np.int64)


def ranks(values: Floats) -> Floats:
    """The places of [n] values in ascending order, from 1; equal values share the mean of theirs."""
    _, place, size = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(size) - (size - 1) / 2)[place]
