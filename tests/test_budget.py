"""The ledger: nothing is ever spent above a budget, and everything spent is booked."""

import math
from dataclasses import replace
from decimal import localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.budget import MIN_USEFUL_TOKENS, UNITS, Budget, Cost, Ledger, Prices
from reasoner.errors import BudgetExhausted, LedgerViolation, UsageError

PRICES = Prices(prompt=1.0, generated=4.0, cached=0.5, verifier=2.0)


def call(tokens: int, *, prompt: int = 100) -> Cost:
    return Cost(prompt_tokens=prompt, generated_tokens=tokens, requests=1, samples=1)


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


# What was spent


def test_costs_add_field_by_field_and_unknown_flops_stay_unknown() -> None:
    one = Cost(1, 2, 3, 4, 5, 6, 7, 8, 9.0)
    assert one + one == Cost(2, 4, 6, 8, 10, 12, 14, 16, 18.0)
    assert (one + Cost(flops=None)).flops is None
    assert one.taking(1.5) == replace(one, seconds=1.5)


def test_thinking_is_a_part_of_what_was_generated_and_costs_nothing_more() -> None:
    cost = Cost(
        prompt_tokens=5,
        generated_tokens=30,
        cancelled_tokens=10,
        samples=2,
        thinking_tokens=33,
    )
    plain = replace(cost, thinking_tokens=0)
    assert (cost.tokens, PRICES.usd(cost)) == (plain.tokens, PRICES.usd(plain))
    assert cost + cost == Cost(10, 0, 60, 0, 20, 0, 4, thinking_tokens=66)
    assert cost.taking(3.0).thinking_tokens == 33
    assert cost.fault() == ""
    assert (
        "thinking_tokens=41 were not generated"
        in replace(cost, thinking_tokens=41).fault()
    )
    assert "thinking_tokens" in replace(cost, thinking_tokens=-1).fault()
    ledger = Ledger(Budget(tokens=45))
    ledger.settle(ledger.reserve(Cost(prompt_tokens=5, generated_tokens=40)), cost)
    assert ledger.settled.thinking_tokens == 33


def test_dollars_price_each_kind_of_token_apart() -> None:
    cost = Cost(
        prompt_tokens=10**6,
        cached_tokens=2 * 10**6,
        generated_tokens=3 * 10**6,
        verifier_tokens=4 * 10**6,
        cancelled_tokens=5 * 10**6,
    )
    assert PRICES.usd(cost) == 1 * 1 + 2 * 0.5 + 3 * 4 + 4 * 2 + 5 * 4
    assert Prices(prompt=1, generated=4).usd(cost) == 1 + 2 + 12 + 16 + 20


