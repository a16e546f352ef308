"""The queue in front of the KV cache: which sequence may start next."""

import asyncio
import heapq
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from reasoner.execution.lengths import EDGES, Forecast, Lengths, interval

Shared = tuple[tuple[str, int], ...]
"""The pieces of a prompt, as (name, tokens); sequences that name the same piece share it."""
DEVIATIONS: Final = 1.5
"""The forecast is exceeded by the cache's need with the chance that a normal variable exceeds so many deviations."""
OFTEN: Final = 8
"""The forecast is made anew when so many sequences have ended, or a part of those in flight."""
PART: Final = 16


@dataclass(slots=True, eq=False)
class Passage:
    """A sequence within the cache: what `enter` returns and `leave` takes back."""

    shared: Shared
    group: "_Group"
    waited: bool
    entered: float = 0.0
    """The step of the engine at which it entered."""
    forecast: Forecast = field(init=False)
    row: int = 0

    @property
    def mean(self) -> "np.typing.NDArray[np.float64]":
        return self.forecast.mean[self.row]

    @property
    def variance(self) -> "np.typing.NDArray[np.float64]":
        return self.forecast.variance[self.row]


class _Kind:
    """A kind of request: its lengths, and those that ended since the last forecast."""

    def __init__(self) -> None:
        self.lengths = Lengths()
        self.ended: list[float] = []
        self.cut: list[float] = []
        self.groups: dict[int, _Group] = {}


class _Group:
    """The sequences of one kind with one limit."""

    def __init__(self, kind: _Kind, intervals: int) -> None:
        self.kind = kind
        self.intervals = intervals
        self.running: dict[Passage, None] = {}
        self.forecast = Forecast(kind.lengths, intervals)


@dataclass(order=True, slots=True)
class _Waiting:
    priority: int
    number: int
    passage: Passage = field(compare=False)
    ticket: asyncio.Future[None] = field(compare=False)


class KvCacheLimiter:
    """Keeps the unique tokens in flight within the KV cache, earlier questions first, so that their branches stay.

    More tokens would be preempted and computed again. Sequences are charged what they are expected to need, now and at
    any later moment, given how long earlier ones of their kind became and how long they are already (Gong et al. 2025,
    Past-Future Scheduler). How long they are is told by those that end: all advance by one token a step. Before any
    ended, a length is thought uniform up to the limit.

    A piece of prompt that several sequences share counts once. A piece that is kept counts until it is let go, also
    while nothing of it is in flight, so that no newcomer evicts it. A sequence longer than the cache runs alone.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._shared = 0
        self._in_flight = 0
        self._step = 0.0
        self._left = 0
        self._mean = np.zeros(len(EDGES))
        self._variance = np.zeros(len(EDGES))
        self._kinds: dict[Hashable, _Kind] = {}
        self._kept: dict[str, int] = {}
        self._sharing: dict[str, int] = {}
        self._queue: list[_Waiting] = []
        self._number = 0

    async def enter(self, shared: Shared, *, kind: Hashable, limit: int, priority: int = 0) -> Passage:
        """Wait until a sequence of up to `limit` tokens fits, and the `shared` pieces that are not in the cache yet.

        `kind` is what its length depends on. Lower `priority`, the index of the question, goes first. Give the passage
        back with `leave`.
        """
        passage = Passage(shared, self._group(kind, limit), waited=False)
        if not self._queue and self._fits(passage):
            self._take(passage)
            return passage
        passage.waited = True
        self._number += 1
        waiting = _Waiting(priority, self._number, passage, asyncio.get_running_loop().create_future())
        heapq.heappush(self._queue, waiting)
        self._advance()
        try:
            await waiting.ticket
        except asyncio.CancelledError:
            if waiting.ticket.done() and not waiting.ticket.cancelled():
                self.leave(passage, 0, ended=False)
            else:
                self._advance()
            raise
        return passage

    def leave(self, passage: Passage, generated: int | None, *, ended: bool) -> None:
        """Free what a sequence took. `ended`: by itself, not cut or cancelled. `generated` is None where unknown."""
        group = passage.group
        del group.running[passage]
        self._in_flight -= 1
        self._mean -= passage.mean
        self._variance -= passage.variance
        if generated is None:
            generated = int(self._step - passage.entered)
        # It advanced by one token a step at most: it may have waited within the engine.
        self._step = max(self._step, passage.entered + generated)
        (group.kind.ended if ended else group.kind.cut).append(float(generated))
        self._unshare(passage.shared)
        self._left += 1
        if self._left >= max(OFTEN, self._in_flight // PART) or not self._in_flight:
            self._forecast()
        self._advance()

    def keep(self, name: str, tokens: int) -> None:
        """Count a piece of prompt in flight until `release`. Calling it again does nothing."""
        if name not in self._kept:
            self._kept[name] = tokens
            self._share(((name, tokens),))

    def release(self, name: str) -> None:
        """Count a kept piece only while it is in flight. Does nothing for other pieces."""
        if name in self._kept:
            self._unshare(((name, self._kept.pop(name)),))
            self._advance()

    def _group(self, kind: Hashable, limit: int) -> _Group:
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = _Kind()
        intervals = interval(limit)
        group = found.groups.get(intervals)
        if group is None:
            group = found.groups[intervals] = _Group(found, intervals)
        return group

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

    def _fits(self, passage: Passage) -> bool:
        if self._in_flight == 0:
            return True
        room = self.capacity - self._shared
        room -= sum(tokens for name, tokens in passage.shared if name not in self._sharing)
        forecast = passage.group.forecast
        need = self._mean + forecast.mean[0]
        need += DEVIATIONS * np.sqrt(self._variance + forecast.variance[0])
        return bool(need.max() <= room)

    def _take(self, passage: Passage) -> None:
        passage.entered, passage.forecast = self._step, passage.group.forecast
        passage.group.running[passage] = None
        self._in_flight += 1
        self._mean += passage.mean
        self._variance += passage.variance
        self._share(passage.shared)

    def _forecast(self) -> None:
        """Learn from what ended, and forecast the need of all in flight anew."""
        self._left = 0
        self._mean, self._variance = np.zeros(len(EDGES)), np.zeros(len(EDGES))
        for kind in self._kinds.values():
            if not (kind.ended or kind.cut or any(group.running for group in kind.groups.values())):
                continue
            lengths = {
                group: self._step - np.fromiter((one.entered for one in group.running), float, len(group.running))
                for group in kind.groups.values()
            }
            kind.lengths.update(np.concatenate([*lengths.values()]), np.array(kind.ended), np.array(kind.cut))
            kind.ended, kind.cut = [], []
            for group, now in lengths.items():
                group.forecast = Forecast(kind.lengths, group.intervals)
                rows = np.clip(np.searchsorted(EDGES, now, side="right") - 1, 0, group.intervals - 1)
                for passage, row in zip(group.running, rows.tolist(), strict=True):
                    passage.forecast, passage.row = group.forecast, row
                count = np.bincount(rows, minlength=group.intervals)
                self._mean += count @ group.forecast.mean
                self._variance += count @ group.forecast.variance

    def _advance(self) -> None:
        # A cancelled waiter may not have run yet when others leave: it is skipped.
        while self._queue and (self._queue[0].ticket.cancelled() or self._fits(self._queue[0].passage)):
            first = heapq.heappop(self._queue)
            if not first.ticket.cancelled():
                self._take(first.passage)
                first.ticket.set_result(None)
