"""The ledgers of a question, as an operation finds them: room, a wait, less room than asked, or a refusal."""

import asyncio
import math
from contextlib import nullcontext
from dataclasses import dataclass, field

from reasoner.budget import MIN_USEFUL_TOKENS, NO_COST, Cost, Ledger, Reservation
from reasoner.errors import BudgetExhausted
from reasoner.execution.scheduler import Shares


class NoDeadline(nullcontext[None]):
    """A timeout that never comes."""

    def expired(self) -> bool:
        """False."""
        return False


@dataclass(slots=True, eq=False)
class LedgerClaim:
    """What asks the ledgers for room: for up to `max_tokens` tokens."""

    max_tokens: int
    granted: int = field(default=0, init=False)
    """The tokens that the ledgers have room for."""
    reservation: Reservation = field(init=False)
    actual: Cost = field(default=NO_COST, init=False)
    """What it has cost."""

    def price(self, _tokens: int) -> Cost:
        """The most that it costs with this number of tokens."""
        return NO_COST


class Admission:
    """The ledgers of a question: its own, and those above it, which it shares.

    An operation that does not fit in its worst case waits while work in flight may settle for less than it reserved.
    Then it is clamped to what is free, or refused where too little is left to be useful.
    """

    def __init__(self, ledger: Ledger, shares: Shares | None = None) -> None:
        self.ledger = ledger
        self.lineage = ledger.lineage
        self._shares = shares
        self.timed = ledger.remaining_seconds() < math.inf
        """Whether there is a deadline."""

    def short(self, ask: LedgerClaim) -> Ledger | None:
        """The ledger that is short for now; None where there is room for the tokens that it is `granted`.

        Raises:
            BudgetExhausted: less than the useful minimum fits, and no work in flight can change that.
        """
        ledger, price, max_tokens = self.ledger, ask.price, ask.max_tokens
        if self._shares:
            self._shares.take(price(min(max_tokens, MIN_USEFUL_TOKENS)))
            self._shares = None
        worst = price(max_tokens)
        short = ledger.shortfall(worst)
        if short and not short.may_ease:
            short = ledger.shortfall(price(min(max_tokens, MIN_USEFUL_TOKENS)))
            if short is None:
                max_tokens = ledger.fit(price, max_tokens=max_tokens)
                worst = price(max_tokens)
        if short is None:
            ask.granted, ask.reservation, ask.actual = (
                max_tokens,
                Reservation(worst),
                NO_COST,
            )
            return None
        if short.may_ease:
            return short.ledger
        raise short.refusal

    def take(self, ask: LedgerClaim) -> None:
        """Reserve its worst case."""
        self.ledger.hold(ask.reservation)

    def give(self, ask: LedgerClaim) -> None:
        """Book its actual cost. Raises as `Ledger.settle`."""
        self.ledger.settle(ask.reservation, ask.actual)

    def deadline(self) -> "asyncio.Timeout | NoDeadline":
        """A timeout at the nearest deadline."""
        return (
            asyncio.timeout(self.ledger.remaining_seconds())
            if self.timed
            else NoDeadline()
        )

    def too_late(self) -> BudgetExhausted:
        """The refusal to raise when the nearest deadline passed."""
        limit = round(self.ledger.remaining_seconds() + self.ledger.elapsed, 3)
        return BudgetExhausted("seconds", needed=0, free=0, limit=limit)

    def close(self) -> None:
        """No more operations follow: the question needs no share."""
        if self._shares:
            self._shares.take()
