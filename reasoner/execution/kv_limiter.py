"""The queue in front of the KV cache: which sequence may start next, given how long its kind becomes."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from reasoner.execution.gate import Room

Floats = NDArray[np.float64]
LONGEST: Final = 1 << 20
"""A higher limit is treated as this many tokens."""
EDGES: Final[Floats] = np.unique(np.round(np.append(0, 2 ** np.arange(0, 20.01, 0.25))))
"""Where the intervals of lengths begin; each is a fifth longer than the one before it, or one token long."""


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
        # A sequence counts half as much when this many later ones of its kind have ended, or a third of those
        # in flight
        decay = 0.5 ** (len(ended) / max(256, len(in_flight) / 3))
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
        # Before any evidence, the share that ends before a part x of the limit is taken to be x to this power
        prior = 1 - (EDGES[: intervals + 1] / EDGES[intervals]) ** 8
        ended = self._ended[:intervals] - np.diff(prior)
        reached = self._reached[:intervals] + prior[:-1]
        return np.append(1.0, np.cumprod(1 - ended / reached))


def _reached(lengths: Floats) -> Floats:
    """How many of the lengths pass through each interval; one that ends within it counts for its part."""
    interval = np.minimum(
        np.searchsorted(EDGES, lengths, side="right") - 1, len(EDGES) - 2
    )
    part = np.minimum((lengths - EDGES[interval]) / np.diff(EDGES)[interval], 1.0)
    within = np.bincount(interval, minlength=len(EDGES) - 1)
    beyond = within[::-1].cumsum()[::-1] - within
    return (
        np.bincount(interval, weights=part, minlength=len(EDGES) - 1).astype(np.float64)
        + beyond
    )


class KvForecast:
    """The KV tokens that a sequence of one kind and limit will hold.

    `mean` and `variance` have the shape [intervals, len(EDGES)]: a row for each interval that the length may be in now,
    a column for each number of tokens to look ahead, up to the next one. A sequence that has ended holds none.
    """

    def __init__(self, table: LifeTable, intervals: int) -> None:
        self.limit = float(EDGES[intervals])
        edges, survival = EDGES[: intervals + 1], table.survival(intervals)
        now = (edges[:-1] + edges[1:] - 1)[:, None] / 2
        later = now + EDGES
        alive = np.interp(later, edges, survival) / np.maximum(
            np.interp(now, edges, survival), 1e-300
        )
        alive[later >= self.limit] = 0.0
        tokens = np.minimum(now + np.append(EDGES[1:], LONGEST), self.limit)
        self.mean: Floats = tokens * alive
        self.variance: Floats = tokens**2 * alive * (1 - alive)

    def rows(self, lengths: Floats) -> NDArray[np.intp]:
        """The row of each length."""
        return np.clip(
            np.searchsorted(EDGES, lengths, side="right") - 1, 0, len(self.mean) - 1
        )


Shared = tuple[tuple[str, int], ...]
"""The pieces of a prompt, as (name, tokens); sequences that name the same piece share it."""


class _Kind:
    """The requests of one kind and limit: those in flight, their life table, and the lengths since it was updated."""

    def __init__(self, intervals: int) -> None:
        self.intervals = intervals
        self.table = LifeTable()
        self.forecast = KvForecast(self.table, intervals)
        self.in_flight: dict[CacheCharge, None] = {}
        self.ended: list[float] = []
        self.cut: list[float] = []

    def update(self, step: float) -> NDArray[np.intp]:
        """Learn from the sequences that left and from those in flight; the row of the forecast for each of these."""
        lengths = step - np.fromiter(
            (charge.entered for charge in self.in_flight), float, len(self.in_flight)
        )
        self.table.update(lengths, np.array(self.ended), np.array(self.cut))
        self.ended, self.cut = [], []
        self.forecast = KvForecast(self.table, self.intervals)
        rows = self.forecast.rows(lengths)
        for charge, row in zip(self.in_flight, rows.tolist(), strict=True):
            charge.forecast, charge.row = self.forecast, row
        return rows


@dataclass(slots=True, eq=False)
class CacheCharge:
    """What one sequence is charged while it is in flight."""

    shared: Shared
    limit: int
    kind: _Kind = field(repr=False)
    forecast: KvForecast = field(repr=False)
    row: int = 0
    entered: float = 0.0
    """The step of the engine at which it started."""
    rank: tuple[int, int] = (0, 0)
    """The index of its question, and its number."""
    generated: int | None = 0
    """The tokens that it had at its end; None where that is unknown."""
    ended: bool = False
    """Whether it ended by itself, and was neither cut nor cancelled."""


class CacheClaim(Protocol):
    """What asks a KV cache for room."""

    @property
    def charge(self) -> CacheCharge | None:
        """What it is charged while it is in flight."""

    def charged(self, limiter: "KvCacheLimiter", /) -> CacheCharge:
        """What it would be charged now."""


class KvCacheLimiter(Room[CacheClaim]):
    """Keeps the unique tokens in flight within the KV cache, earlier questions first, so that their branches stay.

    More tokens would be preempted and computed again. Sequences are charged what all in flight are expected to hold at
    any later moment, given how long earlier sequences of their kind became and how long they are already (Gong et al.
    2025, "Past-Future Scheduler"). The engine is not asked how long they are: all generate one token a step, so each
    that leaves says how many steps were made since it entered. Before any has left, a sequence is expected to use most
    of its limit.

    A piece of prompt that several sequences share counts once. A piece that is kept counts until it is let go, also
    while nothing of it is in flight, so that no newcomer evicts it. A sequence that does not fit the cache runs alone.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.queues = capacity, (self,)
        self._step = 0.0
        self._in_flight = 0
        self._limits = 0
        self._left = 0
        self._mean = np.zeros(len(EDGES))
        self._variance = np.zeros(len(EDGES))
        self._kinds: dict[tuple[Hashable, int], _Kind] = {}
        self._shared = 0
        self._kept: dict[str, int] = {}
        self._sharing: dict[str, int] = {}
        self._entered = 0

    @property
    def backlog(self) -> int:
        """Sequences that may wait before the cache counts as crowded: more keep it full for a while."""
        # Sequences that may wait before the cache counts as crowded
        return max(8, self._in_flight // 4)

    def charge(
        self,
        shared: Shared,
        *,
        kind: Hashable,
        limit: int,
        priority: int = 0,
    ) -> CacheCharge:
        """The charge of a sequence of up to `limit` tokens, with the `shared` pieces of its prompt.

        `kind` is what its length depends on, apart from the limit; limits that differ much are kinds of their own.
        Lower `priority` goes first.
        """
        known = self._known(kind, limit)
        self._entered += 1
        return CacheCharge(
            shared,
            limit,
            known,
            known.forecast,
            rank=(priority, self._entered),
        )

    def rank(self, ask: CacheClaim) -> int:
        """Its priority."""
        return ask.charged(self).rank[0]

    def short(self, ask: CacheClaim) -> "KvCacheLimiter | None":
        """None where the sequence fits, and the pieces of its prompt that are not in the cache yet."""
        return None if self._fits(ask.charged(self)) else self

    def take(self, ask: CacheClaim) -> None:
        """Charge it what it is expected to hold."""
        charge = cast("CacheCharge", ask.charge)
        charge.entered, charge.forecast, charge.row = (
            self._step,
            charge.kind.forecast,
            0,
        )
        charge.generated, charge.ended = 0, False
        charge.kind.in_flight[charge] = None
        self._in_flight += 1
        self._limits += charge.limit
        self._mean += charge.forecast.mean[charge.row]
        self._variance += charge.forecast.variance[charge.row]
        self._share(charge.shared)

    def give(self, ask: CacheClaim) -> None:
        """Free what it was charged, and learn from its length."""
        charge = cast("CacheCharge", ask.charge)
        generated = charge.generated
        del charge.kind.in_flight[charge]
        self._in_flight -= 1
        self._limits -= charge.limit
        self._left += 1
        if generated is None:
            charge.kind.cut.append(self._step - charge.entered)
        else:
            # Where it waited within the engine there were more steps; others will say so.
            self._step = max(self._step, charge.entered + generated)
            (
                charge.kind.ended if charge.ended and generated else charge.kind.cut
            ).append(float(generated))
        self._unshare(charge.shared)
        # The forecast is made again when this many sequences have left, or a sixteenth of those in flight
        if self._left >= max(8, self._in_flight // 16):
            self._refresh()
        elif self._in_flight:
            self._mean -= charge.forecast.mean[charge.row]
            self._variance -= charge.forecast.variance[charge.row]
        else:
            self._mean, self._variance = np.zeros(len(EDGES)), np.zeros(len(EDGES))

    def keep(self, name: str, tokens: int) -> None:
        """Count a piece of prompt in flight until `release`. Calling it again does nothing."""
        if name not in self._kept:
            self._kept[name] = tokens
            self._share(((name, tokens),))

    def release(self, name: str) -> None:
        """Count a kept piece only while it is in flight. Does nothing for other pieces."""
        if name in self._kept:
            self._unshare(((name, self._kept.pop(name)),))

    def _known(self, kind: Hashable, limit: int) -> _Kind:
        name = kind, intervals_below(limit)
        known = self._kinds.get(name)
        if known is None:
            # Kinds of requests that are remembered while nothing of them is in flight
            if len(self._kinds) >= 256:
                self._kinds = {
                    other: known
                    for other, known in self._kinds.items()
                    if known.in_flight
                }
            known = self._kinds[name] = _Kind(name[1])
        return known

    def _unshare(self, shared: Shared) -> None:
        for name, tokens in shared:
            self._sharing[name] -= 1
            if not self._sharing[name]:
                del self._sharing[name]
                self._shared -= tokens

    def _share(self, shared: Shared) -> None:
        for name, tokens in shared:
            if name not in self._sharing:
                self._shared += tokens
            self._sharing[name] = self._sharing.get(name, 0) + 1

    def _fits(self, charge: CacheCharge) -> bool:
        if self._in_flight == 0:
            return True
        shared = self._shared + sum(
            tokens for name, tokens in charge.shared if name not in self._sharing
        )
        if shared + self._limits + charge.limit <= self.capacity:
            return True
        forecast = charge.kind.forecast
        mean = self._mean + forecast.mean[0]
        # The relative standard deviation of the forecast itself, because lengths change during a run
        variance = self._variance + forecast.variance[0] + (0.05 * mean) ** 2
        # Rounding may leave a variance that is below zero.
        # By how many standard deviations more than expected the sequences in flight may need
        needed = mean + 2.0 * np.sqrt(np.maximum(variance, 0.0))
        return bool(shared + needed.max() <= self.capacity)

    def _refresh(self) -> None:
        """Forecast again what all in flight will hold."""
        self._left = 0
        self._mean, self._variance = np.zeros(len(EDGES)), np.zeros(len(EDGES))
        for kind in self._kinds.values():
            if kind.in_flight or kind.ended or kind.cut:
                count = np.bincount(kind.update(self._step), minlength=kind.intervals)
                self._mean += count @ kind.forecast.mean
                self._variance += count @ kind.forecast.variance
