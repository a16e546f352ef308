"""A vote over HTTP against a mock server: wall time, our CPU, tokens booked against tokens served, and cancellation.

    python bench/over_http.py [ROUNDS] [ITS_HUB_PYTHON]

The mock is a process of its own: 30 ms to the first token, 10 ms a token, 32 tokens a sequence. The ways take turns:
ours with a vLLM-like server (also with its_hub's bound of 100 connections), ours streamed (a budget in seconds, so
that each sequence can be cut), and its_hub, where ITS_HUB_PYTHON names the Python of an environment that has it, as
made by `uv venv E && uv pip install --python E/bin/python "its-hub[lm]==1.2.0"`.
"""

import asyncio
import cProfile
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

TOKENS, PROMPT = 32, 50
PACE = float(os.environ.get("PACE", "1"))
FIRST, EACH = 0.03 * PACE, 0.01 * PACE
SIZES = ((64, 8), (512, 8))
WAYS = ("one each", "one each, 100 at once", "streamed", "its_hub")
ITS_HUB = """
import asyncio, cProfile, json, os, sys, time, warnings
warnings.simplefilter("ignore")
from its_hub.core.algorithms.self_consistency import SelfConsistency
from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel
from its_hub.core.orchestrator import LMOrchestrator
url, questions, samples = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
async def main():
    lm = OpenAICompatibleLanguageModel(url, "key", "mock", max_completion_tokens=512, temperature=0.7)
    vote = SelfConsistency(orchestrator=LMOrchestrator(max_concurrency=-1))
    profile = cProfile.Profile()
    if "CALLS" in os.environ:
        profile.enable()
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(vote.ainfer(lm, f"What is {n} + 4?", samples) for n in range(questions)))
    took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    profile.disable()
    print(json.dumps(took | {"calls": sum(entry.callcount for entry in profile.getstats())}))
asyncio.run(main())
"""


