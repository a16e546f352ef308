"""What runs inside a Ray actor: a host of an engine, and the exchanges of messages with the driver."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from reasoner.engine import Engine
from reasoner.engines.remote.host import Host, ToDriver, ToReplica, versions


class EngineHost:
    """Hosts an engine of this class with these options, and runs the calls of the driver as tasks.

    An exchange takes messages of the driver and returns the news, as soon as there is any. Of two exchanges that wait,
    the older one returns without news.
    """

    def __init__(
        self, cls: type[Engine], options: dict[str, Any], threads: int
    ) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._news = asyncio.Event()
        self._host = Host(lambda: cls(**options), self._news.set)
        self._exchange = 0

    async def versions(self) -> dict[str, str]:
        """The versions that are installed here."""
        return versions()

    async def exchange(self, number: int, batch: list[ToReplica]) -> list[ToDriver]:
        """Begin and cancel calls; then wait until there is news or nothing runs. The newest exchange gets the news."""
        # Ray may run the calls of an actor in another order than they were made.
        await self._until(lambda: self._exchange == number - 1)
        self._host.take(batch)
        # Each task must run once before the next batch may cancel it.
        await asyncio.sleep(0)
        self._exchange = number
        self._news.set()
        await self._until(lambda: number != self._exchange or not self._host.waiting)
        return self._host.news() if number == self._exchange else []

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._news.clear()
            await self._news.wait()

    async def stop(self) -> None:
        """Close the engine."""
        await self._host.engine.close()
