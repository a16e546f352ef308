"""Questions from iterators: what a run takes from them, when it waits for them, and how one budget is divided."""

import asyncio
import gc
import random
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Budget, Question, Solution, solve_each, solve_many_sync
from reasoner.engine import RenderedPrompt, SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import EngineError, UsageError
from reasoner.execution.inputs import BLOCK
from reasoner.execution.scheduler import Allocation
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import course, jumbled, number_question, says, varied
from reasoner.trace.events import Began, Ended, Event, Work
from reasoner.types import Prompt, SamplingParams
from reasoner_strategies import SelfConsistency, Single
from tests.sweeps import widths

SHORT = SamplingParams(max_tokens=40)
VOTE = SelfConsistency(16, SHORT)
USEFUL = 5 + 16
"""Tokens of a useful first sample: the prompt's and the least that a sample is clamped to."""


def asked(count: int) -> Iterator[Question]:
    return (number_question(f"q{index}") for index in range(count))


async def asked_later(count: int) -> AsyncIterator[Question]:
    for question in asked(count):
        await asyncio.sleep(0)
        yield question


def mixed(request: SampleRequest) -> str:
    """Every second question has one answer, the others two that are nearly as frequent."""
    share = 1.0 if int(request.question_id[1:]) % 2 else 0.55
    return f"The answer is {7 if random.Random(request.seed).random() < share else 8}"


# What is taken, and when


@pytest.mark.parametrize("source", [asked, asked_later])
def test_an_iterator_gives_the_same_results_as_a_list(source: Any) -> None:
    expected = solve_many_sync([*asked(40)], VOTE, ScriptedEngine(varied), seed=3)
    streamed = solve_many_sync(
        source(40),
        VOTE,
        ScriptedEngine(varied, pause=jumbled(4)),
        concurrency=7,
        seed=3,
    )
    assert [course(solution)[:3] for solution in streamed] == [
        course(solution)[:3] for solution in expected
    ]


@pytest.mark.parametrize("budget", [None, Budget(tokens=10_000)])
def test_open_questions_are_answered_while_the_input_waits(
    budget: Budget | None,
) -> None:
    """Each question comes only after the one before it is answered, and few are taken before they are needed."""
    taken = 0

    async def test() -> None:
        answered = asyncio.Semaphore(1)

        async def typed() -> AsyncIterator[Question]:
            nonlocal taken
            while await answered.acquire():
                taken += 1
                yield number_question(f"q{taken}")

        stream = solve_each(typed(), VOTE, ScriptedEngine(varied), budget=budget)
        async with aclosing(stream):
            async for index, _ in stream:
                answered.release()
                if index == 5:
                    return

    asyncio.run(test())
    assert taken == 6


def test_an_iterator_is_read_in_blocks_as_there_is_room() -> None:
    taken = 0

    def endless() -> Iterator[Question]:
        nonlocal taken
        while True:
            taken += 1
            yield number_question(f"q{taken}")

    async def test() -> None:
        stream = solve_each(
            endless(), Single(), ScriptedEngine(says("7")), concurrency=5
        )
        async with aclosing(stream):
            async for index, _ in stream:
                if index == 200:
                    return

    asyncio.run(test())
    assert 200 < taken <= 200 + 5 + BLOCK


@pytest.mark.parametrize("later", [False, True])
def test_the_error_of_an_input_is_raised_when_the_questions_before_it_are_answered(
    later: bool,
) -> None:
    def broken() -> Iterator[Question]:
        yield from asked(3)
        raise UsageError("line 4 is damaged")

    async def broken_later() -> AsyncIterator[Question]:
        for question in broken():
            yield question

    async def test() -> None:
        stream = solve_each(
            broken_later() if later else broken(), VOTE, ScriptedEngine(varied)
        )
        async with aclosing(stream):
            async for _, solution in stream:
                answered.append(solution.question_id)

    answered: list[str] = []
    with pytest.raises(UsageError, match="line 4 is damaged"):
        asyncio.run(test())
    assert sorted(answered) == ["q0", "q1", "q2"]


# How many are open


