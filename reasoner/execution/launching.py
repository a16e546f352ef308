"""Launches the sequences and operations of one question in order, a limited number at a time."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

from reasoner.engine import silent
from reasoner.errors import BudgetExhausted, NotRecorded, PlanError
from reasoner.execution.admission import STARTS, Admission
from reasoner.execution.clock import Clock, Key
from reasoner.strategy import Finished, Handle
from reasoner.trace.recorder import SequenceId
from reasoner.types import Completion, Prompt

T = TypeVar("T")
MAX_IN_FLIGHT: Final = 1024
"""Sequences of one question that are launched at once: as many as engines compute at once."""
EQUAL_UNITS: Final = ("samples", "seconds")
"""The units in which a sequence needs as much as any other."""
Extent = Callable[[str], int]
"""One more than the highest recorded index for a prompt, by its digest; 0 without a record."""


class SequenceIds(NamedTuple):
    """The sequences of one operation, in launch order.

    `heads` are the prompts, each with its digest and the index of its first sequence; `n` are sampled from each. All
    start at the virtual time `at`.
    """

    op: int
    heads: tuple[tuple[Prompt, str, int], ...]
    n: int
    at: int

    def names(self) -> Iterator[tuple[str, int]]:
        """The digest of the prompt and the index of each."""
        return ((digest, index) for _, digest, first in self.heads for index in range(first, first + self.n))


@dataclass(slots=True, eq=False)
class _Launch:
    """Operations to start in order: those with the handles from `next` up to `end`."""

    next: int
    end: int
    work: Callable[[Handle], Coroutine[Any, Any, Finished]]
    recorded: Callable[[], int]
    """The handle after the last recorded one."""
    at: int | None
    """Where they start on the virtual clock; None where they are delivered as they end."""


class Started:
    """The operations that a plan started: launched in order, delivered by their virtual ends, or in a recorded order.

    Those that the plan has promised to wait for are delivered as they end. Where they are `held`, each waits for its
    turn among all questions, and holds back no other until then.
    """

    def __init__(
        self, admission: Admission, now: Callable[[], int], script: Iterable[int] = (), *, held: bool = False
    ) -> None:
        self._admission = admission
        self._held = held
        self._changed = asyncio.Event()
        self.clock = Clock(now, self._queued, lambda: bool(admission.waiting or self._queue), self._changed.set)
        admission.on_wait = self.clock.look
        self.late = 0
        """The operation of the refusal that was raised last."""
        self.running: dict[Handle, asyncio.Task[Finished]] = {}
        self._in_flight, self._delivered = 0, 0
        self._queue: deque[_Launch] = deque()
        self._skipped: set[int] = set()
        self._arrived: deque[Handle] = deque()
        self._script = deque(script)
        """The recorded order of results; others follow as they arrive."""
        self._first_refusal: tuple[Handle, BudgetExhausted] | None = None
        self._stalled: dict[Handle, NotRecorded] = {}

    def launch(
        self,
        first: int,
        times: int,
        work: Callable[[Handle], Coroutine[Any, Any, Finished]],
        recorded: Callable[[], int],
        at: int | None,
    ) -> None:
        """Start `work` `times` times, with handles from `first` on, as there is room.

        `at` is where they start on the virtual clock; None where they are to be delivered as they end.
        """
        self._queue.append(_Launch(first, first + times, work, recorded, at))
        self._pump()

    def at_once(self, handle: Handle, work: Coroutine[Any, Any, Finished], at: int | None) -> None:
        """Start one without waiting for room; `at` is as in `launch`."""
        self._in_flight += 1
        if at is not None:
            self.clock.open(handle, at)
        task = self.running[handle] = asyncio.ensure_future(work)
        task.add_done_callback(partial(self._arrive, handle, None))

    def _pump(self) -> None:
        """Launch what is next in the queue while there is room."""
        while self._queue and self._in_flight < MAX_IN_FLIGHT:
            launch = self._queue[0]
            if launch.next >= launch.end:
                self._queue.popleft()
                continue
            handle = Handle(launch.next)
            launch.next += 1
            if handle not in self._skipped:
                self._in_flight += 1
                if launch.at is not None:
                    self.clock.open(handle, launch.at, held=self._held)
                task = self.running[handle] = asyncio.get_running_loop().create_task(launch.work(handle))
                task.add_done_callback(partial(self._arrive, handle, launch))

    def _arrive(self, handle: Handle, launch: _Launch | None, task: "asyncio.Task[Finished]") -> None:
        self._in_flight -= 1
        # Reading the exception keeps asyncio from warning about results that the plan never waits for.
        if not task.cancelled() and isinstance(task.exception(), BudgetExhausted) and launch:
            # The budget is too small for the later ones too.
            launch.end = min(launch.end, max(launch.next, launch.recorded()))
        self._pump()
        if handle in self.clock.lines and not task.cancelled() and task.exception() is None:
            self.clock.over(handle, task.result().end)
        else:
            if self.clock.lines:
                self.clock.leave(handle)
            self._arrived.append(handle)
            self._changed.set()

    async def next(self, idle: Callable[[], None]) -> Finished:
        """The next result; `idle` is called before waiting for it.

        Raises:
            BudgetExhausted: all that are left were refused; `late` is then the first of them.
            NotRecorded: the history has no outcome for anything that is left.
            PlanError: nothing was started.
        """
        while self.running or any(launch.next < launch.end for launch in self._queue):
            handle = self._due()
            if handle is None:
                if self._stalled and len(self._stalled) == len(self.running):
                    raise next(iter(self._stalled.values()))
                self._changed.clear()
                idle()
                await self._wait()
                continue
            self._delivered += 1
            if self._delivered % STARTS == 0:
                # A plan that reads what has arrived already would otherwise read all of it in one turn of the loop.
                await asyncio.sleep(0)
            task = self.running.pop(handle)
            if self.clock.lines:
                self.clock.leave(handle)
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

    async def stall(self, handle: Handle, missing: NotRecorded) -> NoReturn:
        """Block an operation without an outcome until it is cancelled, as it was in the recorded run."""
        self._stalled[handle] = missing
        self.clock.leave(handle)
        self._changed.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def settle(self) -> None:
        """Wait until each launched operation has ended or is stalled."""
        while any(handle not in self._stalled and not task.done() for handle, task in self.running.items()):
            self._changed.clear()
            await self._changed.wait()

    async def _wait(self) -> None:
        """Wait until something may be delivered; meanwhile the virtual clock runs."""
        self.clock.idle = True
        self.clock.look()
        try:
            await self._changed.wait()
        finally:
            self.clock.idle = False

    def _queued(self) -> Key | None:
        """The least key that an operation in the queue may end with."""
        if self._held:
            return None
        keys = [(launch.at, Handle(launch.next)) for launch in self._queue if launch.next < launch.end]
        return min(((at, handle) for at, handle in keys if at is not None), default=None)

    def _due(self) -> Handle | None:
        """The result to deliver next, if it is there: the next recorded one, else the first that arrived or ended."""
        while self._script and (self._script[0] in self._stalled or not self.holds(self._script[0])):
            self._script.popleft()
        if self._script:
            task = self.running.get(Handle(self._script[0]))
            return Handle(self._script.popleft()) if task and task.done() else None
        while self._arrived:
            handle = self._arrived.popleft()
            if handle in self.running:
                return handle
        return self.clock.next()

    def holds(self, handle: int) -> bool:
        """Whether it was started and is not delivered yet."""
        if handle in self.running:
            return True
        return handle not in self._skipped and any(launch.next <= handle < launch.end for launch in self._queue)

    async def cancel(self, handle: Handle) -> None:
        """Abort an operation and wait until its cost is booked; one still in the queue is never launched."""
        self._stalled.pop(handle, None)
        self.clock.leave(handle)
        if handle in self.running:
            await cancel_all([self.running.pop(handle)])
        else:
            self._skipped.add(handle)

    async def close(self) -> None:
        """Abort all and wait until their costs are booked."""
        self._queue.clear()
        running, self.running = self.running, {}
        try:
            await cancel_all(running.values())
        finally:
            self.clock.close()
            self._admission.on_wait = silent


@dataclass(slots=True)
class _Launches:
    """The sequences of an operation in launch order.

    After a refusal, of those that the budget is too small for as well, only recorded ones follow.
    """

    sequences: SequenceIds
    extent: Extent
    _refused: set[str] = field(default_factory=set)
    """Prompts, by their digests, of which a sequence was refused."""
    _all_refused: bool = False

    def __iter__(self) -> Iterator[SequenceId]:
        op, heads, n, at = self.sequences
        for prompt, digest, first in heads:
            end: int | None = None
            for index in range(first, first + n):
                if end is None and (self._all_refused or digest in self._refused):
                    end = self.extent(digest)
                if end is not None and index >= end:
                    break
                yield SequenceId(op, prompt, digest, index, at)

    def refuse(self, digest: str, refusal: BudgetExhausted) -> None:
        """A sequence was refused: others of its prompt are too dear as well, and of all prompts in `EQUAL_UNITS`."""
        self._refused.add(digest)
        self._all_refused = self._all_refused or refusal.unit in EQUAL_UNITS


async def sample_all(
    sequences: SequenceIds, sample: Callable[[SequenceId], Awaitable[Completion]], extent: Extent
) -> tuple[tuple[Completion, ...], list[BudgetExhausted]]:
    """Generate all of them in launch order, and the refusals; the first other failure cancels the rest."""
    launches = _Launches(sequences, extent)

    async def work() -> None:
        for position, sequence in left:
            try:
                drawn[position] = await sample(sequence)
            except BudgetExhausted as refusal:
                refused[position] = refusal
                launches.refuse(sequence.digest, refusal)

    workers = min(MAX_IN_FLIGHT, sequences.n * len(sequences.heads))
    if workers == 1:
        try:
            return (await sample(next(iter(launches))),), []
        except BudgetExhausted as refusal:
            return (), [refusal]
    left, drawn, refused = enumerate(launches), dict[int, Completion](), dict[int, BudgetExhausted]()
    await each([work] * workers)
    return tuple([drawn[position] for position in sorted(drawn)]), [refused[position] for position in sorted(refused)]


async def each(work: Sequence[Callable[[], Awaitable[T]]]) -> list[T | BudgetExhausted]:
    """Run all concurrently, refusals as values; the first other failure cancels the rest."""
    if len(work) == 1:
        return [await _refusal_as_value(work[0])]
    tasks = [asyncio.ensure_future(_refusal_as_value(part)) for part in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await cancel_all(tasks)


async def _refusal_as_value(work: Callable[[], Awaitable[T]]) -> T | BudgetExhausted:
    try:
        return await work()
    except BudgetExhausted as refusal:
        return refusal


async def cancel_all(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel unfinished tasks and wait until they end; cancelling the caller again cancels them again."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    try:
        if running:
            await asyncio.wait(running)
    except asyncio.CancelledError:
        await cancel_all(running)
        raise