class Mock(asyncio.Protocol):
    """One connection to the mock server; what was served is counted for all of them."""

    served: dict[str, float] = {"requests": 0, "prompt": 0, "generated": 0, "left": 0}  # noqa: RUF012 - shared by all connections
    transport: asyncio.Transport
    buffer = b""
    task: "asyncio.Task[None] | None" = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.task and not self.task.done():
            self.task.cancel()
            self.served["left"] = time.time()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        length = next(
            (
                int(line[15:])
                for line in head.lower().split(b"\r\n")
                if line[:15] == b"content-length:"
            ),
            0,
        )
        if separator and len(rest) >= length:
            self.buffer = rest[length:]
            self.task = asyncio.ensure_future(
                self.serve(head.split(b" ", 2)[1].decode(), rest[:length])
            )

    def reply(self, content: Any, status: str = "200 OK") -> None:
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)

    async def serve(self, path: str, body: bytes) -> None:
        if path.endswith("/served"):
            self.reply(self.served)
        elif path.endswith("/models"):
            self.reply(
                {
                    "data": [
                        {"id": "mock", "owned_by": "vllm" if "vllm" in path else "mock"}
                    ]
                }
            )
        elif path.endswith("/tokenize"):
            counts = {"tokens": list(range(PROMPT)), "max_model_len": 4096}
            self.reply(
                counts if "vllm" in path else {},
                "200 OK" if "vllm" in path else "404 Not Found",
            )
        else:
            await self.sample(json.loads(body), chat="chat" in path)

    async def sample(self, body: dict[str, Any], *, chat: bool) -> None:
        # A reply without a form of an answer would be probed, by one more request.
        words = [" so"] * (TOKENS - 4) + [" The", " answer", " is", " 4"]
        self.served["requests"] += 1
        self.served["prompt"] += PROMPT
        usage = {
            "prompt_tokens": PROMPT,
            "completion_tokens": TOKENS,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        ids = {} if chat else {"token_ids": list(range(TOKENS))}
        if not body.get("stream"):
            await asyncio.sleep(FIRST + EACH * (TOKENS - 1))
            text = (
                {"message": {"content": "".join(words)}}
                if chat
                else {"text": "".join(words)}
            )
            self.served["generated"] += TOKENS
            self.reply(
                {
                    "choices": [{"index": 0, **text, **ids, "finish_reason": "stop"}],
                    "usage": usage,
                }
            )
            return
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        began, clock = time.perf_counter() + FIRST, time.perf_counter
        for index, word in enumerate(words):
            await asyncio.sleep(max(0.0, began + EACH * index - clock()))
            piece: dict[str, Any] = (
                {"delta": {"content": word}}
                if chat
                else {"text": word, "token_ids": [index]}
            )
            end = {"finish_reason": "stop" if index == TOKENS - 1 else None}
            self.event(
                {
                    "id": "mock-1",
                    "object": "chunk",
                    "created": 1,
                    "choices": [{"index": 0, **piece, **end}],
                }
            )
            self.served["generated"] += 1
        self.event({"choices": [], "usage": usage})
        self.transport.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    def event(self, content: Any) -> None:
        data = b"data: " + json.dumps(content).encode() + b"\n\n"
        self.transport.write(b"%x\r\n%s\r\n" % (len(data), data))


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(
        Mock, "127.0.0.1", 0, backlog=8192
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def mock(pace: str = "1") -> Iterator[str]:
    """A mock server's address, without /v1; its delays are multiplied by the pace."""
    environment = {**os.environ, "PACE": pace}
    process = subprocess.Popen(
        [sys.executable, __file__, "serve"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def served(url: str) -> dict[str, float]:
    with urlopen(f"{url}/served") as reply:
        counts: dict[str, float] = json.loads(reply.read())
        return counts


async def ours(
    url: str,
    questions: int,
    samples: int,
    *,
    seconds: float | None = None,
    at_once: int = 0,
) -> dict[str, float]:
    from reasoner import Budget, Question, SamplingParams, solve_many
    from reasoner.engines.openai import OpenAIEngine
    from reasoner_strategies import SelfConsistency

    engine = OpenAIEngine(base_url=url, max_concurrency=at_once)
    await engine.start()
    texts = [Question.of(f"What is {number} + 4?") for number in range(questions)]
    vote = SelfConsistency(n=samples, params=SamplingParams(max_tokens=512))
    wall, cpu = time.perf_counter(), time.process_time()
    profile = cProfile.Profile()
    if "CALLS" in os.environ:
        # What is read and compiled once is not counted.
        await solve_many(texts[:4], vote, engine)
        profile.enable()
    solutions = await solve_many(
        texts,
        vote,
        engine,
        budget=None,
        each=Budget(seconds=seconds) if seconds else None,
    )
    took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    profile.disable()
    took["calls"] = sum(entry.callcount for entry in profile.getstats())
    failed = [solution for solution in solutions if solution.error]
    assert not failed, failed[0].error
    prompt = sum(
        solution.cost.prompt_tokens + solution.cost.cached_tokens
        for solution in solutions
    )
    return took | {
        "prompt": prompt,
        "generated": sum(solution.cost.generated_tokens for solution in solutions),
    }


async def cancelled(url: str, *, seconds: float | None) -> float:
    """Seconds from our cancelling a vote in flight to the server's learning of it."""
    from reasoner import Budget, Question, solve
    from reasoner.engines.openai import OpenAIEngine
    from reasoner_strategies import SelfConsistency

    each = Budget(seconds=seconds) if seconds else None
    solving = asyncio.ensure_future(
        solve(
            Question.of("2+2?"),
            SelfConsistency(),
            OpenAIEngine(base_url=url),
            budget=each,
        )
    )
    await asyncio.sleep(FIRST + 10 * EACH)
    at = time.time()
    solving.cancel()
    await asyncio.wait([solving])
    await asyncio.sleep(0.2)
    return (await asyncio.to_thread(served, url.removesuffix("/v1")))["left"] - at


def measure(
    way: str, url: str, questions: int, samples: int, python: str, **more: str
) -> dict[str, float] | None:
    """One round in a process of its own, and what the server counted of it."""
    before = served(url)
    size = [str(questions), str(samples)]
    if way == "its_hub":
        if not python:
            return None
        command = [python, "-c", ITS_HUB, f"{url}/v1", *size]
    else:
        command = [
            sys.executable,
            __file__,
            "ours",
            way,
            f"{url}/{'vllm/' if way.startswith('one each') else ''}v1",
            *size,
        ]
    process = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_PROXY": "127.0.0.1", **more},
    )
    if process.returncode:
        print(f"{way}: {process.stderr.strip().splitlines()[-1]}")
        return None
    after = served(url)
    counted = {
        f"served {name}": after[name] - before[name]
        for name in ("requests", "prompt", "generated")
    }
    figures: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return figures | counted


def main(rounds: int, python: str) -> None:
    if not python:
        print("its_hub is left out: name the Python of an environment that has it")
    with mock() as url:
        show_calls(url, python)
        for questions, samples in SIZES:
            taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way in WAYS:
                    if figures := measure(way, url, questions, samples, python):
                        taken[way].append(figures)
            for way, measured in taken.items():
                if measured:
                    show(f"{questions} x {samples} {way}", measured)
        for way, seconds in (("whole", None), ("streamed", 60.0)):
            took = [
                asyncio.run(cancelled(f"{url}/v1", seconds=seconds)) for _ in range(5)
            ]
            print(
                f"cancelled {way}: the server learns it after {max(took) * 1000:.0f} ms at most of 5"
            )


def show_calls(url: str, python: str) -> None:
    """Python calls a sample; in runs of their own, as the profile makes them slower."""
    questions, samples = SIZES[0]
    for way in WAYS:
        if counted := measure(way, url, questions, samples, python, CALLS="1"):
            print(
                f"{questions} x {samples} {way:25} {counted['calls'] / questions / samples:,.0f} calls a sample"
            )


def show(label: str, rounds: list[dict[str, float]]) -> None:
    middle = {
        name: statistics.median(figures[name] for figures in rounds)
        for name in rounds[0]
    }
    walls = ", ".join(f"{figures['wall']:.2f}" for figures in rounds)
    line = (
        f"{label:31} wall {middle['wall']:6.2f} s ({walls})  cpu {middle['cpu']:5.2f} s"
    )
    line += f"  served {middle['served requests']:,.0f} requests"
    if "prompt" in middle:
        same = all(
            figures[name] == figures[f"served {name}"]
            for figures in rounds
            for name in ("prompt", "generated")
        )
        line += (
            f", booked {middle['prompt']:,.0f} + {middle['generated']:,.0f} tokens, "
        )
        line += (
            "as served"
            if same
            else f"SERVED {middle['served prompt']:,.0f} + {middle['served generated']:,.0f}"
        )
    print(line)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            asyncio.run(serve())
        case ["ours", way, url, questions, samples]:
            seconds, at_once = (
                (600.0 if way == "streamed" else None),
                (100 if "100" in way else 0),
            )
            result = asyncio.run(
                ours(
                    url, int(questions), int(samples), seconds=seconds, at_once=at_once
                )
            )
            print(json.dumps(result))
        case arguments:
            os.environ["NO_PROXY"] = "127.0.0.1"
            main(
                int(arguments[0]) if arguments else 3,
                arguments[1] if len(arguments) > 1 else "",
            )
