"""The statistics of an evaluation: pure functions on arrays in which the question is the unit.

A pool of Q questions with N samples each is up to three arrays of shape [Q, N]: `right` (1 right, 0 wrong, truncated or
without an answer, NaN no usable sample because the engine failed), `answers` (the number of the answer's class within
its question, -1 for no answer) and `scores` (a verifier's, NaN without a rating).
"""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def mean_of(values: Floats) -> float:
    """The mean of values, without those that are NaN; NaN where all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
