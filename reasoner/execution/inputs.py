"""The input of a run, taken as far as there is room for questions; no two of them may have the same id."""

import asyncio
import threading
from array import array
from collections import deque
from collections.abc import AsyncIterable, Callable, Collection, Iterable
from contextlib import suppress
from contextvars import copy_context
from hashlib import blake2b
from typing import Final, Generic, TypeVar

from reasoner.answers.questions import Question
from reasoner.errors import UsageError

_FIRST_SIZE: Final = 1 << 10


def check_ids(questions: Iterable[Question], seen_ids: "IdSet | None" = None) -> None:
    """Check that no two questions have the same id; `seen_ids` has the ids of earlier ones and is extended.

    Raises:
        UsageError: two have.
    """
    seen_ids = IdSet() if seen_ids is None else seen_ids
    for question in questions:
        if not seen_ids.add(question.id):
            problem = "two questions have the same id, which names seeds and trace records"
            raise UsageError(f"{problem}: give each its own, as in Question.of(text, id='q1')")


class IdSet:
    """A set of texts that keeps 64 bits of each: at most 24 bytes per text.

    Two different texts of a million count as equal with a chance of 3 in 100 million.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _FIRST_SIZE))
        self._used = 0

    def __contains__(self, text: str) -> bool:
        key = self.key(text)
        return self._slots[self._slot(key)] == key

    def add(self, text: str) -> bool:
        """Add a text; whether it was new."""
        key = self.key(text)
        slot = self._slot(key)
        if self._slots[slot] == key:
            return False
        self._slots[slot] = key
        self._used += 1
        if 3 * self._used > 2 * len(self._slots):
            before, self._slots = self._slots, array("Q", bytes(8 * 2 * len(self._slots)))
            for key in before:
                if key:
                    self._slots[self._slot(key)] = key
        return True

    def _slot(self, key: int) -> int:
        """Where a key is, or the empty slot where it belongs (linear probing)."""
        slots, mask = self._slots, len(self._slots) - 1
        slot = key & mask
        while slots[slot] and slots[slot] != key:
            slot = slot + 1 & mask
        return slot

    @staticmethod
    def key(text: str) -> int:
        """The 64 bits that are kept of a text; never 0, which marks an empty slot."""
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1


T = TypeVar("T")


class Input(Generic[T]):
    """What a run takes its questions from: here all are there already."""

    def __init__(self, source: Iterable[T] = (), *, ended: bool = True) -> None:
        self.over = False
        """Whether the last one was taken."""
        self.failure: BaseException | None = None
        """What ended the input, if that was an error."""
        self._ready, self._ended = deque(source), ended

    def take(self) -> T | None:
        """The next one; None if it is not there yet, or if the input is `over`."""
        if self._ready:
            return self._ready.popleft()
        self.over = self._ended
        return None

    def allow(self, count: int) -> None:
        """Let so many be taken in all, since the start."""

    def close(self) -> None:
        """Take no more."""


def open_input(source: Iterable[T] | AsyncIterable[T], arrived: Callable[[], None]) -> Input[T]:
    """The input of a running event loop; `arrived` is called there when `take` may return something new.

    A collection is there already. Another iterable is advanced in a thread of its own, as it may wait: for a network,
    for a person who types. An async iterable is advanced on the event loop.
    """
    if isinstance(source, Collection):
        return Input(source)
    return _InTask(source, arrived) if isinstance(source, AsyncIterable) else _InThread(source, arrived)


class _Awaited(Input[T]):
    """An input that is advanced beside the run, once for each permit."""

    def __init__(self, arrived: Callable[[], None], permits: asyncio.Semaphore | threading.Semaphore) -> None:
        super().__init__(ended=False)
        self._arrived, self._allowed, self._permits = arrived, 0, permits

    def allow(self, count: int) -> None:
        for _ in range(count - self._allowed):
            self._permits.release()
        self._allowed = max(count, self._allowed)

    def _put(self, taken: T) -> None:
        self._ready.append(taken)
        self._arrived()

    def _end(self, failure: BaseException | None) -> None:
        self._ended, self.failure = True, failure
        self._arrived()


class _InTask(_Awaited[T]):
    def __init__(self, source: AsyncIterable[T], arrived: Callable[[], None]) -> None:
        permits = asyncio.Semaphore(0)
        super().__init__(arrived, permits)
        self._task = asyncio.ensure_future(self._run(source, permits))

    async def _run(self, source: AsyncIterable[T], permits: asyncio.Semaphore) -> None:
        try:
            await permits.acquire()
            async for taken in source:
                self._put(taken)
                await permits.acquire()
        except Exception as error:
            self._end(error)
        else:
            self._end(None)

    def close(self) -> None:
        self._task.cancel()


class _InThread(_Awaited[T]):
    def __init__(self, source: Iterable[T], arrived: Callable[[], None]) -> None:
        permits = threading.Semaphore(0)
        super().__init__(arrived, permits)
        self._closed = False
        self._loop = asyncio.get_running_loop()
        # What the input waits for may never come: the thread does not keep the process.
        arguments = (self._run, source, permits)
        threading.Thread(target=copy_context().run, args=arguments, name="input", daemon=True).start()

    def _run(self, source: Iterable[T], permits: threading.Semaphore) -> None:
        failure: BaseException | None = None
        try:
            iterator = iter(source)
            while permits.acquire() and not self._closed:
                try:
                    taken = next(iterator)
                except StopIteration:
                    break
                self._tell(self._put, taken)
        except BaseException as error:
            failure = error
        self._tell(self._end, failure)

    def _tell(self, call: Callable[..., None], value: object) -> None:
        # The loop may end at any moment.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, value)

    def close(self) -> None:
        self._closed = True
        self._permits.release()
