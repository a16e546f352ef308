"""A service without HTTP: what it counts, what it refuses, and what is left after a failure."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reasoner.engine import Engine, SampleRequest, TextPiece
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import EngineDied, EngineUnavailable
from reasoner.serving.choose import Job, choose
from reasoner.serving.config import ServerLimits, Settings, make_offer
from reasoner.serving.errors import ApiError
from reasoner.serving.metrics import KINDS, Metrics
from reasoner.serving.requests import ChatRequest, read
from reasoner.serving.service import Service
from reasoner.solution import Solution
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import jumbled, says, varied
from reasoner.trace.events import Began, Ended, Event
from tests.running import running

ALICE = "alice"


@asynccontextmanager
async def service(
    engine: Engine, limits: ServerLimits | None = None
) -> AsyncIterator[Service]:
    async with Service(
        engine,
        make_offer(Settings()),
        limits or ServerLimits(),
        report=lambda _number, _failure: None,
    ) as made:
        yield made


def jobs(service: Service, model: str = "vote8", **fields: Any) -> list[Job]:
    messages = [{"role": "user", "content": "What is 3 + 4?"}]
    name = service.offer.model.name + (f"@{model}" if model else "")
    body = {"model": name, "messages": messages, "seed": 1, **fields}
    return choose(read(json.dumps(body).encode(), ChatRequest), service.offer)


async def solved(service: Service) -> Solution:
    return (await service.answer(jobs(service), ALICE))[0].solution


def counted(service: Service) -> dict[tuple[str, ...], float]:
    """All counters by name and the values of their labels, in the order of the names of these."""
    families = text_string_to_metric_families(service.metrics.text().decode())
    return {
        (
            sample.name,
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in families
        for sample in family.samples
    }


@running
async def test_the_counters_equal_the_ledger_after_a_load() -> None:
    """Requests end, lose sequences, are cut by their budget, or lose their client."""
    source = random.Random(3)
    engine = ScriptedEngine(varied, pause=jumbled(1, lost=0.1), block_size=4)
    async with service(engine, ServerLimits(max_concurrent=5)) as serving:
        tasks = []
        for number in range(60):
            more = {"reasoner": {"budget": {"tokens": 150}}} if number % 3 == 0 else {}
            model = source.choice(["vote8", "best8", "universal8", "refine", ""])
            work = serving.answer(
                jobs(serving, model, seed=number, n=1 + number % 2, **more), ALICE
            )
            tasks.append(serving.start(work))
        for task in source.sample(tasks, 20):
            for _ in range(source.randint(0, 20)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)
        ledger, counts = serving.ledger, counted(serving)
        assert ledger.reserved.tokens == 0
        assert {kind: counts["reasoner_tokens_total", kind] for kind in KINDS} == {
            kind: getattr(ledger.settled, f"{kind}_tokens") for kind in KINDS
        }
        assert counts["reasoner_samples_total",] == ledger.settled.samples
        ended: Counter[str] = Counter()
        for key, value in counts.items():
            if key[0] == "reasoner_requests_total":
                ended[key[1]] += int(value)
        assert sum(ended.values()) == counts["reasoner_request_seconds_count",] == 60
        assert ended["answered"] > 0 < ended["cancelled"]
        assert (serving.turns.running, serving.turns.queued) == (0, 0)


@running
async def test_events_are_followed_and_kept_with_their_choice() -> None:
    seen: list[tuple[int, Event | TextPiece]] = []
    async with service(SimulatedEngine()) as serving:
        asked = jobs(serving, n=3)
        results = await serving.answer(
            asked, ALICE, lambda index, event: seen.append((index, event))
        )
        for index, result in enumerate(results):
            own = [event for at, event in seen if at == index]
            assert isinstance(own[0], Began)
            assert isinstance(own[-1], Ended)
            assert result.solution.events == tuple(own)
            kept = serving.traces.get(result.trace or "")
            assert kept
            assert kept.owner == ALICE
            assert len(kept.lines().splitlines()) == len(own)


@running
async def test_an_engine_that_died_makes_the_server_unhealthy() -> None:
    def die(request: SampleRequest) -> str:
        raise EngineDied("it died twice")

    async with service(ScriptedEngine(die)) as serving:
        with pytest.raises(ApiError) as failed:
            await solved(serving)
        assert (failed.value.status, failed.value.code) == (503, "engine_unavailable")
        assert serving.state == "failed"
        with pytest.raises(ApiError, match="the server has lost its engine"):
            await solved(serving)


@running
async def test_one_choice_that_fails_ends_the_others() -> None:
    """Nothing is left in flight."""

    async def pause(request: SampleRequest) -> None:
        if request.seed % 3 == 0:
            raise RuntimeError
        await asyncio.get_running_loop().create_future()

    async with service(ScriptedEngine(says("7"), pause=pause)) as serving:
        with pytest.raises(ApiError):
            await serving.answer(jobs(serving, "", n=16), ALICE)
        assert serving.ledger.reserved.tokens == 0
        assert serving.turns.running == 0


@pytest.mark.parametrize("fails", [False, True])
@running
async def test_the_engine_is_closed_whatever_happened(fails: bool) -> None:
    closed = []

    class Closing(SimulatedEngine):
        async def start(self) -> None:
            if fails:
                raise EngineUnavailable("no")

        async def close(self) -> None:
            closed.append(self)

    with suppress(EngineUnavailable):
        async with service(Closing()):
            pass
    assert len(closed) == 1


def test_labels_are_bounded() -> None:
    metrics = Metrics(["single"])
    for name in ("single", "none", *map(str, range(1000))):
        metrics.end(name, "answered", 0.2)
    lines = [
        line
        for line in metrics.text().decode().splitlines()
        if line.startswith("reasoner_requests_total")
    ]
    names = ("none", "other", "single")
    assert [line.split()[0] for line in sorted(lines)] == [
        f'reasoner_requests_total{{outcome="answered",strategy="{name}"}}'
        for name in names
    ]
