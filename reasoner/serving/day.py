"""The ledger of the day: what all requests together may spend, also over a restart of the server."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from reasoner.budget import NO_COST, Budget, Cost, Ledger, Prices
from reasoner.errors import UsageError
from reasoner.serving.errors import ApiError
from reasoner.serving.limits import refusal
from reasoner.trace.jsonl import JsonlWriter, read_lines

SMALLEST: Final = Cost(prompt_tokens=1, generated_tokens=1, requests=1, samples=1)
"""The least that a request costs."""
WHAT: Final = "record of the day"
"""What messages call the file."""


def _now() -> datetime:
    return datetime.now(UTC)


class Spent(BaseModel):
    """What one request cost, on the day on which it began."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    day: date
    cost: Cost


class DayLedger:
    """The ledger of the current day, in UTC. What is in flight at midnight is booked on the day on which it began.

    With a `record`, the path of a file, each request's cost is appended to it, and what it has of today is spent
    already. It keeps one day, and belongs to one server.

    Raises:
        UsageError: the budget bounds seconds.
        TraceError: the record cannot be read or written.
    """

    def __init__(
        self,
        budget: Budget | None = None,
        *,
        prices: Prices | None = None,
        record: Path | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        if budget is not None and budget.seconds is not None:
            raise UsageError(f"a budget for the day cannot bound seconds (got {budget}): bound tokens, samples or usd")
        self._budget = budget
        self._prices = prices
        self._now = now
        self._path = record
        self._day = now().date()
        self._ledger = Ledger(budget, prices=prices, spent=self._recorded())
        self._lines = self._open() if record else None

    @property
    def ledger(self) -> Ledger:
        """Today's."""
        today = self._now().date()
        if today != self._day:
            self._day, self._ledger = today, Ledger(self._budget, prices=self._prices)
            if self._lines:
                self._lines.close()
                self._lines = self._open(fresh=True)
        return self._ledger

    def record(self, ledger: Ledger) -> None:
        """Record what a request cost, whose ledger is a child of `ledger` as it was when the request began.

        Raises:
            TraceError: it cannot be written; this ledger has it.
        """
        if self._lines and ledger.parent is self._ledger and ledger.settled.requests:
            self._lines.write(Spent(day=self._day, cost=ledger.settled))

    def close(self) -> None:
        """Close the record. Raises `TraceError`: what was written last may be lost."""
        if self._lines:
            self._lines.close()
            self._lines = None

    def check(self) -> None:
        """Refuse a request where the day's budget is used up.

        Raises:
            ApiError: 429 with the code insufficient_quota.
        """
        if self.ledger.shortfall(SMALLEST) and not self.ledger.in_flight:
            raise self.exhausted()

    def exhausted(self) -> ApiError:
        """The error of a budget that is used up until midnight."""
        now = self._now()
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
        what = f"the server's budget of the day, {self._budget}, is used up"
        return refusal(what, (midnight - now).total_seconds(), "insufficient_quota")

    def _recorded(self) -> Cost:
        """What the record has of today."""
        if self._path is None or not self._path.exists():
            return NO_COST
        way_out = "name another file"
        lines = read_lines(
            self._path, Spent.model_validate_json, file=WHAT, record="cost of a request", version=1, way_out=way_out
        )
        return sum((line.cost for line in lines if line.day == self._day), NO_COST)

    def _open(self, *, fresh: bool = False) -> JsonlWriter:
        """The file, without the lines of other days if there is nothing of today."""
        assert self._path is not None
        if fresh or self._ledger.settled.taking(0) == NO_COST:
            self._path.unlink(missing_ok=True)
        return JsonlWriter.onto(self._path, what=WHAT)
