"""A server that dies and comes back, what a router reads and answers, and the cache of a server."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.engine import reset_caches
from reasoner.engines.openai import http
from reasoner.engines.openai.http import session_id
from tests.engines.fake_server import FakeServer, Fault, text_only
from tests.engines.replicas import (
    LIMIT,
    SAMPLES,
    Replica,
    alone,
    counted,
    ended,
    engine_at,
    votes,
)

HOSTILE = ["q", "a\r\nHost: evil", "\u00e9\u4e2d", "\ud800", "x" * 100_000, ""]


@given(st.sampled_from(HOSTILE) | st.text(), st.sampled_from(HOSTILE) | st.text())
def test_any_id_makes_a_short_header_that_is_its_own(first: str, second: str) -> None:
    value = session_id(first)
    assert len(value) == 32
    assert value.isascii()
    assert value.isalnum()
    assert (value == session_id(second)) == (first == second)


@pytest.mark.slow
@settings(max_examples=10)
@given(
    st.none()
    | st.tuples(st.integers(0, 23), st.sampled_from([Fault("close"), Fault("cut")]))
)
def test_a_death_changes_no_answer_and_costs_what_was_in_flight(
    death: tuple[int, Fault] | None,
) -> None:
    async def run() -> None:
        with Replica(
            faults=[*([None] * death[0]), death[1]] if death else []
        ) as server:
            run = await ended(engine_at(server.url))
        single = await alone()
        assert votes(run) == votes(single)
        assert run.sampled == single.sampled
        computed = counted(server)
        assert all(
            booked >= own
            for booked, own in zip(run.ledger[::2], computed[::2], strict=True)
        )
        assert run.ledger[0] + run.ledger[1] >= computed[0] + computed[1]
        if not death:
            assert run.ledger == computed

    asyncio.run(run())


@pytest.mark.parametrize(
    ("server", "status", "late", "lost"),
    [
        (FakeServer(), 500, True, True),
        (FakeServer(), 500, False, False),
        (FakeServer(), 503, True, False),
        (text_only(), 500, True, False),
    ],
)
def test_a_router_that_lost_its_server_late_costs_the_worst_case(
    server: FakeServer,
    status: int,
    late: bool,
    lost: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What vllm-router answers for an unstreamed request when a server is killed that generated for a while."""
    monkeypatch.setattr(http, "LATE_SECONDS", -1.0 if late else 3600.0)
    with server:
        server.faults = [
            Fault("status", status, "Request failed: error sending request")
        ]
        run = asyncio.run(ended(engine_at(server.url), 1))
    [solution] = run.solutions
    assert solution.error is None
    assert solution.cost.samples == SAMPLES + lost
    assert solution.cost.cancelled_tokens == (LIMIT if lost else 0)


@pytest.mark.parametrize(
    ("replies", "tries", "note"),
    [
        (['{"success": true}'], 1, ""),
        (['{"success": false}', "", "{}"], 2, ""),
        (['{"success": false}'], 6, "did not empty its prefix cache, as it is in use"),
        (
            [],
            1,
            "does not empty its prefix cache (404): start vLLM with VLLM_SERVER_DEV_MODE=1",
        ),
    ],
)
def test_the_cache_is_emptied_or_a_note_says_why_not(
    replies: list[str], tries: int, note: str
) -> None:
    async def run() -> None:
        engine = engine_at(server.url)
        await reset_caches(engine)
        assert not server.seen
        await engine.start()
        await reset_caches(engine)
        await engine.close()
        assert len(server.sent("/reset_prefix_cache")) == tries
        notes = [line for line in engine.notes if "prefix cache" in line]
        assert bool(notes) == bool(note)
        assert all(line.startswith(f"{server.url} {note}") for line in notes)

    with FakeServer(resets=list(replies)) as server:
        asyncio.run(run())
