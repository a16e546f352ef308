"""Costs, budgets, and the ledger that keeps costs within budgets."""

import math
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

from reasoner.errors import (
    BudgetExhausted,
    LedgerViolation,
    UsageError,
    require,
    require_name,
    shown,
)
from reasoner.system.foreign import MAX_FLOPS, MAX_PER_REQUEST, fault_in
from reasoner.system.values import value

MIN_USEFUL_TOKENS = 16
"""A sample is not clamped below this many tokens, or its own `max_tokens` if smaller: it is refused instead."""


@value(frozen=True, slots=True)
class Cost:
    """The cost of an operation or a run; each token counts in one field only, and a thinking token in one more.

    `prompt_tokens` were computed, `cached_tokens` came from the prefix cache. `generated_tokens` belong to finished
    sequences, `cancelled_tokens` to cancelled ones; `thinking_tokens` are the part of both that is thinking.
    `verifier_tokens` are those of ratings by verifiers. `requests` counts calls to any
    model, `samples` sequences drawn for the strategy. `flops` is None where the model's geometry is unknown. `seconds`
    is the latency of an operation, and the elapsed time of a run.

    `sequential_tokens` are the latency in tokens: where the work ends on its question's virtual clock, which counts the
    generated tokens of the longest path that had to be waited for; prompts take none. Of a sum it is the greatest, so
    several questions have the longest one's.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    verifier_tokens: int = 0
    cancelled_tokens: int = 0
    requests: int = 0
    samples: int = 0
    flops: int | None = 0
    seconds: float = 0.0
    thinking_tokens: int = 0
    sequential_tokens: int = 0

    @property
    def tokens(self) -> int:
        """All computed tokens: uncached prompt, generated, verifier and cancelled."""
        return (
            self.prompt_tokens
            + self.generated_tokens
            + self.verifier_tokens
            + self.cancelled_tokens
        )

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.generated_tokens + other.generated_tokens,
            self.verifier_tokens + other.verifier_tokens,
            self.cancelled_tokens + other.cancelled_tokens,
            self.requests + other.requests,
            self.samples + other.samples,
            None
            if self.flops is None or other.flops is None
            else self.flops + other.flops,
            self.seconds + other.seconds,
            self.thinking_tokens + other.thinking_tokens,
            max(other.sequential_tokens, self.sequential_tokens),
        )

    def taking(self, seconds: float) -> "Cost":
        """The same cost with other `seconds`."""
        return Cost(
            self.prompt_tokens,
            self.cached_tokens,
            self.generated_tokens,
            self.verifier_tokens,
            self.cancelled_tokens,
            self.requests,
            self.samples,
            self.flops,
            seconds,
            self.thinking_tokens,
            self.sequential_tokens,
        )

    def until(self, end: int) -> "Cost":
        """The same cost of work that ends at `end` on its question's virtual clock."""
        return Cost(
            self.prompt_tokens,
            self.cached_tokens,
            self.generated_tokens,
            self.verifier_tokens,
            self.cancelled_tokens,
            self.requests,
            self.samples,
            self.flops,
            self.seconds,
            self.thinking_tokens,
            end,
        )

    def fault(self, *, limit: int = MAX_PER_REQUEST) -> str:
        """The first invalid count, as a verifier may report anything; empty if all are valid."""
        counts = [(name, getattr(self, name)) for name in COUNTS]
        thinking = min(
            self.thinking_tokens, self.generated_tokens + self.cancelled_tokens
        )
        kept = (
            ""
            if thinking == self.thinking_tokens
            else f"thinking_tokens={self.thinking_tokens} were not generated"
        )
        return (
            fault_in(counts, limit=limit)
            or fault_in([("flops", self.flops or 0)], limit=MAX_FLOPS)
            or kept
        )


