"""Two real vLLM servers behind a real vllm-router, against one of them: shares, counts, and what is killed."""

import asyncio
import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from reasoner import Question, Solution, solve_many
from reasoner.engines.openai import OpenAIEngine
from reasoner.trace.events import Dropped, Event, Sampled
from reasoner.types import SamplingParams
from reasoner_strategies import SelfConsistency
from tests.engine.serving import BLOCK, SERVER_OPTIONS, Launched, counted, free_port, launched, replica
from tests.helpers import books

ROUTER = shutil.which("vllm-router", path=str(Path(sys.executable).parent))
SAMPLES, LIMIT, AT_ONCE = 4, 16, 12
pytestmark = pytest.mark.skipif(ROUTER is None, reason="vllm-router has no wheel for this machine")


def documented() -> list[str]:
    """The options of the router that docs/scale.md names."""
    page = (Path(__file__).parents[2] / "docs/scale.md").read_text()
    [command] = re.findall(r"^vllm-router (?:.+\\\n)*.+", page, re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " "))
    return words[words.index("--policy") :]


@dataclass
class Fleet:
    """Two servers and the router in front of them."""

    servers: tuple[Launched, Launched]
    command: list[str]
    port: int
    folder: Path
    stack: ExitStack
    router: Launched

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(server.url for server in self.servers)

    def counted(self) -> list[tuple[int, int]]:
        """The prompt tokens that each server computed, and those that it generated."""
        return [counted(url) for url in self.urls]

    def reset(self) -> None:
        """Empty the caches of both servers; a router would pass that to one of them."""
        for url in self.urls:
            httpx.post(url.removesuffix("/v1") + "/reset_prefix_cache").raise_for_status()

    def restart_router(self) -> None:
        """A new router at the same address, after kill -9 of the old one."""
        self.router.kill()
        log = self.folder / "second_router.log"
        self.router = self.stack.enter_context(launched(self.command, log, name="vllm-router", port=self.port))


@pytest.fixture(scope="module")
def servers(embedded_model: Path, first_server: Launched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        log = folder / "second.log"
        second = stack.enter_context(replica(embedded_model, log, name="embedded", options=SERVER_OPTIONS))
        for server in (first_server, second):
            server.wait_until_ready()
        port, workers = free_port(), [server.url.removesuffix("/v1") for server in (first_server, second)]
        command = [str(ROUTER), "--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port())]
        command += ["--worker-startup-check-interval", "1", "--worker-urls", *workers, *documented()]
        router = stack.enter_context(launched(command, folder / "router.log", name="vllm-router", port=port))
        router.wait_until_ready()
        yield Fleet((first_server, second), command, port, folder, stack, router)


class Ended(NamedTuple):
    solutions: Sequence[Solution]
    sampled: list[Sampled]
    dropped: list[Dropped]
    ledger: tuple[int, int, int]

    @property
    def texts(self) -> set[tuple[str, int, str]]:
        return {(event.question_id, event.index, event.text) for event in self.sampled}

    @property
    def cached_share(self) -> float:
        computed, cached, _ = self.ledger
        return cached / (computed + cached)


def vote(url: str, watch: Callable[[Event], None] = lambda _: None) -> Ended:
    """Eight questions, of which `watch` sees the events."""
    questions: list[Question | str] = [
        Question.of(
            f"A baker has {n + 3} trays of {n + 9} rolls each. In the morning {n + 2} people buy 2 rolls each. The rest is "
            "divided among the four people who work there. How many rolls does each of them get? Think about it, and "
            "answer as a careful teacher would.",
            id=f"q{n}\n",
        )
        for n in range(8)
    ]
    events: list[Event] = []

    def sink(event: Event) -> None:
        events.append(event)
        watch(event)

    async def run() -> list[Solution]:
        engine = OpenAIEngine(base_url=url, max_concurrency=AT_ONCE)
        strategy = SelfConsistency(n=SAMPLES, params=SamplingParams(max_tokens=LIMIT))
        solutions = await solve_many(questions, strategy, engine, trace=sink)
        await engine.close()
        return solutions

    solutions = asyncio.run(run())
    prompt, cached, generated = zip(*(books(solution.cost) for solution in solutions), strict=True)
    sampled = [event for event in events if isinstance(event, Sampled)]
    dropped = [event for event in events if isinstance(event, Dropped)]
    return Ended(solutions, sampled, dropped, (sum(prompt), sum(cached), sum(generated)))


def added(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(b[0] - a[0], b[1] - a[1]) for a, b in zip(before, after, strict=True)]


@pytest.fixture(scope="module")
def single(servers: Fleet) -> Ended:
    """The same questions on one of the two servers."""
    servers.reset()
    return vote(servers.urls[0])


def test_two_replicas_answer_and_cost_what_one_does(servers: Fleet, single: Ended) -> None:
    servers.reset()
    before = servers.counted()
    run = vote(servers.router.url)
    shares = added(before, servers.counted())
    assert not run.dropped
    assert run.texts == single.texts
    assert (run.ledger[0], run.ledger[2]) == (sum(s[0] for s in shares), sum(s[1] for s in shares))
    assert min(generated for _, generated in shares) >= run.ledger[2] / 4
    # Every question is whole on one replica: all blocks of its prompt are cached for all samples but the first.
    cached, blocks = Counter[str](), dict[str, int]()
    for event in run.sampled:
        cached[event.question_id] += event.usage.cached_tokens
        blocks[event.question_id] = (event.usage.prompt_tokens - 1) // BLOCK * BLOCK
    assert all(cached[name] >= (SAMPLES - 1) * size for name, size in blocks.items())
    assert abs(run.cached_share - single.cached_share) <= 0.02


def test_a_killed_router_costs_what_was_in_flight(servers: Fleet, single: Ended) -> None:
    before, samples = servers.counted(), list[Event]()

    def kill(event: Event) -> None:
        if isinstance(event, Sampled):
            samples.append(event)
            if len(samples) == SAMPLES:
                servers.restart_router()

    servers.reset()
    run = vote(servers.router.url, kill)
    assert run.texts == single.texts
    assert 0 < len(run.dropped) <= AT_ONCE
    shares = added(before, servers.counted())
    assert run.ledger[0] >= sum(computed for computed, _ in shares)
    assert run.ledger[2] >= sum(generated for _, generated in shares)


def test_a_killed_replica_costs_what_was_in_flight(servers: Fleet, single: Ended) -> None:
    before, counts, samples = servers.counted(), list[tuple[int, int]](), list[Event]()

    def kill(event: Event) -> None:
        if isinstance(event, Sampled):
            samples.append(event)
            if len(samples) == SAMPLES:
                counts.append(counted(servers.urls[1]))
                servers.servers[1].kill()

    servers.reset()
    run = vote(servers.router.url, kill)
    assert run.texts == single.texts
    assert len(run.dropped) <= AT_ONCE
    first, second = added(before, [counted(servers.urls[0]), counts[0]])
    assert run.ledger[0] >= first[0] + second[0]
    assert run.ledger[2] >= first[1] + second[1]
