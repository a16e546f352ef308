"""An engine that a server keeps warm: who gets it, what it costs over the socket, and what ends it."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reasoner import SamplingParams, Solution, solve_many
from reasoner.engine import Engine, SampleRequest
from reasoner.engines.remote import warm as warm_module
from reasoner.engines.remote.host import Host, RemoteLengths, packed_request
from reasoner.engines.remote.warm import NONCE, WarmEngine, offered, warm
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import EngineDied, EngineError
from reasoner.registry import spec_of
from reasoner.testing.support import course, number_question
from reasoner.trace.events import Event, Sampled
from reasoner.types import TokenIds, Usage
from reasoner_strategies import SelfConsistency
from tests.engines.ray_parts import BROKEN, Gated, logged
from tests.running import running

PARAMS = SamplingParams(max_tokens=60)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    # However busy this machine is.
    monkeypatch.setattr(warm_module, "ANSWER_SECONDS", 600)
    monkeypatch.setattr(warm_module, "HELLO_SECONDS", 600)


def notes(folder: Path) -> list[Path]:
    return sorted((folder / "cache").glob("servers-*/*.json"))


def token_of(address: Path) -> str:
    return str(json.loads(address.with_suffix(".json").read_text())["token"])


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
    return SampleRequest(
        question.id, question.prompt, rendered, PARAMS, 0, 1, **options
    )


@running
async def test_a_run_over_it_is_the_run_in_process() -> None:
    questions, strategy = (
        [number_question(f"q{number}") for number in range(9)],
        SelfConsistency(5, PARAMS),
    )
    engine = SimulatedEngine(tokens=30)
    traces: list[list[Event]] = [[], []]
    runs: list[list[Solution]] = []
    async with connected(engine) as found:
        engines: list[Engine] = [engine, found]
        for each, trace in zip(engines, traces, strict=True):
            runs.append(
                await solve_many(list(questions), strategy, each, trace=trace.append)
            )
    assert [course(one) for one in runs[0]] == [course(one) for one in runs[1]]
    assert [one.cost.taking(0) for one in runs[0]] == [
        one.cost.taking(0) for one in runs[1]
    ]
    drawn = [
        {(e.question_id, e.index): e.token_ids for e in trace if isinstance(e, Sampled)}
        for trace in traces
    ]
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
    assert list(first.parent.iterdir()) == []


@pytest.mark.parametrize("long", [10, 200])
@running
async def test_nothing_of_it_lies_outside_its_private_folder(
    long: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / ("x" * long)
    monkeypatch.setenv("REASONER_CACHE", str(cache))
    async with connected(SimulatedEngine()) as found:
        [folder] = cache.iterdir()
        assert [
            (path.suffix, path.is_socket()) for path in sorted(folder.iterdir())
        ] == [
            (".json", False),
            (".socket", True),
        ]
        assert (await found.sample(await requested(found))).finish_reason in (
            "stop",
            "length",
        )


@running
async def test_a_path_is_the_same_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    here = warm_module.settings_of(Gated(folder="model"))
    monkeypatch.chdir("/")
    assert warm_module.settings_of(Gated(folder=str(tmp_path / "model"))) == here


DAMAGED: dict[str, bytes] = {
    "nothing": b"",
    "no text": b"\xff\xfe{",
    "a list": b"[]",
    "null": b"null",
    "too deep": b"[" * 60_000,
    "a long number": b'{"token": ' + b"9" * 5000 + b"}",
}
CHANGED: dict[str, dict[str, object]] = {
    "no token": {"token": None},
    "a token that is no text": {"token": "\ud800"},
    "a wrong token": {"token": "0" * 64},
    "another machine": {"machine": "another"},
    "a machine that is no name": {"machine": ["\0"]},
    "other settings": {"settings": {}},
    "no settings": {"settings": None},
    "a process that cannot be": {"pid": 10**30, "address": "/nowhere"},
    "an address that is null": {"pid": 2**22, "address": None},
    "an address that is a list": {"pid": 2**22, "address": []},
    "an address with NUL": {"pid": 2**22, "address": "\0"},
    "an address that is no text": {"pid": 2**22, "address": "\ud800"},
}


@running
async def test_a_damaged_note_is_no_warm_engine_and_stops_no_server(
    tmp_path: Path,
) -> None:
    engine = SimulatedEngine()
    async with offered(engine):
        [file] = notes(tmp_path)
        note = json.loads(file.read_text())
        contents = DAMAGED | {
            name: json.dumps({**note, **change}).encode()
            for name, change in CHANGED.items()
        }
        for name, content in contents.items():
            file.write_bytes(content)
            assert await asyncio.to_thread(warm, engine) is None, name
            async with offered(SimulatedEngine(tokens=3)):
                assert file.exists(), name
        file.write_text(json.dumps(note))
        for mode in (0o644, 0o660):
            file.chmod(mode)
            assert await asyncio.to_thread(warm, engine) is None
        file.chmod(0o600)
        file.parent.chmod(0o755)
        assert await asyncio.to_thread(warm, engine) is None
        with pytest.raises(PermissionError, match="is open to other users"):
            await offered(engine).__aenter__()
        file.parent.chmod(0o700)
        found = await asyncio.to_thread(warm, engine)
        assert found
        await found.close()


@running
async def test_the_next_server_removes_what_a_killed_one_left_and_nothing_else(
    tmp_path: Path,
) -> None:
    precious = tmp_path / "precious"
    precious.touch()
    async with offered(SimulatedEngine()) as address:
        folder = notes(tmp_path)[0].parent
        note = address.with_suffix(".json").read_text()

        def leave(name: str, content: str = note) -> None:
            (folder / f"{name}.json").touch(0o600)
            (folder / f"{name}.json").write_text(content)

        leave("killed")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(address.with_name("killed.socket")))
        leave("gone")
        leave("no_socket")
        (folder / "no_socket.socket").touch()
        leave(
            "names_a_path",
            json.dumps(
                {**json.loads(note), "pid": 2**22 - 1, "address": str(precious)}
            ),
        )
        async with offered(SimulatedEngine()):
            pass
        left = {
            "names_a_path.json",
            "no_socket.json",
            "no_socket.socket",
            address.name,
            f"{address.stem}.json",
        }
        assert {path.name for path in folder.iterdir()} == left
        assert precious.exists()


# Who is at the other end


def frame(*calls: object) -> bytes:
    return b"".join(warm_module._frames(calls))


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def impostor(address: Path, serve: Serve) -> AsyncIterator[None]:
    """Another process listens where a server did."""
    await asyncio.to_thread(address.unlink)
    async with await asyncio.start_unix_server(serve, address):
        yield


@dataclass(frozen=True, slots=True)
class Bomb:
    """What makes a file as it is unpickled."""

    path: str

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (self.path, "x")


@running
async def test_nothing_is_unpickled_from_a_server_that_does_not_know_the_token(
    tmp_path: Path,
) -> None:
    engine, heard = SimulatedEngine(), bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.readexactly(NONCE))
        writer.write(bytes(2 * NONCE) + frame(Bomb(str(tmp_path / "broken in"))))
        with suppress(ConnectionError):  # of what it did not read
            heard.extend(await reader.read())
        writer.close()

    async with offered(engine) as address, impostor(address, serve):
        assert await asyncio.to_thread(warm, engine) is None
    assert len(heard) == NONCE
    assert not (tmp_path / "broken in").exists()


@pytest.mark.parametrize(
    "sent",
    [b"", b"\0", b"\x0f\xff\xff\xff"],
    ids=["silent", "half a head", "drops of a frame"],
)
@running
async def test_a_server_that_does_not_answer_in_time_is_left(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_module, "ANSWER_SECONDS", 0.05)
    engine = SimulatedEngine()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonces = await reader.readexactly(NONCE) + bytes(NONCE)
        writer.write(bytes(NONCE) + warm_module._proof(token, "server", nonces) + sent)
        while len(sent) == 4 and not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with offered(engine) as address:
        token = token_of(address)
        async with impostor(address, serve):
            assert await asyncio.to_thread(warm, engine) is None


SOMEBODY = 54_321
AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can act as another user"
)


@AS_ROOT
@running
async def test_nothing_is_sent_to_a_server_of_another_user() -> None:
    engine = SimulatedEngine()
    async with offered(engine) as address:
        address.unlink()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(address))
            os.seteuid(SOMEBODY)
            listening.listen()
            os.seteuid(0)
            assert await asyncio.to_thread(warm, engine) is None
            connection, _ = listening.accept()
            with connection:
                assert connection.recv(100) == b""


@AS_ROOT
@running
async def test_a_command_of_another_user_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with offered(SimulatedEngine()) as address:
        folder = notes(tmp_path)[0].parent
        folder.chmod(0o711)
        (folder / address.name).chmod(0o777)
        monkeypatch.chdir(folder)
        with socket.socket(socket.AF_UNIX) as connection:
            os.seteuid(SOMEBODY)
            connection.connect(address.name)
            os.seteuid(0)
            reader, writer = await asyncio.open_unix_connection(sock=connection)
            writer.write(bytes(NONCE))
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()


# What a command may do

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def admitted(address: Path) -> Streams:
    """A connection to a server that knows that this side has the token."""
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(bytes(NONCE))
    nonces = bytes(NONCE) + await reader.readexactly(NONCE)
    assert await reader.readexactly(NONCE) == warm_module._proof(
        token_of(address), "server", nonces
    )
    writer.write(warm_module._proof(token_of(address), "command", nonces))
    return reader, writer


async def a_stranger(address: Path) -> Streams:
    return await asyncio.open_unix_connection(address)


@dataclass(slots=True)
class Talker(SimulatedEngine):
    """Encodes any text as many tokens, and counts how often; it may not be closed."""

    length: int = 1
    encoded: int = 0

    async def encode(self, text: str) -> TokenIds:
        self.encoded += 1
        return tuple(range(self.length))

    async def close(self) -> None:
        raise AssertionError("a command closed the engine")


@pytest.mark.parametrize(
    ("meet", "sent"),
    [
        (a_stranger, b""),
        (a_stranger, b"\0" * 2 * NONCE),
        (a_stranger, b"\xff" * 1000),
        (admitted, b"\xff" * 4),
        (admitted, b"\0\0\0\4junk"),
        (admitted, b"\0\0\0\0"),
        (admitted, frame((0, "start", ()), (1, "close", ()))),
        (admitted, frame((0, "start", ()), (1, "__class__", ()))),
        (admitted, frame((0, "start", ()), (0, "start", ()))),
    ],
    ids=[
        "nothing",
        "a wrong proof",
        "garbage",
        "too long",
        "no batch",
        "an empty frame",
        "close",
        "no call",
        "twice",
    ],
)
@running
async def test_what_is_no_command_is_cut_off_and_the_server_serves_on(
    meet: Callable[[Path], Awaitable[Streams]],
    sent: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Talker()
    async with offered(engine) as address:
        with monkeypatch.context() as patch:
            if not sent:
                patch.setattr(warm_module, "HELLO_SECONDS", 0.05)
            reader, writer = await meet(address)
            writer.write(sent)
            with suppress(ConnectionError):  # of what it did not read
                await reader.read()
            writer.close()
        found = await asyncio.to_thread(warm, engine)
        assert found
        assert (await found.sample(await requested(found))).finish_reason in (
            "stop",
            "length",
        )
        await found.close()


@running
async def test_a_command_that_reads_no_replies_begins_no_more_calls_and_loses_none() -> (
    None
):
    engine, calls = Talker(length=10_000), 200
    async with offered(engine) as address:
        reader, writer = await admitted(address)
        for number in range(calls):
            writer.write(
                frame((0, "start", ()))
                if not number
                else frame((number, "encode", ("x",)))
            )
        for _ in range(20 * calls):
            await asyncio.sleep(0)
        assert engine.encoded < 20
        ended: list[int] = []
        while len(ended) < calls:
            ended += [number for number, *_ in await warm_module._receive(reader)]
        assert ended == [*range(calls)]
        writer.close()


@running
async def test_calls_above_the_bound_wait_for_those_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_module, "MAX_CALLS", 3)
    inner = Gated(folder=str(tmp_path), free=0)
    async with connected(inner) as found:
        requests = [replace(await requested(found), index=index) for index in range(5)]
        drawn = asyncio.gather(*map(found.sample, requests))
        assert len(await logged(inner, "waits", 3)) == 3
        for _ in range(1000):
            await asyncio.sleep(0)
        assert len(await logged(inner, "waits", 3)) == 3
        (tmp_path / "gate").touch()
        assert [one.index for one in await drawn] == [*range(5)]


@running
async def test_lengths_that_nobody_reads_do_not_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reasoner.engines.remote.host.LENGTHS_SECONDS", 0)
    engine, told = Gated(folder=str(tmp_path), free=0), asyncio.Semaphore(0)
    host = Host(lambda: engine, told.release)
    host.take([(0, "start", ())])
    await told.acquire()
    host.news()
    host.take([(1, "sample", (packed_request(await requested(engine)), False))])
    for _ in range(3):
        await told.acquire()
    [lengths] = host.news()
    assert isinstance(lengths, RemoteLengths)
    assert [number for number, _ in lengths.tokens] == [1]
    host.cancel()


@running
async def test_what_a_client_cancels_or_leaves_behind_is_cancelled_in_the_server(
    tmp_path: Path,
) -> None:
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
async def test_a_server_that_ends_is_named_and_nothing_waits_for_it(
    tmp_path: Path,
) -> None:
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
async def test_errors_of_the_engine_and_pieces_of_text_arrive_as_they_are(
    tmp_path: Path,
) -> None:
    async with connected(Gated(folder=str(tmp_path))) as found:
        with pytest.raises(EngineError, match="ZeroDivisionError: one over nothing"):
            await found.sample(await requested(found, BROKEN))
    pieces: list[str] = []
    async with connected(SimulatedEngine(tokens=9)) as found:
        one = await found.sample(
            await requested(found, on_text=lambda piece: pieces.append(piece.text))
        )
    assert "".join(pieces) in (one.text, "")
