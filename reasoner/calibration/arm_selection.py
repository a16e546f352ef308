"""Which arm a question gets, from measurements on similar questions."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Final, Literal, NamedTuple

from reasoner.calibration.profile import ArmRow, Family
from reasoner.calibration.promises import LEVEL
from reasoner.specs import Spec
from reasoner.stopping.rules import sample_price
from reasoner.system.printing import counted

PRIOR_QUESTIONS: Final = 30
"""How many questions weigh as much as what an arm is expected to lose before any is measured."""
LOST_BY_ONE: Final = 0.036
"""The expected loss of one sample before any question is measured; at the cost of s samples it is one s-th of that."""
CAUTION: Final = 0.85
"""The one-sided confidence at which another strategy than a vote is compared with votes."""
PRIOR: Final = 0.05
"""How many questions that an arm spoils, and as many that it repairs, are assumed in addition to those measured."""

Prefer = Literal["tokens", "latency"]
"""Which cost the chosen arm has least of: tokens, or sequential tokens."""
Arm = tuple[str, str, str]
"""Strategy, verifier, budget."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The arm to run, and why in one line with the numbers."""

    row: ArmRow
    why: str
    promised: bool
    """Whether it loses at most the risk, with confidence `LEVEL`."""


class Estimate(NamedTuple):
    """A mean and the variance of its error."""

    mean: float
    variance: float

    def upper(self, level: float) -> float:
        """The upper confidence bound of the mean, one-sided."""
        return self.mean + NormalDist().inv_cdf(level) * math.sqrt(self.variance)


def promised(
    family: Family, bin: int, risk: float, prefer: Prefer = "tokens"
) -> Choice:
    """The cheapest vote that loses at most `risk`, 0 to 1, with confidence `LEVEL` in all bins together.

    `bin` is 0 to `family.bins.count - 1`. The loss is against the vote of all samples in the same order. There always
    is one: some stop rules lose next to nothing on any question, whatever was measured.
    """
    kept = _promised(family, bin, risk, prefer)
    row = min(kept, key=lambda row: _cost(row, prefer))
    return Choice(
        row,
        f"{_promise(row, risk)} ({counted(row.questions, 'question')})",
        promised=True,
    )


def worthwhile(
    family: Family, bin: int, risk: float, prefer: Prefer = "tokens"
) -> Choice:
    """The arm with the least expected loss and price together, of those that are expected to lose at most `risk`.

    `bin` is 0 to `family.bins.count - 1`. The price of a sample is `sample_price(risk)`. The loss is promised to be at
    most `risk` only where the choice says so. An arm is expected to lose what it lost, with `PRIOR_QUESTIONS` more
    questions on which it loses `LOST_BY_ONE` over its cost in samples. No vote is expected to gain against the vote of
    all samples. Another strategy counts with the upper bound of its loss, at the confidence `CAUTION`.
    """
    kept = _promised(family, bin, risk, prefer)
    losses = _losses(family, bin)
    price = sample_price(risk)
    row = min(
        (row for row in family.rows(bin) if losses.get(row.arm, math.inf) <= risk),
        key=lambda row: (
            losses[row.arm] + price * _cost(row, prefer) / family.sample_tokens
        ),
    )
    if row in kept:
        promise = _promise(row, risk)
    elif not _votes(row, family):
        promise = "nothing is promised of a strategy that is not a vote"
    elif (more := row.needed(risk)) is None:
        promise = (
            f"nothing is promised: it seems to lose more than {100 * risk:g} points"
        )
    else:
        promise = f"nothing is promised: at most {100 * risk:g} points would take about {more:,} questions"
    why = (
        f"it loses about {100 * losses[row.arm]:.2f} points against the vote of all samples, and one more "
        f"sample must gain {100 * price:g}; {promise} ({counted(row.questions, 'question')})"
    )
    return Choice(row, why, promised=row in kept)


def bolder(family: Family, bin: int, risk: float) -> tuple[ArmRow, int] | None:
    """The first vote that is not promised yet, and about how many questions would promise it; None without one."""
    kept = _promised(family, bin, risk)
    after = (row for row in _ladder(family, bin) if row not in kept)
    alpha = (1 - LEVEL) / family.bins.count
    return next(
        (
            (row, count)
            for row in after
            if (count := row.needed(risk, 1 - alpha)) is not None
        ),
        None,
    )


def _promised(
    family: Family, bin: int, risk: float, prefer: Prefer = "tokens"
) -> Sequence[ArmRow]:
    """The votes that lose at most `risk`, from the safest on; bins share the chance that a promise is broken."""
    kept = []
    for row in _ladder(family, bin, prefer):
        if row.p_value(risk) > (1 - LEVEL) / family.bins.count:
            break
        kept.append(row)
    return kept


