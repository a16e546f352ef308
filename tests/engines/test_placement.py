"""Replicas without Ray: where questions go, and what driver and replica say to each other."""

import asyncio
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.engine import RenderedPrompt, SampleRequest
from reasoner.engines.ray.host import (
    CallOutcome,
    Host,
    RemoteLengths,
    ToReplica,
    packed_request,
)
from reasoner.engines.ray.placement import Placement
from reasoner.engines.ray.replica import EngineHost
from reasoner.types import Prompt, SamplingParams, Usage
from tests.engines.ray_parts import Gated
from tests.running import running


@given(
    st.integers(1, 9),
    st.lists(st.tuples(st.sampled_from("orq"), st.integers(0, 20)), max_size=80),
)
def test_a_question_stays_and_a_new_one_goes_to_the_least_loaded(
    replicas: int, steps: list[tuple[str, int]]
) -> None:
    """Against a plain count: o opens a question, q begins one of its requests, r releases it."""
    placement, places = Placement(replicas), dict[str, int]()
    loads = Counter[int]()
    with ExitStack() as requests:
        for step, number in steps:
            name = f"q{number}"
            if step == "r":
                placement.release(name)
                if name in places:
                    loads[places.pop(name)] -= 1
                continue
            place = (
                placement.of(name)
                if step == "o"
                else requests.enter_context(placement.request(name))
            )
            if name not in places:
                assert loads[place] == min(loads[each] for each in range(replicas))
                places[name] = place
                loads[place] += 1
            assert places[name] == place
            loads[place] += step == "q"


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from("olb"), st.integers(0, 9)), max_size=80),
)
def test_a_lost_replica_gets_no_question_and_gives_up_those_it_has(
    replicas: int, steps: list[tuple[str, int]]
) -> None:
    """Against a plain set: o opens a question, l loses a replica, b brings it back."""
    placement, lost = Placement(replicas), set[int]()
    for step, number in steps:
        if step == "o":
            place = placement.of(f"q{number}")
            assert place not in lost or len(lost) == replicas
            assert placement.of(f"q{number}") == place
        elif step == "l":
            placement.mark(number % replicas, answers=False)
            lost.add(number % replicas)
        else:
            placement.mark(number % replicas, answers=True)
            lost.discard(number % replicas)
        assert placement.lost == lost
        assert sum(placement._loads) == len(placement._replicas)


PROMPT = Prompt.chat("What is 3 + 4?")
REQUEST = SampleRequest(
    "q",
    PROMPT,
    RenderedPrompt((1, 2), 2, in_thinking=True),
    SamplingParams(temperature=0.5, max_tokens=9),
    3,
    4,
    priority=5,
    watch=(6, 7),
    interruptible=False,
    original=True,
)


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
@running
async def test_a_call_and_its_cancellation_take_effect_in_the_order_of_their_numbers(
    order: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the host sets it
    host = EngineHost(Gated, {"folder": str(tmp_path), "free": 0}, 1)
    await host.exchange(1, [(1, "start", ())])
    request = replace(REQUEST, watch=())
    batches: dict[int, list[ToReplica]] = {
        2: [(2, "sample", (packed_request(request), False))],
        3: [2],
    }
    exchanges = {
        number: asyncio.ensure_future(host.exchange(number, batches[number]))
        for number in order
    }
    assert await exchanges[2] == []
    # It ran once before it was cancelled, so its meter is exact.
    assert await exchanges[3] == [CallOutcome(2, None, None, Usage(2, 0, 1))]


@running
async def test_the_driver_learns_how_long_replies_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    host = EngineHost(Gated, {"folder": str(tmp_path), "free": 0}, 1)
    await host.exchange(1, [(1, "start", ())])
    request = replace(REQUEST, watch=())
    calls: list[ToReplica] = [
        (number, "sample", (packed_request(request), False)) for number in (2, 3)
    ]
    [first] = await host.exchange(2, calls)
    [second] = await host.exchange(3, [])
    assert isinstance(first, RemoteLengths)
    assert isinstance(second, RemoteLengths)
    before, after = dict(first.tokens), dict(second.tokens)
    assert before.keys() == after.keys() == {2, 3}
    assert all(0 < before[number] < after[number] for number in (2, 3))
    await host.exchange(4, [2, 3])


@running
async def test_lengths_that_nobody_reads_do_not_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reasoner.engines.ray.host.LENGTHS_SECONDS", 0)
    engine, told = Gated(folder=str(tmp_path), free=0), asyncio.Semaphore(0)
    host = Host(lambda: engine, told.release)
    host.take([(0, "start", ())])
    await told.acquire()
    host.news()
    prompt = Prompt(raw="p")
    request = SampleRequest(
        "q", prompt, await engine.render(prompt), SamplingParams(max_tokens=60), 0, 1
    )
    host.take([(1, "sample", (packed_request(request), False))])
    for _ in range(3):
        await told.acquire()
    [lengths] = host.news()
    assert isinstance(lengths, RemoteLengths)
    assert [number for number, _ in lengths.tokens] == [1]
    host.cancel()
