"""Replicas as Ray actors: they answer as one engine does, whatever dies, and every token is counted."""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from reasoner import Budget, Cost, Question, SamplingParams, Solution, solve_many
from reasoner.engine import SampleRequest, UsageMeter
from reasoner.engines.ray import RayEngine, cluster
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import (
    EngineDied,
    EngineError,
    EngineUnavailable,
    RequestLost,
    UsageError,
)
from reasoner.registry import build
from reasoner.testing.support import course, number_question, traced_cost
from reasoner.trace.events import Event, Sampled
from reasoner.types import Usage
from reasoner_strategies import SelfConsistency
from tests.engines.ray_parts import BROKEN, DOOMED, POISON, Gated, logged
from tests.running import running

PARAMS = SamplingParams(max_tokens=60)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """One cluster for all tests: it takes seconds to start."""
    cluster.join("")
    yield
    cluster.leave()


def asked(count: int) -> list[Question | str]:
    return [
        Question.of(f"What is {number} + 4?", id=f"q{number}")
        for number in range(count)
    ]


@asynccontextmanager
async def closing(opened: RayEngine) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await opened.close()


def pids(engine: RayEngine) -> list[int]:
    return [int(facts.name.split()[1]) for facts in engine._facts]


def of_course(solutions: list[Solution]) -> list[tuple[object, ...]]:
    assert [one.error for one in solutions if one.error] == []
    return [course(one) for one in solutions]


@running
async def test_replicas_answer_and_cost_what_one_engine_does() -> None:
    engine, strategy = (
        RayEngine(SimulatedEngine(tokens=30), replicas=2),
        SelfConsistency(5, PARAMS),
    )
    async with closing(engine):
        for budget in (None, Budget(tokens=4_000)):
            alone = await solve_many(asked(40), strategy, engine.engine, budget=budget)
            replicated = await solve_many(asked(40), strategy, engine, budget=budget)
            assert not budget or sum(one.cost.tokens for one in replicated) <= 4_000
            assert budget or of_course(alone) == of_course(replicated)
        assert engine._placement._loads == [0, 0]


async def requested(
    engine: RayEngine, name: str = "q", **options: Any
) -> SampleRequest:
    question = number_question(name)
    rendered = await engine.render(question.prompt)
    return SampleRequest(
        question.id, question.prompt, rendered, PARAMS, 0, 1, **options
    )


@running
async def test_a_cancelled_request_is_aborted_in_its_replica_and_the_meter_is_exact(
    tmp_path: Path,
) -> None:
    inner = Gated(folder=str(tmp_path), free=0)
    engine = RayEngine(inner, replicas=1)
    async with closing(engine):
        await engine.start()
        requests = [await requested(engine, f"q{number}") for number in range(3)]
        tasks = [asyncio.ensure_future(engine.sample(request)) for request in requests]
        await logged(inner, "waits", 3)
        unsent = await requested(engine, "unsent")
        tasks.append(asyncio.ensure_future(engine.sample(unsent)))
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        computed = {
            name: Usage(int(prompt), 0, int(done))
            for _, name, prompt, done in await logged(inner, "cancelled", 3)
        }
        assert {
            request.question_id: request.meter.usage for request in requests
        } == computed
        assert all(usage.generated_tokens for usage in computed.values())
        assert unsent.meter.usage == Usage()


@running
async def test_a_killed_replica_loses_only_what_was_in_flight(tmp_path: Path) -> None:
    inner, notices, events = (
        Gated(folder=str(tmp_path), free=2, tokens=5),
        list[str](),
        list[Event](),
    )
    engine, arrived = RayEngine(inner, replicas=2), asyncio.Event()
    engine.notify = notices.append

    def note(event: Event) -> None:
        events.append(event)
        if sum(isinstance(each, Sampled) for each in events) == 12:
            arrived.set()

    async with closing(engine):
        await engine.start()
        run = asyncio.ensure_future(
            solve_many(asked(6), SelfConsistency(4, PARAMS), engine, trace=note)
        )
        await logged(inner, "waits", 12)
        # What a replica has drawn is with the driver a little later.
        await arrived.wait()
        os.kill(pids(engine)[0], signal.SIGKILL)
        (tmp_path / "gate").touch()
        solutions = await run
        of_course(solutions)
        sampled = Counter(
            (event.prompt, event.index)
            for event in events
            if isinstance(event, Sampled)
        )
        assert set(sampled.values()) == {1}
        assert len(sampled) == 24 == len(await logged(inner, "drawn", 24))
        assert traced_cost(events).taking(0) == sum(
            (one.cost for one in solutions), Cost()
        ).taking(0)
        assert len(notices) == 1
        assert re.fullmatch(
            r"replica 0 of 2 of the engine died \(.+\): it is restarted, .+ is repeated",
            notices[0],
        )


@running
async def test_a_question_of_which_replicas_die_ends_alone_and_the_engine_works_on(
    tmp_path: Path,
) -> None:
    engine, notices = RayEngine(Gated(folder=str(tmp_path)), replicas=2), list[str]()
    engine.notify = notices.append
    async with closing(engine):
        await engine.start()
        [poisoned] = await solve_many(
            [number_question(POISON)], SelfConsistency(1, PARAMS), engine
        )
        assert isinstance(poisoned.error, RequestLost | EngineDied)
        assert "\n" not in str(poisoned.error)
        of_course(await solve_many(asked(6), SelfConsistency(3, PARAMS), engine))
        assert [
            line
            for line in notices
            if line.endswith("again after a restart, so it is given up")
        ] == notices[2:]


@running
async def test_errors_in_a_replica_arrive_as_they_are(tmp_path: Path) -> None:
    engine = RayEngine(Gated(folder=str(tmp_path)), replicas=1)
    async with closing(engine):
        await engine.start()
        with pytest.raises(
            EngineError,
            match=r"^a replica failed with ZeroDivisionError: one over nothing \(.*\)$",
        ):
            await engine.sample(await requested(engine, BROKEN))
        first = pids(engine)
        request = await requested(engine, DOOMED)
        with pytest.raises(RequestLost, match="died: the core died again"):
            await engine.sample(request)
        assert request.meter == UsageMeter()
        # The engine in the replica gave up, so the replica was made again.
        assert (await engine.sample(await requested(engine))).finish_reason in (
            "stop",
            "length",
        )
        [line] = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
        assert int(line[3]) not in first


@running
async def test_what_cannot_start_is_refused_in_one_line(tmp_path: Path) -> None:
    for engine, message in (
        (
            RayEngine(SimulatedEngine(), gpus=64),
            "1 replicas of the engine need 64 GPUs and the cluster has",
        ),
        (RayEngine(Gated(odd=True), replicas=2), "the replicas serve different models"),
        (RayEngine(build("engine", f"pool:{tmp_path}/missing"), replicas=1), "missing"),
    ):
        with pytest.raises((EngineUnavailable, UsageError), match=message) as refused:
            await engine.start()
        assert "\n" not in str(refused.value)
        await engine.close()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ray:address=ray://host:1", "address must be auto"),
        ("ray:engine=ray(engine=simulated)", "ray cannot run the engine RayEngine"),
    ],
)
def test_options_that_cannot_work(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build("engine", spec)
