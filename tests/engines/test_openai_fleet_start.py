"""Several replicas behind one engine: how they start, how they are written, and their caches."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from reasoner.engine import Replicated, ReplicaUsage, ReportsReplicas, reset_caches
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.openai import replicas as module
from reasoner.errors import EngineUnavailable, UsageError
from reasoner.registry import build, spec_of
from reasoner_verifiers import Judge
from tests.engines.fake_server import FakeServer
from tests.engines.replicas import SAMPLES, Replica, Seeded, alone, ended, engine_at, fleet, votes

# The start


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"models": ("other",)}, r"http://\S+/v1 serves tiny and http://\S+/v1 serves other: start all replicas"),
        ({"context": 256}, "has a context window of 512 tokens and http://.+ one of 256: start all"),
        ({"opens": True}, "and http://.+ render the same chat as different token ids: start all"),
    ],
)
def test_replicas_that_differ_are_refused_by_name(other: dict[str, Any], match: str) -> None:
    async def run() -> None:
        async with fleet(Replica(), Replica(), Replica(Seeded(**other))) as urls:
            with pytest.raises(UsageError, match=match) as caught:
                await engine_at(urls).start()
            assert urls[0] in str(caught.value)
            assert urls[2] in str(caught.value)

    asyncio.run(run())


def test_models_from_different_paths_are_noted() -> None:
    async def run() -> None:
        async with fleet(Replica(Seeded(root="a/b")), Replica(Seeded(root="a/c"))) as urls:
            engine = engine_at(urls)
            await engine.start()
            await engine.close()
            assert [note for note in engine.notes if "loaded the model from a/b and" in note]

    asyncio.run(run())


def test_a_run_starts_without_a_replica_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)

    async def run() -> None:
        replicas = Replica(), Replica()
        async with fleet(*replicas) as urls:
            replicas[0].die()
            engine = engine_at(urls)
            run = await ended(engine)
            assert votes(run) == votes(await alone())
            assert [note for note in engine.notes if note.startswith(f"{urls[0]} does not answer")]

    asyncio.run(run())


def test_a_run_does_not_start_without_any() -> None:
    async def run() -> None:
        async with fleet(Replica(), Replica()) as urls:
            pass
        with pytest.raises(EngineUnavailable, match="none of the 2 servers answers: no answer from http://") as caught:
            await engine_at(urls).start()
        assert "\n" not in str(caught.value)

    asyncio.run(run())


@pytest.mark.parametrize("urls", [(), ("http://a/v1", "http://a/v1/"), ("http://a/v1", "http://me@a/v1")])
def test_no_server_and_one_twice_are_refused(urls: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="base_url must name at least one server, and each once"):
        OpenAIEngine(base_url=urls)


def test_several_addresses_are_a_list_in_a_spec() -> None:
    spec = "openai:base_url=[http://a/v1,http://b/v1],replica_urls=[http://c/v1]"
    engine: OpenAIEngine = build("engine", spec)
    assert engine.base_url == ("http://a/v1", "http://b/v1")
    assert spec_of(engine) == spec
    assert spec_of(build("engine", "openai:base_url=[http://a/v1]")) == "openai:base_url=http://a/v1"
    assert engine.name == "openai at http://a/v1 and 1 more"
    assert isinstance(engine, Replicated)
    assert isinstance(engine, ReportsReplicas)
    assert spec_of(Judge(base_url=("http://me:word@a/v1", "http://b/v1"))) == (
        "judge:base_url=[http://***@a/v1,http://b/v1]"
    )


# Caches


@pytest.mark.parametrize("behind", [False, True])
def test_the_caches_of_all_known_replicas_are_emptied(behind: bool) -> None:
    async def run() -> None:
        replicas = Replica(), Replica(resets=[b'{"success": false}', b"", b"{}"]), Replica(resets=[])
        async with fleet(*replicas) as urls:
            engine = engine_at(urls[0], replica_urls=urls) if behind else engine_at(urls)
            engine._servers.sleep = lambda _: asyncio.sleep(0)
            await reset_caches(engine)
            assert not [path for replica in replicas for path in replica.paths]
            await engine.start()
            await reset_caches(engine)
            await engine.close()
        tries = [replica.paths.count("/reset_prefix_cache") for replica in replicas]
        assert tries == [1, 2, 1]
        [note] = [note for note in engine.notes if "prefix cache" in note]
        assert note.startswith(f"{urls[2]} does not empty its prefix cache (404): start vLLM with VLLM_SERVER_DEV_MODE")

    asyncio.run(run())


def test_a_cache_in_use_is_noted_and_one_of_no_vllm_server_is_left_alone() -> None:
    async def run() -> None:
        async with fleet(Replica(resets=[b'{"success": false}'])) as (url,):
            engine = engine_at(url)
            await engine.start()
            await engine.reset_caches()
            await engine.close()
            assert [note for note in engine.notes if note.startswith(f"{url} did not empty its prefix cache")]

    asyncio.run(run())
    with FakeServer(vllm=False, owner="someone", context=None) as server:
        engine = OpenAIEngine(base_url=server.url)

        async def text_only() -> None:
            await engine.start()
            await engine.reset_caches()

        asyncio.run(text_only())
        assert "/reset_prefix_cache" not in [seen.path for seen in server.seen]


def test_behind_a_router_the_replicas_own_counters_are_read() -> None:
    async def run() -> None:
        replica, silent = Replica(), Replica()
        replica.counted.update(request_success=5, prompt_tokens=50, prompt_tokens_cached=20, generation_tokens=9)
        async with fleet(replica, silent) as urls:
            engine = engine_at(urls[0], replica_urls=urls)
            run = await ended(engine)
            usage = await engine.replica_usage()
            silent.die()
            assert [each.name for each in await engine.replica_usage()] == [urls[0]]
            await engine.close()
        prompt, cached, generated = run.ledger
        assert usage == (ReplicaUsage(urls[0], 6 * SAMPLES, prompt + cached, cached, generated), ReplicaUsage(urls[1]))

    asyncio.run(run())


def test_counters_of_a_replica_that_was_started_again_are_not_negative() -> None:
    before, now = ReplicaUsage("a", 9, 90, 40, 10), ReplicaUsage("a", 12, 100, 4, 12)
    assert now.since(before) == now
    assert now.since(ReplicaUsage("a", 9, 90, 2, 10)) == ReplicaUsage("a", 3, 10, 2, 2)
    assert str(ReplicaUsage("a")) == "a: 0 requests, none of 0 prompt tokens from cache"


def test_the_code_of_the_page_on_scale_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/scale.md").read_text(), re.MULTILINE | re.DOTALL)
    with FakeServer() as first, FakeServer() as second:
        code = code.replace("http://10.0.0.1:8000/v1", first.url).replace("http://10.0.0.2:8000/v1", second.url)
        exec(compile(code, "docs/scale.md", "exec"), {"__name__": "__main__"})
        lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["4", "4"]
    for line, server in zip(lines[2:], (first, second), strict=True):
        assert line.startswith(f"{server.url}: 8 requests, 0% of ")
