"""Which of several servers answer, which one serves a question, and what each reused of its prompts."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from reasoner.engine import ReplicaUsage
from reasoner.engines.openai.notes import Notes
from reasoner.engines.placement import Placement
from reasoner.types import Usage

RETRY_SECONDS: Final = 5.0
"""How long a lost replica is left alone before it is asked again."""


async def _always(_: int) -> bool:
    return True


@dataclass(slots=True, eq=False)
class Replicas:
    """The replicas of an engine, by their addresses. One that does not answer is lost until it does.

    `answers` asks one of them, once and for a few seconds, whether it serves what the others serve. `notes` are the
    engine's. An engine with one replica never loses it.
    """

    addresses: Sequence[str]
    notes: Notes
    answers: Callable[[int], Awaitable[bool]] = _always
    placement: Placement = field(init=False)
    _usage: list[ReplicaUsage] = field(init=False)
    _due: dict[int, float] = field(init=False, default_factory=dict)
    _checks: dict[int, "asyncio.Task[None]"] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.placement = Placement(len(self.addresses))
        self._usage = [ReplicaUsage(address) for address in self.addresses]

    @contextmanager
    def request(self, question_id: str) -> Iterator[int]:
        """Count a request while it is in flight; yields its replica. What belongs to no question goes anywhere."""
        self._look_again()
        try:
            with self.placement.request(question_id) as replica:
                yield replica
        finally:
            if not question_id:
                self.placement.release(question_id)

    def lose(self, replica: int) -> None:
        """The replica cannot be reached: its questions move to the others."""
        if len(self.addresses) == 1:
            return
        self.notes.add(f"{self.addresses[replica]} does not answer: its questions go to the other replicas")
        self.placement.lose(replica)
        self._due[replica] = time.monotonic() + RETRY_SECONDS

    async def suspect(self, replica: int) -> None:
        """A request failed there: ask whether the replica still answers, and lose it if not."""
        if len(self.addresses) > 1 and replica not in self.placement.lost:
            await asyncio.shield(self._check(replica))

    def has_moved(self, replica: int) -> bool:
        """Whether the questions of this replica are served by another one now."""
        return replica in self.placement.lost and len(self.placement.lost) < len(self.addresses)

    def add(self, replica: int, usage: Usage) -> None:
        """Count what a completed request used."""
        self._usage[replica] = self._usage[replica].plus(usage)

    @property
    def usage(self) -> tuple[ReplicaUsage, ...]:
        """What each replica served so far."""
        return tuple(self._usage)

    async def close(self) -> None:
        """End all checks of this event loop."""
        loop = asyncio.get_running_loop()
        checks = [check for check in self._checks.values() if check.get_loop() is loop]
        self._checks.clear()
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)

    def _look_again(self) -> None:
        """Ask the lost replicas again: each after a while, or at once where all are lost; nothing waits for it."""
        now, lost = time.monotonic(), self.placement.lost
        for replica in lost:
            if len(lost) == len(self.addresses) or now >= self._due[replica]:
                self._check(replica)

    def _check(self, replica: int) -> "asyncio.Task[None]":
        """The running check of a replica, or a new one: requests that fail together share it."""
        check = self._checks.get(replica)
        if check is None or check.done() or check.get_loop() is not asyncio.get_running_loop():
            check = self._checks[replica] = asyncio.ensure_future(self._ask(replica))
        return check

    async def _ask(self, replica: int) -> None:
        if await self.answers(replica):
            self.placement.restore(replica)
        else:
            self.lose(replica)
