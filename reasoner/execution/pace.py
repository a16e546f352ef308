"""How many requests start in one turn of the event loop."""

import asyncio
from collections import deque
from typing import Final

STARTS: Final = 16
"""Requests that start in one turn: all work of a thousand at once would hold the loop for a second."""


class Pace:
    """Lets `STARTS` requests begin in each turn of the event loop, first come, first served.

    What else the loop serves thus has its turn in between, however many samples are asked for at once.
    """

    def __init__(self) -> None:
        self._left = STARTS
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._counting = False

    async def begin(self) -> None:
        """Wait for the next free start; at once where this turn has one."""
        if self._left and not self._waiting:
            self._left -= 1
            self._count()
            return
        ticket = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        await ticket

    def _count(self) -> None:
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Count from the start, and let those begin that have waited longest."""
        self._counting, self._left = False, STARTS
        while self._waiting and self._left:
            ticket = self._waiting.popleft()
            if not ticket.done():
                ticket.set_result(None)
                self._left -= 1
        if self._left < STARTS:
            self._count()
