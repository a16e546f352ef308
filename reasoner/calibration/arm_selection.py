"""Which arm a question gets, from measurements on similar questions."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

from reasoner.calibration.profile import MIN_QUESTIONS, ArmRow, Family
from reasoner.calibration.risk import least_questions, upper_bound, walk
from reasoner.specs import Spec

LEVEL: Final = 0.75
"""The one-sided confidence at which a gain counts.

With 100 questions, at a price of 0.002, voting that gains 5 points is chosen in 98 % of calibrations and voting that
gains nothing in 5 %; at 0.9 it is 78 and 2 %: a stricter bound needs more questions than calibrations have.
"""
ALONE: Final = "it is the only arm measured on enough questions"
BETTER: Final = "it is right more often than voting"
USELESS: Final = "voting itself is not worth its cost"
EPSILON: Final = 0.02
ALPHA: Final = 0.05

Arm = tuple[str, str, str]
"""Strategy, verifier, budget."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The arm to run, and why in one line with the numbers; no row where the calibration supports none."""

    row: ArmRow | None
    why: str


class Estimate(NamedTuple):
    """A mean and the variance of its error."""

    mean: float
    variance: float

    def lower(self, level: float) -> float:
        """The lower confidence bound of the mean, one-sided."""
        return self.mean - NormalDist().inv_cdf(level) * math.sqrt(self.variance)


def choose(
    family: Family, bin: int, *, price: float, epsilon: float = EPSILON, alpha: float = ALPHA, level: float = LEVEL
) -> Choice:
    """The arm for a question of this bin, 0 to `family.bins.count - 1`.

    An arm pays when it gains on the cheapest one, at `level` and after `price` for each mean sample that it costs more.
    If none pays, the cheapest is chosen; otherwise the one with the highest net gain of those that pay and are safe. An
    arm without a verifier that costs no more than the baseline is safe if, with confidence 1 - `alpha`, it is wrong
    where the baseline is right on at most `epsilon` of questions. Any other arm is safe if it is right more often than
    the baseline, at `level`.
    """
    start, *others = family.rows(bin)
    if not start.eligible:
        return Choice(None, f"only {start.questions} questions were measured, at least {MIN_QUESTIONS} are needed")
    others = [row for row in others if row.eligible]
    gains = {arm: gain.lower(level) for arm, gain in _gains(family, bin).items()}
    samples = {row.arm: (row.tokens - start.tokens) / family.sample_tokens for row in others}
    net = {row.arm: gains[row.arm] - price * samples[row.arm] for row in others}
    evidence = {row.arm: _evidence(row, start, gains[row.arm], samples[row.arm]) for row in others}
    paying = [row for row in others if net[row.arm] > 0]
    if not paying:
        return Choice(start, f"nothing pays: {evidence[max(net, key=net.__getitem__)]}" if net else ALONE)
    walked = _walk(family, bin, epsilon, alpha)
    reasons = {row.arm: f"it {walked.harm(index, alpha)}" for index, row in enumerate(walked.chain[: walked.passed])}
    # A baseline that does not pay itself cannot be the standard for others.
    if any(row in walked.chain for row in paying):
        reasons |= {row.arm: BETTER for row in paying if row not in walked.chain and _better(row, level)}
    else:
        reasons = {row.arm: USELESS for row in paying}
    chosen = max((row for row in paying if row.arm in reasons), key=lambda row: net[row.arm], default=None)
    if chosen is None:
        failed = f"{walked.chain[walked.passed].strategy} {walked.harm(walked.passed, alpha)}"
        return Choice(None, f"voting pays, but what pays is not safe: {failed}, and {100 * epsilon:g} % are allowed")
    return Choice(chosen, f"{evidence[chosen.arm]}; {reasons[chosen.arm]}")


