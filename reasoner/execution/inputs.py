"""What a run is given: arguments as objects, and its questions, taken as far as there is room for them."""

import asyncio
import threading
from array import array
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import copy_context
from hashlib import blake2b
from typing import Any, Generic, TypeVar

from reasoner.answers.questions import Question
from reasoner.budget import Budget, Prices
from reasoner.engine import Engine
from reasoner.errors import UsageError, shown
from reasoner.registry import DEFAULT_VERIFIER, Kind, build, check_types, entries
from reasoner.strategy import StopRule, Strategy
from reasoner.trace.events import Sink
from reasoner.trace.history import RecordedEngine
from reasoner.verifier import Verifier


def check_ids(questions: Iterable[Question], seen_ids: "IdSet | None" = None) -> None:
    """Check that no two questions have the same id; `seen_ids` has the ids of earlier ones and is extended.

    Raises:
        UsageError: two have.
    """
    seen_ids = IdSet() if seen_ids is None else seen_ids
    for question in questions:
        if not seen_ids.add(question.id):
            problem = (
                "two questions have the same id, which names seeds and trace records"
            )
            raise UsageError(
                f"{problem}: give each its own, as in Question.of(text, id='q1')"
            )


class IdSet:
    """A set of texts that keeps 64 bits of each: at most 24 bytes per text.

    Two different texts of a million count as equal with a chance of 3 in 100 million.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))
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
            before, self._slots = (
                self._slots,
                array("Q", bytes(8 * 2 * len(self._slots))),
            )
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
        """Let this many be taken in all, since the start."""

    def close(self) -> None:
        """Take no more."""


def open_input(
    source: Iterable[T] | AsyncIterable[T], arrived: Callable[[], None]
) -> Input[T]:
    """The input of a running event loop; `arrived` is called there when `take` may return something new.

    A collection is there already. Another iterable is advanced in a thread of its own, as it may wait: for a network,
    for a person who types. An async iterable is advanced on the event loop.
    """
    if isinstance(source, Collection):
        return Input(source)
    return (
        _InTask(source, arrived)
        if isinstance(source, AsyncIterable)
        else _InThread(source, arrived)
    )


class _Awaited(Input[T]):
    """An input that is advanced beside the run, once for each permit."""

    def __init__(
        self,
        arrived: Callable[[], None],
        permits: asyncio.Semaphore | threading.Semaphore,
    ) -> None:
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
        threading.Thread(
            target=copy_context().run, args=arguments, name="input", daemon=True
        ).start()

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


L = TypeVar("L", Budget, Prices)
_WANTED: Mapping[Kind, tuple[str, str]] = {
    "strategy": ("plan", "a strategy or its spec, as in 'self_consistency:n=8'"),
    "engine": ("sample", "an engine or its spec, as in 'vllm'"),
    "verifier": ("score", "a verifier or its spec, as in 'certainty'"),
    "rule": ("stop", "a stop rule or its spec, as in 'beta'"),
}
"""The method by which an object of each kind is recognised, and what may be given."""


Plugins = tuple[Strategy, Engine, Verifier | None, StopRule | None]
"""The objects of one run."""


@asynccontextmanager
async def plugins(
    strategy: Strategy | str,
    engine: Engine | str,
    verifier: Verifier | str | None,
    stop: StopRule | str | None,
) -> AsyncIterator[Plugins]:
    """The objects that are given or described; an engine and a verifier that were built here are closed at the end.

    Without a verifier, a strategy that uses scores gets a replay's, or the one that its profile was measured
    with, or certainty.

    Raises:
        UsageError: a spec is wrong, or an object is of the wrong kind.
    """
    plan = _plugin("strategy", strategy)
    if not hasattr(plan, "uses_verifier"):
        name = type(plan).__name__
        raise UsageError(
            f"{name} does not say whether it uses a verifier: add `uses_verifier: ClassVar[bool] = False`"
        )
    rule = None if stop is None else _plugin("rule", stop, name="stop")
    policy = _plugin("engine", engine)
    if verifier is None and plan.uses_verifier:
        verifier = (
            policy.verifier()
            if isinstance(policy, RecordedEngine)
            else default_verifier([plan])
        )
    rater = None if verifier is None else _plugin("verifier", verifier)
    async with AsyncExitStack() as built:
        if policy is not engine:
            built.push_async_callback(policy.close)
        if rater is not None and rater is not verifier:
            built.push_async_callback(rater.close)
        yield plan, policy, rater, rule


def default_verifier(strategies: Iterable[Strategy]) -> str:
    """The spec of the verifier that the profiles of these strategies were measured with; without one, certainty.

    Raises:
        UsageError: they were measured with several.
    """
    measured = {
        verifier
        for strategy in strategies
        for verifier in getattr(strategy, "verifiers", ())
    }
    if len(measured) > 1:
        raise UsageError(
            f"the profile was measured with {' and '.join(sorted(measured))}: choose one of them as the verifier"
        )
    return measured.pop() if measured else DEFAULT_VERIFIER


def _plugin(kind: Kind, given: object, *, name: str = "") -> Any:
    if isinstance(given, str):
        return build(kind, given)
    method, wanted = _WANTED[kind]
    if isinstance(given, type) or not callable(getattr(given, method, None)):
        raise _wrong(name or kind, wanted, given)
    check_types(given)
    return given


def _wrong(name: str, wanted: str, given: object, hint: str = "") -> UsageError:
    """The error of an argument of the wrong type, with a hint where the mistake is a common one."""
    hint = f"pass {given.__name__}()" if isinstance(given, type) else hint
    return UsageError(
        f"{name} must be {wanted} (got {shown(given)}){f': {hint}' if hint else ''}"
    )


def as_question(given: object) -> Question:
    """A question, or the question of a text.

    Raises:
        UsageError: it is neither, or the text is empty.
    """
    if isinstance(given, Question):
        return given
    if isinstance(given, str):
        if given.partition(":")[0].strip() in entries("strategy"):
            raise UsageError(
                f"the question {given!r} is the name of a strategy: the order is question, strategy, engine"
            )
        return Question.of(given)
    several = isinstance(given, Collection) and not isinstance(given, bytes)
    raise _wrong(
        "question",
        "text or a Question",
        given,
        "use solve_many for several questions" if several else "",
    )


def as_questions(given: object) -> Iterable[Question] | AsyncIterable[Question]:
    """The questions of an iterable of questions and texts: all of a collection at once, others when they are asked for.

    Raises:
        UsageError: it is a single question, not an iterable, has an element that is no question, or two with one id.
    """
    if isinstance(given, str | bytes | Question | type) or not isinstance(
        given, Iterable | AsyncIterable
    ):
        hint = "use solve for one question" if isinstance(given, str | Question) else ""
        raise _wrong(
            "questions", "an iterable of questions, such as a list", given, hint
        )
    if isinstance(given, AsyncIterable):
        return (as_question(question) async for question in given)
    if not isinstance(given, Collection):
        return map(as_question, given)
    if not (
        isinstance(given, Sequence)
        and all(isinstance(question, Question) for question in given)
    ):
        given = [*map(as_question, given)]
    check_ids(given)
    return given


def as_limits(given: object, cls: type[L], name: str, wanted: str) -> L | None:
    """A budget or prices, or those that a text describes; None passes.

    Raises:
        UsageError: it is neither, or a wrong text.
    """
    return (
        cls.parse(given)
        if isinstance(given, str)
        else as_instance(given, cls, name, wanted)
    )


def as_budget(given: object, name: str) -> Budget | None:
    """A budget, or the budget that a text describes. Raises as `as_limits`."""
    return as_limits(
        given,
        Budget,
        name,
        "a Budget or text with units, as in 'tokens=2000,seconds=30'",
    )


def as_sink(given: object) -> Sink | None:
    """The function that receives the events of a trace.

    Raises:
        UsageError: it cannot be called.
    """
    if given is not None and (not callable(given) or isinstance(given, type)):
        raise _wrong(
            "trace",
            "a function that receives events, such as print or a TraceWriter",
            given,
        )
    return given


def as_instance(given: object, cls: type[T], name: str, wanted: str) -> T | None:
    """An argument of one type; None passes.

    Raises:
        UsageError: it is of another type.
    """
    if given is None or isinstance(given, cls):
        return given
    raise _wrong(name, wanted, given)
