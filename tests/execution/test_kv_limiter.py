"""The queue of the KV cache: what sequences are expected to hold, who enters, and nothing lost to a cancelled waiter."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.execution.gate import Gate
from reasoner.execution.kv_limiter import (
    EDGES,
    LONGEST,
    CacheCharge,
    KvCacheLimiter,
    KvForecast,
    LifeTable,
    Shared,
    intervals_below,
)
from reasoner.testing.support import turns

NOTHING = np.zeros(0)
LENGTHS = st.lists(st.integers(1, 5000), max_size=30).map(
    lambda lengths: np.array(lengths, float)
)


def expected(limiter: KvCacheLimiter) -> float:
    """The most tokens that those in flight and what is kept are expected to hold now or later."""
    return float(limiter._mean.max()) + limiter._shared


def survival_at(table: LifeTable, length: int, limit: int = 32_768) -> float:
    return float(
        np.interp(
            length,
            EDGES[: intervals_below(limit) + 1],
            table.survival(intervals_below(limit)),
        )
    )


# Life tables


def test_before_any_evidence_most_of_the_limit_is_expected() -> None:
    assert survival_at(LifeTable(), 256, limit=512) == pytest.approx(1 - 0.5**8)
    assert survival_at(LifeTable(), 512, limit=512) == 0


def test_lengths_that_all_ended_give_their_own_distribution() -> None:
    lengths = np.random.default_rng(0).exponential(1000, 3000).round() + 1
    table = LifeTable()
    for part in np.split(lengths, 30):
        table.update(NOTHING, part, NOTHING)
    for length in (200, 1000, 2500):
        assert survival_at(table, length) == pytest.approx(
            np.exp(-length / 1000), abs=0.05
        )


def test_short_sequences_that_end_first_do_not_hide_the_long_ones() -> None:
    """Half end at 100 tokens and the others are still in flight at 1,000: a mean of those that ended would say 100."""
    table = LifeTable()
    table.update(np.full(50, 1000.0), np.full(50, 100.0), NOTHING)
    assert survival_at(table, 1000) == pytest.approx(0.5, abs=0.02)


def test_cut_and_cancelled_sequences_count_up_to_where_they_were_seen() -> None:
    table = LifeTable()
    table.update(NOTHING, np.full(50, 800.0), np.full(50, 90.0))
    assert survival_at(table, 700) == pytest.approx(1, abs=0.02)
    assert survival_at(table, 900) < 0.05


def test_later_lengths_replace_earlier_ones() -> None:
    table = LifeTable()
    for length in (100.0, 3000.0):
        for _ in range(20):
            table.update(NOTHING, np.full(100, length), NOTHING)
    assert survival_at(table, 2000) > 0.95


@given(
    st.lists(st.tuples(LENGTHS, LENGTHS, LENGTHS), max_size=6),
    st.integers(1, 2 * LONGEST),
)
def test_a_forecast_is_between_nothing_and_the_limit(
    courses: list[tuple[np.ndarray, ...]], limit: int
) -> None:
    table = LifeTable()
    for in_flight, ended, cut in courses:
        table.update(in_flight, ended, cut)
    intervals = intervals_below(limit)
    survival = table.survival(intervals)
    assert (np.diff(survival) <= 0).all()
    assert (survival[0], survival.min() >= 0) == (1, True)
    forecast = KvForecast(table, intervals)
    assert (forecast.mean >= 0).all()
    assert (forecast.mean <= EDGES[intervals]).all()
    assert (forecast.variance >= 0).all()
    assert forecast.mean.max() >= min(limit, LONGEST) / 2 or courses
    assert set(forecast.rows(np.array([0.0, 1e12])).tolist()) == {0, intervals - 1}


# The limiter


@dataclass(eq=False)
class Sequence:
    """A sequence that asks the limiter for room."""

    charge: CacheCharge
    waited: bool = False

    def charged(self, _limiter: KvCacheLimiter) -> CacheCharge:
        return self.charge


class Door:
    """Sequences at the gate of a cache."""

    def __init__(self, capacity: int) -> None:
        self.gate, self.limiter = Gate(), KvCacheLimiter(capacity)

    async def enter(
        self, shared: Shared = (), *, kind: str = "", limit: int, priority: int = 0
    ) -> Sequence:
        sequence = Sequence(
            self.limiter.charge(shared, kind=kind, limit=limit, priority=priority)
        )
        if blocked := self.gate.enter(sequence, (self.limiter,)):
            sequence.waited = True
            await self.gate.wait(sequence, (self.limiter,), blocked)
        return sequence

    def leave(
        self, sequence: Sequence, generated: int | None, *, ended: bool = False
    ) -> None:
        sequence.charge.generated, sequence.charge.ended = generated, ended
        self.gate.leave(sequence, (self.limiter,))

    def release(self, name: str) -> None:
        self.limiter.release(name)
        self.gate.advance(self.limiter)


async def draw(
    door: Door, count: int, *, limit: int, generated: int, kind: str = ""
) -> None:
    """This many sequences, one after another, which end by themselves."""
    for _ in range(count):
        door.leave(await door.enter(kind=kind, limit=limit), generated, ended=True)


async def in_flight(door: Door, *, limit: int, kind: str = "") -> list[Sequence]:
    """As many sequences as the limiter lets in at once."""
    entered: list[Sequence] = []

    async def enter() -> None:
        entered.append(await door.enter(kind=kind, limit=limit))

    tasks = [asyncio.ensure_future(enter()) for _ in range(2000)]
    await turns()
    inside = list(entered)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return inside


def admitted(generated: int, *, draws: int = 200, kind: str = "") -> int:
    async def test() -> int:
        door = Door(100_000)
        await draw(door, draws, limit=8192, generated=generated, kind=kind)
        return len(await in_flight(door, limit=8192))

    return asyncio.run(test())


def test_more_are_in_flight_the_shorter_they_are_expected_to_be() -> None:
    at_first = admitted(0, draws=0)
    # As many always enter as fit with the limit charged.
    assert 100_000 // 8192 <= at_first < 2 * 100_000 / 8192
    assert admitted(8192) <= at_first < admitted(3000) < admitted(300)
    assert 0.6 < admitted(300) * 300 / 100_000 < 1


SEQUENCES = st.lists(
    st.tuples(
        st.integers(0, 4),  # the question
        st.sampled_from([1, 16, 512, 8192, 1 << 21]),  # the limit
        st.floats(0, 1),  # the part of it that is generated
        st.sampled_from(["ended", "cut", "unknown", "cancelled"]),
    ),
    min_size=1,
    max_size=60,
)


@given(SEQUENCES, st.sampled_from([1, 700, 5000, 100_000]), st.integers(0, 1000))
def test_every_sequence_gets_in_and_everything_is_released(
    sequences: list[tuple[int, int, float, str]], capacity: int, seed: int
) -> None:
    async def test() -> None:
        door, source, through = Door(capacity), random.Random(seed), list[int]()
        limiter = door.limiter

        async def sequence(
            number: int, question: int, limit: int, part: float, end: str
        ) -> None:
            pieces = ((f"{question}", 100), (f"{question}/{number % 3}", 10))
            charge = await door.enter(pieces, kind=end, limit=limit, priority=question)
            limiter.keep(f"{question}", 100)
            generated = None
            try:
                await turns(source.randint(0, 5))
                generated = None if end == "unknown" else int(part * limit)
            finally:
                assert expected(limiter) >= 0
                door.leave(charge, generated, ended=end == "ended")
            through.append(number)

        tasks = [
            asyncio.ensure_future(sequence(number, *drawn))
            for number, drawn in enumerate(sequences)
        ]
        await turns(source.randint(0, 3))
        cancelled = [
            task
            for task, drawn in zip(tasks, sequences, strict=True)
            if drawn[3] == "cancelled" and task.cancel()
        ]
        await asyncio.gather(*tasks, return_exceptions=True)
        for question in range(5):
            door.release(f"{question}")
        assert expected(limiter) == 0
        assert door.gate.queues == {}
        assert len(through) == len(sequences) - len(cancelled)

    asyncio.run(test())


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


class NamedDoor(Door):
    """Named sequences: who is inside, in order of entry."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.inside: list[str] = []
        self.sequences: dict[str, Sequence] = {}

    def ask(
        self, name: str, *pieces: tuple[str, int], own: int = 0, priority: int = 0
    ) -> "asyncio.Task[None]":
        """Ask for a sequence with a token to generate, pieces that it may share, and `own` tokens that it does not."""
        return asyncio.ensure_future(
            self._ask(name, (*pieces, (f"only {name}", own)), priority)
        )

    async def _ask(self, name: str, pieces: Shared, priority: int) -> None:
        self.sequences[name] = await self.enter(pieces, limit=1, priority=priority)
        self.inside.append(name)

    def end(self, name: str) -> None:
        self.leave(self.sequences[name], 1, ended=True)