@pytest.mark.parametrize(
    ("prices", "complaint"),
    [
        ({"prompt": -1.0, "generated": 1.0}, "price prompt must be at least 0"),
        ({"prompt": 1.0, "generated": math.nan}, "price generated must be at least 0"),
        (
            {"prompt": 1.0, "generated": 1.0, "cached": 1.5},
            "cached=1.5 must be at most the price of prompt=1.0",
        ),
    ],
)
def test_invalid_prices_are_refused(prices: dict[str, float], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Prices(**prices)


# What may be spent


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("tokens=4000", Budget(tokens=4000)),
        (" tokens = 4k , seconds = 0.5 ", Budget(tokens=4000, seconds=0.5)),
        ("generated=1_000,samples=8", Budget(generated=1000, samples=8)),
        ("tokens=1.5t,usd=0.01", Budget(tokens=15 * 10**11, usd=0.01)),
        ("tokens=0.5k", Budget(tokens=500)),
    ],
)
def test_a_budget_is_read_from_text(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "budget '' has no unit"),
        ("token=4000", "did you mean 'tokens'"),
        ("tokens=0", "tokens=0 must be a positive number"),
        ("tokens=1.5", "tokens=1.5 must be a whole number"),
        ("tokens=1,tokens=2", "tokens is given twice"),
    ],
)
def test_an_invalid_budget_says_why(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Budget.parse(text)


@given(
    st.integers(1, 10**14),
    st.integers(1, 10**6),
    st.integers(1, 10**5).map(lambda n: n / 100),
    st.integers(1, 10**9).map(lambda n: n / 1e4),
)
def test_a_printed_budget_reads_back(
    tokens: int, samples: int, seconds: float, usd: float
) -> None:
    budget = Budget(tokens=tokens, samples=samples, seconds=seconds, usd=usd)
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("limit", [-1, math.nan])
def test_a_negative_limit_is_refused(unit: str, limit: float) -> None:
    with pytest.raises(UsageError, match=f"budget {unit} must be at least 0"):
        Budget(**{unit: limit})  # type: ignore[arg-type]


# The ledger


FITS = {
    "tokens": (
        Budget(tokens=40),
        Cost(
            prompt_tokens=10,
            generated_tokens=10,
            verifier_tokens=10,
            cancelled_tokens=10,
        ),
    ),
    "generated": (
        Budget(generated=20),
        Cost(prompt_tokens=999, generated_tokens=10, cancelled_tokens=10),
    ),
    "samples": (Budget(samples=1), Cost(samples=1)),
    "usd": (
        Budget(usd=10.0),
        Cost(prompt_tokens=2 * 10**6, generated_tokens=2 * 10**6),
    ),
}
ONE_MORE = {
    "tokens": Cost(verifier_tokens=1),
    "generated": Cost(cancelled_tokens=1),
    "samples": Cost(samples=1),
    "usd": Cost(cached_tokens=1),
}


@pytest.mark.parametrize("unit", FITS)
def test_each_unit_admits_exactly_its_limit(unit: str) -> None:
    budget, cost = FITS[unit]
    ledger = Ledger(budget, prices=PRICES)
    held = ledger.reserve(cost)
    for state in ("reserved", "settled"):
        with pytest.raises(BudgetExhausted) as caught:
            ledger.reserve(ONE_MORE[unit])
        assert caught.value.unit == unit, state
        assert caught.value.free == pytest.approx(0)
        if held.open:
            ledger.settle(held, cost)
    assert ledger.settled.taking(0) == cost


def test_seconds_are_a_deadline() -> None:
    clock = Clock()
    ledger = Ledger(Budget(seconds=2), clock=clock)
    held = ledger.reserve(call(1))
    clock.now += 1.5
    assert (ledger.elapsed, ledger.remaining_seconds()) == (1.5, 0.5)
    clock.now += 0.5
    with pytest.raises(BudgetExhausted, match="seconds=2"):
        ledger.reserve(Cost())
    ledger.settle(held, call(1))
    assert ledger.settled.seconds == 2.0
    with pytest.raises(BudgetExhausted):
        Ledger(Budget(seconds=0), clock=clock).reserve(Cost())


def test_the_nearest_deadline_of_the_lineage_counts() -> None:
    clock = Clock()
    run = Ledger(Budget(seconds=5), clock=clock)
    clock.now += 2
    question = run.child(Budget(seconds=9))
    assert question.remaining_seconds() == 3
    assert run.child(Budget(seconds=1)).remaining_seconds() == 1
    assert Ledger(clock=clock).remaining_seconds() == math.inf


def test_the_parent_refuses_what_a_child_would_admit_and_nothing_is_held() -> None:
    run = Ledger(Budget(tokens=300))
    one, two = run.child(Budget(tokens=250)), run.child(Budget(tokens=250))
    held = one.reserve(call(100))
    with pytest.raises(BudgetExhausted) as caught:
        two.reserve(call(101))
    assert caught.value.limit == 300
    assert two.reserved == Cost()
    assert (two.in_flight, one.in_flight, run.in_flight) == (0, 1, 1)
    with pytest.raises(BudgetExhausted) as caught:
        one.reserve(call(0, prompt=51))
    assert caught.value.limit == 250
    one.settle(held, call(7))
    assert run.settled.tokens == one.settled.tokens == 107
    assert two.settled.tokens == 0
    two.reserve(call(93))


def test_a_reservation_is_settled_once() -> None:
    ledger = Ledger(Budget(tokens=500))
    held = ledger.reserve(call(100))
    ledger.settle(held, call(50))
    with pytest.raises(ValueError, match="already settled"):
        ledger.settle(held, call(50))
    assert ledger.settled.tokens == 150


def test_a_violation_is_booked_and_closes_the_ledgers_with_that_unit() -> None:
    run = Ledger(Budget(samples=9))
    frozen, free = run.child(Budget(tokens=1000)), run.child(Budget(tokens=1000))
    with pytest.raises(
        LedgerViolation, match="used 201 tokens where 200 were reserved"
    ):
        frozen.settle(frozen.reserve(call(100)), call(101))
    assert frozen.settled.tokens == run.settled.tokens == 201
    assert (frozen.reserved, frozen.in_flight) == (Cost(), 0)
    with pytest.raises(LedgerViolation):
        frozen.reserve(Cost())
    with pytest.raises(LedgerViolation):
        frozen.child().reserve(Cost())
    free.reserve(call(100))


def test_budgets_that_cannot_be_counted_are_refused() -> None:
    with pytest.raises(UsageError, match="usd budget needs prices"):
        Ledger(Budget(usd=1.0))
    with pytest.raises(UsageError, match="usd budget needs prices"):
        Ledger().child(Budget(usd=1.0))


@given(st.integers(0, 400), st.integers(0, 120), st.integers(1, 300))
def test_fit_grants_the_most_that_fits(limit: int, prompt: int, maximum: int) -> None:
    ledger = Ledger(Budget(tokens=limit))

    def price(tokens: int) -> Cost:
        return call(tokens, prompt=prompt)

    if limit - prompt < min(maximum, MIN_USEFUL_TOKENS):
        with pytest.raises(BudgetExhausted):
            ledger.fit(price, max_tokens=maximum)
    else:
        assert ledger.fit(price, max_tokens=maximum) == min(maximum, limit - prompt)


def test_amounts_are_exact_whatever_precision_decimals_have() -> None:
    with localcontext() as context:
        context.prec = 3
        assert Budget.parse("tokens=1000001,usd=1.234567") == Budget(
            tokens=1_000_001, usd=1.234567
        )


def test_earlier_costs_are_booked_without_a_reservation() -> None:
    run = Ledger(Budget(tokens=9000), spent=call(5000))
    question = run.child(Budget(tokens=2000), spent=call(5000))
    assert (question.settled.tokens, run.settled.tokens) == (5100, 5100)
    with pytest.raises(BudgetExhausted, match="needs 101 but 0 are left"):
        question.reserve(call(1))
    run.child(Budget(tokens=2000)).reserve(call(1))


def test_kept_shares_cannot_be_reserved() -> None:
    ledger = Ledger(Budget(tokens=1000, samples=9))
    ledger.keep(Budget(tokens=100, samples=1), 8)
    with pytest.raises(
        BudgetExhausted,
        match="tokens=1000: the next operation needs 201 but 200 are left",
    ):
        ledger.reserve(call(101))
    ledger.reserve(call(100))
    with pytest.raises(
        BudgetExhausted, match="samples=9: the next operation needs 1 but 0 are left"
    ):
        ledger.reserve(Cost(samples=1))
    ledger.keep(Budget(), 0)
    ledger.reserve(call(100))
