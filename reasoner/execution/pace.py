"""How many requests start in one turn of the event loop."""

import asyncio
from collections import deque
from typing import Final

STARTS: Final = 16
"""Requests that start in one turn: all work of a thousand at once would hold the loop for a second."""
TOGETHER: Final = 64
"""Requests of one question that start in one turn beyond that: engines join what comes together."""


class Pace:
    """Lets `STARTS` requests begin in each turn of the event loop, first come, first served.

    What else the loop serves thus has its turn in between, however many samples are asked for at once. Requests of one
    question that come together begin together.
    """

    def __init__(self) -> None:
        self._left = STARTS
        self._last: object = None
        self._waiting: deque[tuple[object, asyncio.Future[None]]] = deque()
        self._counting = False

    @property
    def busy(self) -> bool:
        """Whether requests wait for their turn."""
        return bool(self._waiting)

    async def begin(self, asker: object) -> None:
        """Wait until another request may begin; not at all where this turn has room."""
        if not self._waiting and self._may_begin(asker):
            self._begun(asker)
            return
        ticket = asyncio.get_running_loop().create_future()
        self._waiting.append((asker, ticket))
        await ticket

    def _may_begin(self, asker: object) -> bool:
        return self._left > 0 or (asker is self._last and self._left > -TOGETHER)

    def _begun(self, asker: object) -> None:
        self._left -= 1
        self._last = asker
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Count from the start, and let those begin that have waited longest."""
        self._counting, self._left, self._last = False, STARTS, None
        while self._waiting and self._may_begin(self._waiting[0][0]):
            asker, ticket = self._waiting.popleft()
            if not ticket.done():
                ticket.set_result(None)
                self._begun(asker)
