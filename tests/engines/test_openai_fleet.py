"""Several replicas behind one engine: questions stay whole, a dead replica loses what was in flight and no more."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.engines.openai import OpenAIEngine, http, served
from reasoner.engines.openai import replicas as module
from reasoner.engines.openai.http import session_id
from reasoner.verifier import CostMeter
from reasoner_verifiers import Judge
from tests.engines.fake_server import FakeServer, Fault, text_only
from tests.engines.replicas import (
    LIMIT,
    SAMPLES,
    Moment,
    Replica,
    Seeded,
    alone,
    counted,
    ended,
    engine_at,
    fleet,
    votes,
)
from tests.helpers import DEADLINE, completion, number_question

# Where a question runs


@pytest.mark.parametrize("streamed", [False, True])
def test_questions_stay_whole_and_cost_what_they_cost_on_one_replica(streamed: bool) -> None:
    async def run() -> None:
        replicas = Replica(), Replica(), Replica()
        async with fleet(*replicas) as urls:
            engine = engine_at(urls)
            run, single = await ended(engine, 12, streamed=streamed), await alone(12, streamed=streamed)
            usage = await engine.replica_usage()
        assert votes(run) == votes(single)
        assert run.ledger == run.sampled == counted(*replicas)
        assert run.ledger == single.ledger
        served = [Counter(replica.sessions) for replica in replicas]
        assert [*map(len, served)] == [4, 4, 4]
        assert served[0] + served[1] + served[2] == {session_id(f"q{n}"): SAMPLES for n in range(12)}
        for each, replica, url in zip(usage, replicas, urls, strict=True):
            assert (each.name, each.requests) == (url, 4 * SAMPLES)
            assert each.cached_tokens == replica.counted["prompt_tokens_cached"] > 0
            assert (each.prompt_tokens, each.generated_tokens) == (
                replica.counted["prompt_tokens"],
                replica.counted["generation_tokens"],
            )
            assert f"{each.cached_tokens / each.prompt_tokens:.0%} of" in str(each)

    asyncio.run(run())


HOSTILE = ["q", "a\r\nHost: evil", "\u00e9\u4e2d", "\ud800", "x" * 100_000, ""]


@given(st.sampled_from(HOSTILE) | st.text(), st.sampled_from(HOSTILE) | st.text())
def test_any_id_makes_a_short_header_that_is_its_own(first: str, second: str) -> None:
    value = session_id(first)
    assert len(value) == 32
    assert value.isascii()
    assert value.isalnum()
    assert (value == session_id(second)) == (first == second)


def test_the_judge_asks_in_the_session_of_the_question() -> None:
    with FakeServer(reply=("Yes",)) as server:

        async def run() -> None:
            judge = Judge(base_url=server.url)
            question, policy = number_question("\u4e2d\n"), engine_at(server.url)
            await judge.claim_memory(policy)
            await judge._own[0].start()
            # The fake server has no words that are one token.
            judge._known.append((judge._own[0], {"Yes": (7,), "No": (8,)}))
            rating = await judge.score(question, completion("It is 7"), policy, CostMeter())
            assert rating.value is not None
            await judge.close()

        asyncio.run(run())
        [header] = [seen.headers["x-session-id"] for seen in server.seen if "completions" in seen.path]
        assert header == session_id("\u4e2d\n")


# Replicas that die

DEATHS = st.dictionaries(st.integers(1, 12), st.sampled_from(["before", "during", "after"]), max_size=1)


@given(st.tuples(DEATHS, DEATHS, st.just({})).flatmap(st.permutations), st.booleans(), st.booleans())
def test_deaths_change_no_answer_and_cost_what_was_in_flight(
    deaths: list[dict[int, Moment]], streamed: bool, revives: bool
) -> None:
    async def run() -> None:
        replicas = [Replica(deaths=dict(each), revives=revives) for each in deaths]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "RETRY_SECONDS", 0.0)
            async with fleet(*replicas) as urls:
                run = await ended(engine_at(urls), streamed=streamed)
        single = await alone(streamed=streamed)
        assert votes(run) == votes(single)
        # A question that moves finds no cache.
        assert sum(run.sampled) >= sum(single.sampled)
        assert (run.sampled[0] + run.sampled[1], run.sampled[2]) == (
            single.sampled[0] + single.sampled[1],
            single.sampled[2],
        )
        computed = counted(*replicas)
        assert run.ledger[0] >= computed[0]
        assert run.ledger[0] + run.ledger[1] >= computed[0] + computed[1]
        assert run.ledger[2] >= computed[2]
        if not any(deaths):
            assert run.ledger == computed

    asyncio.run(run())


@asynccontextmanager
async def one_lost(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[OpenAIEngine, Replica]]:
    """An engine with two replicas, and the first of them, which died in a run; the next request asks for it again."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    first = Replica(deaths={1: "before"})
    async with fleet(first, Replica()) as urls:
        engine = engine_at(urls)
        await ended(engine)
        yield engine, first


