"""The tool `solve`, by the official client of the Model Context Protocol."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving.config import ServerLimits
from tests.serving.running import serving
from tests.waiting import PATIENCE

COMMAND = str(Path(sys.executable).with_name("reasoner"))
ARGUMENTS = ["serve", "--mcp", "--engine", "simulated:accuracy=1,tokens=10", "--quiet"]
INITIALIZE = (
    b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18", '
    b'"capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}\n'
)


@asynccontextmanager
async def over_http(url: str, key: str = "") -> AsyncIterator[ClientSession]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        streamable_http_client(f"{url}/mcp", http_client=http) as (
            incoming,
            outgoing,
            *_,
        ),
        ClientSession(incoming, outgoing) as session,
    ):
        await session.initialize()
        yield session


async def called(session: ClientSession, **arguments: Any) -> Any:
    return await session.call_tool("solve", arguments)


async def check(session: ClientSession) -> None:
    assert [tool.name for tool in (await session.list_tools()).tools] == ["solve"]
    solved = await called(session, question="What is 3 + 4?", budget="tokens=4000")
    assert not solved.is_error
    assert solved.structured_content["answer"] == "7"
    assert solved.structured_content["samples"] == 8
    assert solved.structured_content["cost"]["tokens"] <= 4000
    own = await called(
        session,
        question="What is 3 + 4?",
        strategy="self_consistency(n=3)",
        answer="number",
    )
    assert own.structured_content["samples"] == 3
    for wrong, said in (
        ({"question": "1 + 1?", "strategy": "vote9"}, "no strategy named 'vote9'"),
        ({"questoin": "1 + 1?"}, "unknown field 'questoin': did you mean question?"),
        ({"question": "1 + 1?", "budget": "coins=3"}, "coins"),
        ({"question": 3}, "question"),
    ):
        refused = await called(session, **wrong)
        assert refused.is_error
        assert said in refused.content[0].text


@pytest.mark.process
def test_an_agent_solves_over_standard_streams() -> None:
    async def run() -> None:
        async with (
            stdio_client(StdioServerParameters(command=COMMAND, args=ARGUMENTS)) as (
                incoming,
                outgoing,
            ),
            ClientSession(incoming, outgoing) as session,
        ):
            await session.initialize()
            await check(session)

    asyncio.run(run())


def test_an_agent_solves_over_http_with_its_key() -> None:
    with serving(SimulatedEngine(accuracy=1), keys={"one": "k" * 20}) as server:

        async def run() -> None:
            async with over_http(server.url, "k" * 20) as session:
                await check(session)

        asyncio.run(run())
        for headers, status in (({}, 401), ({"Authorization": "Bearer wrong"}, 401)):
            assert (
                httpx2.post(f"{server.url}/mcp", json={}, headers=headers).status_code
                == status
            )
    assert server.reports == []


def test_what_is_no_call_is_refused() -> None:
    with serving(SimulatedEngine(accuracy=1), ServerLimits(body_bytes=2000)) as server:
        for body, kind, status in (
            (b"{" * 1000, "application/json", {400}),
            (b"x" * 3000, "application/json", {413}),
            (b"{}", "text/plain", {415}),
            (
                b'{"jsonrpc": "2.0", "id": 1, "method": "\xff"}',
                "application/json",
                {400},
            ),
        ):
            headers = {
                "Content-Type": kind,
                "Accept": "application/json, text/event-stream",
            }
            assert (
                httpx2.post(
                    f"{server.url}/mcp", content=body, headers=headers
                ).status_code
                in status
            )
        assert httpx2.get(f"{server.url}/mcp").status_code == 405
        assert httpx2.get(f"{server.url}/health").status_code == 200


@pytest.mark.process
def test_ctrl_c_ends_it_while_it_waits_for_a_line() -> None:
    with subprocess.Popen(
        [COMMAND, *ARGUMENTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin
        assert server.stdout
        server.stdin.write(INITIALIZE)
        server.stdin.flush()
        assert b'"serverInfo"' in server.stdout.readline()
        os.kill(server.pid, signal.SIGINT)
        assert server.wait(PATIENCE) == 130


@pytest.mark.process
@pytest.mark.parametrize(
    ("heard", "ended"),
    [
        (1, (0, "")),
        (0, (1, "error: cannot write to standard output: its reader has gone\n")),
    ],
)
def test_an_agent_that_closes_standard_output_ends_it_as_any_reader_does(
    heard: int, ended: tuple[int, str]
) -> None:
    with subprocess.Popen(
        [COMMAND, *ARGUMENTS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as server:
        assert server.stdin
        assert server.stdout
        assert server.stderr
        for _ in range(heard):
            server.stdin.write(INITIALIZE)
            server.stdin.flush()
            assert server.stdout.readline()
        server.stdout.close()
        server.stdin.write(INITIALIZE)
        server.stdin.flush()
        assert (server.wait(PATIENCE), server.stderr.read().decode()) == ended


@pytest.mark.process
def test_an_input_that_is_no_pipe_ends_and_an_endless_line_is_an_error() -> None:
    ended = subprocess.run(
        [COMMAND, *ARGUMENTS],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (ended.returncode, ended.stdout) == (0, b"")
    ended = subprocess.run(
        [COMMAND, *ARGUMENTS],
        input=b"x" * 5_000_000,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(
        b"error: a line of standard input may have at most 4,194,304 bytes"
    )
