"""How soon a whole reply and a line of progress reach a client, and how soon vLLM is rid of a client that left.

    PYTHONPATH=. python bench/serving_delays.py [TRIES [FIGURE...]]

All through OpenAI's client and a server in this process, a JSON line each. "whole": one client asks the simulated
engine again and again on one connection. "progress": the scripted engine, whose other samples never end. "leaving": the
embedded model and real vLLM, by turns for a request that passes through and a vote of 8.
"""

import asyncio
import json
import statistics
import sys
import time
from typing import Any

import openai

from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.engines.vllm.engine import VllmEngine
from reasoner.testing.scripted import ScriptedEngine
from tests.serving.running import Server, serving


def stream_of(server: Server, model: str, text: str) -> tuple[openai.OpenAI, Any]:
    """A client, and the stream of its one request."""
    client = openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)
    asked: Any = [{"role": "user", "content": text}]
    return client, client.chat.completions.create(
        model=model, messages=asked, max_tokens=600, stream=True
    )


def whole(tries: int) -> list[float]:
    """Seconds of a request that passes through, on a connection that is kept."""
    delays = []
    with (
        serving(SimulatedEngine()) as server,
        openai.OpenAI(base_url=server.base_url, api_key="none") as client,
    ):
        for number in range(tries):
            began = time.perf_counter()
            asked: Any = [{"role": "user", "content": f"What is {number} + 4?"}]
            client.chat.completions.create(model="simulated", messages=asked)
            delays.append(time.perf_counter() - began)
    return delays


def progress(tries: int) -> list[float]:
    """Seconds from the end of the first sample to its line at the client."""
    ended: list[float] = []

    async def pause(request: SampleRequest) -> None:
        if request.index:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0.05)
        ended.append(time.perf_counter())

    delays = []
    with serving(ScriptedEngine(lambda _: "The answer is 7", pause=pause)) as server:
        for number in range(tries):
            client, stream = stream_of(
                server, "scripted@vote8", f"What is {number} + 4?"
            )
            for chunk in stream:
                if (chunk.choices[0].delta.model_extra or {}).get("reasoning"):
                    delays.append(time.perf_counter() - ended[-1])
                    break
            stream.close()
            client.close()
    return delays


def leaving(tries: int) -> list[float]:
    """Seconds from the client's leaving until the engine has no sequence any more."""
    engine = VllmEngine(max_model_len=1024)
    delays = []
    with serving(engine) as server:
        model = server.service.offer.model.name
        for number in range(tries):
            client, stream = stream_of(
                server,
                model + ("@vote8" if number % 2 else ""),
                "Write a very long story.",
            )
            next(iter(stream))
            core: Any = engine._core
            while not core._flights:
                time.sleep(0.001)
            began = time.perf_counter()
            stream.close()
            while core._flights:
                time.sleep(0.001)
            delays.append(time.perf_counter() - began)
            client.close()
    return delays


if __name__ == "__main__":
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    figures = {"whole": whole, "progress": progress, "leaving": leaving}
    for name, measure in figures.items():
        if name not in (sys.argv[2:] or figures):
            continue
        milliseconds = sorted(round(1000 * delay, 1) for delay in measure(tries))
        median = statistics.median(milliseconds)
        print(
            json.dumps(
                {
                    "figure": name,
                    "tries": tries,
                    "median_ms": median,
                    "most_ms": milliseconds[-1],
                }
            )
        )