COUNTS = tuple(
    each.name for each in fields(Cost) if each.name not in ("flops", "seconds")
)
"""The integer fields of a `Cost`."""


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per million tokens. Verifier tokens cost what generated ones do, unless `verifier` is given."""

    prompt: float
    generated: float
    cached: float | None = None
    verifier: float | None = None

    def __post_init__(self) -> None:
        for name in ("prompt", "generated", "cached", "verifier"):
            require(getattr(self, name), f"price {name}", at_least=0, below=math.inf)
        if self.cached is not None and self.cached > self.prompt:
            raise UsageError(
                f"price cached={self.cached} must be at most the price of prompt={self.prompt}"
            )

    @classmethod
    def parse(cls, text: str) -> "Prices":
        """Prices from `prompt=0.15,cached=0.08,generated=0.60`.

        Raises:
            UsageError: a kind is unknown, given twice or missing, or an amount is not a number.
        """
        kinds = [kind.name for kind in fields(cls)]
        amounts = _amounts_in(
            text, "price", "kind", kinds, "prompt=0.15,generated=0.60"
        )
        if missing := {"prompt", "generated"} - amounts.keys():
            raise UsageError(
                f"prices need {' and '.join(sorted(missing))} too, in US dollars per million tokens"
            )
        return cls(**amounts)

    def usd(self, cost: Cost) -> float:
        """The price of `cost` in US dollars."""
        cached = self.prompt if self.cached is None else self.cached
        verifier = self.generated if self.verifier is None else self.verifier
        return (
            self.prompt * cost.prompt_tokens
            + cached * cost.cached_tokens
            + self.generated * (cost.generated_tokens + cost.cancelled_tokens)
            + verifier * cost.verifier_tokens
        ) / 1e6


def cost_line(cost: Cost, prices: Prices | None = None) -> str:
    """The tokens by kind, the floating-point operations and the price."""
    parts = [f"{cost.prompt_tokens:,} prompt", f"{cost.generated_tokens:,} generated"]
    parts += [f"{cost.verifier_tokens:,} verifier"] if cost.verifier_tokens else []
    parts += [f"{cost.cancelled_tokens:,} cancelled"] if cost.cancelled_tokens else []
    thinking = (
        f", {cost.thinking_tokens:,} of them thinking" if cost.thinking_tokens else ""
    )
    computed = f"{cost.tokens:,} tokens computed ({' + '.join(parts)}{thinking})"
    text = f"{computed}, {cost.cached_tokens:,} prompt tokens from cache"
    if cost.sequential_tokens:
        text += f", {cost.sequential_tokens:,} sequential"
    if cost.flops:
        text += f", {cost.flops / 1e12:.3g} TFLOP"
    return text + (f", ${prices.usd(cost):.6f}" if prices else "")


def _amounts_in(
    text: str, what: str, word: str, known: Sequence[str], example: str
) -> dict[str, float]:
    """The amounts of `NAME=AMOUNT,...` by name, which may end in k, m, g, t or p; `word` is what a name is called.

    Raises:
        UsageError: a name is unknown or given twice, or its amount is not a number.
    """
    amounts: dict[str, float] = {}
    for part in text.split(","):
        name, equals, amount = (piece.strip() for piece in part.partition("="))
        if not equals:
            line = f"{what} {shown(part.strip())} has no {word}: write {word.upper()}=AMOUNT, as in {example}"
            raise UsageError(line)
        require_name("price" if what == "price" else f"{what} {word}", name, known)
        if name in amounts:
            raise UsageError(f"{what} {name} is given twice: keep one")
        match = _AMOUNT.fullmatch(amount)
        if not match:
            raise UsageError(
                f"{what} {name}={shown(amount)} is not a number: write one, as in {example}"
            )
        # An own context: another library may have lowered the process's precision.
        amounts[name] = float(
            Context(prec=60).multiply(Decimal(match[1]), _SUFFIX[match[2].lower()])
        )
    return amounts


class _Sum(Cost):
    """A sum of costs that grows in place; only its ledger has it."""

    __slots__ = ()

    def put(self: Any, new: Cost, old: Cost) -> None:
        """Add a cost in place of an old one."""
        self.prompt_tokens += new.prompt_tokens - old.prompt_tokens
        self.cached_tokens += new.cached_tokens - old.cached_tokens
        self.generated_tokens += new.generated_tokens - old.generated_tokens
        self.verifier_tokens += new.verifier_tokens - old.verifier_tokens
        self.cancelled_tokens += new.cancelled_tokens - old.cancelled_tokens
        self.requests += new.requests - old.requests
        self.samples += new.samples - old.samples
        known = (
            self.flops is not None and new.flops is not None and old.flops is not None
        )
        self.flops = self.flops + new.flops - old.flops if known else None
        self.seconds += new.seconds - old.seconds
        self.thinking_tokens += new.thinking_tokens - old.thinking_tokens


NO_COST = Cost()
SUMMED = ("tokens", "usd", "generated", "samples")
"""The units in which the work on several questions adds up; the others are limits of each."""
_SUFFIX = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
_AMOUNT = re.compile(
    r"([+-]?\d+(?:_\d+)*(?:\.\d*)?(?:e[+-]?\d{1,3})?)\s*([kmgtp]?)",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits on a cost; None leaves a unit unbounded.

    `tokens` bounds `Cost.tokens`; `generated` bounds generated and cancelled tokens; `samples` bounds sequences drawn;
    `usd` needs a price table. `seconds` is a deadline: work in flight is cancelled when
    it passes, so the overshoot is at most one engine step. All other limits are never exceeded.
    """

    tokens: int | None = None
    generated: int | None = None
    samples: int | None = None
    seconds: float | None = None
    usd: float | None = None

    def __post_init__(self) -> None:
        for unit in UNITS:
            require(getattr(self, unit), f"budget {unit}", at_least=0)

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """A budget from `tokens=4000,seconds=30`, or `4k` for tokens alone; amounts may end in k, m, g, t or p.

        Raises:
            UsageError: an unknown unit, an amount that is not a positive number, or a unit given twice.
        """
        text = text if "=" in text or not text[:1].isdigit() else f"tokens={text}"
        limits = _amounts_in(text, "budget", "unit", UNITS, "tokens=4000,seconds=30")
        counts: dict[str, int] = {}
        for unit, amount in limits.items():
            if not 0 < amount < math.inf:
                raise UsageError(
                    f"budget {unit}={amount:g} must be a positive number: raise it, or leave {unit} out"
                )
            if unit in ("tokens", "generated", "samples"):
                counts[unit] = int(amount)
                if amount != counts[unit]:
                    raise UsageError(f"budget {unit}={amount:g} must be a whole number")
        return cls(
            **counts,
            seconds=limits.get("seconds"),
            usd=limits.get("usd"),
        )

    def part_of(self, count: int, part: int) -> "Budget":
        """The limits of one of `count` equal parts, which are numbered from 1.

        The parts of a limit never exceed it: counts add up to it exactly, the first parts get the rest of the division,
        and other amounts are rounded down. Seconds are not divided, as work side by side does not add up in them.
        """
        shares: dict[str, Any] = {}
        for unit in SUMMED:
            limit = getattr(self, unit)
            if limit is not None and unit == "usd":
                shares[unit] = math.nextafter(limit / count, 0)
            elif limit is not None:
                shares[unit] = limit // count + (part <= limit % count)
        return replace(self, **shares)

    def divided(self, count: int) -> "Budget":
        """The least of `count` equal parts, with at least one sample and without a deadline."""
        least = self.part_of(count, count)
        samples = None if least.samples is None else max(1, least.samples)
        return replace(least, samples=samples, seconds=None)

    def __str__(self) -> str:
        return ",".join(
            f"{unit}={limit:.15g}"
            for unit in UNITS
            if (limit := getattr(self, unit)) is not None
        )


