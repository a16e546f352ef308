"""The gate: whoever asks has room in all ledgers or in none, the first come are the first served, no room stays empty."""

import asyncio
import random
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.budget import Ledger
from reasoner.errors import LedgerViolation
from reasoner.execution.admission import Admission, LedgerClaim
from reasoner.execution.gate import Gate
from reasoner.testing.support import turns


class Places(Ledger):
    """A ledger of this many places; one that fails has taken them back."""

    def __init__(self, places: int, *, fails: bool) -> None:
        super().__init__()
        self.left, self.fails = places, fails


class Seats(Admission):
    """One that asks for this many places in several ledgers."""

    def __init__(self, seats: int, ledgers: tuple[Places, ...]) -> None:
        super().__init__(Ledger())
        self.seats, self.places = seats, ledgers
        self.lineage = ledgers

    def short(self, _claim: LedgerClaim) -> Ledger | None:
        return next((each for each in self.places if each.left < self.seats), None)

    def take(self, _claim: LedgerClaim) -> None:
        for each in self.places:
            each.left -= self.seats

    def give(self, _claim: LedgerClaim) -> None:
        for each in self.places:
            each.left += self.seats
        if any(each.fails for each in self.places):
            raise LedgerViolation("more was used than was reserved")


CLAIM = LedgerClaim(1)
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
            [
                Places(count, fails=place in failing)
                for place, count in enumerate(ROOMS)
            ],
            dict[int, None](),
            list[int](),
        )
        seated = [
            Seats(wanted, tuple(seats[place] for place in places))
            for wanted, places in asked
        ]

        async def enter(number: int) -> None:
            if short := gate.enter(CLAIM, seated[number]):
                await gate.wait(CLAIM, seated[number], short)
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
                first = queue[0][-1].admission
                assert isinstance(room, Places)
                assert isinstance(first, Seats)
                assert room.left < first.seats
            waiting = [number for number, task in enumerate(tasks) if not task.done()]
            if waiting and chance.random() < 0.2:
                cancelled.add(number := chance.choice(waiting))
                tasks[number].cancel()
            elif inside:
                number = chance.choice([*inside])
                del inside[number]
                fails = failing & {*asked[number][1]}
                with pytest.raises(LedgerViolation) if fails else nullcontext():
                    gate.leave(CLAIM, seated[number])
        for kind in {needed for _, needed in asked}:
            of_kind = [number for number in entered if asked[number][1] == kind]
            assert of_kind == sorted(of_kind)
        assert gate.queues == {}
        assert [room.left for room in seats] == [*ROOMS]

    asyncio.run(test())
