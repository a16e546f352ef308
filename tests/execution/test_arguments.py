"""What `solve` accepts: text for every object, one list of keywords, and one line for every wrong type."""

import dataclasses
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ClassVar

import pytest

import reasoner
from reasoner import (
    Budget,
    Question,
    SamplingParams,
    build,
    solve_each,
    solve_many_sync,
    solve_sync,
)
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import EngineError, UsageError
from reasoner.execution import inputs
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import says
from reasoner.trace.events import Began, Event
from reasoner_strategies import BestOfN, SelfConsistency
from reasoner_verifiers import Certainty

TEXT = "What is 3 + 4?"
ENGINE = SimulatedEngine()


def began(*args: Any, **keywords: Any) -> Began:
    events: list[Event] = []
    assert solve_sync(*args, trace=events.append, **keywords).error is None
    return next(event for event in events if isinstance(event, Began))


def test_text_says_the_same_as_the_objects() -> None:
    keywords = {
        "verifier": "certainty",
        "budget": "tokens=2000",
        "prices": "prompt=1,generated=2",
        "stop": "beta",
    }
    text = began(TEXT, "best_of_n:n=4", "simulated", **keywords)
    objects = began(
        Question.of(TEXT),
        BestOfN(n=4),
        SimulatedEngine(),
        verifier=Certainty(),
        budget=Budget(tokens=2000),
        prices=reasoner.Prices(prompt=1, generated=2),
        stop=build("rule", "beta"),
    )
    assert text == dataclasses.replace(objects, t=text.t)
    assert (text.strategy, text.verifier, text.budget) == (
        "best_of_n:n=4",
        "certainty",
        "each tokens=2000",
    )


MANY_ONLY = {"each", "allocation", "spent", "concurrency", "length"}


def test_the_functions_have_the_keywords_of_solve_each_with_the_same_defaults() -> None:
    def keywords(function: Callable[..., object]) -> list[inspect.Parameter]:
        given = [*inspect.signature(function).parameters.values()][1:]
        return [each for each in given if each.name != "progress"]

    of_many = keywords(solve_each)
    of_one = [each for each in of_many if each.name not in MANY_ONLY]
    assert (
        keywords(reasoner.solve_many) == of_many == keywords(reasoner.solve_many_sync)
    )
    assert keywords(reasoner.solve) == of_one == keywords(reasoner.solve_sync)


class Closing(ScriptedEngine):
    closed: ClassVar[int] = 0

    async def close(self) -> None:
        type(self).closed += 1


class Failing(Closing):
    async def start(self) -> None:
        raise EngineError("no")


@pytest.mark.parametrize(("cls", "error"), [(Closing, None), (Failing, EngineError)])
def test_an_engine_that_the_call_made_is_closed_and_one_that_was_passed_in_is_not(
    cls: type[Closing], error: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(engine: Any) -> None:
        with pytest.raises(error) if error else nullcontext():
            solve_sync(TEXT, "single", engine)

    monkeypatch.setattr(cls, "closed", 0)
    monkeypatch.setattr(
        inputs,
        "build",
        lambda kind, spec: cls(says("7")) if kind == "engine" else build(kind, spec),
    )
    run(cls(says("7")))
    assert cls.closed == 0
    run("scripted")
    assert cls.closed == 1


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "a class as strategy": (
        lambda: solve_sync(TEXT, SelfConsistency, ENGINE),  # type: ignore[arg-type]
        "pass SelfConsistency()",
    ),
    "text as rule": (
        lambda: solve_sync(TEXT, SelfConsistency(stop="beta"), ENGINE),  # type: ignore[arg-type]
        "pass build('rule', 'beta')",
    ),
    "a bare budget": (
        lambda: solve_sync(TEXT, "single", ENGINE, budget=2000),  # type: ignore[arg-type]
        "text with units, as in 'tokens=2000",
    ),
    "a budget with an unknown unit": (
        lambda: solve_sync(TEXT, "single", ENGINE, budget="2000 words"),
        "is not a number: write one, as in tokens=4000",
    ),
    "a list as question": (
        lambda: solve_sync([TEXT], "single", ENGINE),  # type: ignore[arg-type]
        "use solve_many",
    ),
    "text as list": (
        lambda: solve_many_sync(TEXT, "single", ENGINE),
        "use solve for one question",
    ),
    "a number in a list": (
        lambda: solve_many_sync([TEXT, 5], "single", ENGINE),  # type: ignore[list-item]
        "(got 5)",
    ),
    "two of one id": (
        lambda: solve_many_sync([Question.of(TEXT)] * 2, "single", ENGINE),
        "have the same id",
    ),
    "swapped texts": (
        lambda: solve_sync("single", TEXT, ENGINE),
        "the order is question, strategy, engine",
    ),
    "no strategy": (
        lambda: solve_sync(TEXT, None, ENGINE),  # type: ignore[arg-type]
        "strategy must be a strategy or its spec, as in 'self_consistency:n=8' (got None)",
    ),
    "a file as trace": (
        lambda: solve_sync(TEXT, "single", ENGINE, trace="a.jsonl"),  # type: ignore[arg-type]
        "TraceWriter",
    ),
    "one stop string": (lambda: SamplingParams(stop="\n"), r"write stop=('\n',)"),  # type: ignore[arg-type]
    "a number as text": (lambda: Question.of(5), "the question must be text (got 5)"),  # type: ignore[arg-type]
    "no kind": (
        lambda: build("motor", "vllm"),  # type: ignore[arg-type]
        "must be strategy, verifier, engine, task or rule",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_gets_one_line_that_says_what_to_do(case: str) -> None:
    call, says_so = WRONG[case]
    with pytest.raises(UsageError) as raised:
        call()
    assert says_so in str(raised.value)
    assert "\n" not in str(raised.value)