@pytest.mark.parametrize(("capacity", "most"), [(500, 21), (30, 2), (None, 80)])
def test_no_more_are_open_than_keep_their_prompts_in_the_kv_cache(
    capacity: int | None, most: int
) -> None:
    open_now, maximum = 0, 0

    def sink(event: Event) -> None:
        nonlocal open_now, maximum
        open_now += isinstance(event, Began) - isinstance(event, Ended)
        maximum = max(maximum, open_now)

    async def pause(_request: SampleRequest) -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    engine = ScriptedEngine(says("7"), pause=pause, capacity=capacity)
    strategy = SelfConsistency(4, SamplingParams(max_tokens=40))
    solutions = solve_many_sync(asked(80), strategy, engine, trace=sink)
    assert (len(solutions), maximum) == (80, most)


def test_a_first_question_that_cannot_be_rendered_fails_alone() -> None:
    class Fragile(ScriptedEngine):
        async def render(self, prompt: Prompt) -> RenderedPrompt:
            if not self.broken:
                self.broken = True
                raise EngineError("no template")
            return await super().render(prompt)

        broken = False

    engine = Fragile(says("7"), capacity=500)
    assert not any(each.error for each in solve_many_sync(asked(3), VOTE, engine))


# One budget


def run(
    questions: Iterable[Question] | AsyncIterator[Question], **options: Any
) -> tuple[list[Solution], list[Event]]:
    events: list[Event] = []
    engine = options.pop("engine", None) or ScriptedEngine(mixed)
    return solve_many_sync(
        questions, VOTE, engine, trace=events.append, **options
    ), events


@given(
    st.integers(1, 30),
    st.integers(1, 8),
    st.integers(2 * USEFUL, 150),
    st.integers(1, 16),
    st.integers(0, 5),
)
def test_at_any_moment_what_is_kept_for_questions_to_come_is_not_spent(
    count: int, window: int, share: int, abreast: int, seed: int
) -> None:
    """A share for each, but only half of it for those of the next window."""
    engine = ScriptedEngine(mixed, pause=jumbled(seed))
    solutions, events = run(
        asked(count),
        engine=engine,
        budget=Budget(tokens=share * count),
        length=count,
        concurrency=window,
        allocation=Allocation(abreast=abreast),
    )
    spent, to_come = 0, count
    for event in events:
        to_come -= isinstance(event, Began)
        spent += event.cost.tokens if isinstance(event, Work) else 0
        # A question is opened a little before it begins, and some are opened together.
        unopened = max(0, to_come - min(window, abreast))
        assert spent <= share * count - share // 2 * (
            unopened + max(0, unopened - window)
        )
    assert all(solution.answer and solution.error is None for solution in solutions)
    assert sum(solution.cost.tokens for solution in solutions) <= share * count


def test_without_a_length_the_first_questions_may_spend_it_all_and_the_others_say_why_they_have_no_answer() -> (
    None
):
    solutions, _ = run(asked(60), budget=Budget(samples=40), concurrency=4)
    assert all(solution.answer for solution in solutions[:4])
    assert [
        (solution.ended_by, solution.answer, solution.error)
        for solution in solutions[-4:]
    ] == [("budget", None, None)] * 4


# Memory


async def growth(first: int, last: int, **options: Any) -> int:
    """By how many bytes the memory in use grows between two questions of a run whose solutions are not kept."""
    seen, used = 0, dict[int, int]()
    stream = solve_each(
        asked(last + 50),
        SelfConsistency(3),
        SimulatedEngine(),
        concurrency=32,
        **options,
    )
    async with aclosing(stream):
        async for _ in stream:
            seen += 1
            if seen in {first, last}:
                gc.collect()
                used[seen] = tracemalloc.get_traced_memory()[0]
    return used[last] - used[first]


@pytest.mark.slow
@pytest.mark.parametrize("budget", [None, "known"])
@widths("more", 300, 8000)
def test_memory_does_not_grow_with_the_stream(budget: str | None, more: int) -> None:
    count = 200 + more
    options: dict[str, Any] = {"budget": Budget(tokens=200 * count)} if budget else {}
    tracemalloc.start()
    try:
        grown = asyncio.run(
            growth(
                200, count, **options, length=count + 50 if budget == "known" else None
            )
        )
    finally:
        tracemalloc.stop()
    # The noise of what is open
    assert grown < 2**19
