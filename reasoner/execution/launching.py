"""Launches the sequences and operations of one question in order, a limited number at a time."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

from reasoner.errors import BudgetExhausted, NotRecorded, PlanError
from reasoner.execution.admission import STARTS
from reasoner.strategy import BRANCH, Finished, Handle, Sample
from reasoner.trace.recorder import SequenceId
from reasoner.types import Completion, Prompt

T = TypeVar("T")
MAX_WAITING: Final = 64
"""Sequences of one question that wait for the budget or the cache at once: more would only wait behind them."""
MAX_IN_FLIGHT: Final = 1024
"""Sequences of one question in flight at once: as many as engines compute at once."""
Passed = Callable[[], None]
"""Called when work has its reservation and its room in the cache, just before it reaches the engine."""
Extent = Callable[[str], int]
"""One more than the highest recorded index for a prompt, by its digest; 0 without a record."""


@dataclass(frozen=True, slots=True)
class SequenceIds:
    """The sequences of one operation, in launch order, created one by one.

    `heads` are the prompts, each with its digest and the index of its first sequence; `n` are drawn from each.
    """

    op: int
    heads: tuple[tuple[Prompt, str, int], ...]
    n: int

    def __iter__(self) -> Iterator[SequenceId]:
        for prompt, digest, first in self.heads:
            for index in range(first, first + self.n):
                yield SequenceId(self.op, prompt, digest, index)


@dataclass(slots=True)
class Numbering:
    """Numbers the sequences of a question, by prompt digest and branch."""

    _next_index: dict[tuple[str, int], int] = field(default_factory=dict)

    def name(self, op: Sample, first_op: int, times: int) -> SequenceIds:
        """The sequences of an operation that is the plan's number `first_op`; of the first where there are several."""
        heads: list[tuple[Prompt, str, int]] = []
        for prompt in op.prompts:
            digest = prompt.digest
            first = self._next_index.get((digest, op.branch), op.branch * BRANCH)
            self._next_index[digest, op.branch] = first + op.n * times
            heads.append((prompt, digest, first))
        return SequenceIds(first_op, tuple(heads), op.n)


@dataclass(slots=True, eq=False)
class _Launch:
    """An operation to start `times` times, with handles from `first` on; `next` is the index of the next one."""

    first: int
    times: int
    work: Callable[[int, Passed], Coroutine[Any, Any, Finished]]
    recorded: Callable[[], int]
    """How many of them are recorded, from the first on."""
    next: int = 0
    skipped: set[int] = field(default_factory=set)

    @property
    def over(self) -> bool:
        return self.next >= self.times

    def holds(self, handle: int) -> bool:
        return self.first + self.next <= handle < self.first + self.times and handle not in self.skipped


