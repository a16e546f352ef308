"""Reads the arguments of `solve`: text becomes objects, and a wrong type an error of one line."""

from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple, TypeVar

from reasoner.answers.questions import Question
from reasoner.budget import Budget, Prices
from reasoner.engine import Engine
from reasoner.errors import UsageError, shown
from reasoner.execution.inputs import check_ids
from reasoner.registry import DEFAULT_VERIFIER, Kind, build, check_types, entries
from reasoner.strategy import StopRule, Strategy
from reasoner.trace.events import Sink
from reasoner.trace.history import RecordedEngine
from reasoner.verifier import Verifier

T = TypeVar("T")
ORDER: Final = "the order is question, strategy, engine"
_METHODS: Mapping[Kind, str] = {"strategy": "plan", "engine": "sample", "verifier": "score", "rule": "stop"}
"""The method by which an object of each kind is recognised."""
_WANTED: Mapping[Kind, str] = {
    "strategy": "a strategy or its spec, as in 'self_consistency:n=8'",
    "engine": "an engine or its spec, as in 'vllm'",
    "verifier": "a verifier or its spec, as in 'certainty'",
    "rule": "a stop rule or its spec, as in 'beta'",
}


class Plugins(NamedTuple):
    """The objects of one run."""

    strategy: Strategy
    engine: Engine
    verifier: Verifier | None
    stop: StopRule | None


@asynccontextmanager
async def plugins(
    strategy: Strategy | str, engine: Engine | str, verifier: Verifier | str | None, stop: StopRule | str | None
) -> AsyncIterator[Plugins]:
    """The objects that are given or described; an engine and a verifier that were built here are closed at the end.

    Without a verifier, a strategy that uses scores gets that of a replay, or the one that its profile was measured
    with, or certainty.

    Raises:
        UsageError: a spec is wrong, or an object is of the wrong kind.
    """
    plan = _plugin("strategy", strategy)
    if not hasattr(plan, "uses_verifier"):
        name = type(plan).__name__
        raise UsageError(f"{name} does not say whether it uses a verifier: add `uses_verifier: ClassVar[bool] = False`")
    rule = None if stop is None else _plugin("rule", stop, name="stop")
    policy = _plugin("engine", engine)
    if verifier is None and plan.uses_verifier:
        verifier = policy.verifier() if isinstance(policy, RecordedEngine) else default_verifier([plan])
    rater = None if verifier is None else _plugin("verifier", verifier)
    async with AsyncExitStack() as built:
        if policy is not engine:
            built.push_async_callback(policy.close)
        if rater is not None and rater is not verifier:
            built.push_async_callback(rater.close)
        yield Plugins(plan, policy, rater, rule)


def default_verifier(strategies: Iterable[Strategy]) -> str:
    """The spec of the verifier that the profiles of these strategies were measured with; without one, certainty.

    Raises:
        UsageError: they were measured with several.
    """
    measured = {verifier for strategy in strategies for verifier in getattr(strategy, "verifiers", ())}
    if len(measured) > 1:
        raise UsageError(
            f"the profile was measured with {' and '.join(sorted(measured))}: choose one of them as the verifier"
        )
    return measured.pop() if measured else DEFAULT_VERIFIER


def _plugin(kind: Kind, given: object, *, name: str = "") -> Any:
    if isinstance(given, str):
        return build(kind, given)
    if isinstance(given, type) or not callable(getattr(given, _METHODS[kind], None)):
        raise _wrong(name or kind, _WANTED[kind], given)
    check_types(given)
    return given


def _wrong(name: str, wanted: str, given: object, hint: str = "") -> UsageError:
    """The error of an argument of the wrong type, with a hint where the mistake is a common one."""
    if not hint and isinstance(given, type):
        hint = f"pass {given.__name__}()"
    if not hint and given is None and name in ("strategy", "engine"):
        hint = "leave it out for the default"
    if not hint and not isinstance(given, type):
        kinds: list[str] = [kind for kind, method in _METHODS.items() if callable(getattr(given, method, None))]
        kinds += ["question"] if isinstance(given, Question) else []
        if kinds and kinds[0] != name:
            hint = f"that is {'an' if kinds[0] == 'engine' else 'a'} {kinds[0]}; {ORDER}"
    return UsageError(f"{name} must be {wanted} (got {shown(given)}){f': {hint}' if hint else ''}")


def as_question(given: object) -> Question:
    """A question, or the question of a text.

    Raises:
        UsageError: it is neither, or the text is empty.
    """
    if isinstance(given, Question):
        return given
    if isinstance(given, str):
        if given.partition(":")[0].strip() in entries("strategy"):
            raise UsageError(f"the question {given!r} is the name of a strategy: {ORDER}")
        return Question.of(given)
    several = isinstance(given, Collection) and not isinstance(given, bytes)
    raise _wrong("question", "text or a Question", given, "use solve_many for several questions" if several else "")


def as_questions(given: object) -> Iterable[Question] | AsyncIterable[Question]:
    """The questions of an iterable of questions and texts: all of a collection at once, others when they are asked for.

    Raises:
        UsageError: it is a single question, not an iterable, has an element that is no question, or two with one id.
    """
    if isinstance(given, str | Question):
        written = shown(given) if isinstance(given, str) else "question"
        what = "questions must be an iterable of questions, such as a list"
        raise UsageError(f"{what} (got {shown(given)}): write [{written}], or use solve for one question")
    if isinstance(given, AsyncIterable) and not isinstance(given, type):
        return _each_question(given)
    if not isinstance(given, Iterable) or isinstance(given, type | bytes):
        raise _wrong("questions", "an iterable of questions, such as a list", given)
    if not isinstance(given, Collection):
        return map(as_question, given)
    if not (isinstance(given, Sequence) and all(isinstance(question, Question) for question in given)):
        given = [*map(as_question, given)]
    check_ids(given)
    return given


async def _each_question(given: AsyncIterable[object]) -> AsyncIterator[Question]:
    async for question in given:
        yield as_question(question)


def as_budget(given: object, name: str) -> Budget | None:
    """A budget, or the budget that a text describes.

    Raises:
        UsageError: it is neither, or a wrong text.
    """
    if isinstance(given, str):
        return Budget.parse(given)
    number = isinstance(given, int | float) and not isinstance(given, bool)
    hint = f"write {name}='tokens={given}'" if number else ""
    return as_instance(given, Budget, name, "a Budget or text with units, as in 'tokens=2000,seconds=30'", hint)


def as_prices(given: object) -> Prices | None:
    """Prices, or the prices that a text describes. Raises as `as_budget`."""
    if isinstance(given, str):
        return Prices.parse(given)
    return as_instance(given, Prices, "prices", "Prices or text, as in 'prompt=0.15,generated=0.60' per million tokens")


def as_sink(given: object) -> Sink | None:
    """The function that receives the events of a trace.

    Raises:
        UsageError: it cannot be called.
    """
    if given is not None and (not callable(given) or isinstance(given, type)):
        hint = "write it with reasoner.trace.events.TraceWriter" if isinstance(given, str) else ""
        raise _wrong("trace", "a function that receives events, such as print", given, hint)
    return given


def as_instance(given: object, cls: type[T], name: str, wanted: str, hint: str = "") -> T | None:
    """An argument of one type; None passes.

    Raises:
        UsageError: it is of another type.
    """
    if given is None or (isinstance(given, cls) and not isinstance(given, bool | type)):
        return given
    raise _wrong(name, wanted, given, hint)
