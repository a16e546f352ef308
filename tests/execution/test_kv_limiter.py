"""The gate of the KV cache: unique tokens within capacity, earlier questions first, nothing lost to a cancelled waiter."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from reasoner.execution.admission import KvCacheLimiter, Shared
from tests.helpers import turns


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


@dataclass
class Door:
    """Sequences at a gate: who is inside, in order of entry."""

    kv_limiter: KvCacheLimiter
    inside: list[str] = field(default_factory=list)

    waited: list[str] = field(default_factory=list)

    def enter(self, name: str, prompt: str, own: int, shared: int = 100, priority: int = 0) -> "asyncio.Task[None]":
        return self.walk_in(name, ((prompt, shared),), own, priority)

    def walk_in(self, name: str, shared: Shared, own: int, priority: int = 0) -> "asyncio.Task[None]":
        return asyncio.ensure_future(self._enter(name, self.kv_limiter.enter(shared, own=own, priority=priority)))

    async def _enter(self, name: str, entering: Awaitable[bool]) -> None:
        if await entering:
            self.waited.append(name)
        self.inside.append(name)

    def leave(self, prompt: str, own: int, shared: int = 100) -> None:
        self.kv_limiter.leave(((prompt, shared),), own=own)


def test_the_prompt_that_siblings_share_counts_once() -> None:
    async def test() -> None:
        door = Door(KvCacheLimiter(200))
        for name in "abcd":
            door.enter(name, "p", own=30)
        await turns()
        assert door.inside == ["a", "b", "c"]
        door.leave("p", own=30, shared=100)
        await turns()
        assert door.inside == ["a", "b", "c", "d"]

    run(test)


def test_another_prompt_counts_anew_and_is_given_back_with_its_last_sibling() -> None:
    async def test() -> None:
        door = Door(KvCacheLimiter(240))
        for name, prompt in (("a", "p"), ("b", "p"), ("c", "other")):
            door.enter(name, prompt, own=20)
        await turns()
        assert door.inside == ["a", "b"]
        door.leave("p", own=20, shared=100)
        await turns()
        assert door.inside == ["a", "b", "c"]
        door.leave("p", own=20, shared=100)
        door.enter("d", "third", own=20)
        await turns()
        assert door.inside == ["a", "b", "c", "d"]

    run(test)


def test_a_sequence_too_long_for_the_cache_goes_alone() -> None:
    async def test() -> None:
        door = Door(KvCacheLimiter(50))
        door.enter("short", "p", own=10, shared=10)
        door.enter("long", "p", own=500, shared=10)
        door.enter("next", "p", own=10, shared=10)
        await turns()
        assert door.inside == ["short"]
        door.leave("p", own=10, shared=10)
        await turns()
        assert door.inside == ["short", "long"]
        door.leave("p", own=500, shared=10)
        await turns()
        assert door.inside == ["short", "long", "next"]

    run(test)


def test_those_at_the_gate_enter_in_the_order_they_came() -> None:
    async def test() -> None:
        door = Door(KvCacheLimiter(50))
        for name, own in (("a", 40), ("large", 30), ("small", 1)):
            door.enter(name, name, own=own, shared=0)
        await turns()
        assert door.inside == ["a"]
        door.leave("a", own=40, shared=0)
        await turns()
        assert door.inside == ["a", "large", "small"]

    run(test)


@pytest.mark.parametrize("called", [False, True])
def test_one_cancelled_at_the_gate_takes_nothing_with_it(called: bool) -> None:
    async def test() -> None:
        door = Door(KvCacheLimiter(50))
        door.enter("a", "a", own=40, shared=0)
        waiting = door.enter("b", "b", own=40, shared=0)
        door.enter("c", "c", own=10, shared=0)
        await turns()
        if called:
            door.leave("a", own=40, shared=0)
        waiting.cancel()
        await turns()
        assert door.inside == ["a", "c"]
        if not called:
            door.leave("a", own=40, shared=0)
        door.leave("c", own=10, shared=0)
        door.enter("whole", "w", own=50, shared=0)
        door.enter("more", "m", own=1, shared=0)
        await turns()
        assert door.inside == ["a", "c", "whole"]

    run(test)


def test_leaving_before_a_cancelled_waiter_has_run_calls_the_one_behind_it() -> None:
    async def test() -> None:
        door = Door(KvCacheLimiter(50))
        door.enter("a", "a", own=50, shared=0)
        waiting = door.enter("b", "b", own=50, shared=0)
        door.enter("c", "c", own=50, shared=0)
        await turns()
        waiting.cancel()
        door.leave("a", own=50, shared=0)
        await turns()
        assert door.inside == ["a", "c"]
        door.leave("c", own=50, shared=0)
        door.enter("d", "d", own=50, shared=0)
        await turns()
        assert door.inside == ["a", "c", "d"]

    run(test)


def test_those_of_an_earlier_question_go_first_and_who_waited_is_told() -> None:
    async def test() -> None:
        door = Door(KvCacheLimiter(50))
        door.enter("a", "a", own=50, shared=0, priority=0)
        for name, priority in (("third", 3), ("second", 2), ("first", 1), ("also first", 1)):
            door.enter(name, name, own=50, shared=0, priority=priority)
        for name in ("a", "first", "also first", "second"):
            await turns()
            door.leave(name, own=50, shared=0)
        await turns()
        assert door.inside == ["a", "first", "also first", "second", "third"]
        assert door.waited == ["first", "also first", "second", "third"]

    run(test)


def test_branches_over_one_document_share_its_tokens() -> None:
    """A tree's branches have different prompts and one head, which counts once."""

    async def test() -> None:
        door = Door(KvCacheLimiter(1100))
        for branch in "abc":
            door.walk_in(branch, (("head", 1000), (branch, 20)), own=20)
        await turns()
        assert door.inside == ["a", "b"]
        door.kv_limiter.leave((("head", 1000), ("a", 20)), own=20)
        await turns()
        assert door.inside == ["a", "b", "c"]

    run(test)


