"""A server as clients meet it: a service and its app on a free port, in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from reasoner.engine import Engine
from reasoner.serving.app import App, Keys
from reasoner.serving.config import ServerLimits, Settings, make_offer
from reasoner.serving.listener import Listener, listen
from reasoner.serving.service import Service
from tests.waiting import PATIENCE

T = TypeVar("T")


@dataclass(slots=True)
class Server:
    """A server that runs. `reports` are the failures that its clients were not shown."""

    url: str
    service: Service
    listener: Listener
    loop: asyncio.AbstractEventLoop
    reports: list[BaseException] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        """The address for OpenAI's client."""
        return f"{self.url}/v1"

    @property
    def port(self) -> int:
        """The port."""
        return int(self.url.rpartition(":")[2])

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def stop(self) -> None:
        """Stop as a signal would."""
        self.loop.call_soon_threadsafe(self.listener.stop)


@contextmanager
def serving(
    engine: Engine,
    limits: ServerLimits | None = None,
    *,
    keys: Mapping[str, str] | None = None,
    wait: bool = True,
) -> Iterator[Server]:
    """A server over the engine until the block ends; without `wait`, the engine may still be starting."""
    at = listen("127.0.0.1", 0)
    ready, servers, reports = threading.Event(), list[Server](), list[BaseException]()

    async def serve() -> None:
        def report(_number: str, failure: BaseException) -> None:
            reports.append(failure)

        service = Service(
            engine, make_offer(Settings()), limits or ServerLimits(), report=report
        )
        listener = Listener(App(service, Keys(keys)), service, drain=PATIENCE)
        url = f"http://127.0.0.1:{at.getsockname()[1]}"
        loop = asyncio.get_running_loop()
        servers.append(Server(url, service, listener, loop, reports))
        listening = asyncio.ensure_future(listener.serve([at]))
        if not wait:
            loop.call_soon(ready.set)
        async with service:
            loop.call_soon(ready.set)
            await listening

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield servers[0]
    finally:
        for server in servers:
            if thread.is_alive():
                server.loop.call_soon_threadsafe(server.listener.stop)
                server.loop.call_soon_threadsafe(server.listener.stop)
        thread.join(PATIENCE)
        assert not thread.is_alive()
