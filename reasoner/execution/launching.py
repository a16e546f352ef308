"""The sequences of one operation, and work that runs side by side."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from reasoner.errors import BudgetExhausted
from reasoner.types import Prompt

T = TypeVar("T")
STARTS: Final = 16
"""What starts in one turn of the event loop: all work of a thousand at once would hold it for a second."""
MAX_IN_FLIGHT: Final = 1024
"""Sequences of one question that are launched at once: as many as engines compute at once."""


class SequenceIds(NamedTuple):
    """The sequences of one operation, in launch order.

    `heads` are the prompts, each with its digest and the index of its first sequence; `n` are sampled from each. All
    start at the virtual time `at`.
    """

    op: int
    heads: tuple[tuple[Prompt, str, int], ...]
    n: int
    at: int

    def names(self) -> Iterator[tuple[str, int]]:
        """The digest of the prompt and the index of each."""
        return (
            (digest, index)
            for _, digest, first in self.heads
            for index in range(first, first + self.n)
        )


async def each(work: Sequence[Callable[[], Awaitable[T]]]) -> list[T | BudgetExhausted]:
    """Run all concurrently, refusals as values; the first other failure cancels the rest."""
    if len(work) == 1:
        return [await _refusal_as_value(work[0])]
    tasks = list[asyncio.Task[T | BudgetExhausted]]()
    try:
        for part in work:
            tasks.append(asyncio.ensure_future(_refusal_as_value(part)))
            if not len(tasks) % STARTS:
                await asyncio.sleep(0)
        return list(await asyncio.gather(*tasks))
    finally:
        await cancel_all(tasks)


async def _refusal_as_value(work: Callable[[], Awaitable[T]]) -> T | BudgetExhausted:
    try:
        return await work()
    except BudgetExhausted as refusal:
        return refusal


async def cancel_all(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel unfinished tasks and wait until they end; cancelling the caller again cancels them again."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    try:
        if running:
            await asyncio.wait(running)
    except asyncio.CancelledError:
        await cancel_all(running)
        raise
