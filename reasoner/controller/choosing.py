"""Which way to spend a question gets, from what was measured on questions like it."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

from reasoner.controller.frontier import Mix, Point, fill
from reasoner.controller.profile import LEAST_QUESTIONS, ArmRow, Family
from reasoner.controller.risk import least_questions, upper_bound, walk
from reasoner.errors import UsageError
from reasoner.specs import Spec

LEVEL: Final = 0.75
"""The one-sided confidence at which a gain counts.

With 100 questions, at a price of 0.002, voting that gains 5 points is chosen in 98 % of calibrations and voting that
gains nothing in 5 %; at 0.9 it is 78 and 2 %: a surer bound asks for more questions than calibrations have.
"""
ALONE: Final = "it is the only arm that was measured on enough questions"
BETTER: Final = "it is right more often than voting"
USELESS: Final = "voting itself does not pay"
EPSILON: Final = 0.02
ALPHA: Final = 0.05

Arm = tuple[str, str, str]
"""Strategy, verifier, budget."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The arm to run and the numbers that decided, in a line; no row where the calibration supports none."""

    row: ArmRow | None
    why: str


class Estimate(NamedTuple):
    """A mean and the variance of its error."""

    mean: float
    variance: float

    def lower(self, level: float) -> float:
        """What the mean is at least, with this one-sided confidence."""
        return self.mean - NormalDist().inv_cdf(level) * math.sqrt(self.variance)


def choose(
    family: Family,
    bin: int,
    *,
    price: float,
    epsilon: float = EPSILON,
    alpha: float = ALPHA,
    level: float = LEVEL,
) -> Choice:
    """The arm for a question of this bin, 0 to `family.bins.count - 1`.

    An arm pays when it gains on the cheapest one, at `level` and after `price` for each mean sample that it costs more.
    If none pays it is the cheapest. Otherwise it is the one that is worth most of those that pay and are safe: which
    with confidence 1 - `alpha` are wrong where the baseline is right on `epsilon` of questions at most, if they cost no
    more than it and have no verifier; which are right more often than it, at `level`, if not.
    """
    start, *others = family.rows(bin)
    if not start.eligible:
        return Choice(None, f"only {start.questions} questions were measured, {LEAST_QUESTIONS} are needed")
    others = [row for row in others if row.eligible]
    gains = {arm: gain.lower(level) for arm, gain in _gains(family, bin).items()}
    samples = {row.arm: (row.tokens - start.tokens) / family.sample_tokens for row in others}
    worth = {row.arm: gains[row.arm] - price * samples[row.arm] for row in others}
    told = {row.arm: _told(row, start, gains[row.arm], samples[row.arm]) for row in others}
    paying = [row for row in others if worth[row.arm] > 0]
    if not paying:
        return Choice(start, f"nothing pays: {told[max(worth, key=worth.__getitem__)]}" if worth else ALONE)
    walked = _walk(family, bin, epsilon, alpha)
    reasons = {row.arm: f"it {walked.spoils(place, alpha)}" for place, row in enumerate(walked.chain[: walked.passed])}
    # A baseline that does not pay itself is no measure of what does.
    if any(row in walked.chain for row in paying):
        reasons |= {row.arm: BETTER for row in paying if row not in walked.chain and _better(row, level)}
    else:
        reasons = {row.arm: USELESS for row in paying}
    chosen = max((row for row in paying if row.arm in reasons), key=lambda row: worth[row.arm], default=None)
    if chosen is None:
        ended = f"{walked.chain[walked.passed].strategy} {walked.spoils(walked.passed, alpha)}"
        return Choice(None, f"voting pays, but what pays is not safe: {ended}, and {100 * epsilon:g} % are allowed")
    return Choice(chosen, f"{told[chosen.arm]}; {reasons[chosen.arm]}")


def divide(family: Family, weights: Sequence[float], *, tokens: float, level: float = LEVEL) -> tuple[Mix[ArmRow], ...]:
    """One mean budget of `tokens` a question over bins with these shares of questions; one mix a bin.

    What an arm is worth is its accuracy at least, at `level`, shrunk as in `shrunk`.

    Raises:
        UsageError: a bin has no eligible arm, or the budget is below the cheapest ones.
    """
    if len(weights) != family.bins.count:
        raise UsageError(f"{len(weights)} weights for {family.bins.count} bins: give one for each")
    estimates = shrunk(family)
    bins = []
    for place, weight in enumerate(weights):
        rows = [row for row in family.rows(place) if row.eligible]
        if not rows:
            raise UsageError(
                f"bin {place} of {family.task} has no arm with {LEAST_QUESTIONS} questions: calibrate on more"
            )
        points = [Point(row.tokens, estimates[row.arm, place].lower(level), row) for row in rows]
        bins.append((weight, points))
    return fill(bins, tokens)


