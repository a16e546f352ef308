"""Clients that leave, and a server that stops: plans are cancelled, turns are free, and everybody gets an answer."""

import asyncio
import json
import socket
import threading
from dataclasses import dataclass, field

import httpx
import pytest

from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving import stream as streams
from reasoner.serving.config import ServerLimits
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import says
from tests.serving.running import Server, serving
from tests.waiting import PATIENCE, until

ASKED = [{"role": "user", "content": "How many?"}]


@dataclass(slots=True)
class Gate:
    """A pause that holds each sample, until it is let go or cancelled; those of the question "never" wait for ever."""

    held: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    cancelled: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(0)
    )
    waiting: list["asyncio.Future[None]"] = field(default_factory=list)

    async def __call__(self, request: SampleRequest) -> None:
        ticket = asyncio.get_running_loop().create_future()
        self.waiting.append(ticket)
        self.held.release()
        try:
            await ticket
        except asyncio.CancelledError:
            self.cancelled.release()
            raise

    def wait(self, count: int) -> None:
        """Wait until this many more samples are held."""
        for _ in range(count):
            assert self.held.acquire(timeout=PATIENCE)

    def wait_cancelled(self, count: int) -> None:
        """Wait until this many more samples were cancelled."""
        for _ in range(count):
            assert self.cancelled.acquire(timeout=PATIENCE)

    def open(self, count: int | None = None) -> None:
        """Let go of this many that are held, or of all."""
        for ticket in self.waiting[:count]:
            ticket.get_loop().call_soon_threadsafe(let_go, ticket)
        del self.waiting[:count]


def let_go(ticket: "asyncio.Future[None]") -> None:
    if not ticket.done():
        ticket.set_result(None)


def gated() -> tuple[ScriptedEngine, Gate]:
    gate = Gate()
    return ScriptedEngine(says("7"), pause=gate), gate


def idle(server: Server) -> bool:
    """Whether nothing is reserved, running or waiting."""
    service = server.service
    return not (
        service.turns.running or service.turns.queued or service.ledger.reserved.tokens
    )


async def settled(server: Server) -> None:
    """Wait until the work of all requests has ended."""
    while server.service._tasks:
        await asyncio.wait(set(server.service._tasks))


def post(server: Server, body: dict[str, object]) -> socket.socket:
    """A connection on which a chat was sent; nobody has read its reply."""
    sent = json.dumps({"model": "scripted", "messages": ASKED, **body}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(head.encode() + sent)
    return connection


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_takes_its_samples_along(stream: bool) -> None:
    engine, gate = gated()
    with serving(engine) as server:
        with post(server, {"model": "scripted@vote8", "stream": stream}):
            gate.wait(8)
            assert not idle(server)
        gate.wait_cancelled(8)
        server.run(settled(server))
        assert idle(server)
        spent = server.service.ledger.settled
        assert spent.samples == 8
        assert spent.tokens == sum(usage.prompt_tokens for usage in engine.usage)
        text = server.service.metrics.text().decode()
        assert (
            'reasoner_requests_total{outcome="cancelled",strategy="self_consistency"} 1.0'
            in text
        )
        assert (
            f'reasoner_tokens_total{{kind="prompt"}} {float(spent.prompt_tokens)}'
            in text
        )


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_the_queue_leaves_no_gap(stream: bool) -> None:
    engine, gate = gated()
    with serving(engine, ServerLimits(max_concurrent=1, queue=1)) as server:
        first = post(server, {})
        gate.wait(1)
        queued = post(server, {"stream": stream})
        server.run(until(lambda: server.service.turns.queued == 1))
        with post(server, {"stream": stream}) as third:
            head = third.recv(1 << 16)
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nretry-after: 5\r\n" in head.lower()
        queued.close()
        server.run(until(lambda: server.service.turns.queued == 0))
        first.close()
        gate.wait_cancelled(1)
        server.run(settled(server))
        assert idle(server)


def test_progress_arrives_while_others_are_drawn() -> None:
    engine, gate = gated()
    with (
        serving(engine) as server,
        post(server, {"model": "scripted@vote8", "stream": True}) as connection,
    ):
        gate.wait(8)
        gate.open(1)
        with connection.makefile("rb") as file:
            line = next(line for line in file if b"1 sample" in line)
            assert b'"content":"The answer' not in line
            gate.open()
            assert any(b"[DONE]" in line for line in file)


def test_silence_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE", 0.01)
    engine, gate = gated()
    with (
        serving(engine) as server,
        post(server, {"stream": True}) as connection,
        connection.makefile("rb") as file,
    ):
        gate.wait(1)
        assert b": keep-alive\n" in file
        gate.open()
        assert any(b"The answer is 7" in line for line in file)


def test_a_client_that_reads_nothing_holds_no_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it is sent waits for it; the request itself has ended, and then its stream does."""
    monkeypatch.setattr(streams, "SEND_SECONDS", 0.1)
    word = "x" * 100_000
    engine = ScriptedEngine(lambda request: f"{word} " * 100)
    with (
        serving(engine) as server,
        post(server, {"stream": True, "max_tokens": 101}),
    ):
        server.run(until(lambda: server.service.ledger.settled.samples == 1))
        server.run(settled(server))
        assert idle(server)
        server.run(until(lambda: not server.listener.server_state.tasks))


def test_a_server_that_stops_at_once_says_so_in_a_stream() -> None:
    engine, gate = gated()
    with serving(engine) as server, post(server, {"stream": True}) as connection:
        gate.wait(1)
        server.stop()
        server.stop()
        gate.wait_cancelled(1)
        with connection.makefile("rb") as file:
            assert b"the server is stopping: try again later" in file.read()


def test_it_is_ready_only_after_the_engine_has_started() -> None:
    """Before that, /health and requests get a 503; the address answers already."""
    starts = asyncio.Event()

    class Slow(SimulatedEngine):
        async def start(self) -> None:
            await starts.wait()

    with serving(Slow(), wait=False) as server:
        health = httpx.get(f"{server.url}/health")
        assert (health.status_code, health.json()) == (503, {"status": "starting"})
        refused = httpx.get(f"{server.base_url}/models")
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            503,
            "starting",
        )
        server.loop.call_soon_threadsafe(starts.set)
        server.run(until(lambda: server.service.state == "ready"))
        assert httpx.get(f"{server.url}/health").status_code == 200
