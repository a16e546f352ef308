"""Who may start next: launch order, waiting before clamping, and nothing lost when a waiter is cancelled."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.budget import Budget, Cost, Ledger, Reservation
from reasoner.errors import BudgetExhausted, LedgerViolation
from reasoner.execution.admission import Admission, LedgerRooms
from reasoner.testing.support import turns

PROMPT = 10


def price(tokens: int) -> Cost:
    return Cost(prompt_tokens=PROMPT, generated_tokens=tokens, requests=1, samples=1)


@dataclass
class Desk:
    """Operations asked for at once, the reservations that came of it, and in which order."""

    admitted: list[tuple[str, int]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    held: dict[str, Reservation] = field(default_factory=dict)

    def ask(self, admission: Admission, name: str, maximum: int) -> "asyncio.Task[None]":
        return asyncio.ensure_future(self._ask(admission, name, maximum))

    async def _ask(self, admission: Admission, name: str, maximum: int) -> None:
        try:
            self.held[name], granted = await admission.admit(price, max_tokens=maximum)
        except BudgetExhausted:
            self.refused.append(name)
        else:
            self.admitted.append((name, granted))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.admitted]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def alone(tokens: int) -> Admission:
    return Admission(Ledger(Budget(tokens=tokens)), {})


@pytest.mark.parametrize("asker", ["the same question", "another question"])
def test_a_small_operation_does_not_overtake_a_large_one_that_waits(asker: str) -> None:
    async def test() -> None:
        _, one, other, _ = two(Budget(tokens=100))
        desk = Desk()
        desk.ask(one, "first", 50)
        desk.ask(one, "large", 80)
        await turns()
        desk.ask(one if asker == "the same question" else other, "small", 1)
        await turns()
        assert desk.names == ["first"]
        one.settle(desk.held["first"], price(0))
        await turns()
        assert desk.names == ["first", "large"]

    run(test)


def test_it_is_clamped_when_nothing_in_flight_can_give_room() -> None:
    async def test() -> None:
        desk, admission = Desk(), alone(100)
        desk.ask(admission, "a", 50)
        desk.ask(admission, "b", 50)
        await turns()
        admission.settle(desk.held["a"], price(50))
        await turns()
        assert desk.admitted == [("a", 50), ("b", 100 - PROMPT - 50 - PROMPT)]
        assert admission.ledger.reserved.tokens == 40

    run(test)


def two(run_budget: Budget, each: Budget | None = None) -> tuple[Ledger, Admission, Admission, LedgerRooms]:
    ledger = Ledger(run_budget)
    rooms: LedgerRooms = {}
    return ledger, Admission(ledger.child(each), rooms), Admission(ledger.child(each), rooms), rooms


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 300)), min_size=1, max_size=20), st.randoms())
def test_operations_of_all_questions_enter_in_the_order_in_which_they_came(
    asked: list[tuple[int, int]], chance: random.Random
) -> None:
    async def test() -> None:
        ledger, desk, rooms = Ledger(Budget(tokens=400)), Desk(), LedgerRooms()
        questions = [Admission(ledger.child(), rooms) for _ in range(3)]
        names = [f"{number} {question}" for number, (question, _) in enumerate(asked)]
        for name, (question, maximum) in zip(names, asked, strict=True):
            desk.ask(questions[question], name, maximum)
        await turns()
        for count in range(len(asked)):
            assert desk.names == names[: len(desk.names)]
            assert len(desk.names) > count
            name = chance.choice(sorted(desk.held))
            questions[int(name[-1])].settle(desk.held.pop(name), Cost())
            await turns()
        assert (ledger.in_flight, rooms) == (0, {})

    run(test)


def test_a_waiter_cancelled_after_it_was_called_passes_the_call_on() -> None:
    async def test() -> None:
        ledger, one, other, rooms = two(Budget(tokens=100))
        desk = Desk()
        desk.ask(one, "a", 90)
        called = desk.ask(one, "b", 90)
        await turns()
        desk.ask(other, "c", 90)
        await turns()
        one.settle(desk.held["a"], price(0))
        called.cancel()
        await turns()
        assert desk.admitted == [("a", 90), ("c", 80)]
        assert (ledger.in_flight, rooms) == (1, {})

    run(test)


def test_waiters_learn_that_the_ledger_was_frozen() -> None:
    async def test() -> None:
        desk, admission = Desk(), alone(100)
        desk.ask(admission, "a", 90)
        await turns()
        waiting = [asyncio.ensure_future(admission.admit(price, max_tokens=90)) for _ in range(3)]
        await turns()
        with pytest.raises(LedgerViolation):
            admission.settle(desk.held["a"], price(500))
        await turns()
        assert [type(task.exception()) for task in waiting] == [LedgerViolation] * 3

    run(test)
