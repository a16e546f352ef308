"""What `reasoner serve` adds to the library, on the simulated engine: time, open streams, memory.

    python bench/serving.py [REQUESTS]

Each figure is a JSON line. "added" alternates between the library and HTTP in one run: `CONCURRENT` clients ask the
same questions of `session.solve`, with the events kept as `solve` keeps them, and of a server in another process. The
bar is 2 ms per request, and 5 % where a model takes the time. "streams" opens 1,000 streams at once. "memory" is the
server's while it answers `REQUESTS` requests, 20,000 by default.
"""

import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import psutil

from reasoner.answers.questions import Question
from reasoner.engines.simulated import SimulatedEngine
from reasoner.execution.session import Session
from reasoner.registry import build
from reasoner.trace.events import Event

CONCURRENT = 64
ROUNDS = 5
ASKED = 320
"""Requests of a round."""
STREAMS = 1000
PATH = "/v1/chat/completions"
Ask = Callable[[int], Awaitable[None]]


@contextmanager
def server(*arguments: str) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a server, and its process."""
    command = [
        sys.executable,
        "-c",
        "from reasoner.cli import main; main()",
        "serve",
        "-e",
        "simulated",
        "--port",
        "0",
    ]
    process = subprocess.Popen(
        [*command, *arguments], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    try:
        ready = next(line for line in process.stderr if line.startswith("ready "))
        address = re.search(r"http://\S+", ready)
        assert address
        yield address[0], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def body(strategy: str, number: int, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"What is {number} + 4?"}]
    return {
        "model": "simulated",
        "messages": messages,
        "reasoner": {"strategy": strategy, "answer": "number"},
        **more,
    }


async def spread(
    ask: Ask, requests: int, concurrent: int = CONCURRENT
) -> tuple[float, list[float]]:
    """Ask this many times, some at once: the seconds in all, and of each."""
    seconds: list[float] = []
    numbers = iter(range(requests))

    async def client() -> None:
        for number in numbers:
            began = time.perf_counter()
            await ask(number)
            seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrent)))
    return time.perf_counter() - began, seconds


async def added(url: str, strategy: str) -> dict[str, Any]:
    """The library and the server in turn; milliseconds per request, medians of the rounds."""
    built = build("strategy", strategy)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        Session(SimulatedEngine()) as session,
        aiohttp.ClientSession(url, connector=connector) as http,
    ):

        async def by_library(number: int) -> None:
            events: list[Event] = []
            await session.solve(
                Question.of(f"What is {number} + 4?", space="number"),
                built,
                trace=events.append,
            )

        async def by_http(number: int) -> None:
            async with http.post(PATH, json=body(strategy, number)) as response:
                assert response.status == 200
                await response.read()

        for ask in (by_library, by_http):
            await spread(ask, CONCURRENT)
        rounds: dict[str, list[float]] = {"library": [], "http": []}
        for _ in range(ROUNDS):
            for name, ask in (("library", by_library), ("http", by_http)):
                total, _ = await spread(ask, ASKED)
                rounds[name].append(1000 * total / ASKED)
    library, http_ms = (statistics.median(rounds[name]) for name in ("library", "http"))
    return {
        "figure": "added",
        "strategy": strategy,
        "concurrent": CONCURRENT,
        "library_ms": round(library, 3),
        "http_ms": round(http_ms, 3),
        "added_ms": round(http_ms - library, 3),
        "added_share": round(http_ms / library - 1, 3),
    }


async def streams(url: str) -> dict[str, Any]:
    """Open all streams at once and read each to its end."""
    connector = aiohttp.TCPConnector(limit=0)
    opened, errors = 0, 0
    all_open = asyncio.Event()
    async with aiohttp.ClientSession(url, connector=connector) as http:

        async def read(number: int) -> float:
            nonlocal opened, errors
            began = time.perf_counter()
            async with http.post(
                PATH, json=body("self_consistency:n=8", number, stream=True)
            ) as response:
                first = time.perf_counter() - began
                opened += 1
                if opened == STREAMS:
                    all_open.set()
                await all_open.wait()
                text = await response.text()
                errors += (
                    response.status != 200
                    or not text.endswith("data: [DONE]\n\n")
                    or '"error"' in text
                )
            return first

        began = time.perf_counter()
        firsts = await asyncio.gather(*(read(number) for number in range(STREAMS)))
        return {
            "figure": "streams",
            "open": STREAMS,
            "errors": errors,
            "seconds": round(time.perf_counter() - began, 2),
            "first_byte_ms": round(1000 * statistics.median(firsts)),
            "last_first_byte_ms": round(1000 * max(firsts)),
        }


async def memory(url: str, process: psutil.Process, requests: int) -> dict[str, Any]:
    """The server's memory in MiB while it answers this many requests."""
    async with aiohttp.ClientSession(
        url, connector=aiohttp.TCPConnector(limit=0)
    ) as http:

        async def ask(number: int) -> None:
            async with http.post(
                PATH, json=body("self_consistency:n=4", number)
            ) as response:
                assert response.status == 200
                await response.read()

        sizes = []
        for _ in range(10):
            await spread(ask, requests // 10)
            sizes.append(round(process.memory_info().rss / 2**20, 1))
    return {
        "figure": "memory",
        "requests": requests,
        "rss_mib": sizes,
        "grown_mib": round(sizes[-1] - sizes[1], 1),
    }


def main(requests: int) -> None:
    with server() as (url, process):
        for strategy in ("single", "self_consistency:n=8", "self_consistency:n=32"):
            print(json.dumps(asyncio.run(added(url, strategy))), flush=True)
        print(json.dumps(asyncio.run(streams(url))), flush=True)
        print(json.dumps(asyncio.run(memory(url, process, requests))), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
