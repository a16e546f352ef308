"""The virtual clock of a question: which of its running operations ends next, in generated tokens and not in seconds.

An operation starts at a virtual time and ends as many ticks later as its longest sequence has tokens. Its result is
delivered once none that still runs can end before it, as their lengths so far say. So the order of results is a
function of the replies: no engine, no load and no order of completion changes it.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from reasoner.engine import NEVER, Progress, silent
from reasoner.strategy import Handle

T = TypeVar("T")
U = TypeVar("U")
Key = tuple[int, Handle]
"""A virtual end and the handle of the operation: the order of results."""


@dataclass(slots=True, eq=False)
class Line:
    """One operation on the clock, from `start` on: how long its sequences are so far, and its `end` once it is over."""

    clock: "Clock"
    handle: Handle
    start: int
    end: int | None = None
    gone: bool = False
    drawing: int = 1
    """Sequences that have not ended."""
    parked: int = 0
    """Those of them that an engine which knows their length holds back."""
    sequences: "list[SequenceProgress]" = field(default_factory=list)

    @property
    def bound(self) -> int:
        """The earliest virtual time at which it may end."""
        if self.end is not None:
            return self.end
        return max([self.start, *(sequence.start + sequence.length for sequence in self.sequences)])

    def sequence(self, start: int, due: Callable[[], bool] | None) -> "SequenceProgress":
        """The progress of a request for one of its sequences."""
        sequence = SequenceProgress(due, line=self, start=start)
        self.sequences.append(sequence)
        self.clock.pass_on()
        return sequence

    async def counting(self, sample: Callable[[T], Awaitable[U]], sequence: T) -> U:
        """Draw one of its sequences, which counts among those that have not ended."""
        self.drawing += 1
        try:
            return await sample(sequence)
        finally:
            self.drawing -= 1
            self.clock.look()


@dataclass(slots=True, eq=False)
class SequenceProgress(Progress):
    """The progress of one request, from the virtual time `start` on."""

    line: Line = field(kw_only=True)
    start: int = field(kw_only=True)
    length: int = 0
    """The tokens that it has at least, and exactly once the engine knows it."""
    threshold: int = NEVER
    """From this many tokens on, another result may be delivered."""
    freed: "asyncio.Future[None] | None" = None

    def reached(self, tokens: int) -> bool:
        """Called from any thread, for each token: it must be cheap."""
        self.length = tokens
        if tokens >= self.threshold:
            self.threshold = NEVER
            self.line.clock.look_from_thread()
        return Progress.reached(self, tokens)

    def over(self, tokens: int | None) -> None:
        if not self.line.gone:
            shorter = tokens is None or tokens < self.length
            if tokens is None:
                self.line.sequences.remove(self)
            else:
                self.length = tokens
            if shorter:
                self.line.clock.add(self.line)
        self.line.clock.pass_on()

    async def until(self, tokens: int) -> None:
        line, clock = self.line, self.line.clock
        self.length = tokens
        self.freed = asyncio.get_running_loop().create_future()
        line.parked += 1
        clock.park(self)
        try:
            await self.freed
            self.tokens = tokens
        except BaseException:
            self.tokens = max(0, min(clock.now() - self.start, tokens))
            raise
        finally:
            line.parked -= 1
            self.freed = None
            clock.look()


class Clock:
    """The operations of one question that are delivered in the order of their virtual ends.

    `now` is the virtual time of the plan. `queued` is the least key of what is not launched yet, None without any.
    `starved` says whether work of the question waits for room that its running sequences hold: in a ledger, in a KV
    cache, or in the queue. `ready` is called when a result may be delivered.
    """

    def __init__(
        self,
        now: Callable[[], int],
        queued: Callable[[], Key | None],
        starved: Callable[[], bool],
        ready: Callable[[], None],
    ) -> None:
        self.now, self._queued, self._starved, self._ready = now, queued, starved, ready
        self.idle = False
        """Whether the plan waits for the next result."""
        self.lines: dict[Handle, Line] = {}
        self._running: list[tuple[int, Handle, Line]] = []
        """By a lower bound of their end, which may be outdated."""
        self._over: list[Key] = []
        self._parked: list[tuple[int, Handle, int, SequenceProgress]] = []
        self._number = 0
        self._looking = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, handle: Handle, start: int, *, held: bool = False) -> None:
        """An operation is launched; while it is `held`, it holds back no other."""
        self._loop = asyncio.get_running_loop()
        line = self.lines[handle] = Line(self, handle, start)
        if not held:
            self.add(line)

    def add(self, line: Line) -> None:
        """From now on, the operation holds back others that end after it."""
        heapq.heappush(self._running, (line.bound, line.handle, line))

    def over(self, handle: Handle, end: int) -> None:
        """An operation has a result, which ended at a virtual time."""
        if line := self.lines.get(handle):
            line.end = end
            heapq.heappush(self._over, (end, handle))
            self.pass_on()

    def leave(self, handle: Handle) -> None:
        """An operation was delivered, refused or cancelled, or has failed."""
        if line := self.lines.pop(handle, None):
            line.gone = True
            line.sequences.clear()
            self.pass_on()

    def close(self) -> None:
        """Forget the question: it would stay in a circle of references, and Python searches for these rarely."""
        for handle in [*self.lines]:
            self.leave(handle)
        for heap in (self._running, self._over, self._parked):
            heap.clear()
        self.now, self._queued, self._starved, self._ready = int, silent, bool, silent

    def next(self) -> Handle | None:
        """The operation with the result to deliver next; None if it is not known yet."""
        while self._over and self._over[0][1] not in self.lines:
            heapq.heappop(self._over)
        if not self._over or self._held_back(self._over[0]):
            return None
        queued = self._queued()
        return None if queued and queued < self._over[0] else self._over[0][1]

    def park(self, sequence: SequenceProgress) -> None:
        """An engine holds a sequence back until its virtual end."""
        self._number += 1
        key = sequence.start + sequence.length, sequence.line.handle, self._number, sequence
        heapq.heappush(self._parked, key)
        self.pass_on()

    def pass_on(self) -> None:
        """Deliver what may be delivered now, and look what may end."""
        if self.idle and self._over and self.next() is not None:
            self.idle = False
            self._ready()
        self.look()

    def look(self) -> None:
        """Look in the next turn of the event loop which sequence may end: by then, what was started runs."""
        if self._parked and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def look_from_thread(self) -> None:
        """A sequence has passed its threshold; called from any thread."""
        assert self._loop
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.pass_on)

    def _look(self) -> None:
        self._looking = False
        while self._parked and self._parked[0][3].freed is None:
            heapq.heappop(self._parked)
        if not self._parked:
            return
        end, handle, _, sequence = self._parked[0]
        if not self._starved():
            if not self.idle or sequence.line.drawing > sequence.line.parked:
                return
            if (self._over and self._over[0] <= (end, handle)) or self._held_back((end, handle)):
                return
        heapq.heappop(self._parked)
        if sequence.freed and not sequence.freed.done():
            sequence.freed.set_result(None)
        self.look()

    def _held_back(self, key: Key) -> bool:
        """Whether an operation that runs may end before this end; it wakes the clock when it no longer may."""
        while self._running:
            known, handle, line = self._running[0]
            if line.gone or line.end is not None:
                heapq.heappop(self._running)
                continue
            bound = line.bound
            if bound > known:
                heapq.heapreplace(self._running, (bound, handle, line))
                continue
            if (known, handle) >= key:
                return False
            target = key[0] if handle > key[1] else key[0] + 1
            for sequence in line.sequences:
                sequence.threshold = target - sequence.start
            # A token may have come meanwhile, in another thread.
            if line.bound == bound:
                return True
        return False
