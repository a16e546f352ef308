"""The budget of a day: until midnight, and over a restart of the server."""

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from reasoner.budget import Budget, Cost
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import DamagedLine, TraceError, UsageError
from reasoner.serving.config import Limits
from reasoner.serving.day import DayLedger
from reasoner.serving.errors import ApiError
from tests.serving.running import serving

EVENING = datetime(2026, 11, 26, 23, 58, tzinfo=UTC)
MORNING = datetime(2026, 11, 27, 0, 0, 1, tzinfo=UTC)


def test_the_day_ends_at_midnight_utc() -> None:
    now = datetime(2026, 11, 26, 23, 58, tzinfo=UTC)
    day = DayLedger(Budget(tokens=100), now=lambda: now)
    today = day.ledger
    held = today.reserve(Cost(generated_tokens=100))
    day.check()
    today.settle(held, Cost(generated_tokens=100))
    with pytest.raises(ApiError) as refused:
        day.check()
    assert (refused.value.status, refused.value.code) == (429, "insufficient_quota")
    assert refused.value.headers == {"Retry-After": "120", "x-should-retry": "false"}
    now = datetime(2026, 11, 27, 0, 0, 1, tzinfo=UTC)
    day.check()
    assert day.ledger is not today
    assert day.ledger is day.ledger


def test_the_seconds_of_a_day_are_not_bounded() -> None:
    with pytest.raises(UsageError, match="cannot bound seconds"):
        DayLedger(Budget(seconds=5))


def spend(day: DayLedger, tokens: int) -> None:
    """One request that costs so many tokens."""
    ledger = day.ledger.child()
    cost = Cost(generated_tokens=tokens, requests=1, samples=1)
    ledger.settle(ledger.reserve(cost), cost)
    day.record(ledger)


def test_a_restart_continues_with_what_the_day_has_spent(tmp_path: Path) -> None:
    record, now = tmp_path / "spent.jsonl", EVENING

    def started() -> DayLedger:
        return DayLedger(Budget(tokens=100), record=record, now=lambda: now)

    first = started()
    spend(first, 30)
    spend(first, 50)
    # Killed: it was not closed.
    second = started()
    assert (second.ledger.settled.tokens, second.ledger.settled.samples) == (80, 2)
    spend(second, 20)
    with pytest.raises(ApiError, match="is used up"):
        second.check()
    with pytest.raises(ApiError, match="is used up"):
        started().check()
    now = MORNING
    second.check()
    spend(second, 7)
    assert started().ledger.settled.tokens == 7
    now = EVENING
    assert started().ledger.settled.tokens == 0


def test_what_is_in_flight_at_midnight_is_not_recorded_for_the_next_day(tmp_path: Path) -> None:
    record, now = tmp_path / "spent.jsonl", EVENING
    day = DayLedger(Budget(tokens=100), record=record, now=lambda: now)
    ledger = day.ledger.child()
    cost = Cost(generated_tokens=60, requests=1, samples=1)
    held = ledger.reserve(cost)
    now = MORNING
    assert day.ledger.settled.tokens == 0
    ledger.settle(held, cost)
    day.record(ledger)
    assert DayLedger(Budget(tokens=100), record=record, now=lambda: now).ledger.settled.tokens == 0


def test_a_damaged_record_is_refused_and_a_torn_end_is_left_out(tmp_path: Path) -> None:
    record = tmp_path / "spent.jsonl"
    day = DayLedger(Budget(tokens=100), record=record, now=lambda: EVENING)
    for tokens in (10, 20):
        spend(day, tokens)
    day.close()
    whole = record.read_bytes()
    record.write_bytes(whole[:-9])
    torn = DayLedger(Budget(tokens=100), record=record, now=lambda: EVENING)
    assert torn.ledger.settled.tokens == 10
    spend(torn, 5)
    assert DayLedger(Budget(tokens=100), record=record, now=lambda: EVENING).ledger.settled.tokens == 15
    record.write_bytes(whole.replace(b":20,", b":21,"))
    with pytest.raises(DamagedLine, match=r"spent.jsonl:2 is damaged.*: name another file"):
        DayLedger(Budget(tokens=100), record=record, now=lambda: EVENING)
    record.write_text("my notes\n")
    with pytest.raises(TraceError, match="name another file"):
        DayLedger(Budget(tokens=100), record=record, now=lambda: EVENING)
    assert record.read_text() == "my notes\n"


def test_a_server_records_what_its_requests_cost(tmp_path: Path) -> None:
    limits = Limits(day_budget=Budget(samples=10), day_record=tmp_path / "spent.jsonl")
    body = {"model": "simulated@vote8", "messages": [{"role": "user", "content": "What is 3 + 4?"}]}
    drawn = []
    for _ in range(2):
        with serving(SimulatedEngine(), limits) as server:
            reply = httpx.post(f"{server.base_url}/chat/completions", json=body)
            drawn.append(reply.json()["reasoner"]["cost"]["samples"])
    assert drawn == [8, 2]
    with serving(SimulatedEngine(), limits) as server:
        assert httpx.post(f"{server.base_url}/chat/completions", json=body).status_code == 429


def test_a_record_needs_a_budget() -> None:
    with pytest.raises(UsageError, match="day_record has no effect without day_budget"):
        Limits(day_record=Path("spent.jsonl"))
