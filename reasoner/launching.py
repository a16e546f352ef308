"""The sequences of one question on their way: launched in order as there is room, however many are asked for."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

from reasoner.errors import BudgetExhausted, NotRecorded, PlanError
from reasoner.plan import Finished, Handle
from reasoner.recorder import Draw
from reasoner.types import Completion, Prompt

T = TypeVar("T")
WAITING: Final = 64
"""Sequences of one question that wait for the budget or the cache at once: the others would only wait behind them."""
FLYING: Final = 1024
"""Sequences of one question in flight at once: as many as engines compute at once."""
Passed = Callable[[], None]
"""Called when a piece of work has its reservation and its room in the cache, and is about to reach the engine."""
Extent = Callable[[str], int]
"""One more than the highest index that is on record for a prompt, by its digest; 0 where none is."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The sequences that one operation asks for, in launch order; each is named only when it is needed.

    `heads` are the prompts, each with its digest and the index of its first sequence; `n` are drawn from each.
    """

    op: int
    heads: tuple[tuple[Prompt, str, int], ...]
    n: int

    def __iter__(self) -> Iterator[Draw]:
        for prompt, digest, first in self.heads:
            for index in range(first, first + self.n):
                yield Draw(self.op, prompt, digest, index)


@dataclass(slots=True, eq=False)
class _Leg:
    """One piece of work: it waits until it has passed, then it is in flight until it ends."""

    pace: "Pace"
    through: bool = False

    def passed(self) -> None:
        if not self.through:
            self.through = True
            self.pace.waiting -= 1
            self.pace.flying += 1
            self.pace.changed()

    def ended(self, _: object) -> None:
        if self.through:
            self.pace.flying -= 1
        else:
            self.pace.waiting -= 1
        self.pace.changed()


@dataclass(slots=True)
class Pace:
    """How many pieces of work are on their way: few that wait, and no more in flight than an engine computes."""

    changed: Callable[[], None]
    most: int = WAITING
    waiting: int = 0
    flying: int = 0

    @property
    def room(self) -> bool:
        """Whether one more may be launched."""
        return self.waiting < self.most and self.waiting + self.flying < FLYING

    def launch(
        self, work: Callable[[Passed], Coroutine[Any, Any, T]], done: "Callable[[asyncio.Task[T]], None]"
    ) -> "asyncio.Task[T]":
        """Launch one; `done` is called when it ends, before its room is free."""
        leg = _Leg(self)
        self.waiting += 1
        task = asyncio.ensure_future(work(leg.passed))
        task.add_done_callback(done)
        task.add_done_callback(leg.ended)
        return task


async def drawn(
    draws: Draws, sequence: Callable[[Draw, Passed], Awaitable[Completion]], passed: Passed, extent: Extent
) -> list[Completion | BudgetExhausted]:
    """Draw all of them, refusals as values; the first other failure cancels the rest.

    Where one is refused, those after it from the same prompt are not asked for, but for what is on record: the budget
    that was too small for the one is too small for the others.
    """
    if draws.n * len(draws.heads) <= WAITING:
        return await each([partial(sequence, draw, passed) for draw in draws])
    return await _Drawing(draws, sequence, passed, extent).all()


@dataclass(slots=True)
class _Drawing:
    draws: Draws
    sequence: Callable[[Draw, Passed], Awaitable[Completion]]
    passed: Passed
    extent: Extent
    _ends: dict[str, int] = field(default_factory=dict)
    _failed: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def all(self) -> list[Completion | BudgetExhausted]:
        tasks: list[asyncio.Task[Completion | BudgetExhausted]] = []
        pace = Pace(self._news.set)
        try:
            for prompt, digest, first in self.draws.heads:
                index = first
                while index < self._ends.get(digest, first + self.draws.n) and not self._failed:
                    if pace.room:
                        work = partial(self._one, Draw(self.draws.op, prompt, digest, index))
                        tasks.append(pace.launch(work, partial(self._look, digest)))
                        index += 1
                    else:
                        self._news.clear()
                        await self._news.wait()
            return list(await asyncio.gather(*tasks))
        finally:
            await cancel_all(tasks)

    async def _one(self, draw: Draw, passed: Passed) -> Completion | BudgetExhausted:
        def both() -> None:
            passed()
            self.passed()

        return await _refusal_as_value(partial(self.sequence, draw, both))

    def _look(self, digest: str, task: "asyncio.Task[Completion | BudgetExhausted]") -> None:
        if task.cancelled() or task.exception():
            self._failed = True
        elif isinstance(task.result(), BudgetExhausted) and digest not in self._ends:
            self._ends[digest] = self.extent(digest)


@dataclass(slots=True, eq=False)
class _Launch:
    """So many operations to start, which are numbered from `first`; `next` is the place of the next one."""

    first: int
    times: int
    work: Callable[[int, Passed], Coroutine[Any, Any, Finished]]
    recorded: Callable[[], int]
    """How many of them are on record, counted from the first."""
    next: int = 0
    skipped: set[int] = field(default_factory=set)

    @property
    def over(self) -> bool:
        return self.next >= self.times

    def holds(self, handle: int) -> bool:
        return self.first + self.next <= handle < self.first + self.times and handle not in self.skipped


class Started:
    """The operations that a plan started: launched in order as there is room, handed over as they end.

    `script` is in which order results were handed over before; those not named there come as they arrive.
    """

    def __init__(self, most: int = WAITING) -> None:
        self.late = 0
        """The operation whose refusal was raised last."""
        self.running: dict[Handle, asyncio.Task[Finished]] = {}
        self._pace = Pace(self._pump, most)
        self._queue: deque[_Launch] = deque()
        self._queued: dict[int, _Launch] = {}
        """Those of the queue, by their first handles."""
        self._many: list[_Launch] = []
        """Those of several operations."""
        self._arrived: deque[Handle] = deque()
        self._script: deque[int] = deque()
        self._news = asyncio.Event()
        self._untold: tuple[Handle, BudgetExhausted] | None = None
        self._stalled: dict[Handle, NotRecorded] = {}

    def follow(self, script: Iterable[int]) -> None:
        """Hand results over in this order, as they were handed over before; what it does not name comes after it."""
        self._script += script

    def launch(
        self,
        first: int,
        times: int,
        work: Callable[[int, Passed], Coroutine[Any, Any, Finished]],
        recorded: Callable[[], int],
    ) -> None:
        """Start `work` so many times, numbered from `first`, as there is room."""
        launch = self._queued[first] = _Launch(first, times, work, recorded)
        self._queue.append(launch)
        if times > 1:
            self._many = [*(one for one in self._many if not one.over), launch]
        self._pump()

    def at_once(self, handle: Handle, work: Coroutine[Any, Any, Finished]) -> None:
        """Start one whatever else is on its way."""
        task = self.running[handle] = asyncio.ensure_future(work)
        task.add_done_callback(partial(self._arrive, handle, None))

    def _pump(self) -> None:
        while self._queue and self._pace.room:
            launch = self._queue[0]
            if launch.over:
                self._queue.popleft()
                del self._queued[launch.first]
                continue
            place, handle = launch.next, Handle(launch.first + launch.next)
            launch.next += 1
            if handle not in launch.skipped:
                self.running[handle] = self._pace.launch(
                    partial(launch.work, place), partial(self._arrive, handle, launch)
                )

    def _arrive(self, handle: Handle, launch: _Launch | None, task: "asyncio.Task[Finished]") -> None:
        # Looking at the exception tells asyncio that one which the plan never waits for was not overlooked.
        if not task.cancelled() and isinstance(task.exception(), BudgetExhausted) and launch and not launch.over:
            # What was too little for the one is too little for those that come after it.
            launch.times = min(launch.times, max(launch.next, launch.recorded()))
        self._arrived.append(handle)
        self._news.set()

    async def next(self, idle: Callable[[], None]) -> Finished:
        """The next result; `idle` is called when there is nothing to do but wait for it.

        Raises:
            BudgetExhausted: of what is left all was refused; `late` is then the first that was.
            NotRecorded: the history has no outcome for anything that is left.
            PlanError: nothing was started.
        """
        while self.running or any(not launch.over for launch in self._queue):
            handle = self._due()
            if handle is None:
                if self._stalled and len(self._stalled) == len(self.running):
                    raise next(iter(self._stalled.values()))
                self._news.clear()
                idle()
                await self._news.wait()
                continue
            task = self.running.pop(handle)
            failure = task.exception()
            if failure is None:
                return task.result()
            if not isinstance(failure, BudgetExhausted):
                raise failure
            self._untold = self._untold or (handle, failure)
        if self._untold:
            (self.late, refusal), self._untold = self._untold, None
            raise refusal
        raise PlanError("the strategy waits for a result and has started nothing")

    async def stall(self, handle: Handle, missing: NotRecorded) -> NoReturn:
        """Block an operation without an outcome until it is cancelled, as it was in the recorded run."""
        self._stalled[handle] = missing
        self._news.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def settle(self) -> None:
        """Wait until each launched operation has ended or is stalled."""
        while any(handle not in self._stalled and not task.done() for handle, task in self.running.items()):
            self._news.clear()
            await self._news.wait()

    def _due(self) -> Handle | None:
        """What is handed over next, if it is there: the first that arrived; in a replay, what was next then."""
        while self._script and (self._script[0] in self._stalled or not self._on_its_way(self._script[0])):
            self._script.popleft()
        if self._script:
            task = self.running.get(Handle(self._script[0]))
            return Handle(self._script.popleft()) if task and task.done() else None
        while self._arrived:
            handle = self._arrived.popleft()
            if handle in self.running:
                return handle
        return None

    def _on_its_way(self, handle: int) -> bool:
        return handle in self.running or self._launching(handle) is not None

    def _launching(self, handle: int) -> _Launch | None:
        """What is to start this one, where it is not launched yet. A plan starts few things many times."""
        launch = self._queued.get(handle) or next((one for one in self._many if one.holds(handle)), None)
        return launch if launch and launch.holds(handle) else None

    def holds(self, handle: Handle) -> bool:
        """Whether it was started and is not handed over yet."""
        return self._on_its_way(handle)

    async def cancel(self, handle: Handle) -> None:
        """Abort one and wait until it is booked; one that was not launched yet never is."""
        if launch := self._launching(handle):
            launch.skipped.add(handle)
        self._stalled.pop(handle, None)
        if handle in self.running:
            await cancel_all([self.running.pop(handle)])

    async def close(self) -> None:
        """Abort all and wait until it is booked."""
        self._queue.clear()
        self._queued.clear()
        self._many.clear()
        running, self.running = self.running, {}
        await cancel_all(running.values())
        # Else each would hold the other, and memory would be free only when the collector comes by.
        self._pace.changed = _nothing


def _nothing() -> None:
    pass


async def each(work: Sequence[Callable[[], Awaitable[T]]]) -> list[T | BudgetExhausted]:
    """Run all at once, refusals as values; the first other failure cancels the rest.

    One alone goes the same way as many: operations then arrive in the order in which their last piece was done.
    """
    tasks = [asyncio.ensure_future(_refusal_as_value(one)) for one in work]
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
    """Cancel what still runs and wait until it is booked; cancelling the caller again cancels it again."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    try:
        if running:
            await asyncio.wait(running)
    except asyncio.CancelledError:
        await cancel_all(running)
        raise
