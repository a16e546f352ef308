"""Replicas of one small vLLM server in the test's own event loop, which die and come back when the test says so."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from reasoner import Question, Solution, solve_many
from reasoner.engines.openai import OpenAIEngine
from reasoner.trace.events import Event, Sampled
from reasoner.types import SamplingParams
from reasoner_strategies import SelfConsistency
from tests.engines.fake_server import FakeServer
from tests.engines.fake_tokenizer import EOS
from tests.engines.raw_server import whole
from tests.helpers import books

BLOCK = 16
Moment = Literal["before", "during", "after"]


class Seeded(FakeServer):
    """What a replica knows and says: an answer of 0 to 2, by the seed."""

    def _drawn(self, body: dict[str, Any], *, chat: bool) -> list[tuple[int, str, bool]]:
        words = ("The", " answer", " is", f" {body['seed'] % 3}")
        return [*((500 + at, word, False) for at, word in enumerate(words)), (EOS, "", False)]


@dataclass
class Replica:
    """One server. It dies at the sampling requests numbered in `deaths`: before, during or after its reply. One that
    `revives` is there again at once, with an empty cache.

    `on_sample` are called before the reply to the sampling request of a number. `counted` are the tokens of the replies that it made, also of those that nobody received.
    """

    brain: Seeded = field(default_factory=Seeded, repr=False)
    deaths: dict[int, Moment] = field(default_factory=dict)
    on_sample: dict[int, Callable[[], None]] = field(default_factory=dict)
    revives: bool = False
    resets: list[bytes] = field(default_factory=lambda: [b'{"success": true}'])
    paths: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    port: int = 0
    _seen: set[tuple[int, ...]] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _reviving: "asyncio.Task[None] | None" = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def live(self) -> None:
        """Listen, at the same port as before."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def die(self) -> None:
        """Stop listening and drop all connections, as after kill -9. The cache is lost."""
        if self._server:
            self._server.close()
        self._server = None
        self._seen.clear()
        for writer in self._writers:
            writer.transport.abort()
        if self.revives:
            self._reviving = asyncio.ensure_future(self.live())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
                headers = dict(line.lower().split(": ", 1) for line in lines if line)
                body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
                if self._server is None:
                    # The connection was in the queue when the server died.
                    writer.transport.abort()
                    return
                path = first.split()[1]
                self.paths.append(path)
                if "completions" in path:
                    self.sessions.append(headers["x-session-id"])
                    await self._sampling(body, writer)
                else:
                    assert "x-session-id" not in headers
                    writer.write(self._free(path, body))
                await writer.drain()
        self._writers.discard(writer)
        writer.close()

    def _free(self, path: str, body: dict[str, Any]) -> bytes:
        brain = self.brain
        if path == "/v1/models":
            facts = {"owned_by": "vllm", "max_model_len": brain.context, "root": brain.root}
            return whole({"data": [{"id": model, **facts} for model in brain.models]})
        if path == "/tokenize":
            return whole(brain.tokens(body))
        if path == "/health":
            return whole({})
        if path == "/reset_prefix_cache" and self.resets:
            self._seen.clear()
            return whole(self.resets.pop(0) if len(self.resets) > 1 else self.resets[0])
        return whole({}, "404 Not Found")

    async def _sampling(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.on_sample.pop(len(self.sessions), lambda: None)()
        moment = self.deaths.pop(len(self.sessions), None)
        if moment == "before":
            return self.die()
        ids = tuple(body["prompt"])
        blocks = [ids[:end] for end in range(BLOCK, len(ids), BLOCK)]
        self.brain.cached = BLOCK * sum(block in self._seen for block in blocks)
        self._seen.update(blocks)
        self.counted["prompt_tokens"] += len(ids)
        self.counted["prompt_tokens_cached"] += self.brain.cached
        reply, generated = self._at_once(body, moment)
        self.counted["generation_tokens"] += generated
        writer.write(reply)
        await writer.drain()
        if moment:
            # What was sent arrives.
            self._writers.discard(writer)
            writer.close()
        if moment:
            self.die()
        return None

    def _at_once(self, body: dict[str, Any], moment: Moment | None) -> tuple[bytes, int]:
        """The reply, or half of it, and the tokens that were generated for it."""
        content = self.brain.whole(body, chat=False)
        reply, generated = whole(content), content["usage"]["completion_tokens"]
        return (reply[: len(reply) // 2] if moment == "during" else reply), generated


@asynccontextmanager
async def fleet(*replicas: Replica) -> AsyncGenerator[tuple[str, ...], None]:
    """The addresses of replicas that live."""
    try:
        for replica in replicas:
            await replica.live()
        yield tuple(replica.url for replica in replicas)
    finally:
        for replica in replicas:
            if replica._reviving:
                await replica._reviving
            replica.revives = False
            replica.die()


SAMPLES, LIMIT = 4, 12
VOTE = SelfConsistency(n=SAMPLES, params=SamplingParams(max_tokens=LIMIT))


class Ended(NamedTuple):
    """A run: its solutions, what its samples used, and what is in its ledgers, in tokens by kind."""

    solutions: Sequence[Solution]
    sampled: tuple[int, int, int]
    ledger: tuple[int, int, int]


def engine_at(url: str, **options: Any) -> OpenAIEngine:
    """An engine that waits in no time."""
    engine = OpenAIEngine(base_url=url, **options)
    engine._http.sleep = lambda _: asyncio.sleep(0)
    return engine


async def ended(engine: OpenAIEngine, count: int = 6) -> Ended:
    events: list[Event] = []
    asked: list[Question | str] = [Question.of(f"How many are {chr(97 + n)}?", id=f"q{n}") for n in range(count)]
    solutions = await solve_many(asked, VOTE, engine, trace=events.append)
    await engine.close()
    samples = [books(event.cost) for event in events if isinstance(event, Sampled)]
    ledgers = [books(solution.cost) for solution in solutions]
    return Ended(solutions, _added(samples), _added(ledgers))


def _added(rows: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    prompt, cached, generated = (sum(column) for column in zip(*rows, strict=True))
    return prompt, cached, generated


def counted(*replicas: Replica) -> tuple[int, int, int]:
    total = sum((replica.counted for replica in replicas), Counter[str]())
    cached = total["prompt_tokens_cached"]
    return total["prompt_tokens"] - cached, cached, total["generation_tokens"]


def votes(run: Ended) -> list[object]:
    return [(solution.error, solution.answer, solution.vote_state) for solution in run.solutions]


async def alone(count: int = 6) -> Ended:
    """The same run on one replica that lives."""
    async with fleet(Replica()) as (url,):
        return await ended(engine_at(url), count)
