"""The virtual clock: results in the order of their ends, whatever an engine ends first and tells on the way."""

import asyncio
import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from reasoner import Answer, Budget, Question, SamplingParams, solve_sync
from reasoner.engine import SampleRequest
from reasoner.strategy import (
    Handle,
    Plan,
    Sample,
    Score,
    cancel,
    next_finished,
    sample,
    start,
)
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, Planned, jumbled, unsteady
from reasoner.trace.events import ATTEMPTS, Delivered, Dropped
from reasoner.types import Completion
from tests.execution.one_question import PROMPT, QUESTION, TOKENS, Run
from tests.sweeps import widths

PARAMS = SamplingParams(max_tokens=40)
Log = list[tuple[int, Handle]]
"""The virtual end and the handle of each result that a plan received."""


def text(request: SampleRequest) -> str:
    """A reply of 2 to 30 tokens, the end included, as its seed says; many are equally long."""
    return " ".join(
        ["word"] * random.Random(request.seed).choice([1, 5, 5, 9, 9, 9, 29])
    )


def wandering(seed: int, log: Log) -> Callable[[Question], Plan[Answer | None]]:
    """A plan that starts, waits, cancels and rates, as the results say."""

    def plan(question: Question) -> Plan[Answer | None]:
        source, running, rated = random.Random(seed), list[Handle](), list[Completion]()
        for _ in range(16):
            move = source.choice(
                ["start", "several", "rate", "cancel", "next", "next", "sample"]
            )
            if move == "start":
                times = source.randint(1, 4)
                first = yield from start(Sample((PROMPT,), params=PARAMS), times)
                running += map(Handle, range(first, first + times))
            elif move == "several":
                running.append(
                    (yield from start(Sample((PROMPT,), source.randint(2, 3), PARAMS)))
                )
            elif move == "rate" and rated:
                running.append((yield from start(Score(question, tuple(rated[-2:])))))
            elif move == "cancel" and running:
                yield from cancel(running.pop(source.randrange(len(running))))
            elif move == "sample":
                yield from sample(PROMPT, params=PARAMS)
            elif move == "next" and running:
                finished = yield from next_finished()
                running.remove(finished.handle)
                log.append((finished.end, finished.handle))
                rated += finished.completions
                source = random.Random(f"{seed} {log}")
        return None

    return plan


@given(st.integers(0, 1 << 30), st.integers(0, 1 << 30), st.integers(0, 1 << 30))
def test_a_plan_that_reacts_to_what_comes_has_one_course(
    seed: int, one: int, other: int
) -> None:
    def course(order: int) -> tuple[Log, int]:
        log: Log = []
        pause = jumbled(order, lost=0.1, losses=ATTEMPTS - 1)
        engine, strategy = (
            ScriptedEngine(text, pause=pause, growing=unsteady(order)),
            Planned(wandering(seed, log)),
        )
        solution = solve_sync(QUESTION, strategy, engine, verifier=Judge())
        assert solution.error is None
        assert log == sorted(log)
        return log, solution.cost.sequential_tokens

    assert course(one) == course(other)


def first_of(n: int) -> Callable[[Question], Plan[Answer | None]]:
    """A plan that takes the first of `n` samples and cancels the others."""

    def plan(question: Question) -> Plan[Answer | None]:
        first = yield from start(Sample((PROMPT,), params=PARAMS), n)
        finished = yield from next_finished()
        for handle in range(first, first + n):
            if handle != finished.handle:
                yield from cancel(Handle(handle))
        return None

    return plan


def test_an_engine_that_knows_lengths_books_what_one_that_generates_would_have() -> (
    None
):
    run = Run(first_of(8), ScriptedEngine(text))
    [end] = [event.op for event in run.seen(Delivered)]
    dropped, ended = run.seen(Dropped), run.solution.cost.sequential_tokens
    assert 1 <= end <= 8
    assert [event.usage.generated_tokens for event in dropped] == [ended] * 7
    assert run.solution.cost.tokens == 8 * (TOKENS + ended)


def test_a_token_that_is_told_from_another_thread_lets_a_result_pass() -> None:
    async def growing(request: SampleRequest, tokens: int) -> None:
        assert request.progress
        if request.index == 0:
            await asyncio.sleep(0)
            await asyncio.to_thread(request.progress.reached, 40)
            await asyncio.get_running_loop().create_future()

    run = Run(first_of(2), ScriptedEngine(text, growing=growing))
    assert [event.op for event in run.seen(Delivered)] == [2]


@widths("seeds", 40, 2000)
def test_what_waits_for_room_is_never_waited_for_by_what_holds_it(seeds: int) -> None:
    """In a ledger, in a KV cache, or both: every plan comes to its end."""
    for seed in range(seeds):
        source = random.Random(seed)
        engine = ScriptedEngine(
            text,
            pause=jumbled(seed),
            growing=unsteady(seed),
            capacity=source.choice([60, 200]),
        )
        budget = Budget(tokens=source.randint(20, 600))
        solution = solve_sync(
            QUESTION,
            Planned(wandering(seed, [])),
            engine,
            verifier=Judge(),
            budget=budget,
        )
        assert solution.error is None
        assert solution.cost.tokens <= (budget.tokens or 0)