UNITS = tuple(each.name for each in fields(Budget))
NO_BUDGET = Budget()


@lru_cache(maxsize=256)
def _limits_of(budget: Budget) -> tuple[tuple[str, float, float], ...]:
    """Each bounded unit, its limit, and the part of it that may be reserved."""
    limits = ((unit, getattr(budget, unit)) for unit in UNITS)
    return tuple((unit, limit, limit) for unit, limit in limits if limit is not None)


@dataclass(slots=True, eq=False)
class Reservation:
    """The worst case of an operation, held until `Ledger.settle`."""

    worst: Cost
    open: bool = True


@dataclass(frozen=True, slots=True)
class Shortfall:
    """The ledger that refuses a reservation, and the refusal with its unit."""

    ledger: "Ledger"
    refusal: BudgetExhausted

    @property
    def may_ease(self) -> bool:
        """Whether settling work in flight may make room."""
        return self.ledger.in_flight > 0 and self.refusal.unit in SUMMED


class Ledger:
    """The books of one budget: reserve the worst case, run the operation, settle its actual cost.

    Ledgers nest: a reservation must fit this ledger and every one above it. Invariant, in any order of events:
    `settled + reserved <= budget` in every bounded unit of every ledger, hence no overshoot. A ledger does not
    count sequential tokens, as those of work side by side do not add up.

    `spent` is the cost before the ledger opened. It is booked here without a reservation, and not in the ledgers above;
    if it exceeds the budget, nothing is admitted.
    """

    def __init__(
        self,
        budget: Budget | None = None,
        *,
        parent: "Ledger | None" = None,
        prices: Prices | None = None,
        clock: Callable[[], float] = time.monotonic,
        elapsed: float = 0.0,
        spent: Cost = NO_COST,
    ) -> None:
        self.budget = budget or NO_BUDGET
        # Without itself: a circle of references would keep it long after its question.
        self._above: tuple[Ledger, ...] = parent.lineage if parent else ()
        self.prices: Prices | None = prices or (parent.prices if parent else None)
        if self.budget.usd is not None and self.prices is None:
            raise UsageError(
                "a usd budget needs prices: give dollars per million tokens, as in prompt=0.15,generated=0.60"
            )
        self._clock = clock
        self._opened = clock() - elapsed
        self._limits = _limits_of(budget) if budget else ()
        self._settled, self._held = _Sum(), _Sum()
        self._settled.put(spent, NO_COST)
        self._held.put(spent, NO_COST)
        self._broken: LedgerViolation | None = None
        self.in_flight = 0

    def child(
        self,
        budget: Budget | None = None,
        *,
        elapsed: float = 0.0,
        spent: Cost = NO_COST,
    ) -> "Ledger":
        """A ledger within this one, which also admits whatever the child admits.

        `elapsed` seconds of it have passed, and `spent` of it, which this ledger has already booked.
        """
        return Ledger(
            budget, parent=self, clock=self._clock, elapsed=elapsed, spent=spent
        )

    @property
    def settled(self) -> Cost:
        """The cost so far, with the seconds since this ledger opened."""
        return self._settled.taking(self.elapsed)

    @property
    def reserved(self) -> Cost:
        """The worst case of all work in flight."""
        rest = _Sum()
        rest.put(self._held, self._settled)
        return rest.taking(0.0)

    @property
    def elapsed(self) -> float:
        """Seconds since this ledger opened."""
        return self._clock() - self._opened

    def remaining_seconds(self) -> float:
        """Seconds until the nearest deadline here or above; infinite without one."""
        left = math.inf
        for ledger in (self, *self._above):
            if ledger.budget.seconds is not None:
                left = min(left, ledger.budget.seconds - ledger.elapsed)
        return left

    @property
    def lineage(self) -> tuple["Ledger", ...]:
        """This ledger, then each one above it."""
        return self, *self._above

    def measure(self, unit: str, cost: Cost) -> float:
        """A cost in `unit`, which may be any but seconds."""
        if unit == "tokens":
            return cost.tokens
        if unit == "generated":
            return cost.generated_tokens + cost.cancelled_tokens
        if unit == "samples":
            return cost.samples
        assert self.prices is not None
        return self.prices.usd(cost)

    def free(self, unit: str) -> float:
        """What may still be reserved here in `unit`, which may be any but seconds; infinite where it is unbounded."""
        usable = next(
            (usable for name, _, usable in self._limits if name == unit), math.inf
        )
        return (
            math.inf if usable == math.inf else usable - self.measure(unit, self._held)
        )

    def shortfall(self, worst: Cost) -> Shortfall | None:
        """The first ledger of the lineage that would refuse `worst`; None if all would admit it."""
        for ledger in (self, *self._above):
            if ledger._broken:
                raise ledger._broken
            for unit, limit, usable in ledger._limits:
                if unit == "seconds":
                    fits, needed, free = (
                        ledger.elapsed < limit,
                        0.0,
                        limit - ledger.elapsed,
                    )
                else:
                    if ledger.measure(unit, ledger._held + worst) <= usable:
                        continue
                    fits, needed, free = (
                        False,
                        ledger.measure(unit, worst),
                        usable - ledger.measure(unit, ledger._held),
                    )
                if not fits:
                    return Shortfall(
                        ledger,
                        BudgetExhausted(unit, needed=needed, free=free, limit=limit),
                    )
        return None

    def reserve(self, worst: Cost) -> Reservation:
        """Hold `worst` here and in every ledger above, or raise `BudgetExhausted` and hold nothing."""
        if short := self.shortfall(worst):
            raise short.refusal
        return self.hold(Reservation(worst))

    def hold(self, reservation: Reservation) -> Reservation:
        """Hold a reservation that has no `shortfall`."""
        for ledger in (self, *self._above):
            ledger._held.put(reservation.worst, NO_COST)
            ledger.in_flight += 1
        return reservation

    def fit(self, price: Callable[[int], Cost], *, max_tokens: int) -> int:
        """The largest number of tokens up to `max_tokens` at a `price` that fits, at least the useful minimum.

        Raises:
            BudgetExhausted: the useful minimum does not fit.
        """
        if self.shortfall(price(max_tokens)) is None:
            return max_tokens
        min_tokens = min(max_tokens, MIN_USEFUL_TOKENS)
        if short := self.shortfall(price(min_tokens)):
            raise short.refusal
        # `min_tokens` fits and `max_tokens` does not: the first number in between that does not fit ends the range.
        return min_tokens + bisect_left(
            range(min_tokens + 1, max_tokens),
            True,
            key=lambda n: self.shortfall(price(n)) is not None,
        )

    def keep(self, share: Budget, times: int) -> None:
        """Exclude `times` shares from reservations, replacing what was excluded before."""
        limits = _limits_of(self.budget)
        self._limits = tuple(
            (unit, limit, limit - (getattr(share, unit) or 0) * times)
            for unit, limit, _ in limits
        )

    def settle(self, reservation: Reservation, actual: Cost) -> None:
        """Release a reservation and book the actual cost.

        Raises:
            LedgerViolation: the cost exceeds the reservation in a bounded unit. It is booked; only this ledger closes.
        """
        if not reservation.open:
            raise ValueError("this reservation was already settled")
        reservation.open = False
        violation: LedgerViolation | None = None
        for ledger in (self, *self._above):
            ledger.in_flight -= 1
            ledger._held.put(actual, reservation.worst)
            ledger._settled.put(actual, NO_COST)
            for unit, _, _ in ledger._limits:
                if unit == "seconds":
                    continue
                used, held = (
                    ledger.measure(unit, actual),
                    ledger.measure(unit, reservation.worst),
                )
                if used > held:
                    violation = LedgerViolation(
                        f"an operation used {used:g} {unit} where {held:g} were reserved"
                    )
        if violation:
            self._broken = violation
            raise violation