def test_a_replica_that_comes_back_serves_new_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with one_lost(monkeypatch) as (engine, first):
            assert engine._http.replicas.placement.lost == {0}
            assert [note for note in engine.notes if note.startswith(f"{first.url} does not answer")]
            await first.live()
            # The first requests ask whether it is back; later ones find it.
            await ended(engine)
            before = len(first.sessions)
            await ended(engine)
            assert len(first.sessions) - before == 3 * SAMPLES
            assert engine.replica_of("new") == 0

    asyncio.run(run())


def test_what_comes_back_with_another_model_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with one_lost(monkeypatch) as (engine, first):
            first.brain = Seeded(models=("other",))
            await first.live()
            await ended(engine)
            await ended(engine)
            assert len(first.sessions) == 1
            assert [note for note in engine.notes if f"{first.url} serves other" in note]

    asyncio.run(run())


def test_when_all_are_dead_the_run_waits_and_resumes_where_it_was() -> None:
    async def run() -> None:
        replicas = Replica(deaths={3: "before"}), Replica(deaths={2: "during"})
        async with fleet(*replicas) as urls:
            engine, waits = engine_at(urls), list[float]()

            async def sleep(seconds: float) -> None:
                waits.append(seconds)
                if len(waits) == 5:
                    await replicas[1].live()
                await asyncio.sleep(0)

            engine._http.sleep = sleep
            run = await ended(engine)
        assert votes(run) == votes(await alone())
        assert len(waits) >= 5

    asyncio.run(run())


def test_when_all_stay_dead_what_was_finished_is_kept() -> None:
    async def run() -> None:
        replicas = Replica(deaths={9: "before"}), Replica(deaths={9: "before"})
        async with fleet(*replicas) as urls:
            run = await ended(engine_at(urls, patience=2))
        errors = [str(solution.error) for solution in run.solutions if solution.error]
        assert errors
        assert all(f"no answer from {urls[0]} and 1 more in" in error and "\n" not in error for error in errors)
        assert sum(solution.cost.samples for solution in run.solutions) >= 16
        computed = counted(*replicas)
        assert run.ledger[0] + run.ledger[1] >= computed[0] + computed[1]
        assert run.ledger[2] >= computed[2]

    asyncio.run(run())


def test_a_replica_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "CONNECT_SECONDS", DEADLINE)

    async def run() -> None:
        replicas = Replica(), Replica()
        async with fleet(*replicas) as urls:
            engine = engine_at(urls, timeout=DEADLINE, deadline=DEADLINE)
            await engine.start()
            replicas[0].silent = True
            run = await ended(engine, 2)
        assert votes(run) == votes(await alone(2))
        assert len(replicas[1].sessions) == 2 * SAMPLES

    asyncio.run(run())


def test_a_failure_of_one_request_is_no_death() -> None:
    """Its question fails as on one server, and the others stay where they are."""

    async def run() -> None:
        replicas = Replica(status=500), Replica()
        async with fleet(*replicas) as urls:
            engine = engine_at(urls, patience=2)
            run = await ended(engine, 4)
        errors = [solution.error for solution in run.solutions if solution.error]
        assert len(errors) == 2
        assert all("500 (out of order)" in str(error) for error in errors)
        assert len(set(replicas[0].sessions)) == len(set(replicas[1].sessions)) == 2
        assert engine._http.replicas.placement.lost == set()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("server", "status", "late", "lost"),
    [
        (FakeServer(), 500, True, True),
        (FakeServer(), 502, True, True),
        (FakeServer(), 500, False, False),
        (FakeServer(), 503, True, False),
        (text_only(), 500, True, False),
    ],
)
def test_a_router_that_lost_its_server_late_costs_the_worst_case(
    server: FakeServer, status: int, late: bool, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What vllm-router answers for an unstreamed request when a server is killed that generated for a while."""
    monkeypatch.setattr(http, "LATE_SECONDS", -1.0 if late else 3600.0)
    with server:
        server.faults = [Fault("status", status, "Request failed: error sending request")]
        run = asyncio.run(ended(engine_at(server.url), 1))
    [solution] = run.solutions
    assert solution.error is None
    assert solution.cost.samples == SAMPLES + lost
    assert solution.cost.cancelled_tokens == (LIMIT if lost else 0)