def _ladder(family: Family, bin: int, prefer: Prefer = "tokens") -> Iterator[ArmRow]:
    """The votes in the order in which they are tested, safest first: it must not depend on what they lost.

    By the bound of their rule; where bounds are equal, those that may draw all samples first; then those that count by
    length first for latency and last for tokens; then as the family lists them.
    """
    votes = [
        row
        for row in family.arms
        if row.bin == bin and _votes(row, family) and not _fixed(row, family)
    ]
    yield from sorted(
        votes,
        key=lambda row: (
            row.most,
            not _may_draw_all(row, family),
            _by_length(row) != (prefer == "latency"),
        ),
    )


def _promise(row: ArmRow, risk: float) -> str:
    if not row.most:
        return "it gives the answer of the vote of all samples"
    bound = f"at most {100 * risk:g} points against the vote of all samples"
    return (
        f"it loses {bound} by its rule"
        if row.most <= risk
        else f"it loses {bound}, with 95 % confidence"
    )


def _may_draw_all(row: ArmRow, family: Family) -> bool:
    n, most = (
        _parsed(spec).options.get("n") for spec in (row.strategy, family.baseline)
    )
    return n == most


def _by_length(row: ArmRow) -> bool:
    options = _parsed(row.strategy).options
    return "stop" in options and options.get("order", "length") == "length"


def _cost(row: ArmRow, prefer: Prefer) -> float:
    if prefer == "tokens":
        return row.tokens
    return math.inf if row.sequential_tokens is None else row.sequential_tokens


_parsed = cache(Spec.parse)
_kind = cache(lambda spec: _parsed(spec).without("n", "stop", "order", "window"))


def _votes(row: ArmRow, family: Family) -> bool:
    """Whether an arm is a vote over samples like the baseline's."""
    return (
        not row.verifier
        and not row.budget
        and _kind(row.strategy) == _kind(family.baseline)
    )


def _fixed(row: ArmRow, family: Family) -> bool:
    """Whether an arm is a vote of a fixed number of samples, more than one and fewer than the baseline's."""
    without_rule = "stop" not in _parsed(row.strategy).options
    return (
        _votes(row, family)
        and without_rule
        and row.samples > 1
        and row.strategy != family.baseline
    )


def _losses(family: Family, bin: int) -> Mapping[Arm, float]:
    """What each arm that may be chosen is expected to lose on questions of a bin, as `worthwhile` takes it."""
    votes = {row.arm for row in _ladder(family, bin)}
    arms = defaultdict[Arm, dict[int, Estimate]](dict)
    for row in family.arms:
        if not _fixed(row, family):
            arms[row.arm][row.bin] = _loss(row, _expected_loss(row, family))
    estimates = {
        arm: dict(zip(bins, shrink(list(bins.values())), strict=True))[bin]
        for arm, bins in arms.items()
        if bin in bins
    }
    return {
        arm: max(0.0, x.mean) if arm in votes else x.upper(CAUTION)
        for arm, x in estimates.items()
    }


def _loss(row: ArmRow, each: float) -> Estimate:
    """The mean loss of an arm on its questions and on `PRIOR_QUESTIONS` others, which lose `each`."""
    count = row.questions + PRIOR_QUESTIONS
    mean = (row.loss * row.questions + PRIOR_QUESTIONS * each) / count
    squares = math.fsum(loss**2 * n for loss, n in row.losses)
    squares += PRIOR_QUESTIONS * each**2
    spread = max(0.0, squares - mean**2 * count) + 2 * PRIOR
    return Estimate(mean, spread / count**2)


def _expected_loss(row: ArmRow, family: Family) -> float:
    """What an arm is expected to lose before any question is measured."""
    return min(
        row.most,
        LOST_BY_ONE * family.sample_tokens / max(row.tokens, family.sample_tokens),
    )


def shrink(raw: Sequence[Estimate]) -> list[Estimate]:
    """Estimates of similar quantities, each shrunk toward their mean (empirical Bayes).

    The variance between them is by DerSimonian and Laird's moments; the error of their mean is carried over.
    """
    if len(raw) < 2:
        return list(raw)
    mean, weights = _weighted_mean(raw, 0.0)
    total = math.fsum(weights)
    excess = math.fsum(
        w * (x.mean - mean) ** 2 for w, x in zip(weights, raw, strict=True)
    ) - (len(raw) - 1)
    between = max(0.0, excess / (total - math.fsum(w * w for w in weights) / total))
    mean, weights = _weighted_mean(raw, between)
    error = 1 / math.fsum(weights)
    own = [between / (x.variance + between) for x in raw]
    return [
        Estimate(o * x.mean + (1 - o) * mean, o * x.variance + (1 - o) ** 2 * error)
        for o, x in zip(own, raw, strict=True)
    ]


def _weighted_mean(
    raw: Sequence[Estimate], between: float
) -> tuple[float, list[float]]:
    """The mean of estimates that vary by `between` beyond their own errors, and their weights."""
    weights = [1 / (x.variance + between) for x in raw]
    return math.fsum(w * x.mean for w, x in zip(weights, raw, strict=True)) / math.fsum(
        weights
    ), weights
