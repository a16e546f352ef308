"""An engine that a server keeps warm: who gets it, what it costs over the socket, and what ends it."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reasoner import SamplingParams, Solution, solve_many
from reasoner.engine import Engine, SampleRequest
from reasoner.engines.remote import warm as warm_module
from reasoner.engines.remote.warm import WarmEngine, offered, warm
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import EngineDied, EngineError
from reasoner.registry import spec_of
from reasoner.testing.support import course, number_question
from reasoner.trace.events import Event, Sampled
from reasoner.types import Usage
from reasoner_strategies import SelfConsistency
from tests.engines.ray_parts import BROKEN, Gated, logged
from tests.running import running

PARAMS = SamplingParams(max_tokens=60)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))


def notes(folder: Path) -> list[Path]:
    return sorted((folder / "cache").glob("servers-*/*.json"))


@asynccontextmanager
async def connected(engine: Engine) -> AsyncIterator[WarmEngine]:
    """The engine, offered here and used over its socket."""
    async with offered(engine):
        # It connects before any event loop runs, and here the server's loop has to answer.
        found = await asyncio.to_thread(warm, engine)
        assert found is not None
        try:
            await found.start()
            yield found
        finally:
            await found.close()


async def requested(engine: Engine, name: str = "q", **options: Any) -> SampleRequest:
    question = number_question(name)
    rendered = await engine.render(question.prompt)
    return SampleRequest(question.id, question.prompt, rendered, PARAMS, 0, 1, **options)


@running
async def test_a_run_over_it_is_the_run_in_process() -> None:
    questions, strategy = [number_question(f"q{number}") for number in range(9)], SelfConsistency(5, PARAMS)
    engine = SimulatedEngine(tokens=30)
    traces: list[list[Event]] = [[], []]
    runs: list[list[Solution]] = []
    async with connected(engine) as found:
        engines: list[Engine] = [engine, found]
        for each, trace in zip(engines, traces, strict=True):
            runs.append(await solve_many(list(questions), strategy, each, trace=trace.append))
    assert [course(one) for one in runs[0]] == [course(one) for one in runs[1]]
    assert [one.cost.taking(0) for one in runs[0]] == [one.cost.taking(0) for one in runs[1]]
    drawn = [{(e.question_id, e.index): e.token_ids for e in trace if isinstance(e, Sampled)} for trace in traces]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 45
    assert spec_of(found) == spec_of(engine) == "simulated:tokens=30"


@running
async def test_who_gets_which_engine(tmp_path: Path) -> None:
    async with offered(SimulatedEngine(tokens=3)), offered(SimulatedEngine(tokens=4)):
        first, second = notes(tmp_path)
        modes = {path.stat().st_mode & 0o777 for path in (first, second, first.parent)}
        assert modes == {0o600, 0o700}
        for tokens, there in ((3, True), (4, True), (5, False)):
            found = await asyncio.to_thread(warm, SimulatedEngine(tokens=tokens))
            assert (found is not None) is there
            if found:
                await found.close()
    assert notes(tmp_path) == []
    assert list(first.parent.iterdir()) == []


@running
async def test_a_path_is_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    here = warm_module.settings_of(Gated(folder="model"))
    monkeypatch.chdir("/")
    assert warm_module.settings_of(Gated(folder=str(tmp_path / "model"))) == here


@running
async def test_notes_that_lead_nowhere_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_module, "ANSWER_SECONDS", 0.05)
    engine = SimulatedEngine()
    async with offered(engine):
        [file] = notes(tmp_path)
        note = json.loads(file.read_text())
        silent = f"{Path(note['address']).parent}/silent"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(silent)
            listening.listen()
            changes: list[Any] = [
                {**note, "address": "/nowhere"},
                {**note, "address": silent},
                {**note, "address": "x" * 5000},
                {**note, "token": "0" * len(note["token"])},
                {**note, "machine": "another"},
                {**note, "settings": {}},
                {"pid": 1},
                [],
            ]
            for changed in changes:
                file.write_text(json.dumps(changed))
                assert await asyncio.to_thread(warm, engine) is None
        for mode in (0o644, 0o660):
            file.write_text(json.dumps(note))
            file.chmod(mode)
            assert await asyncio.to_thread(warm, engine) is None
        file.chmod(0o600)
        file.parent.chmod(0o755)
        assert await asyncio.to_thread(warm, engine) is None
        file.parent.chmod(0o700)
        monkeypatch.undo()
        monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
        found = await asyncio.to_thread(warm, engine)
        assert found
        await found.close()


@running
async def test_the_next_server_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    async with offered(SimulatedEngine()):
        [file] = notes(tmp_path)
        left = file.with_name("left.json")
        socket_of_dead = tmp_path / "gone" / "s"
        socket_of_dead.parent.mkdir()
        socket_of_dead.touch()
        left.touch(0o600)
        left.write_text(json.dumps({**json.loads(file.read_text()), "pid": 2**31 - 1, "address": str(socket_of_dead)}))
        async with offered(SimulatedEngine()):
            assert len(notes(tmp_path)) == 2
    assert not left.exists()
    assert not socket_of_dead.parent.exists()


@pytest.mark.parametrize(
    "sent",
    [b"", b"0" * 64, b"\xff" * 1000, b"TOKEN" + b"\xff" * 4, b"TOKEN" + b"\0\0\0\4junk", b"TOKEN" + b"\0\0\0\0"],
    ids=["no token", "a wrong token", "garbage", "too long", "no batch", "an empty frame"],
)
@running
async def test_what_is_no_command_is_cut_off_and_the_server_serves_on(
    sent: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_module, "HELLO_SECONDS", 0.05)
    async with connected(SimulatedEngine()) as found:
        reader, writer = await asyncio.open_unix_connection(found.note.address)
        writer.write(sent.replace(b"TOKEN", found.note.token.encode()))
        with suppress(ConnectionResetError):  # of what it did not read
            assert await reader.read() == b""
        writer.close()
        assert (await found.sample(await requested(found))).finish_reason in ("stop", "length")


@running
async def test_what_a_client_cancels_or_leaves_behind_is_cancelled_in_the_server(tmp_path: Path) -> None:
    inner = Gated(folder=str(tmp_path), free=0)
    async with connected(inner) as found:
        requests = [await requested(found, name) for name in ("a", "b")]
        tasks = [asyncio.ensure_future(found.sample(request)) for request in requests]
        await logged(inner, "waits", 2)
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        [[_, name, prompt, generated]] = await logged(inner, "cancelled", 1)
        assert name == "a"
        assert requests[0].meter.usage == Usage(int(prompt), 0, int(generated))
        await found.close()
        await logged(inner, "cancelled", 2)
        [error] = await asyncio.gather(*tasks[1:], return_exceptions=True)
        assert isinstance(error, EngineDied)


@running
async def test_a_server_that_ends_is_named_and_nothing_waits_for_it(tmp_path: Path) -> None:
    inner = Gated(folder=str(tmp_path), free=0)
    async with offered(inner):
        found = await asyncio.to_thread(warm, inner)
        assert found
        request = await requested(found)
        waiting = asyncio.ensure_future(found.sample(request))
        await logged(inner, "waits", 1)
    message = rf"^the server that kept the engine \(process {os.getpid()}\) has ended: run the command again"
    with pytest.raises(EngineDied, match=message):
        await waiting
    assert request.meter.usage is None
    with pytest.raises(EngineDied, match=message):
        await found.sample(replace(request, index=1))
    await found.close()


@running
async def test_errors_of_the_engine_and_pieces_of_text_arrive_as_they_are(tmp_path: Path) -> None:
    async with connected(Gated(folder=str(tmp_path))) as found:
        with pytest.raises(EngineError, match="ZeroDivisionError: one over nothing"):
            await found.sample(await requested(found, BROKEN))
    pieces: list[str] = []
    async with connected(SimulatedEngine(tokens=9)) as found:
        one = await found.sample(await requested(found, on_text=lambda piece: pieces.append(piece.text)))
    assert "".join(pieces) in (one.text, "")
