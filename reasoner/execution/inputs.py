"""What a run is given: arguments as objects, and its questions, read in blocks."""

import asyncio
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
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Generic, TypeVar

from reasoner.answers.questions import Question
from reasoner.budget import Budget, Prices
from reasoner.engine import Engine
from reasoner.errors import UsageError, shown
from reasoner.execution.launching import cancel_all
from reasoner.registry import DEFAULT_VERIFIER, Kind, build, check_types, entries
from reasoner.strategy import StopRule, Strategy
from reasoner.trace.events import Sink
from reasoner.trace.history import RecordedEngine
from reasoner.verifier import Verifier

T = TypeVar("T")
BLOCK: Final = 64
"""Questions of an iterator that are read at once."""


def same_id() -> UsageError:
    """The error of two questions with one id."""
    return UsageError(
        "two questions have the same id, which names seeds and trace records: give each its own, as in "
        "Question.of(text, id='q1')"
    )


class Blocks(Generic[T]):
    """What a run takes its questions from: a block is read when the last one is used up, and `read` is then called.

    An iterator is advanced on the event loop, so one that waits should be asynchronous.
    """

    def __init__(
        self, source: Iterable[T] | AsyncIterable[T], read: Callable[[], None]
    ) -> None:
        self.over = False
        """Whether the last one was taken."""
        self.failure: Exception | None = None
        """What ended the input, if that was an error."""
        self._source = aiter(
            source if isinstance(source, AsyncIterable) else _one_by_one(source)
        )
        self._read, self._ended = read, False
        self._ready = deque[T]()
        self._reading: asyncio.Task[None] | None = None

    def take(self) -> T | None:
        """The next one; None if it is not there yet, or if the input is `over`."""
        if self._ready:
            return self._ready.popleft()
        self.over = self._ended
        if not self.over and self._reading is None:
            self._reading = asyncio.ensure_future(self._read_block())
        return None

    async def _read_block(self) -> None:
        try:
            async for each in self._source:
                self._ready.append(each)
                self._read()
                if len(self._ready) >= BLOCK:
                    break
            else:
                self._ended = True
        except Exception as error:
            self._ended, self.failure = True, error
        self._reading = None
        self._read()

    async def close(self) -> None:
        """Read no more."""
        if self._reading:
            await cancel_all([self._reading])


async def _one_by_one(source: Iterable[T]) -> AsyncIterator[T]:
    for each in source:
        yield each


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


def default_verifier(strategies: Sequence[Strategy]) -> str:
    """The spec of the verifier that the profiles of these strategies were measured with, or else their own default.

    Where their defaults differ it is certainty.

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
    own = measured or {
        getattr(strategy, "default_verifier", DEFAULT_VERIFIER)
        for strategy in strategies
        if strategy.uses_verifier
    }
    return own.pop() if len(own) == 1 else DEFAULT_VERIFIER


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
    if len({question.id for question in given}) < len(given):
        raise same_id()
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
