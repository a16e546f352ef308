"""The expected length of a sequence, from those that have ended and those that still run."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import erfcx


def expected_length(ended: Sequence[int], running: Sequence[int]) -> float:
    """Tokens of a sequence, where those that still run have some already; at least one has ended.

    What has ended first is short, so the mean of the ended ones is too small. This is the area under the survival curve
    (Kaplan & Meier 1958); beyond the longest length seen, lengths have the Rayleigh law of the largest likelihood.
    """
    lengths = np.array([*ended, *running], float)
    over = np.arange(len(lengths)) < len(ended)
    order = np.lexsort((~over, lengths))
    lengths, over = lengths[order], over[order]
    alive = np.cumprod(1 - over / np.arange(len(lengths), 0, -1))
    scale = math.sqrt(np.sum(lengths**2) / len(ended))
    beyond = scale * math.sqrt(math.pi) / 2 * erfcx(lengths[-1] / scale)
    return float(
        lengths[0] + np.diff(lengths) @ alive[:-1] + (alive[-1] and alive[-1] * beyond)
    )
