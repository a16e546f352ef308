"""The queue of the KV cache: tokens within capacity, earlier questions first, nothing lost to a cancelled waiter.

Here a sequence has a limit of one token, which is what it is charged, so what counts are the pieces of the prompts.
`test_kv_forecast.py` has the lengths.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from reasoner.execution.kv_limiter import Charge, KvCacheLimiter, Shared
from tests.helpers import turns


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


class Door:
    """Sequences at the queue: who is inside, in order of entry."""

    def __init__(self, capacity: int) -> None:
        self.kv_limiter = KvCacheLimiter(capacity)
        self.inside: list[str] = []
        self.charges: dict[str, Charge] = {}

    def enter(self, name: str, *pieces: tuple[str, int], own: int = 0, priority: int = 0) -> "asyncio.Task[None]":
        """Ask for a sequence with a token to generate, pieces that it may share, and `own` tokens that it does not."""
        return asyncio.ensure_future(self._enter(name, (*pieces, (f"only {name}", own)), priority))

    async def _enter(self, name: str, pieces: Shared, priority: int) -> None:
        self.charges[name] = await self.kv_limiter.enter(pieces, kind="", limit=1, priority=priority)
        self.inside.append(name)

    def leave(self, name: str) -> None:
        self.kv_limiter.leave(self.charges[name], 1, ended=True)


def test_the_prompt_that_siblings_share_counts_once() -> None:
    async def test() -> None:
        door = Door(200)
        for name in "abcd":
            door.enter(name, ("p", 100), own=28)
        await turns()
        assert door.inside == ["a", "b", "c"]
        door.leave("b")
        await turns()
        assert door.inside == ["a", "b", "c", "d"]

    run(test)


def test_another_prompt_counts_anew_and_is_given_back_with_its_last_sibling() -> None:
    async def test() -> None:
        door = Door(240)
        for name, prompt in (("a", "p"), ("b", "p"), ("c", "other")):
            door.enter(name, (prompt, 100), own=18)
        await turns()
        assert door.inside == ["a", "b"]
        door.leave("a")
        await turns()
        assert door.inside == ["a", "b", "c"]
        door.leave("b")
        door.enter("d", ("third", 100), own=18)
        await turns()
        assert door.inside == ["a", "b", "c", "d"]

    run(test)


def test_a_sequence_too_long_for_the_cache_goes_alone() -> None:
    async def test() -> None:
        door = Door(50)
        for name, own in (("short", 10), ("long", 500), ("next", 10)):
            door.enter(name, ("p", 10), own=own)
        for count, name in enumerate(("short", "long", "next"), start=1):
            await turns()
            assert door.inside == ["short", "long", "next"][:count]
            door.leave(name)

    run(test)


@pytest.mark.parametrize("called", [False, True])
def test_one_that_is_cancelled_while_it_waits_takes_nothing_with_it(called: bool) -> None:
    async def test() -> None:
        door = Door(50)
        door.enter("a", own=36)
        waiting = door.enter("b", own=36)
        door.enter("c", own=8)
        await turns()
        if called:
            door.leave("a")
        waiting.cancel()
        await turns()
        assert door.inside == ["a", "c"]
        if not called:
            door.leave("a")
        door.leave("c")
        assert door.kv_limiter.expected == 0
        door.enter("whole", own=48)
        door.enter("more", own=1)
        await turns()
        assert door.inside == ["a", "c", "whole"]

    run(test)


def test_leaving_before_a_cancelled_waiter_has_run_calls_the_one_behind_it() -> None:
    async def test() -> None:
        door = Door(50)
        door.enter("a", own=48)
        waiting = door.enter("b", own=48)
        door.enter("c", own=48)
        await turns()
        waiting.cancel()
        door.leave("a")
        await turns()
        assert door.inside == ["a", "c"]
        door.leave("c")
        door.enter("d", own=48)
        await turns()
        assert door.inside == ["a", "c", "d"]

    run(test)


def test_those_of_an_earlier_question_go_first_and_who_waited_is_told() -> None:
    async def test() -> None:
        door = Door(50)
        door.enter("a", own=48, priority=0)
        for name, priority in (("third", 3), ("second", 2), ("first", 1), ("also first", 1)):
            door.enter(name, own=48, priority=priority)
        for name in ("a", "first", "also first", "second"):
            await turns()
            door.leave(name)
        await turns()
        assert door.inside == ["a", "first", "also first", "second", "third"]
        assert [name for name in door.inside if door.charges[name].waited] == door.inside[1:]

    run(test)


def test_what_is_kept_counts_while_nothing_of_it_is_in_flight() -> None:
    async def test() -> None:
        door = Door(255)
        door.enter("a", ("p", 100), own=48)
        await turns()
        door.kv_limiter.keep("p", 100)
        door.kv_limiter.keep("p", 100)
        door.leave("a")
        assert door.kv_limiter.expected == 100
        door.enter("small", ("q", 100), own=48)
        await turns()
        # Nothing is in flight, so one may go, though 100 + 150 are not more than fits either.
        assert door.inside == ["a", "small"]
        door.enter("large", ("r", 100), own=48)
        door.enter("its own", ("p", 100))
        await turns()
        assert door.inside == ["a", "small"]
        door.kv_limiter.release("p")
        door.kv_limiter.release("p")
        await turns()
        assert door.inside == ["a", "small"]
        door.leave("small")
        await turns()
        assert door.inside == ["a", "small", "large", "its own"]

    run(test)
