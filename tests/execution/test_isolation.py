"""Whatever fails inside one question's course is that question's error; the others continue and the run can be resumed."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from reasoner import (
    Answer,
    Budget,
    Cost,
    Prices,
    Question,
    SamplingParams,
    Solution,
    solve_many,
)
from reasoner.answers.equivalence import ComparisonMeter, Equivalence
from reasoner.engine import Engine, RenderedPrompt, SampleRequest
from reasoner.errors import EngineError, PlanError, ReasonerError
from reasoner.strategy import Plan, Prefill, Propose, Sample
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, Planned, number_question, says, traced_cost
from reasoner.trace.events import Ended, Event, Sampled
from reasoner.trace.history import read_histories
from reasoner.types import (
    AnswerSpace,
    Blocks,
    Completion,
    Prompt,
    Rating,
    TokenIds,
    Usage,
    VoteState,
)
from reasoner.verifier import CostMeter
from reasoner_strategies import BestOfN, SelfConsistency, Single

PARAMS = SamplingParams(max_tokens=40)
HUGE = 10**3999
BAD = "q1"


def questions(count: int = 3) -> list[Question]:
    return [
        replace(one, text=one.id, prompt=Prompt.chat(f"How many, {one.id}?"))
        for one in (number_question(f"q{place}") for place in range(count))
    ]


def solved(
    engine: Engine,
    strategy: Any = None,
    asked: list[Question] | None = None,
    **options: Any,
) -> list[Solution]:
    return asyncio.run(
        solve_many(
            asked or questions(),
            strategy or SelfConsistency(2, PARAMS),
            engine,
            **options,
        )
    )


def check(solutions: Sequence[Solution], kind: type[ReasonerError], words: str) -> None:
    """The bad question alone has the error; the others have their answers."""
    assert [one.error is None for one in solutions] == [True, False, True]
    assert [
        one.answer and one.answer.key for one in solutions if one.question_id != BAD
    ] == ["7", "7"]
    error = solutions[1].error
    assert isinstance(error, kind)
    assert words in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 700


# Engines


@dataclass(slots=True)
class At(ScriptedEngine):
    """An engine that does something of its own at one place, for the bad question alone."""

    place: str = "sample"
    do: Callable[[], Any] = lambda: None

    async def sample(self, request: SampleRequest) -> Completion:
        drawn = await ScriptedEngine.sample(self, request)
        if self.place == "sample" and request.question_id == BAD:
            made = self.do()
            return replace(drawn, usage=made) if isinstance(made, Usage) else made
        return drawn

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        if (
            self.place == "render"
            and prompt.messages[-1].content == f"How many, {BAD}?"
        ):
            return self.do()  # type: ignore[no-any-return]
        return await ScriptedEngine.render(self, prompt)

    async def encode(self, text: str) -> TokenIds | None:
        if self.place == "encode" and BAD in text:
            return self.do()  # type: ignore[no-any-return]
        return await ScriptedEngine.encode(self, text)


def raising(failure: BaseException) -> Callable[[], Any]:
    def fail() -> None:
        raise failure

    return fail


class Unspeakable(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


RAISED = [
    KeyError("x"),
    MemoryError(),
    RecursionError("too deep"),
    OverflowError("int too large to convert to float"),
    asyncio.CancelledError(),
    SystemExit(3),
    TimeoutError("no reply"),
    StopIteration(1),
    StopAsyncIteration(),
    Unspeakable(),
    BaseExceptionGroup("several", [KeyError("x"), asyncio.CancelledError()]),
    ValueError("a\nb" * 1000),
    ValueError("half a character: \ud800"),
]


def extending(question: Question) -> Plan[Answer | None]:
    prompt = yield Prefill(question.prompt, f"Well, {question.id}: ")
    [drawn] = yield Sample((prompt,), 1, PARAMS)
    answer = question.read(drawn)
    yield Propose(answer, VoteState())
    return answer


@pytest.mark.parametrize("failure", RAISED, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("place", ["sample", "render", "encode"])
def test_an_exception_of_an_engine_is_the_error_of_one_question(
    place: str, failure: BaseException
) -> None:
    events: list[Event] = []
    engine = At(says("7"), place=place, do=raising(failure))
    strategy = Planned(extending) if place == "encode" else None
    solutions = solved(
        engine, strategy, trace=events.append, budget=Budget(tokens=10_000)
    )
    check(
        solutions,
        EngineError if type(failure) is not StopIteration else ReasonerError,
        type(failure).__name__,
    )
    assert [event.ended_by for event in events if isinstance(event, Ended)].count(
        "error"
    ) == 1
    for event in events:
        event.model_dump_json()
    # It is paid for in full, and a run that is resumed from the trace asks that question again and no other.
    assert traced_cost(events).taking(0) == sum(
        (one.cost for one in solutions), Cost()
    ).taking(0)
    history = read_histories(events)
    assert [history[f"q{place}"].finished for place in range(3)] == [True, False, True]
    again = solved(
        ScriptedEngine(says("7")),
        strategy,
        history=history,
        budget=Budget(tokens=10_000),
    )
    assert [one.error for one in again] == [None] * 3


@pytest.mark.parametrize(
    "usage",
    [
        Usage(HUGE, 0, 5),
        Usage(9, 0, 10**5000),
        Usage(9, 20, 5),
        Usage(9, 0, float("nan")),  # type: ignore[arg-type]
        Usage(9, 0, None),  # type: ignore[arg-type]
        Usage(9, 0, True),
    ],
    ids=lambda usage: (
        repr(usage)[:40] if usage.generated_tokens != 10**5000 else "unprintable"
    ),
)
@pytest.mark.parametrize(
    "options",
    [
        {"budget": Budget(usd=1), "prices": Prices(1, 1)},
        {"each": Budget(tokens=200)},
    ],
)
def test_impossible_counts_are_refused_and_booked_at_the_worst_case(
    usage: Usage, options: Any
) -> None:
    events: list[Event] = []
    solutions = solved(
        At(says("7"), do=lambda: usage), Single(PARAMS), trace=events.append, **options
    )
    check(solutions, EngineError, "the engine counted wrongly: ")
    assert solutions[1].cost.cancelled_tokens == PARAMS.max_tokens
    assert traced_cost(events).taking(0) == sum(
        (one.cost for one in solutions), Cost()
    ).taking(0)
    for event in events:
        event.model_dump_json()


# Verifiers, comparers, answer spaces, strategies


@dataclass(slots=True)
class Bad(Judge):
    """A verifier that does something of its own for the bad question."""

    place: str = "score"
    do: Callable[[], Any] = lambda: None

    async def bound(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> Cost:
        if self.place == "bound" and question.id == BAD:
            return self.do()  # type: ignore[no-any-return]
        return Cost(verifier_tokens=10, requests=1)

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        if self.place == "meter" and question.id == BAD:
            cost_meter.cost = self.do()
            raise KeyError("x")
        if self.place == "score" and question.id == BAD:
            return self.do()  # type: ignore[no-any-return]
        return Rating(0.5, Cost(verifier_tokens=5, requests=1))


@pytest.mark.parametrize(
    "failure", RAISED[::2], ids=lambda failure: type(failure).__name__
)
@pytest.mark.parametrize("place", ["score", "bound"])
def test_an_exception_of_a_verifier_is_the_error_of_a_rating(
    place: str, failure: BaseException
) -> None:
    events: list[Event] = []
    judge = Bad(place=place, do=raising(failure))
    solutions = solved(
        ScriptedEngine(says("7")),
        BestOfN(2, params=PARAMS),
        verifier=judge,
        trace=events.append,
    )
    assert [one.error for one in solutions] == [None] * 3
    assert [one.answer and one.answer.key for one in solutions] == ["7"] * 3
    errors = [
        event.error
        for event in events
        if event.event == "scored" and event.question_id == BAD
    ]
    assert [type(failure).__name__ in error for error in errors] == [True, True]
    for event in events:
        event.model_dump_json()


@pytest.mark.parametrize(
    ("place", "made"),
    [
        ("bound", lambda: Cost(verifier_tokens=HUGE)),
        ("meter", lambda: Cost(verifier_tokens=HUGE)),
        ("score", lambda: Rating(0.5, Cost(verifier_tokens=HUGE))),
        ("score", lambda: Rating(0.5, Cost(flops=HUGE))),
        ("score", lambda: Rating(0.5, Cost(prompt_tokens=-100))),
        ("score", lambda: None),
    ],
)
def test_impossible_costs_of_a_verifier_are_errors_of_ratings(
    place: str, made: Callable[[], Any]
) -> None:
    events: list[Event] = []
    solutions = solved(
        ScriptedEngine(says("7")),
        BestOfN(2, params=PARAMS),
        verifier=Bad(place=place, do=made),
        trace=events.append,
        budget=Budget(usd=1),
        prices=Prices(1, 1),
    )
    assert [one.error for one in solutions] == [None] * 3
    assert solutions[1].cost.verifier_tokens == (0 if place == "bound" else 20)
    assert traced_cost(events).taking(0) == sum(
        (one.cost for one in solutions), Cost()
    ).taking(0)


@dataclass(frozen=True)
class BadSpace:
    """Numbers, but reading or comparing an answer fails."""

    numbers: AnswerSpace
    fails: str
    failure: BaseException
    name: str = "number"
    instruction: str = ""
    version: int = 1

    def read(self, text: str) -> Answer | None:
        if self.fails == "read":
            raise self.failure
        return self.numbers.read(text)

    def same(self, a: Answer, b: Answer) -> bool | None:
        if self.fails == "same":
            raise self.failure
        return None

    def blocks(self, answer: Answer) -> Blocks | None:
        if self.fails == "blocks":
            raise self.failure
        return Blocks(("all",)) if self.fails else None


@pytest.mark.parametrize(
    "failure", RAISED[::2], ids=lambda failure: type(failure).__name__
)
@pytest.mark.parametrize("fails", ["read", "same", "blocks"])
def test_an_answer_space_that_fails_is_one_questions_error(
    fails: str, failure: BaseException
) -> None:
    asked = questions()
    asked[1] = replace(asked[1], space=BadSpace(asked[1].space, fails, failure))
    events: list[Event] = []

    def script(request: SampleRequest) -> str:
        return (
            f"The answer is {7 + (request.index if request.question_id == BAD else 0)}"
        )

    solutions = solved(ScriptedEngine(script), asked=asked, trace=events.append)
    check(solutions, ReasonerError, type(failure).__name__)
    # What was drawn is in the trace with its cost, though no answer could be read out of it.
    assert traced_cost(events).taking(0) == sum(
        (one.cost for one in solutions), Cost()
    ).taking(0)
    assert any(
        isinstance(event, Sampled) and event.question_id == BAD for event in events
    )


@pytest.mark.parametrize(
    "failure", RAISED[::2], ids=lambda failure: type(failure).__name__
)
@pytest.mark.parametrize("fails", ["blocks", "same_many"])
def test_a_comparer_that_fails_is_one_questions_error(
    fails: str, failure: BaseException
) -> None:
    class Comparing(Equivalence):
        async def same_many(
            self,
            space: AnswerSpace,
            pairs: Sequence[tuple[Answer, Answer]],
            meter: ComparisonMeter,
        ) -> tuple[bool | None, ...]:
            raise failure

        async def blocks(
            self, space: AnswerSpace, answers: Sequence[Answer], meter: ComparisonMeter
        ) -> tuple[Blocks | None, ...]:
            if fails == "blocks":
                raise failure
            return (Blocks(("all",)),) * len(answers)

        async def close(self) -> None: ...

    asked = questions()
    asked[1] = replace(asked[1], space=BadSpace(asked[1].space, "", failure))

    def script(request: SampleRequest) -> str:
        return (
            f"The answer is {7 + (request.index if request.question_id == BAD else 0)}"
        )

    check(
        solved(ScriptedEngine(script), asked=asked, comparer=Comparing()),
        PlanError,
        type(failure).__name__,
    )


# Traces


@pytest.mark.parametrize(
    "failing", ["began", "prompted", "sampled", "proposed", "ended"]
)
def test_a_sink_that_fails_for_one_question_fails_it_alone(failing: str) -> None:
    def sink(event: Event) -> None:
        if event.question_id == BAD and event.event == failing:
            raise OSError(28, "No space left on device")

    solutions = solved(ScriptedEngine(says("7")), trace=sink, budget=Budget(tokens=500))
    check(solutions, ReasonerError, "No space left")
