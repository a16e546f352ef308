"""A real vllm-router, with the options of docs/scale.md, in front of two servers of the test: what it keeps together, and deaths."""

import asyncio
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.openai.http import session_id
from tests.engines.fake_server import Seen
from tests.engines.replicas import SAMPLES, Replica, alone, counted, ended, votes
from tests.running import running
from tests.waiting import PATIENCE

ROUTER = shutil.which("vllm-router", path=str(Path(sys.executable).parent))
pytestmark = pytest.mark.skipif(
    ROUTER is None, reason="vllm-router has no wheel for this machine"
)
AT_ONCE = 8


def documented() -> list[str]:
    """The options of the router that docs/scale.md names."""
    page = (Path(__file__).parents[2] / "docs/scale.md").read_text()
    [command] = re.findall(r"^vllm-router (?:.+\\\n)*.+", page, re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " "))
    return words[words.index("--policy") :]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Router:
    """The process of a router; it may be killed and started again at its address."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.port = free_port()
        workers = [url.removesuffix("/v1") for url in urls]
        self.command = [str(ROUTER), "--host", "127.0.0.1", "--port", str(self.port)]
        self.command += [
            "--prometheus-port",
            str(free_port()),
            "--worker-startup-check-interval",
            "1",
        ]
        self.command += ["--worker-urls", *workers, *documented()]
        self.process = self._started()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.process = self._started()


@asynccontextmanager
async def routed(
    *replicas: Replica,
) -> AsyncGenerator[tuple[Router, OpenAIEngine], None]:
    with ExitStack() as serving:
        router = Router([serving.enter_context(replica).url for replica in replicas])
        try:
            async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as client:
                while not await _answers(client, router.url):
                    assert router.process.poll() is None
                    await asyncio.sleep(0.1)
            yield router, OpenAIEngine(base_url=router.url, max_concurrency=AT_ONCE)
        finally:
            router.kill()


async def _answers(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with client.get(f"{url}/models") as reply:
            return reply.ok
    except aiohttp.ClientError:
        return False


def _sampling(replica: Replica) -> list[Seen]:
    return [seen for seen in replica.seen if "completions" in seen.path]


@running
async def test_a_router_keeps_questions_whole() -> None:
    replicas = Replica(), Replica()
    async with routed(*replicas) as (_, engine):
        run = await ended(engine, 8)
    assert votes(run) == votes(await alone(8))
    assert run.ledger == run.sampled == counted(*replicas)
    served = [
        Counter(seen.headers["x-session-id"] for seen in _sampling(each))
        for each in replicas
    ]
    assert [*map(len, served)] == [4, 4]
    assert served[0] + served[1] == {session_id(f"q{n}"): SAMPLES for n in range(8)}


@pytest.mark.parametrize("dead", ["router", "replica"])
@running
async def test_a_killed_router_or_replica_costs_what_was_in_flight(dead: str) -> None:
    replicas = Replica(), Replica()
    async with routed(*replicas) as (router, engine):
        replicas[0].at[5] = router.restart if dead == "router" else replicas[0].die
        run = await ended(engine, 8)
    assert votes(run) == votes(await alone(8))
    computed = counted(*replicas)
    assert run.ledger[0] + run.ledger[1] >= computed[0] + computed[1]
    assert run.ledger[2] >= computed[2]
    lost = sum(solution.cost.samples for solution in run.solutions) - 8 * SAMPLES
    # A request that is sent again at once may still reach the dying router's queue, and is lost a second time.
    assert (1 if dead == "router" else 0) <= lost <= 2 * AT_ONCE
