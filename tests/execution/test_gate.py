"""The gate: whoever asks has all rooms or none, the first come are the first served, and no room stays empty."""

import asyncio
import random
from collections.abc import Hashable
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Budget, Ledger
from reasoner.engine import SampleRequest
from reasoner.errors import LedgerViolation
from reasoner.execution.gate import Gate, Room
from reasoner.execution.session import Session
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import says, turns
from reasoner_strategies import SelfConsistency
from tests.execution.one_question import PARAMS, QUESTION


class Seats(Room[int]):
    """Room for this many seats; each asks for a number of them. One that fails has taken them back."""

    def __init__(self, seats: int, *, fails: bool) -> None:
        self.left, self.queues, self.fails = seats, (self,), fails

    def short(self, ask: int) -> Hashable | None:
        return None if ask <= self.left else self

    def take(self, ask: int) -> None:
        self.left -= ask

    def give(self, ask: int) -> None:
        self.left += ask
        if self.fails:
            raise LedgerViolation("more was used than was reserved")


ROOMS = (6, 4, 3)
ASKED = st.lists(
    st.tuples(
        st.integers(1, 3), st.sampled_from([(0,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
    ),
    min_size=1,
    max_size=25,
)


@given(ASKED, st.sets(st.integers(0, 2)), st.randoms())
def test_all_enter_in_their_order_and_nobody_waits_for_a_room_that_is_there(
    asked: list[tuple[int, tuple[int, ...]]], failing: set[int], chance: random.Random
) -> None:
    async def test() -> None:
        gate, seats, inside, entered = (
            Gate(),
            [Seats(count, fails=place in failing) for place, count in enumerate(ROOMS)],
            dict[int, None](),
            list[int](),
        )

        def rooms(number: int) -> tuple[Seats, ...]:
            return tuple(seats[place] for place in asked[number][1])

        async def enter(number: int) -> None:
            if blocked := gate.enter(asked[number][0], rooms(number)):
                await gate.wait(asked[number][0], rooms(number), blocked)
            inside[number] = None
            entered.append(number)

        tasks = [asyncio.ensure_future(enter(number)) for number in range(len(asked))]
        cancelled = set[int]()
        while len(entered) + len(cancelled) < len(asked) or inside:
            await turns()
            held = [
                sum(asked[number][0] for number in inside if place in asked[number][1])
                for place in range(3)
            ]
            assert [room.left for room in seats] == [
                count - taken for count, taken in zip(ROOMS, held, strict=True)
            ]
            for room, queue in gate.queues.items():
                assert isinstance(room, Seats)
                assert room.short(queue[0][-1].ask) is room
            waiting = [number for number, task in enumerate(tasks) if not task.done()]
            if waiting and chance.random() < 0.2:
                cancelled.add(number := chance.choice(waiting))
                tasks[number].cancel()
            elif inside:
                number = chance.choice([*inside])
                del inside[number]
                fails = failing & {*asked[number][1]}
                with pytest.raises(LedgerViolation) if fails else nullcontext():
                    gate.leave(asked[number][0], rooms(number))
        for kind in {needed for _, needed in asked}:
            of_kind = [number for number in entered if asked[number][1] == kind]
            assert of_kind == sorted(of_kind)
        assert gate.queues == {}
        assert [room.left for room in seats] == [*ROOMS]

    asyncio.run(test())


def test_what_waits_for_the_kv_cache_holds_no_reservation() -> None:
    ledger, held = Ledger(Budget(tokens=10_000)), list[int]()

    async def pause(_request: SampleRequest) -> None:
        await turns(3)
        held.append(ledger.in_flight)

    async def test() -> None:
        # Two samples of up to 40 tokens fit nine tenths of it, with their prompt of 9.
        engine = ScriptedEngine(says("7"), pause=pause, capacity=100)
        async with Session(engine, ledger=ledger) as session:
            solution = await session.solve(QUESTION, SelfConsistency(8, PARAMS))
        assert solution.cost.samples == 8

    asyncio.run(test())
    assert max(held) == 2
