"""How many tokens sequences generate: an estimate for each kind of request, and the KV tokens that follow from it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LONGEST: Final = 1 << 20
"""A higher limit is treated as this many tokens."""
EDGES: Final[Floats] = np.unique(np.round(np.append(0, 2 ** np.arange(0, 20.01, 0.25))))
"""Where the intervals of lengths begin; each is a fifth longer than the one before it, or one token long."""
HALF_LIFE: Final = 256
"""A sequence counts half as much when so many later ones of its kind have ended, or a third of those in flight."""
PRIOR_POWER: Final = 8
"""Before any evidence, the share that ends before a part x of the limit is taken to be x to this power."""


def intervals_below(limit: int) -> int:
    """How many intervals there are up to the first edge at or above a limit, at least 1."""
    return int(np.searchsorted(EDGES, min(max(limit, 1), LONGEST)))


class LifeTable:
    """Of the sequences of one kind that reached each interval of lengths, how many ended in it by themselves.

    Sequences that are in flight, were cut at their limit or cancelled count up to where they were seen, so the estimate
    is not biased to short ones, which end first (Kaplan & Meier 1958). Older sequences count less.
    """

    def __init__(self) -> None:
        self._ended = np.zeros(len(EDGES) - 1)
        self._reached = np.zeros(len(EDGES) - 1)
        self._in_flight = np.zeros(len(EDGES) - 1)

    def update(self, in_flight: Floats, ended: Floats, cut: Floats) -> None:
        """Count what happened since the last update, in generated tokens.

        `in_flight` are the lengths now of all in flight, `ended` those of sequences that ended by themselves, `cut`
        those of sequences that left otherwise. All are at least 0, `ended` at least 1.
        """
        decay = 0.5 ** (len(ended) / max(HALF_LIFE, len(in_flight) / 3))
        last = np.minimum(np.searchsorted(EDGES, ended) - 1, len(EDGES) - 2)
        now = _reached(in_flight)
        seen = now - self._in_flight + _reached(cut) + _reached(EDGES[last + 1])
        self._ended = decay * self._ended + np.bincount(last, minlength=len(EDGES) - 1)
        self._reached = np.maximum(decay * self._reached + seen, self._ended)
        self._in_flight = now

    def survival(self, intervals: int) -> Floats:
        """The share of sequences that reach each edge, if their limit is the last one; shape [intervals + 1].

        The prior counts for one sequence.
        """
        prior = 1 - (EDGES[: intervals + 1] / EDGES[intervals]) ** PRIOR_POWER
        ended = self._ended[:intervals] - np.diff(prior)
        reached = self._reached[:intervals] + prior[:-1]
        return np.append(1.0, np.cumprod(1 - ended / reached))


def _reached(lengths: Floats) -> Floats:
    """How many of the lengths pass through each interval; one that ends within it counts for its part."""
    interval = np.minimum(np.searchsorted(EDGES, lengths, side="right") - 1, len(EDGES) - 2)
    part = np.minimum((lengths - EDGES[interval]) / np.diff(EDGES)[interval], 1.0)
    within = np.bincount(interval, minlength=len(EDGES) - 1)
    beyond = within[::-1].cumsum()[::-1] - within
    return np.bincount(interval, weights=part, minlength=len(EDGES) - 1).astype(np.float64) + beyond


class Forecast:
    """The KV tokens that a sequence of one kind and limit will hold.

    `mean` and `variance` have the shape [intervals, len(EDGES)]: a row for each interval that the length may be in now,
    a column for each number of tokens to look ahead, up to the next one. A sequence that has ended holds none.
    """

    def __init__(self, table: LifeTable, intervals: int) -> None:
        self.limit = float(EDGES[intervals])
        edges, survival = EDGES[: intervals + 1], table.survival(intervals)
        now = (edges[:-1] + edges[1:] - 1)[:, None] / 2
        later = now + EDGES
        alive = np.interp(later, edges, survival) / np.maximum(np.interp(now, edges, survival), 1e-300)
        alive[later >= self.limit] = 0.0
        tokens = np.minimum(now + np.append(EDGES[1:], LONGEST), self.limit)
        self.mean: Floats = tokens * alive
        self.variance: Floats = tokens**2 * alive * (1 - alive)

    def rows(self, lengths: Floats) -> NDArray[np.intp]:
        """The row of each length."""
        return np.clip(np.searchsorted(EDGES, lengths, side="right") - 1, 0, len(self.mean) - 1)
