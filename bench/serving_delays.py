"""How soon a whole reply and a line of progress reach a client, and how soon vLLM is rid of a client that left.

    PYTHONPATH=. python bench/serving_delays.py [TRIES [FIGURE...]]

All through OpenAI's client and a server in this process, a JSON line each. "whole": one client asks the simulated
engine again and again on one connection. "beside": the same while 16 other clients ask for votes of 1,024 samples, each
for the next one as soon as it has its answer. "progress": the scripted engine, whose other samples never end.
"leaving": the embedded model and real vLLM, by turns for a request that passes through and a vote of 8.
"""

import asyncio
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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


def ask(client: openai.OpenAI, number: int, samples: int = 0) -> float:
    """Seconds until a whole reply is here, of a vote where it has several `samples`."""
    asked: Any = [{"role": "user", "content": f"What is {number} + 4?"}]
    vote = {"reasoner": {"strategy": f"self_consistency:n={samples}"}}
    began = time.perf_counter()
    client.chat.completions.create(
        model="simulated", messages=asked, extra_body=vote if samples else None
    )
    return time.perf_counter() - began


def whole(tries: int) -> list[float]:
    """Seconds of a request that passes through, on a connection that is kept."""
    with (
        serving(SimulatedEngine()) as server,
        openai.OpenAI(base_url=server.base_url, api_key="none") as client,
    ):
        return [ask(client, number) for number in range(tries)]


def beside(tries: int) -> list[float]:
    """Seconds of a request that passes through, while 16 clients ask for 1,024 samples each."""
    enough = threading.Event()

    def large(client: openai.OpenAI, number: int) -> None:
        while not enough.is_set():
            ask(client, number, samples=1024)

    with (
        serving(SimulatedEngine()) as server,
        ThreadPoolExecutor(16) as threads,
        openai.OpenAI(base_url=server.base_url, api_key="none") as client,
    ):
        ask(client, 0)
        work = [threads.submit(large, client, number) for number in range(16)]
        try:
            return [ask(client, number) for number in range(tries)]
        finally:
            enough.set()
            for each in work:
                each.result()


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
    figures: dict[str, Callable[[int], list[float]]] = {
        "whole": whole,
        "beside": beside,
        "progress": progress,
        "leaving": leaving,
    }
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
                    "mean_ms": round(statistics.mean(milliseconds), 1),
                    "median_ms": median,
                    "most_ms": milliseconds[-1],
                }
            )
        )
