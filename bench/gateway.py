"""A server before a server: Python calls a request, its time, and requests a second, beside its_hub's gateway.

    python bench/gateway.py [ROUNDS] [ITS_HUB_PYTHON]
    python bench/gateway.py memory [REQUESTS]
    python bench/gateway.py first [STREAMS]

The upstream is the mock of over_http.py without its delays, in a process of its own; so is the client, which keeps its
connections. Calls are counted by cProfile in the server's process, over 200 requests of one client: they are exact up
to the turns of the event loop. Requests ask for at most 64 tokens. The two servers take turns, and the best of the
rounds is shown: the median time of one client, and the requests a second of 64. ITS_HUB_PYTHON is the Python of an
environment with "its-hub[iaas]==1.2.0" and httptools. Ours collects garbage as `reasoner serve` does, its_hub as Python
does; both run on asyncio's loop.

`memory` shows the largest resident set while the server answers this many requests of 64 clients. `first` shows how
much later the first text of a stream comes than from the mock itself, with its delays, one stream at a time, in turn.
"""

import asyncio
import cProfile
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.request import Request, urlopen

import over_http

CALLS, CLIENTS = 200, 64
OURS: dict[str, dict[str, Any]] = {
    "single": {"model": "mock", "stream": False},
    "single, streamed": {"model": "mock", "stream": True},
    "vote8": {"model": "mock@vote8", "stream": False},
}
PEERS = {
    "single": {"model": "mock", "budget": 1},
    "vote8": {"model": "mock", "budget": 8},
}


async def ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    number: int,
    fields: dict[str, Any],
) -> float:
    """Ask once on a connection that is kept; the seconds that it took."""
    messages = [{"role": "user", "content": f"What is {number} + 4?"}]
    body = json.dumps({"messages": messages, "max_tokens": 64, **fields}).encode()
    began = time.perf_counter()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    got = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert b" 200 " in got[:20], got
    if b"content-length:" in got:
        assert b"answer is 4" in await reader.readexactly(
            int(got.split(b"content-length:")[1].split(b"\r\n")[0])
        )
        return time.perf_counter() - began
    while await reader.readexactly(int(await reader.readline(), 16) + 2) != b"\r\n":
        pass
    return time.perf_counter() - began


async def load(port: int, requests: int, clients: int, fields: dict[str, Any]) -> None:
    numbers, seconds = iter(range(requests)), list[float]()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        seconds.extend(
            [await ask(reader, writer, number, fields) for number in numbers]
        )
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    total = time.perf_counter() - began
    print(
        json.dumps({"ms": 1000 * statistics.median(seconds), "rate": requests / total})
    )


