"""Who may start next: launch order, waiting before clamping, and nothing lost when a waiter is cancelled."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.budget import NO_COST, Budget, Cost, Ledger
from reasoner.errors import BudgetExhausted, LedgerViolation
from reasoner.execution.admission import Admission, LedgerClaim
from reasoner.execution.gate import Gate
from reasoner.testing.support import turns
from tests.running import running

PROMPT = 10


def price(tokens: int) -> Cost:
    return Cost(prompt_tokens=PROMPT, generated_tokens=tokens, requests=1, samples=1)


class Asker(LedgerClaim):
    """An operation that asks a question's ledgers for room."""

    def price(self, tokens: int) -> Cost:
        return price(tokens)


@dataclass
class Desk:
    """Operations asked for at once, the room that they got, and in which order."""

    gate: Gate = field(default_factory=Gate)
    admitted: list[tuple[str, int]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    held: dict[str, tuple[Asker, Admission]] = field(default_factory=dict)

    def ask(
        self, admission: Admission, name: str, maximum: int
    ) -> "asyncio.Task[None]":
        return asyncio.ensure_future(self._ask(admission, name, maximum))

    async def _ask(self, admission: Admission, name: str, maximum: int) -> None:
        asker = Asker(maximum)
        try:
            if short := self.gate.enter(asker, admission):
                await self.gate.wait(asker, admission, short)
        except BudgetExhausted:
            self.refused.append(name)
        else:
            self.held[name] = asker, admission
            self.admitted.append((name, asker.granted))

    def settle(self, name: str, cost: Cost) -> None:
        asker, admission = self.held.pop(name)
        asker.actual = cost
        self.gate.leave(asker, admission)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.admitted]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def alone(tokens: int) -> Admission:
    return Admission(Ledger(Budget(tokens=tokens)))


@pytest.mark.parametrize("asker", ["the same question", "another question"])
@running
async def test_a_small_operation_does_not_overtake_a_large_one_that_waits(
    asker: str,
) -> None:
    _, one, other = two(Budget(tokens=100))
    desk = Desk()
    desk.ask(one, "first", 50)
    desk.ask(one, "large", 80)
    await turns()
    desk.ask(one if asker == "the same question" else other, "small", 1)
    await turns()
    assert desk.names == ["first"]
    desk.settle("first", price(0))
    await turns()
    assert desk.names == ["first", "large"]


@running
async def test_it_is_clamped_when_nothing_in_flight_can_give_room() -> None:
    desk, admission = Desk(), alone(100)
    desk.ask(admission, "a", 50)
    desk.ask(admission, "b", 50)
    await turns()
    desk.settle("a", price(50))
    await turns()
    assert desk.admitted == [("a", 50), ("b", 100 - PROMPT - 50 - PROMPT)]
    assert admission.ledger.reserved.tokens == 40


def two(
    run_budget: Budget, each: Budget | None = None
) -> tuple[Ledger, Admission, Admission]:
    ledger = Ledger(run_budget)
    return ledger, Admission(ledger.child(each)), Admission(ledger.child(each))


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 300)), min_size=1, max_size=20
    ),
    st.randoms(),
)
def test_operations_of_all_questions_enter_in_the_order_in_which_they_came(
    asked: list[tuple[int, int]], chance: random.Random
) -> None:
    async def test() -> None:
        ledger, desk = Ledger(Budget(tokens=400)), Desk()
        questions = [Admission(ledger.child()) for _ in range(3)]
        names = [f"{number} {question}" for number, (question, _) in enumerate(asked)]
        for name, (question, maximum) in zip(names, asked, strict=True):
            desk.ask(questions[question], name, maximum)
        await turns()
        for count in range(len(asked)):
            assert desk.names == names[: len(desk.names)]
            assert len(desk.names) > count
            desk.settle(chance.choice(sorted(desk.held)), NO_COST)
            await turns()
        assert (ledger.in_flight, desk.gate.queues) == (0, {})

    run(test)


@running
async def test_a_waiter_cancelled_after_it_was_called_passes_the_call_on() -> None:
    ledger, one, other = two(Budget(tokens=100))
    desk = Desk()
    desk.ask(one, "a", 90)
    called = desk.ask(one, "b", 90)
    await turns()
    desk.ask(other, "c", 90)
    await turns()
    desk.settle("a", price(0))
    called.cancel()
    await turns()
    assert desk.admitted == [("a", 90), ("c", 80)]
    assert (ledger.in_flight, desk.gate.queues) == (1, {})


@running
async def test_waiters_learn_that_the_ledger_was_frozen() -> None:
    desk, admission = Desk(), alone(100)
    desk.ask(admission, "a", 90)
    await turns()
    waiting = [desk.ask(admission, name, 90) for name in "bcd"]
    await turns()
    with pytest.raises(LedgerViolation):
        desk.settle("a", price(500))
    await turns()
    assert [type(task.exception()) for task in waiting] == [LedgerViolation] * 3
