"""The gate of the KV cache: unique tokens within capacity, in order of arrival, nothing lost to a cancelled waiter."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from reasoner.admission import KvGate
from tests.helpers import turns


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


@dataclass
class Door:
    """Sequences at a gate: who is inside, in order of entry."""

    gate: KvGate
    inside: list[str] = field(default_factory=list)

    def enter(self, name: str, prompt: str, own: int, shared: int = 100) -> "asyncio.Task[None]":
        return asyncio.ensure_future(self._enter(name, self.gate.enter(prompt, shared=shared, own=own)))

    async def _enter(self, name: str, entering: Awaitable[None]) -> None:
        await entering
        self.inside.append(name)


def test_the_prompt_that_siblings_share_counts_once() -> None:
    async def test() -> None:
        door = Door(KvGate(200))
        for name in "abcd":
            door.enter(name, "p", own=30)
        await turns()
        assert door.inside == ["a", "b", "c"]
        door.gate.leave("p", shared=100, own=30)
        await turns()
        assert door.inside == ["a", "b", "c", "d"]

    run(test)


def test_another_prompt_counts_anew_and_is_given_back_with_its_last_sibling() -> None:
    async def test() -> None:
        door = Door(KvGate(240))
        for name, prompt in (("a", "p"), ("b", "p"), ("c", "other")):
            door.enter(name, prompt, own=20)
        await turns()
        assert door.inside == ["a", "b"]
        door.gate.leave("p", shared=100, own=20)
        await turns()
        assert door.inside == ["a", "b", "c"]
        door.gate.leave("p", shared=100, own=20)
        door.enter("d", "third", own=20)
        await turns()
        assert door.inside == ["a", "b", "c", "d"]

    run(test)


def test_a_sequence_too_long_for_the_cache_goes_alone() -> None:
    async def test() -> None:
        door = Door(KvGate(50))
        door.enter("short", "p", own=10, shared=10)
        door.enter("long", "p", own=500, shared=10)
        door.enter("next", "p", own=10, shared=10)
        await turns()
        assert door.inside == ["short"]
        door.gate.leave("p", shared=10, own=10)
        await turns()
        assert door.inside == ["short", "long"]
        door.gate.leave("p", shared=10, own=500)
        await turns()
        assert door.inside == ["short", "long", "next"]

    run(test)


def test_those_at_the_gate_enter_in_the_order_they_came() -> None:
    async def test() -> None:
        door = Door(KvGate(50))
        for name, own in (("a", 40), ("large", 30), ("small", 1)):
            door.enter(name, name, own=own, shared=0)
        await turns()
        assert door.inside == ["a"]
        door.gate.leave("a", shared=0, own=40)
        await turns()
        assert door.inside == ["a", "large", "small"]

    run(test)


@pytest.mark.parametrize("called", [False, True])
def test_one_cancelled_at_the_gate_takes_nothing_with_it(called: bool) -> None:
    async def test() -> None:
        door = Door(KvGate(50))
        door.enter("a", "a", own=40, shared=0)
        waiting = door.enter("b", "b", own=40, shared=0)
        door.enter("c", "c", own=10, shared=0)
        await turns()
        if called:
            door.gate.leave("a", shared=0, own=40)
        waiting.cancel()
        await turns()
        assert door.inside == ["a", "c"]
        if not called:
            door.gate.leave("a", shared=0, own=40)
        door.gate.leave("c", shared=0, own=10)
        door.enter("whole", "w", own=50, shared=0)
        door.enter("more", "m", own=1, shared=0)
        await turns()
        assert door.inside == ["a", "c", "whole"]

    run(test)


def test_leaving_before_a_cancelled_waiter_has_run_calls_the_one_behind_it() -> None:
    async def test() -> None:
        door = Door(KvGate(50))
        door.enter("a", "a", own=50, shared=0)
        waiting = door.enter("b", "b", own=50, shared=0)
        door.enter("c", "c", own=50, shared=0)
        await turns()
        waiting.cancel()
        door.gate.leave("a", shared=0, own=50)
        await turns()
        assert door.inside == ["a", "c"]
        door.gate.leave("c", shared=0, own=50)
        door.enter("d", "d", own=50, shared=0)
        await turns()
        assert door.inside == ["a", "c", "d"]

    run(test)