async def client(
    port: int, requests: int, clients: int, fields: dict[str, Any]
) -> dict[str, float]:
    """What a client in a process of its own measures."""
    command = [
        os.environ["CLIENT"],
        __file__,
        "client",
        str(port),
        str(requests),
        str(clients),
        json.dumps(fields),
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    figures: dict[str, float] = json.loads((await process.communicate())[0])
    return figures


async def measured(port: int, fields: dict[str, Any]) -> dict[str, float]:
    """The figures of the server in this process."""
    asked = partial(client, port, fields=fields)
    await asked(20, 1)
    profile = cProfile.Profile()
    profile.enable()
    await asked(CALLS, 1)
    profile.disable()
    # Not of pstats, which takes the constructors of all dataclasses for one function and counts those of one.
    calls = sum(entry.callcount for entry in profile.getstats())
    return {
        "calls": calls / CALLS,
        "ms": (await asked(CALLS, 1))["ms"],
        "rate": (await asked(5 * CALLS, CLIENTS))["rate"],
    }


@asynccontextmanager
async def reasoner(url: str) -> AsyncIterator[int]:
    from reasoner.cli.server_run import THRESHOLDS
    from reasoner.engines.openai import OpenAIEngine
    from reasoner.serving.app import App, Keys
    from reasoner.serving.config import ServerLimits, Settings, make_offer
    from reasoner.serving.listener import Listener, listen
    from reasoner.serving.service import Service

    at = listen("127.0.0.1", 0)
    engine, offer = OpenAIEngine(base_url=f"{url}/v1"), make_offer(Settings())
    service = Service(
        engine,
        offer,
        ServerLimits(),
        report=lambda _, failure: print(failure, file=sys.stderr),
    )
    listener = Listener(App(service, Keys()), service)
    serving = asyncio.ensure_future(listener.serve([at]))
    async with service:
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        yield at.getsockname()[1]
        listener.stop()
        await serving


@asynccontextmanager
async def its_hub(url: str) -> AsyncIterator[int]:
    import uvicorn
    from its_hub.integration.iaas.app import app  # type: ignore[import-not-found]

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    serving = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 uvicorn has no event for it
        await asyncio.sleep(0.05)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    known = {
        "endpoint": f"{url}/v1",
        "model": "mock",
        "alg": "self-consistency",
        "api_key": "k",
    }
    body = json.dumps(
        {**known, "provider": "openai", "regex_patterns": [r"answer is (\d+)"]}
    ).encode()
    request = Request(
        f"http://127.0.0.1:{port}/configure", body, {"Content-Type": "application/json"}
    )
    await asyncio.to_thread(urlopen, request)
    yield port
    server.should_exit = True
    await serving


async def serve(which: str, url: str) -> None:
    async with (reasoner if which == "ours" else its_hub)(url) as port:
        asked = OURS if which == "ours" else PEERS
        print(
            json.dumps(
                {name: await measured(port, fields) for name, fields in asked.items()}
            )
        )


async def memory(url: str, requests: int) -> None:
    os.environ["CLIENT"] = sys.executable
    async with reasoner(url) as port:
        for part in range(11):
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{part * requests // 10:9,} requests  {most:6.1f} MiB at most",
                flush=True,
            )
            if part < 10:
                await client(port, requests // 10, CLIENTS, OURS["single"])


async def first(url: str, streams: int) -> None:
    """The first text of a stream, in milliseconds from its request, of the mock and of ours before it."""
    async with reasoner(url) as port:
        seconds: dict[int, list[float]] = {int(url.rpartition(":")[2]): [], port: []}
        for number in range(streams):
            for where, taken in seconds.items():
                reader, writer = await asyncio.open_connection("127.0.0.1", where)
                fields = {
                    "messages": [{"role": "user", "content": f"What is {number} + 4?"}],
                    "max_tokens": 64,
                }
                body = json.dumps({"model": "mock", "stream": True, **fields}).encode()
                head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                began = time.perf_counter()
                writer.write(
                    f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
                )
                await reader.readuntil(b'" so"')
                taken.append(time.perf_counter() - began)
                writer.close()
        for name, of in (("median", statistics.median), ("least", min)):
            alone, ours = (1000 * of(taken[5:]) for taken in seconds.values())
            print(
                f"{name:6} {alone:6.2f} ms from the mock, {ours:6.2f} ms through ours: {ours - alone:5.2f} more"
            )


def main(rounds: int, python: str) -> None:
    taken: dict[tuple[str, str], list[dict[str, float]]] = {}
    with over_http.mock("0") as url:
        for _ in range(rounds):
            for which, interpreter in (("ours", sys.executable), ("its_hub", python)):
                if not interpreter:
                    continue
                done = subprocess.run(
                    [interpreter, __file__, which, url],
                    stdout=subprocess.PIPE,
                    check=True,
                    env={
                        **os.environ,
                        "CLIENT": sys.executable,
                        "NO_PROXY": "127.0.0.1",
                    },
                )
                for name, figures in json.loads(done.stdout.splitlines()[-1]).items():
                    taken.setdefault((name, which), []).append(figures)
    for (name, which), rounds_of in sorted(taken.items()):
        calls, ms = (
            min(figures[key] for figures in rounds_of) for key in ("calls", "ms")
        )
        rate = max(figures["rate"] for figures in rounds_of)
        print(
            f"{name:18} {which:8} {calls:8,.0f} calls  {ms:6.2f} ms  {rate:6.0f} a second"
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["client", port, requests, clients, fields]:
            asyncio.run(
                load(int(port), int(requests), int(clients), json.loads(fields))
            )
        case [("ours" | "its_hub") as which, url]:
            asyncio.run(serve(which, url))
        case ["memory", *number]:
            with over_http.mock("0") as url:
                asyncio.run(memory(url, int(number[0]) if number else 100_000))
        case ["first", *number]:
            with over_http.mock() as url:
                asyncio.run(first(url, int(number[0]) if number else 100))
        case arguments:
            main(
                int(arguments[0]) if arguments else 3,
                arguments[1] if len(arguments) > 1 else "",
            )