def test_the_prompt_that_siblings_share_counts_once() -> None:
    async def test() -> None:
        door = NamedDoor(200)
        for name in "abcd":
            door.ask(name, ("p", 100), own=28)
        await turns()
        assert door.inside == ["a", "b", "c"]
        door.end("b")
        await turns()
        assert door.inside == ["a", "b", "c", "d"]

    run(test)


def test_an_earlier_question_goes_first_and_a_charge_says_that_it_waited() -> None:
    async def test() -> None:
        door = NamedDoor(50)
        door.ask("a", own=48, priority=0)
        for name, priority in (
            ("third", 3),
            ("second", 2),
            ("first", 1),
            ("also first", 1),
        ):
            door.ask(name, own=48, priority=priority)
        for name in ("a", "first", "also first", "second"):
            await turns()
            door.end(name)
        await turns()
        assert door.inside == ["a", "first", "also first", "second", "third"]
        assert [
            name for name in door.inside if door.sequences[name].waited
        ] == door.inside[1:]

    run(test)


def test_a_kept_prompt_counts_while_nothing_of_it_is_in_flight() -> None:
    async def test() -> None:
        door = NamedDoor(255)
        door.ask("a", ("p", 100), own=48)
        await turns()
        door.limiter.keep("p", 100)
        door.limiter.keep("p", 100)
        door.end("a")
        assert expected(door.limiter) == 100
        door.ask("small", ("q", 100), own=48)
        await turns()
        # Nothing is in flight, so one may go, though 100 + 150 are not more than fits either.
        assert door.inside == ["a", "small"]
        door.ask("large", ("r", 100), own=48)
        door.ask("its own", ("p", 100))
        await turns()
        assert door.inside == ["a", "small"]
        door.release("p")
        door.release("p")
        await turns()
        assert door.inside == ["a", "small"]
        door.end("small")
        await turns()
        assert door.inside == ["a", "small", "large", "its own"]

    run(test)