def shrunk(family: Family) -> Mapping[tuple[Arm, int], Estimate]:
    """The accuracy of each eligible (arm, bin), shrunk toward the arm's mean over bins by its noise."""
    arms = defaultdict[Arm, dict[int, Estimate]](dict)
    for row in family.arms:
        if row.eligible:
            arms[row.arm][row.bin] = _mean(row.right, row.squares, row.questions, (0.0, 1.0))
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


def _mean(total: float, squares: float, n: int, ends: tuple[float, float]) -> Estimate:
    """The mean of n outcomes. Its variance counts one more outcome at each end, as a few equal ones prove little."""
    spread = squares + sum(end**2 for end in ends) - (total + sum(ends)) ** 2 / (n + 2)
    return Estimate(total / n, spread / (n + 1) / n)


def _gains(family: Family, bin: int) -> dict[Arm, Estimate]:
    """The gain of each arm of a bin on the cheapest, shrunk over the bins in which the same arm is the cheapest."""
    start = family.rows(bin)[0].arm
    arms = defaultdict[Arm, dict[int, Estimate]](dict)
    for other in range(family.bins.count):
        cheapest, *rows = family.rows(other)
        for row in rows:
            if row.eligible and cheapest.arm == start:
                arms[row.arm][other] = _mean(row.gap, row.gap_squares, row.questions, (-1.0, 1.0))
    return {
        arm: dict(zip(bins, shrink(list(bins.values())), strict=True))[bin] for arm, bins in arms.items() if bin in bins
    }


def _evidence(row: ArmRow, start: ArmRow, minimum: float, samples: float) -> str:
    gain = 100 * row.gap / row.questions
    return (
        f"{row.strategy} gains {gain:.1f} points on {start.strategy}, at least {100 * minimum:.1f}, "
        f"for {samples:.1f} more samples ({row.questions} questions)"
    )


def _better(row: ArmRow, level: float) -> bool:
    """Whether it is right more often than the baseline."""
    net = _mean(row.helped - row.harmed, row.helped + row.harmed, row.questions, (-1.0, 1.0))
    return net.lower(level) > 0


@dataclass(frozen=True, slots=True)
class _Walk:
    """Arms that may replace the baseline, safest first, their (harmed, questions), and how many of them are safe."""

    chain: list[ArmRow]
    counts: list[tuple[float, int]]
    passed: int

    def harm(self, index: int, alpha: float) -> str:
        """How often the arm at `index` of the chain is wrong where voting is right, in words."""
        harmed, n = self.counts[index]
        bound = 100 * upper_bound(harmed, n, alpha)
        return f"is wrong where voting is right on {harmed:.3g} of {n} questions, at most {bound:.2g} %"


def _walk(family: Family, bin: int, epsilon: float, alpha: float) -> _Walk:
    """The arms without a verifier that cost at most what the baseline does, in an order that no outcome decides.

    The baseline harms nothing and comes first. Then come arms that stop by themselves, most expensive first, and after
    them fixed numbers of samples: those harm more than a rule at the same cost, and would end the walk early.
    """
    standard = family.standard(bin)
    name = Spec.parse(family.baseline).name

    def boldness(row: ArmRow) -> tuple[bool, bool, float, Arm]:
        spec = Spec.parse(row.strategy)
        fixed = spec.name == name and "stop" not in spec.options
        return row.arm != standard.arm, fixed, -row.tokens, row.arm

    eligible = [row for row in family.rows(bin)[1:] if row.eligible]
    chain = sorted((row for row in eligible if not row.verifier and row.tokens <= standard.tokens), key=boldness)
    counts = [_harm(family, row, epsilon, alpha) for row in chain]
    return _Walk(chain, counts, walk(counts, epsilon, alpha))


def _harm(family: Family, row: ArmRow, epsilon: float, alpha: float) -> tuple[float, int]:
    """How often the arm harms, of how many questions: over all bins where one bin is too small for the bound."""
    if row.questions >= least_questions(epsilon, alpha):
        return row.harmed, row.questions
    rows = [other for other in family.arms if other.arm == row.arm]
    return math.fsum(other.harmed for other in rows), sum(other.questions for other in rows)
