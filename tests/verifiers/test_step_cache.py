"""The step-score cache: what a key depends on, that nothing is computed twice, and what is left when a rating breaks."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from reasoner.errors import VerifierError
from reasoner_verifiers.reward.model import StepCache, step_keys

IDS = (5, 6, 7, 8, 9, 10)
A, B, C, D = (bytes([letter]) for letter in b"ABCD")


class Computer:
    """Says 0.5 of everything and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[bytes, ...], bool]] = []
        self.gate: asyncio.Event | None = None
        self.value = 0.5

    def of(self, keys: Sequence[bytes]) -> Callable[[Sequence[int], bool], Awaitable[list[float]]]:
        async def compute(missing: Sequence[int], lost: bool) -> list[float]:
            self.asked.append((tuple(keys[at] for at in missing), lost))
            if self.gate is not None:
                await self.gate.wait()
            return [self.value for _ in missing]

        return compute

    async def fill(self, cache: StepCache, *keys: bytes) -> tuple[float, ...]:
        return await cache.fill(keys, self.of(keys))


def keys(ids: Sequence[int], *places: int, identity: str = "model") -> list[bytes]:
    return list(step_keys(identity, tuple(ids), places))


def test_a_key_is_the_model_and_all_tokens_up_to_its_place() -> None:
    assert keys(IDS, 1, 3, 5) == keys(IDS[:2], 1) + keys(IDS[:4], 3) + keys(IDS, 5)
    assert len(set(keys(IDS, 1, 3, 5))) == 3
    assert keys(IDS, 1, 1)[0] == keys(IDS, 1, 1)[1]
    assert not set(keys(IDS, 1, 3)) & set(keys(IDS, 1, 3, identity="other"))


def test_only_what_is_new_is_computed_and_the_first_value_is_kept() -> None:
    cache, computer = StepCache(10), Computer()

    async def go() -> tuple[float, ...]:
        await computer.fill(cache, A)
        computer.value = 0.9
        return await computer.fill(cache, A, B)

    assert asyncio.run(go()) == (0.5, 0.9)
    assert computer.asked == [((A,), False), ((B,), False)]


def test_what_several_ask_for_at_once_is_computed_once() -> None:
    cache, computer = StepCache(10), Computer()

    async def go() -> list[tuple[float, ...]]:
        computer.gate = asyncio.Event()
        asking = [asyncio.create_task(computer.fill(cache, A, key)) for key in (B, B, C)]
        await asyncio.sleep(0)
        computer.gate.set()
        return await asyncio.gather(*asking)

    assert asyncio.run(go()) == [(0.5, 0.5)] * 3
    assert computer.asked == [((A, B), False), ((C,), False)]


def test_another_computes_what_a_cancelled_one_began() -> None:
    cache, computer = StepCache(10), Computer()

    async def go() -> tuple[float, ...]:
        computer.gate = asyncio.Event()
        first, second = (asyncio.create_task(computer.fill(cache, A)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        computer.gate.set()
        return await second

    assert asyncio.run(go()) == (0.5,)
    assert computer.asked == [((A,), False), ((A,), True)]


def test_a_failure_is_passed_on_and_nothing_is_kept_of_it() -> None:
    cache, computer = StepCache(10), Computer()

    async def broken(missing: Sequence[int], lost: bool) -> list[float]:
        raise VerifierError("no")

    async def go() -> tuple[float, ...]:
        with pytest.raises(VerifierError, match="no"):
            await cache.fill([A], broken)
        return await computer.fill(cache, A)

    assert asyncio.run(go()) == (0.5,)
    assert computer.asked == [((A,), True)]


def test_the_least_recently_used_goes_first() -> None:
    cache, computer = StepCache(3), Computer()

    async def go() -> None:
        await computer.fill(cache, A, B, C)
        await computer.fill(cache, A)
        await computer.fill(cache, D)
        computer.asked.clear()
        await computer.fill(cache, A, C, D)
        assert computer.asked == []
        await computer.fill(cache, B)

    asyncio.run(go())
    assert computer.asked == [((B,), False)]