class Started:
    """The operations that a plan started: launched in order, delivered as they end, or in a recorded order.

    At most `maximum` wait for the budget or the cache at once, and no more are in flight than an engine computes.
    """

    def __init__(self, maximum: int = MAX_WAITING) -> None:
        self.late = 0
        """The operation of the refusal that was raised last."""
        self.running: dict[Handle, asyncio.Task[Finished]] = {}
        self._maximum, self._waiting, self._in_flight, self._delivered = maximum, 0, 0, 0
        self._queue: deque[_Launch] = deque()
        self._by_first_handle: dict[int, _Launch] = {}
        """The launches in the queue."""
        self._repeated: list[_Launch] = []
        """The launches of several operations."""
        self._arrived: deque[Handle] = deque()
        self._script: deque[int] = deque()
        self._changed = asyncio.Event()
        self._first_refusal: tuple[Handle, BudgetExhausted] | None = None
        self._stalled: dict[Handle, NotRecorded] = {}

    def follow(self, script: Iterable[int]) -> None:
        """Deliver results in this recorded order; others follow as they arrive."""
        self._script += script

    def launch(
        self,
        first: int,
        times: int,
        work: Callable[[int, Passed], Coroutine[Any, Any, Finished]],
        recorded: Callable[[], int],
    ) -> None:
        """Start `work` `times` times, with handles from `first` on, as there is room."""
        launch = self._by_first_handle[first] = _Launch(first, times, work, recorded)
        self._queue.append(launch)
        if times > 1:
            self._repeated = [*(other for other in self._repeated if not other.over), launch]
        self._pump()

    def at_once(self, handle: Handle, work: Coroutine[Any, Any, Finished]) -> None:
        """Start one without waiting for room."""
        task = self.running[handle] = asyncio.ensure_future(work)
        task.add_done_callback(partial(self._arrive, handle, None))

    def _pump(self) -> None:
        """Launch what is next in the queue while there is room."""
        while self._queue and self._waiting < self._maximum and self._waiting + self._in_flight < MAX_IN_FLIGHT:
            launch = self._queue[0]
            if launch.over:
                self._queue.popleft()
                del self._by_first_handle[launch.first]
                continue
            index, handle = launch.next, Handle(launch.first + launch.next)
            launch.next += 1
            if handle not in launch.skipped:
                self._begin(launch, index, handle)

    def _begin(self, launch: _Launch, index: int, handle: Handle) -> None:
        waits = True

        def passed() -> None:
            nonlocal waits
            if waits:
                waits = False
                self._waiting -= 1
                self._in_flight += 1
                self._pump()

        def ended(task: asyncio.Task[Finished]) -> None:
            self._arrive(handle, launch, task)
            if waits:
                self._waiting -= 1
            else:
                self._in_flight -= 1
            self._pump()

        self._waiting += 1
        task = self.running[handle] = asyncio.ensure_future(launch.work(index, passed))
        task.add_done_callback(ended)

    def _arrive(self, handle: Handle, launch: _Launch | None, task: "asyncio.Task[Finished]") -> None:
        # Reading the exception keeps asyncio from warning about results that the plan never waits for.
        if not task.cancelled() and isinstance(task.exception(), BudgetExhausted) and launch and not launch.over:
            # The budget is too small for the later ones too.
            launch.times = min(launch.times, max(launch.next, launch.recorded()))
        self._arrived.append(handle)
        self._changed.set()

    async def next(self, idle: Callable[[], None]) -> Finished:
        """The next result; `idle` is called before waiting for it.

        Raises:
            BudgetExhausted: all that are left were refused; `late` is then the first of them.
            NotRecorded: the history has no outcome for anything that is left.
            PlanError: nothing was started.
        """
        while self.running or any(not launch.over for launch in self._queue):
            handle = self._due()
            if handle is None:
                if self._stalled and len(self._stalled) == len(self.running):
                    raise next(iter(self._stalled.values()))
                self._changed.clear()
                idle()
                await self._changed.wait()
                continue
            self._delivered += 1
            if self._delivered % STARTS == 0:
                # A plan that reads what has arrived already would otherwise read all of it in one turn of the loop.
                await asyncio.sleep(0)
            task = self.running.pop(handle)
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
        self._changed.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def settle(self) -> None:
        """Wait until each launched operation has ended or is stalled."""
        while any(handle not in self._stalled and not task.done() for handle, task in self.running.items()):
            self._changed.clear()
            await self._changed.wait()

    def _due(self) -> Handle | None:
        """The result to deliver next, if it has arrived: the next recorded one, else the first that arrived."""
        while self._script and (self._script[0] in self._stalled or not self.holds(self._script[0])):
            self._script.popleft()
        if self._script:
            task = self.running.get(Handle(self._script[0]))
            return Handle(self._script.popleft()) if task and task.done() else None
        while self._arrived:
            handle = self._arrived.popleft()
            if handle in self.running:
                return handle
        return None

    def _launching(self, handle: int) -> _Launch | None:
        """The launch of an operation that is still in the queue."""
        launch = self._by_first_handle.get(handle) or next(
            (other for other in self._repeated if other.holds(handle)), None
        )
        return launch if launch and launch.holds(handle) else None

    def holds(self, handle: int) -> bool:
        """Whether it was started and is not delivered yet."""
        return handle in self.running or self._launching(handle) is not None

    async def cancel(self, handle: Handle) -> None:
        """Abort an operation and wait until its cost is booked; one still in the queue is never launched."""
        if launch := self._launching(handle):
            launch.skipped.add(handle)
        self._stalled.pop(handle, None)
        if handle in self.running:
            await cancel_all([self.running.pop(handle)])

    async def close(self) -> None:
        """Abort all and wait until their costs are booked."""
        self._queue.clear()
        self._by_first_handle.clear()
        self._repeated.clear()
        running, self.running = self.running, {}
        await cancel_all(running.values())


async def sample_all(
    sequences: SequenceIds,
    sample: Callable[[SequenceId, Passed], Awaitable[Completion]],
    passed: Passed,
    extent: Extent,
) -> list[Completion | BudgetExhausted]:
    """Generate all of them, refusals as values; the first other failure cancels the rest.

    After a refusal, only recorded sequences of the same prompt are still generated: the budget is too small for the
    others, and the refusal is the last of the results.
    """
    total = sequences.n * len(sequences.heads)
    if total <= MAX_WAITING:
        return await each([partial(sample, sequence, passed) for sequence in sequences])

    async def draw(handle: int, prompt: Prompt, digest: str, first: int, offset: int, started: Passed) -> Finished:
        def both() -> None:
            started()
            passed()

        completion = await sample(SequenceId(sequences.op, prompt, digest, first + offset), both)
        return Finished(Handle(handle + offset), (completion,))

    def recorded(digest: str, first: int) -> int:
        return extent(digest) - first

    started, finished, refusals = Started(), dict[Handle, Completion](), list[BudgetExhausted]()
    try:
        for number, (prompt, digest, first) in enumerate(sequences.heads):
            handle = number * sequences.n
            work = partial(draw, handle, prompt, digest, first)
            started.launch(handle, sequences.n, work, partial(recorded, digest, first))
        while len(finished) < total and not refusals:
            try:
                result = await started.next(lambda: None)
                finished[result.handle] = result.completions[0]
            except BudgetExhausted as refusal:
                refusals.append(refusal)
        return [*(finished[handle] for handle in sorted(finished)), *refusals]
    finally:
        await started.close()


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
