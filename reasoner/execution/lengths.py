"""How many tokens sequences generate: a running estimate for each kind of request, and the cache that they will need.

The estimate is a life table: for each interval of lengths, the share of the sequences that reached it and ended in it.
Sequences in flight, cut at their limit or cancelled count in it up to where they were seen, so long ones are not missed
because short ones end first (Kaplan & Meier 1958).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LONGEST: Final = 1 << 20
"""Limits beyond this many tokens are treated as this many."""
EDGES: Final[Floats] = np.unique(np.concatenate([[0], np.round(2 ** np.arange(0, 20.01, 0.25))]))
"""The lengths at which intervals begin, and the numbers of tokens to look ahead; steps of a fifth or one token."""
WIDTHS: Final[Floats] = np.diff(EDGES)
HALF_LIFE: Final = 256
"""An ended sequence counts half as much when so many later ones of its kind have ended."""
PRIOR: Final = 1.0
"""The number of sequences that the estimate before any evidence, a uniform length up to the limit, counts for."""


def interval(limit: int) -> int:
    """The number of intervals below a limit; the last one ends at the limit or after it."""
    return int(np.searchsorted(EDGES, min(max(limit, 1), LONGEST)))


class Lengths:
    """The life table of one kind of request."""

    def __init__(self) -> None:
        self._ended = np.zeros(len(WIDTHS))
        self._reached = np.zeros(len(WIDTHS))
        self._in_flight = np.zeros(len(WIDTHS))

    def update(self, in_flight: Floats, ended: Floats, cut: Floats) -> None:
        """Count what happened since the last update.

        `in_flight` are tokens generated so far; `ended` the lengths of sequences that ended by themselves; `cut` those
        of sequences that were cut or cancelled. One that has left is in the last update's `in_flight` at most.
        """
        decay = 0.5 ** (len(ended) / HALF_LIFE)
        now = _reached(in_flight)
        last = np.maximum(np.searchsorted(EDGES, ended) - 1, 0)
        gone = _reached(cut) + _reached(EDGES[last + 1])
        self._ended = decay * self._ended + np.bincount(last, minlength=len(WIDTHS))
        self._reached = np.maximum(decay * self._reached + now - self._in_flight + gone, self._ended)
        self._in_flight = now

    def survival(self, intervals: int) -> Floats:
        """The share of sequences that reach each edge up to a limit of so many intervals; shape [intervals + 1]."""
        limit, edges, widths = EDGES[intervals], EDGES[:intervals], WIDTHS[:intervals]
        ended = self._ended[:intervals] + PRIOR * widths / limit
        reached = self._reached[:intervals] + PRIOR * (1 - edges / limit)
        return np.concatenate([[1.0], np.cumprod(1 - ended / reached)])


def _reached(lengths: Floats) -> Floats:
    """How many of the lengths reach the end of each interval; one that ends within it counts for its part."""
    at = np.clip(np.searchsorted(EDGES, lengths, side="right") - 1, 0, len(WIDTHS) - 1)
    count = np.bincount(at, minlength=len(WIDTHS))
    part = np.bincount(at, weights=(lengths - EDGES[at]) / WIDTHS[at], minlength=len(WIDTHS))
    return count[::-1].cumsum()[::-1] - count + np.minimum(part, count)


class Forecast:
    """The KV tokens of one sequence, by its length now and by how many tokens from now; for one kind and one limit.

    `mean` and `variance` have the shape [intervals, len(EDGES)]: the row is the interval that its length is in, the
    column how far to look ahead. Tokens are counted as at the end of the step that is looked at.
    """

    def __init__(self, lengths: Lengths, intervals: int) -> None:
        limit = EDGES[intervals]
        now = (EDGES[:intervals] + EDGES[1 : intervals + 1] - 1)[:, None] / 2
        survival = lengths.survival(intervals)
        reached = np.interp(now + EDGES, EDGES[: intervals + 1], survival, right=0.0)
        lives = reached / np.maximum(np.interp(now, EDGES[: intervals + 1], survival), 1e-300)
        lives[now + EDGES >= limit] = 0.0
        ahead = np.append(EDGES[1:], EDGES[-1])
        tokens = np.minimum(now + ahead, limit)
        self.mean = tokens * lives
        self.variance = tokens**2 * lives * (1 - lives)
