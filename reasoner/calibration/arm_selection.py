"""Which arm a question gets, from measurements on similar questions."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from reasoner.calibration.profile import MIN_QUESTIONS, ArmRow, Family
from reasoner.specs import Spec

LOSSES: Final[Mapping[str, float]] = MappingProxyType({"low": 0.01, "medium": 0.005, "high": 0.002})
"""By effort: the most accuracy that the chosen arm may lose against the vote of all samples."""
LEVEL: Final = 0.85
"""The one-sided confidence at which a loss is bounded."""
PRIOR: Final = 0.05
"""How many questions that an arm spoils, and as many that it repairs, are assumed in addition to those measured.

Without them 30 questions on which two arms agree would prove that they always do. With n of them, arms that agreed on
all are known to differ by at most 0.33 / n.
"""

Prefer = Literal["tokens", "latency"]
"""Which cost the chosen arm has least of: tokens, or sequential tokens."""
Arm = tuple[str, str, str]
"""Strategy, verifier, budget."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The arm to run, and why in one line with the numbers."""

    row: ArmRow
    why: str


class Estimate(NamedTuple):
    """A mean and the variance of its error."""

    mean: float
    variance: float

    def upper(self, level: float) -> float:
        """The upper confidence bound of the mean, one-sided."""
        return self.mean + NormalDist().inv_cdf(level) * math.sqrt(self.variance)

    def minus(self, other: "Estimate") -> "Estimate":
        """The difference; its variance is that of independent errors, so it is an upper bound for paired ones."""
        return Estimate(self.mean - other.mean, self.variance + other.variance)


def choose(family: Family, bin: int, *, loss: float, level: float = LEVEL, prefer: Prefer = "tokens") -> Choice:
    """The cheapest arm for a question of this bin that loses at most `loss` of accuracy, with confidence `level`.

    The cheapest takes the fewest tokens, or sequential tokens where `prefer` is "latency".

    `bin` is 0 to `family.bins.count - 1`. The loss is measured question by question against the vote of all samples, or
    against another strategy if one is right more often, at `level`. A smaller number of samples for every question is
    not considered, except a single one: a stop rule is as accurate for less, and each further candidate is one more
    that may be chosen by luck. The safe arm gives the answers of the full vote by construction, so it needs no proof:
    it is chosen where nothing cheaper has one.
    """
    standard, safe = family.standard(bin), family.safest(bin)
    if not standard.eligible:
        return Choice(
            safe, f"only {standard.questions} questions were measured, and a choice needs {MIN_QUESTIONS} or more"
        )
    losses = _losses(family, bin) | {standard.arm: Estimate(0.0, 0.0)}
    rows = [row for row in family.rows(bin) if row.eligible and not _fixed(row, family)]
    others = [row for row in rows if not _votes(row, family)]
    best = min(others, key=lambda row: losses[row.arm].upper(level), default=standard)
    reference = best if losses[best.arm].upper(level) < 0 else standard
    bounds = {row.arm: losses[row.arm].minus(losses[reference.arm]) for row in rows}
    bounds[reference.arm] = Estimate(0.0, 0.0)
    if reference is standard:
        bounds[safe.arm] = Estimate(0.0, 0.0)
    kept = [row for row in rows if bounds[row.arm].upper(level) <= loss]
    chosen = kept[0] if prefer == "tokens" else min(kept, key=_latency)
    against = "the vote of all samples" if reference is standard else f"{reference.strategy}, which is right more often"
    if chosen.arm in (reference.arm, safe.arm) and not bounds[chosen.arm].variance:
        better = "cheaper" if prefer == "tokens" else "faster"
        return Choice(
            chosen,
            f"nothing {better} is known to lose at most {100 * loss:g} points against {against} "
            f"({chosen.questions} questions)",
        )
    estimate = bounds[chosen.arm]
    return Choice(
        chosen,
        f"it loses {100 * estimate.mean:.2f} points against {against}, at most {100 * estimate.upper(level):.2f} with "
        f"{100 * level:g} % confidence, and {100 * loss:g} are allowed ({chosen.questions} questions)",
    )


def _latency(row: ArmRow) -> float:
    return math.inf if row.sequential_tokens is None else row.sequential_tokens


def _votes(row: ArmRow, family: Family) -> bool:
    """Whether an arm is a vote over samples like the baseline's."""
    own, baseline = (Spec.parse(spec).without("n", "stop") for spec in (row.strategy, family.baseline))
    return not row.verifier and own == baseline


def _fixed(row: ArmRow, family: Family) -> bool:
    """Whether an arm is a vote of a fixed number of samples, more than one and fewer than the baseline's."""
    without_rule = _votes(row, family) and "stop" not in Spec.parse(row.strategy).options
    return without_rule and row.samples > 1 and row.strategy != family.baseline


def _losses(family: Family, bin: int) -> dict[Arm, Estimate]:
    """What each arm of a bin loses against the baseline, shrunk toward its mean over bins."""
    arms = defaultdict[Arm, dict[int, Estimate]](dict)
    for row in family.arms:
        if row.eligible:
            loss, n = row.harmed - row.helped, row.questions
            spread = row.loss_squares - loss**2 / n + 2 * PRIOR
            arms[row.arm][row.bin] = Estimate(loss / n, max(0.0, spread) / n**2)
    return {
        arm: dict(zip(bins, shrink(list(bins.values())), strict=True))[bin] for arm, bins in arms.items() if bin in bins
    }


def shrunk(family: Family) -> Mapping[tuple[Arm, int], Estimate]:
    """The accuracy of each eligible (arm, bin), shrunk toward the arm's mean over bins by its noise."""
    arms = defaultdict[Arm, dict[int, Estimate]](dict)
    for row in family.arms:
        if row.eligible:
            arms[row.arm][row.bin] = _mean(row.right, row.squares, row.questions)
    return {
        (arm, index): estimate
        for arm, bins in arms.items()
        for index, estimate in zip(bins, shrink(list(bins.values())), strict=True)
    }


def shrink(raw: Sequence[Estimate]) -> list[Estimate]:
    """Estimates of similar quantities, each shrunk toward their mean (empirical Bayes).

    The variance between them is by DerSimonian and Laird's moments; the error of their mean is carried over.
    """
    if len(raw) < 2:
        return list(raw)
    mean, weights = _weighted_mean(raw, 0.0)
    total = math.fsum(weights)
    excess = math.fsum(w * (x.mean - mean) ** 2 for w, x in zip(weights, raw, strict=True)) - (len(raw) - 1)
    between = max(0.0, excess / (total - math.fsum(w * w for w in weights) / total))
    mean, weights = _weighted_mean(raw, between)
    error = 1 / math.fsum(weights)
    own = [between / (x.variance + between) for x in raw]
    return [
        Estimate(o * x.mean + (1 - o) * mean, o * x.variance + (1 - o) ** 2 * error)
        for o, x in zip(own, raw, strict=True)
    ]


def _weighted_mean(raw: Sequence[Estimate], between: float) -> tuple[float, list[float]]:
    """The mean of estimates that vary by `between` beyond their own errors, and their weights."""
    weights = [1 / (x.variance + between) for x in raw]
    return math.fsum(w * x.mean for w, x in zip(weights, raw, strict=True)) / math.fsum(weights), weights


def _mean(total: float, squares: float, n: int) -> Estimate:
    """The mean of n outcomes. Its variance counts one more right and one more wrong: a few equal ones prove little."""
    spread = squares + 1 - (total + 1) ** 2 / (n + 2)
    return Estimate(total / n, spread / (n + 1) / n)