def test_what_is_kept_counts_while_nothing_of_it_is_in_flight() -> None:
    async def test() -> None:
        door = Door(KvCacheLimiter(250))
        door.enter("a", "p", own=50)
        await turns()
        door.kv_limiter.keep("p", 100)
        door.kv_limiter.keep("p", 100)
        door.leave("p", own=50)
        door.enter("small", "q", own=50)
        await turns()
        # Nothing is in flight, so somebody may go, though 100 + 150 are not more than fits either.
        assert door.inside == ["a", "small"]
        door.enter("large", "r", own=50)
        door.enter("its own", "p", own=0)
        await turns()
        assert door.inside == ["a", "small"]
        door.kv_limiter.release("p")
        door.kv_limiter.release("p")
        await turns()
        assert door.inside == ["a", "small"]
        door.leave("q", own=50)
        await turns()
        assert door.inside == ["a", "small", "large", "its own"]

    run(test)


def test_a_newcomer_does_not_evict_a_question_between_its_steps() -> None:
    async def test() -> None:
        door = Door(KvCacheLimiter(220))
        for name, prompt, priority in (("a1", "a", 0), ("b1", "b", 1)):
            door.enter(name, prompt, own=10, priority=priority)
        await turns()
        for prompt in "ab":
            door.kv_limiter.keep(prompt, 100)
        door.leave("a", own=10)
        door.enter("c1", "c", own=10, priority=2)
        door.enter("a2", "a", own=10, priority=0)
        await turns()
        assert door.inside == ["a1", "b1", "a2"]
        door.leave("a", own=10)
        door.kv_limiter.release("a")
        await turns()
        assert door.inside == ["a1", "b1", "a2", "c1"]

    run(test)
