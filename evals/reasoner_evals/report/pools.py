"""A pool of samples as the estimators take it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reasoner_evals.runs.arrays import ERROR, RIGHT, SILENT, UNGRADED, ArmData, Floats, Ints, Replies
from reasoner_evals.runs.arrays import OUTCOMES as NAMES


@dataclass(frozen=True, slots=True)
class Pool:
    """Q questions with up to N replies each, as [Q, N]; nan in `right` where there is none that counts.

    Questions that ended in an error, or with a reply that has no verdict, have none that counts.
    """

    right: Floats
    answers: Ints
    stated: NDArray[np.int8]
    """As in `Replies`."""
    scores: Floats
    truncated: NDArray[np.bool_]


def sizes_of(pool: int) -> tuple[int, ...]:
    """The sizes that a pool is reported at: powers of two, and all of it."""
    return (*(1 << power for power in range(pool.bit_length()) if 1 << power < pool), pool)


def pool_of(data: ArmData) -> Pool:
    """The pool of an arm that has one."""
    replies = data.replies
    right = np.where(replies.outcome == RIGHT, 1.0, 0.0)
    lacking = (data.outcome == ERROR) | (replies.per_question(replies.outcome == UNGRADED) > 0)
    matrix = spread(replies, right, np.nan, data.arm.pool)
    matrix[lacking] = np.nan
    return Pool(
        matrix,
        spread(replies, replies.classes, SILENT, data.arm.pool).astype(np.int64),
        spread(replies, replies.stated, 0, data.arm.pool).astype(np.int8),
        spread(replies, replies.score, np.nan, data.arm.pool),
        spread(replies, replies.outcome == NAMES.index("truncated"), 0, data.arm.pool).astype(bool),
    )


def spread(replies: Replies, values: NDArray[np.generic], empty: float, width: int) -> Floats:
    """One value a reply, laid out as [Q, `width`]; `empty` where a question has fewer replies."""
    start, length = replies.rows
    kept = np.minimum(length, width)
    row = np.repeat(np.arange(len(length)), kept)
    column = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
    found = np.full((len(length), width), empty, dtype=np.float64)
    found[row, column] = values[np.repeat(start, kept) + column]
    return found
