"""The operations that a plan started: launched in order, a limited number at a time; and which result comes next.

A question has a virtual clock, which counts generated tokens and not seconds. An operation starts at a virtual time and
ends as many ticks later as its longest sequence has tokens. Its result is delivered once none that still runs can end
before it, as their lengths so far say. So the order of results is a function of the replies: no engine, no load and no
order of completion changes it.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from reasoner.engine import NEVER, Progress
from reasoner.errors import BudgetExhausted, NotRecorded, PlanError
from reasoner.execution.launching import MAX_IN_FLIGHT, STARTS, SequenceIds, cancel_all
from reasoner.execution.scheduler import ScheduledQuestion
from reasoner.strategy import Finished, Handle
from reasoner.trace.history import QuestionHistory

Key = tuple[int, Handle]
"""A virtual end and the handle of the operation: the order of results."""


@dataclass(slots=True, eq=False)
class ClockEntry:
    """One operation on the clock, from `start` on: how long its sequences are so far, and its `end` once it is over."""

    operations: "RunningOperations"
    handle: Handle
    start: int
    end: int | None = None
    gone: bool = False
    drawing: int = 1
    """Sequences that have not ended."""
    parked: int = 0
    """Sequences held back by an engine that already knows their length."""
    sequences: "list[SequenceProgress]" = field(default_factory=list)

    @property
    def bound(self) -> int:
        """The earliest virtual time at which it may end."""
        if self.end is not None:
            return self.end
        return max(
            [
                self.start,
                *(sequence.start + sequence.length for sequence in self.sequences),
            ]
        )

    def sequence(self, start: int) -> "SequenceProgress":
        """The progress of a request for one of its sequences."""
        sequence = SequenceProgress(line=self, start=start)
        self.sequences.append(sequence)
        self.operations.pass_on()
        return sequence

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """A block that draws sequences, one after another."""
        self.drawing += 1
        try:
            yield
        finally:
            self.drawing -= 1
            self.operations.look()


@dataclass(slots=True, eq=False)
class SequenceProgress(Progress):
    """The progress of one request, from the virtual time `start` on."""

    line: ClockEntry = field(kw_only=True)
    start: int = field(kw_only=True)
    length: int = 0
    """The tokens that it has at least, and exactly once the engine knows it."""
    threshold: int = NEVER
    """From this many tokens on, another result may be delivered."""
    freed: "asyncio.Future[None] | None" = None

    def reached(self, tokens: int) -> None:
        """Called from any thread, for each token: it must be cheap."""
        self.length = self.tokens = tokens
        if tokens >= self.threshold:
            self.threshold = NEVER
            self.line.operations.look_from_thread()

    def over(self, tokens: int | None) -> None:
        line = self.line
        if not line.gone:
            shorter = tokens is None or tokens < self.length
            if tokens is None:
                line.sequences.remove(self)
            else:
                self.length = tokens
            if shorter:
                line.operations.hold_back(line)
        line.operations.pass_on()

    async def until(self, tokens: int) -> None:
        line, operations = self.line, self.line.operations
        self.length = tokens
        self.freed = asyncio.get_running_loop().create_future()
        line.parked += 1
        operations.park(self)
        try:
            await self.freed
            self.tokens = tokens
        except BaseException:
            self.tokens = max(0, min(operations.now - self.start, tokens))
            raise
        finally:
            line.parked -= 1
            self.freed = None
            operations.look()


Work = Callable[[Handle], Coroutine[Any, Any, Finished]]
"""Runs the operation of a handle."""


@dataclass(slots=True, eq=False)
class _Launch:
    """Operations to start in order: those with the handles from `next` up to `end`."""

    next: int
    end: int
    sequences: SequenceIds
    """The sequences of the first operation."""
    work: Work
    ordered: bool
    """Whether they are delivered by their virtual ends, and not as they end."""


class RunningOperations:
    """The operations of one question that its plan started, in the order in which it receives their results.

    They are delivered by their virtual ends, or in the order of a `history`. Those that the plan has promised to wait
    for are delivered as they end. Where the question is `scheduled`, each waits for its turn among all questions, and
    holds back no other until then.
    """

    def __init__(
        self, history: QuestionHistory, scheduled: ScheduledQuestion | None = None
    ) -> None:
        self.scheduled = scheduled
        self.now = 0
        """The virtual time: where the latest of the results ended that the plan has received."""
        self.late = 0
        """The operation of the refusal that was raised last."""
        self.lines: dict[Handle, ClockEntry] = {}
        self._history = history
        self._script = deque(history.delivered if history.attempts else ())
        """The recorded order of results; others follow as they arrive."""
        self._tasks: dict[Handle, asyncio.Task[Finished]] = {}
        self._changed = asyncio.Event()
        self._in_flight = self._waiting = self._parkings = 0
        self._launches: deque[_Launch] = deque()
        self._skipped: set[int] = set()
        self._arrived: deque[Handle] = deque()
        self._first_refusal: tuple[Handle, BudgetExhausted] | None = None
        self._stalled: dict[Handle, NotRecorded] = {}
        self._running: list[tuple[int, Handle, ClockEntry]] = []
        """By a lower bound of their end, which may be outdated."""
        self._over: list[Key] = []
        self._parked: list[tuple[int, Handle, int, SequenceProgress]] = []
        self._idle = self._looking = self._pumping = False
        self._loop: asyncio.AbstractEventLoop | None = None

    # What is started

    def launch(
        self,
        sequences: SequenceIds,
        times: int,
        work: Work,
        *,
        ordered: bool,
    ) -> None:
        """Start `work` `times` times, as there is room; handles count up from the operation of `sequences`."""
        self._launches.append(
            _Launch(sequences.op, sequences.op + times, sequences, work, ordered)
        )
        self._pump()

    def start(
        self,
        handle: Handle,
        work: Work,
        at: int | None,
        launch: _Launch | None = None,
    ) -> None:
        """Start one at once, at a virtual time; None where it is delivered as it ends."""
        loop = self._loop = asyncio.get_running_loop()
        self._in_flight += 1
        if at is not None:
            line = self.lines[handle] = ClockEntry(self, handle, at)
            if not (launch and self.scheduled):
                self.hold_back(line)
        # Only a recorded run has operations without an outcome.
        run = self._or_stalled(handle, work) if self._history.attempts else work(handle)
        task = self._tasks[handle] = loop.create_task(run)
        task.add_done_callback(partial(self._arrive, handle, launch))

    def _pump(self) -> None:
        """Launch what is next while there is room, a few in a turn of the event loop."""
        if self._pumping:
            return
        most = min(MAX_IN_FLIGHT, self._in_flight + STARTS)
        while self._launches and self._in_flight < most:
            launch = self._launches[0]
            if launch.next >= launch.end:
                self._launches.popleft()
                continue
            handle = Handle(launch.next)
            launch.next += 1
            if handle in self._skipped:
                continue
            self.start(
                handle,
                launch.work,
                launch.sequences.at if launch.ordered else None,
                launch,
            )
        if self._launches and most < MAX_IN_FLIGHT:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump_on)

    def _pump_on(self) -> None:
        self._pumping = False
        self._pump()
        self.pass_on()

    def _arrive(
        self, handle: Handle, launch: _Launch | None, task: "asyncio.Task[Finished]"
    ) -> None:
        self._in_flight -= 1
        # Reading the exception keeps asyncio from warning about results that the plan never waits for.
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        if launch and failure and isinstance(failure, BudgetExhausted):
            # The budget is too small for the later ones too.
            _, digest, index = launch.sequences.heads[0]
            recorded = launch.sequences.op + self._history.extent(digest) - index
            launch.end = min(launch.end, max(launch.next, recorded))
        if self._launches:
            self._pump()
        line = self.lines.get(handle)
        if line and failure is None:
            line.end = task.result().end
            heapq.heappush(self._over, (line.end, handle))
            self.pass_on()
        else:
            if line:
                self._leave(handle)
            self._arrived.append(handle)
            self._changed.set()

    def holds(self, handle: int) -> bool:
        """Whether it was started and is not delivered yet."""
        if handle in self._tasks:
            return True
        return handle not in self._skipped and any(
            launch.next <= handle < launch.end for launch in self._launches
        )

    async def _or_stalled(self, handle: Handle, work: Work) -> Finished:
        """The result; an operation without an outcome blocks until it is cancelled, as it was in the recorded run."""
        try:
            return await work(handle)
        except NotRecorded as missing:
            self._stalled[handle] = missing
            self._leave(handle)
            self._changed.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def settle(self) -> None:
        """Wait until each launched operation has ended or is stalled."""
        while any(
            handle not in self._stalled and not task.done()
            for handle, task in self._tasks.items()
        ):
            self._changed.clear()
            await self._changed.wait()

    async def cancel(self, handle: Handle) -> None:
        """Abort an operation and wait until its cost is booked; one that is not launched yet never is."""
        self._stalled.pop(handle, None)
        self._leave(handle)
        if handle in self._tasks:
            await cancel_all([self._tasks.pop(handle)])
        else:
            self._skipped.add(handle)

    async def close(self) -> None:
        """Abort all and wait until their costs are booked."""
        self._launches.clear()
        tasks, self._tasks = self._tasks, {}
        try:
            await cancel_all(tasks.values())
        finally:
            # The question would stay in a circle of references, and Python searches for these rarely.
            for handle in [*self.lines]:
                self._leave(handle)
            for heap in (self._running, self._over, self._parked):
                heap.clear()

    @contextmanager
    def waits(self) -> Iterator[None]:
        """A block that waits for room which running sequences may hold: in a ledger, or in a KV cache."""
        self._waiting += 1
        self.look()
        try:
            yield
        finally:
            self._waiting -= 1

    # Which result comes next

    async def next(self) -> Finished:
        """The next result.

        Raises:
            BudgetExhausted: all that are left were refused; `late` is then the first of them.
            NotRecorded: the history has no outcome for anything that is left.
            PlanError: nothing was started.
        """
        while self._tasks or any(launch.next < launch.end for launch in self._launches):
            handle = self._due()
            if handle is None:
                if self._stalled and len(self._stalled) == len(self._tasks):
                    raise next(iter(self._stalled.values()))
                await self._wait()
                continue
            task = self._tasks.pop(handle)
            if handle in self.lines:
                self._leave(handle)
            failure = task.exception()
            if failure is None:
                return task.result()
            if not isinstance(failure, BudgetExhausted):
                raise failure
            self._first_refusal = self._first_refusal or (handle, failure)
        if self._first_refusal:
            (self.late, refusal), self._first_refusal = self._first_refusal, None
            raise refusal
        raise PlanError("the strategy waits for a result and has started nothing")

    async def _wait(self) -> None:
        """Wait until something may be delivered; meanwhile the virtual clock runs."""
        self._changed.clear()
        if self.scheduled:
            self.scheduled.idle()
        self._idle = True
        self.look()
        try:
            await self._changed.wait()
        finally:
            self._idle = False

    def _due(self) -> Handle | None:
        """The result to deliver next, if it is there: the next recorded one, else the first that arrived or ended."""
        while self._script and (
            self._script[0] in self._stalled or not self.holds(self._script[0])
        ):
            self._script.popleft()
        if self._script:
            task = self._tasks.get(Handle(self._script[0]))
            return Handle(self._script.popleft()) if task and task.done() else None
        while self._arrived:
            handle = self._arrived.popleft()
            if handle in self._tasks:
                return handle
        return self._first_over()

    def _first_over(self) -> Handle | None:
        """The operation that ended first, once nothing that runs or is to be launched may end before it."""
        while self._over and self._over[0][1] not in self.lines:
            heapq.heappop(self._over)
        if not self._over or self._held_back(self._over[0]):
            return None
        if not self.scheduled:
            for launch in self._launches:
                starts = launch.sequences.at, Handle(launch.next)
                if (
                    launch.ordered
                    and launch.next < launch.end
                    and starts < self._over[0]
                ):
                    return None
        return self._over[0][1]

    def hold_back(self, line: ClockEntry) -> None:
        """From now on, this operation holds back others that end after it."""
        heapq.heappush(self._running, (line.bound, line.handle, line))

    def _leave(self, handle: Handle) -> None:
        """An operation was delivered, refused or cancelled, or has failed."""
        if line := self.lines.pop(handle, None):
            line.gone = True
            line.sequences.clear()
            self.pass_on()

    def park(self, sequence: SequenceProgress) -> None:
        """An engine holds a sequence back until its virtual end."""
        self._parkings += 1
        key = (
            sequence.start + sequence.length,
            sequence.line.handle,
            self._parkings,
            sequence,
        )
        heapq.heappush(self._parked, key)
        self.pass_on()

    def pass_on(self) -> None:
        """Deliver what may be delivered now, and look what may end."""
        if self._idle and self._over and self._first_over() is not None:
            self._idle = False
            self._changed.set()
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
        # What waits for room may wait for the room of a sequence that is held back.
        if not (self._waiting or self._launches):
            if not self._idle or sequence.line.drawing > sequence.line.parked:
                return
            if (self._over and self._over[0] <= (end, handle)) or self._held_back(
                (end, handle)
            ):
                return
        heapq.heappop(self._parked)
        if sequence.freed and not sequence.freed.done():
            sequence.freed.set_result(None)
        self.look()

    def _held_back(self, key: Key) -> bool:
        """Whether an operation that runs may end before this end; it has us look again when it no longer may."""
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