def shrunk(family: Family) -> Mapping[tuple[Arm, int], Estimate]:
    """The accuracy of each eligible (arm, bin), drawn toward the arm's mean over bins as far as noise explains it."""
    arms = defaultdict[Arm, dict[int, Estimate]](dict)
    for row in family.arms:
        if row.eligible:
            arms[row.arm][row.bin] = _mean(row.right, row.squares, row.questions, (0.0, 1.0))
    return {
        (arm, place): estimate
        for arm, bins in arms.items()
        for place, estimate in zip(bins, shrink(list(bins.values())), strict=True)
    }


def shrink(raw: Sequence[Estimate]) -> list[Estimate]:
    """Estimates of like things, each drawn toward their mean (empirical Bayes).

    The spread between them is by DerSimonian and Laird's moments; the error of their mean is carried over.
    """
    weights = [1 / one.variance for one in raw]
    total = math.fsum(weights)
    mean = math.fsum(w * one.mean for w, one in zip(weights, raw, strict=True)) / total
    excess = math.fsum(w * (one.mean - mean) ** 2 for w, one in zip(weights, raw, strict=True)) - (len(raw) - 1)
    scale = total - math.fsum(w * w for w in weights) / total
    between = max(0.0, excess / scale) if len(raw) > 1 else math.inf
    weights = [1 / (one.variance + between) for one in raw]
    total = math.fsum(weights)
    if not total:
        return list(raw)
    mean = math.fsum(w * one.mean for w, one in zip(weights, raw, strict=True)) / total
    kept = [between / (one.variance + between) for one in raw]
    return [
        Estimate(keep * one.mean + (1 - keep) * mean, keep * one.variance + (1 - keep) ** 2 / total)
        for keep, one in zip(kept, raw, strict=True)
    ]


def _mean(total: float, squares: float, n: int, ends: tuple[float, float]) -> Estimate:
    """The mean of n outcomes; its error as if one more had come out at each end, as few that agree prove little."""
    spread = squares + sum(end**2 for end in ends) - (total + sum(ends)) ** 2 / (n + 2)
    return Estimate(total / n, spread / (n + 1) / n)


def _gains(family: Family, bin: int) -> dict[Arm, Estimate]:
    """What each arm of a bin gains on the cheapest, shrunk over the bins in which that one is the cheapest too."""
    start = family.rows(bin)[0].arm
    like = [place for place in range(family.bins.count) if family.rows(place)[0].arm == start]
    arms = defaultdict[Arm, dict[int, Estimate]](dict)
    for place in like:
        for row in family.rows(place)[1:]:
            if row.eligible:
                arms[row.arm][place] = _mean(row.gap, row.gap_squares, row.questions, (-1.0, 1.0))
    return {
        arm: dict(zip(bins, shrink(list(bins.values())), strict=True))[bin] for arm, bins in arms.items() if bin in bins
    }


def _told(row: ArmRow, start: ArmRow, least: float, samples: float) -> str:
    gain = 100 * row.gap / row.questions
    return (
        f"{row.strategy} gains {gain:.1f} points on {start.strategy}, {100 * least:.1f} at least, "
        f"for {samples:.1f} samples more ({row.questions} questions)"
    )


def _better(row: ArmRow, level: float) -> bool:
    """Whether it is right more often than the baseline."""
    net = _mean(row.helped - row.harmed, row.helped + row.harmed, row.questions, (-1.0, 1.0))
    return net.lower(level) > 0


@dataclass(frozen=True, slots=True)
class _Walk:
    """What may stand for the baseline, from cautious to bold, what each harms of how many, and how many are safe."""

    chain: list[ArmRow]
    counts: list[tuple[float, int]]
    passed: int

    def spoils(self, place: int, alpha: float) -> str:
        """What the arm at this place of the chain harms, in words."""
        harmed, n = self.counts[place]
        most = 100 * upper_bound(harmed, n, alpha)
        return f"spoils {harmed:.3g} answers of voting on {n} questions, at most {most:.2g} %"


def _walk(family: Family, bin: int, epsilon: float, alpha: float) -> _Walk:
    """The arms without a verifier that cost at most what the baseline does, in an order that no outcome decides.

    The baseline harms nothing and comes first. Then comes what stops by itself, dearest first, and after that what
    takes a fixed number of samples: it harms more than a rule at the same cost, and would end the walk early.
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
    last = walk(counts, epsilon, alpha)
    return _Walk(chain, counts, 0 if last is None else last + 1)


def _harm(family: Family, row: ArmRow, epsilon: float, alpha: float) -> tuple[float, int]:
    """What the arm spoils, of how many questions: of all bins where those of one could never bound it."""
    if row.questions >= least_questions(epsilon, alpha):
        return row.harmed, row.questions
    rows = [other for other in family.arms if other.arm == row.arm]
    return math.fsum(other.harmed for other in rows), sum(other.questions for other in rows)
