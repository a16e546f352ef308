"""95 % intervals of shares and paired differences, and the tests that belong to them.

One value per question, NaN if missing; missing values are left out. `groups` names what questions share (a
template, a passage), one key per question; whole groups are then the independent units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from scipy import optimize, special

from reasoner.errors import UsageError
from reasoner_evals.stats import Floats, mean_of

LEVEL: Final = 0.95
"""The level of every interval."""
Z: Final = 1.959963984540054
POWER: Final = 2.8
"""Standard errors that 80 % power needs at the 5 % level."""
SPARSE: Final = 10
"""With fewer units that differ, the spread of the differences alone says too little."""
TRACE: Final = 0.25
"""How much of a 0 and of a 1 is added if shares hardly vary."""
NEAR: Final = 1e-9
"""Differences below this are rounding errors."""

Groups = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % interval; NaN bounds if there are too few values."""

    mean: float
    low: float
    high: float
    method: str
    """wilson, score, t, their clustered forms, or none."""
    n: int
    """Questions that have a value."""


def interval(values: Floats, groups: Groups | None = None) -> Interval:
    """Wilson's interval of the mean of shares [Q] between 0 and 1, for as many outcomes as vary as much.

    Groups have their cluster-robust variance and Student's critical value.
    """
    present, keys = _present(values, groups)
    n, mean = len(present), mean_of(present)
    if not n:
        return Interval(mean, math.nan, math.nan, "none", n)
    size, freedom = _outcomes(present, keys)
    low, high = wilson(min(mean, 1.0) * size, size, critical_value(freedom))
    return Interval(mean, min(low, mean), max(high, mean), _method("wilson", keys), n)


def amount(values: Floats, groups: Groups | None = None) -> Interval:
    """Student's interval of the mean of amounts [Q], 0 or more, that have no upper limit."""
    present, keys = _present(values, groups)
    n, mean, spread = len(present), mean_of(present), _spread(present, keys)
    if spread is None:
        return Interval(mean, math.nan, math.nan, "none", n)
    half = critical_value(spread.freedom) * spread.error
    return Interval(mean, max(mean - half, 0.0), mean + half, _method("t", keys), n)


def standard_error(values: Floats, groups: Groups | None = None) -> float:
    """The standard error of the mean of values [Q], over groups where there are any; NaN with fewer than two units."""
    spread = _spread(*_present(values, groups))
    return math.nan if spread is None else spread.error


def difference(values: Floats, groups: Groups | None = None) -> tuple[Interval, float]:
    """The mean of differences [Q] between -1 and 1 of paired shares, and the p-value of a mean of 0.

    Both are of one test: p < 0.05 exactly if the interval excludes 0.

    Single outcomes, and differences that are nearly all 0: Tango's score interval and McNemar's test.
    If hardly any is not 1: Wilson's interval of (1 + difference) / 2. Otherwise Student's t.
    """
    present, keys = _present(values, groups)
    present = np.where(np.abs(present) < NEAR, 0.0, present)
    n, mean = len(present), mean_of(present)

    def result(
        low: float, high: float, method: str, p_value: float
    ) -> tuple[Interval, float]:
        bounds = max(min(low, mean), -1.0), min(max(high, mean), 1.0)
        return Interval(mean, *bounds, _method(method, keys), n), p_value

    if not n:
        return Interval(mean, math.nan, math.nan, "none", n), 1.0
    totals, sizes = _units(present, keys)
    better, worse, size = scaled_counts(totals)
    outcomes = keys is None and bool(np.all(np.isin(present, (-1, 0, 1))))
    if (
        outcomes
        or better + worse < min(SPARSE, len(totals) / 2)
        or np.ptp(totals / sizes) < NEAR
    ):
        scale = size * len(totals) / n
        low, high = score_interval(better, worse, len(totals))
        return result(
            low * scale,
            high * scale,
            "score",
            two_sided(score_test(better, worse), math.inf),
        )
    if n * (1 - abs(mean)) < min(SPARSE, n / 4):
        effective, freedom = _outcomes((1 + present) / 2, keys)
        low, high = wilson(
            (1 + mean) / 2 * effective, effective, critical_value(freedom)
        )
        return result(
            2 * low - 1,
            2 * high - 1,
            "score",
            two_sided(mean * math.sqrt(effective), freedom),
        )
    spread = spread_of(totals, sizes)
    half = critical_value(spread.freedom) * spread.error
    return result(
        mean - half, mean + half, "t", two_sided(mean / spread.error, spread.freedom)
    )


def wilson(right: float, n: float, critical: float = Z) -> tuple[float, float]:
    """Wilson's interval of a share, at 95 % by default, with an exact bound next to 0 and 1.

    There Wilson's covers as little as 84 %; the bound of an exact one-sided test at 5 %, where it is further out, makes
    it 93 % and 1 % wider (as Brown, Cai & DasGupta 2001 do by the Poisson law). `right` and `n` may be fractional, as a
    sum of shares varies less than outcomes do.
    """
    p, square = right / n, critical * critical
    centre = (p + square / (2 * n)) / (1 + square / n)
    half = (
        critical / (1 + square / n) * math.sqrt(p * (1 - p) / n + square / (4 * n * n))
    )
    low, high = (
        (0.0 if p == 0 else max(centre - half, 0.0)),
        (1.0 if p == 1 else min(centre + half, 1.0)),
    )
    if 0 < p < 1 / 2:
        low = min(low, float(special.betaincinv(right, n - right + 1, 1 - LEVEL)))
    if 1 / 2 < p < 1:
        high = max(high, 1 - float(special.betaincinv(n - right, right + 1, 1 - LEVEL)))
    return low, high


def _present(values: Floats, groups: Groups | None) -> tuple[Floats, Groups | None]:
    """The values that are not missing, and their group keys."""
    present = ~np.isnan(values)
    if groups is None:
        return values[present], None
    without_key = sum(not key for key in groups)
    if without_key:
        raise UsageError(
            f"{without_key} of {len(groups)} questions have no group key: give one each, or no groups at all"
        )
    return values[present], [
        key for key, is_present in zip(groups, present, strict=True) if is_present
    ]


def totals_by(keys: Groups, *columns: Floats) -> list[Floats]:
    """The columns summed within each group."""
    names, inverse = np.unique(
        np.asarray(keys, dtype=object).astype(str), return_inverse=True
    )
    return [
        np.bincount(inverse, weights=column, minlength=len(names)).astype(np.float64)
        for column in columns
    ]


def _units(present: Floats, keys: Groups | None) -> Sequence[Floats]:
    """The totals and the sizes of the independent units: groups, or else single questions."""
    sizes = np.ones_like(present)
    return (present, sizes) if keys is None else totals_by(keys, present, sizes)


def _spread(present: Floats, keys: Groups | None) -> "Spread | None":
    """The spread of the mean over questions or groups; None with fewer than two."""
    totals, sizes = _units(present, keys)
    return None if len(totals) < 2 else spread_of(totals, sizes)


def effective_outcomes(n: int, total: float, squares: float) -> float:
    """The number of single outcomes with a mean that varies as the mean of `n` shares, by their sums; at least `n`.

    A trace of a 0 and of a 1 is added, or equal shares would count as infinitely many outcomes. In simulations, a trace
    of a quarter is nearest to 95 % coverage (bench/interval_coverage.py).
    """
    size = n + 2 * TRACE
    mean = (total + TRACE) / size
    spread = (
        squares - 2 * mean * total + n * mean**2 + TRACE * (mean**2 + (1 - mean) ** 2)
    )
    return max(mean * (1 - mean) * (size - 1) / spread, 1.0) * n


def _outcomes(shares: Floats, keys: Groups | None) -> tuple[float, float]:
    """The number of single outcomes with a mean that varies as these shares' mean, and its degrees of freedom."""
    if keys is None:
        if np.all((shares == 0) | (shares == 1)):
            return float(len(shares)), math.inf
        return effective_outcomes(
            len(shares), float(shares.sum()), float(shares @ shares)
        ), math.inf
    totals, sizes = _units(shares, keys)
    if len(totals) == 1:
        return 1.0, math.inf
    # As effective_outcomes, with the variance between groups (Kott & Carr 1997).
    spread, units = spread_of(totals, sizes), len(totals)
    mean = (float(shares.mean()) * units + TRACE) / (units + 2 * TRACE)
    variance = spread.error**2 + TRACE * (mean**2 + (1 - mean) ** 2) / units**2
    return max(mean * (1 - mean) / variance, 1.0), spread.freedom


def _method(name: str, keys: Groups | None) -> str:
    return name if keys is None else f"{name}, clustered"


class Spread(NamedTuple):
    """A standard error, and the degrees of freedom of its estimate."""

    error: float
    freedom: float


def critical_value(freedom: float) -> float:
    """How many standard errors an interval reaches to each side; `freedom` may be infinite."""
    return float(special.stdtrit(freedom, (1 + LEVEL) / 2))


def two_sided(distance: float, freedom: float) -> float:
    """The p-value of an estimate this many standard errors away from a hypothesis; `freedom` may be infinite."""
    return 2 * float(special.stdtr(freedom, -abs(distance)))


def spread_of(totals: Floats, sizes: Floats) -> Spread:
    """The spread of sum(totals) / sum(sizes) over two or more questions or groups, both [U], sizes above 0.

    The variance is the jackknife's, of leaving out one unit at a time (MacKinnon, Nielsen & Webb 2023, 2205.03288). Its
    degrees of freedom are Bell & McCaffrey's (2002) for independent questions: few if some groups are much larger than
    others. Of units of one size, both are Student's.
    """
    units, whole = len(sizes), float(sizes.sum())
    share = sizes / whole
    residuals = totals - totals.sum() / whole * sizes
    variance = (
        (units - 1) / units * float(np.sum((residuals / (1 - share)) ** 2)) / whole**2
    )
    # tr(M)^2 / tr(M^2), where M is the covariance of independent questions' residuals, each divided by 1 - share.
    weighted = sizes / (1 - share)
    square = float(np.sum(weighted**2 * (1 - 2 * share))) + float(weighted @ share) ** 2
    return Spread(math.sqrt(variance), max(whole**2 / square, 1.0))


def score_test(better: float, worse: float) -> float:
    """The z of McNemar's test, without continuity correction: (b - c) / sqrt(b + c), 0 if there is no difference."""
    return (better - worse) / math.sqrt(better + worse) if better + worse else 0.0


def score_interval(better: float, worse: float, n: float) -> tuple[float, float]:
    """Tango's 95 % interval of (better - worse) / n (1998, Statistics in Medicine 17:891); counts may be fractional.

    It excludes 0 exactly if the absolute value of `score_test` is above `Z`.
    """
    estimate = (better - worse) / n

    def z(difference: float) -> float:
        """The score statistic of a true difference, with the restricted maximum likelihood of the share of `worse`."""
        b = (2 * n - better + worse) * difference - better - worse
        root = math.sqrt(
            max(b * b + 8 * n * worse * difference * (1 - difference), 0.0)
        )
        share = max(root - b, 0.0) / (4 * n)
        return (better - worse - n * difference) / math.sqrt(
            max(n * (2 * share + difference * (1 - difference)), 1e-300)
        )

    def bound(end: float, sign: float) -> float:
        def beyond(difference: float) -> float:
            return sign * z(difference) - Z

        if beyond(end) <= 0:
            return end
        return float(optimize.brentq(beyond, end, estimate, xtol=1e-15))

    return bound(-1.0, 1.0), bound(1.0, -1.0)


def scaled_counts(differences: Floats) -> tuple[float, float, float]:
    """The differences [U] as numbers of wins and losses of one size: wins, losses, size.

    Their total and their sum of squares are those of the differences. Single outcomes are their own counts.
    """
    total = float(np.abs(differences).sum())
    if not total:
        return 0.0, 0.0, 1.0
    size = float(differences @ differences) / total
    return (
        float(differences[differences > 0].sum()) / size,
        -float(differences[differences < 0].sum()) / size,
        size,
    )


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The first arm minus the second, question by question."""

    difference: Interval
    """The mean difference and its 95 % interval; `n` counts the questions that have a value in both arms."""
    p_value: float
    """Two-sided, for no difference: below 0.05 exactly if the interval excludes 0.

    Not adjusted for other comparisons (see `holm`).
    """
    test: str
    """mcnemar for single outcomes, otherwise the method of the interval."""
    better: int
    """Questions on which the first arm is ahead."""
    worse: int
    """Questions on which the second arm is ahead."""
    detectable: float
    """The least difference that these questions detect with 80 % power at the 5 % level."""

    @property
    def resolvable(self) -> bool:
        """Whether these questions can detect a difference of this size."""
        return abs(self.difference.mean) >= self.detectable > 0


def compare(first: Floats, second: Floats, groups: Groups | None = None) -> PairedTest:
    """Compare two arms by their shares of the same questions, both [Q]; NaN without a value.

    With `groups`, whole groups count as one. Raises UsageError if a group key is missing.
    """
    differences = first - second
    estimate, p_value = difference(differences, groups)
    both = ~np.isnan(differences)
    paired = differences[both]
    better, worse = int((paired > NEAR).sum()), int((paired < -NEAR).sum())
    units = paired if groups is None else totals_by(np.asarray(groups)[both], paired)[0]
    outcomes = groups is None and np.all(np.isin((first[both], second[both]), (0, 1)))
    test = "mcnemar" if outcomes else estimate.method
    # With single questions and 0/1 outcomes this is 2.8 * sqrt(d / n) for the discordant share d.
    detectable = (
        POWER * math.sqrt(float(np.sum(units**2))) / len(paired)
        if len(paired)
        else math.nan
    )
    return PairedTest(estimate, p_value, test, better, worse, detectable)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of one family of comparisons, adjusted by Holm's step-down rule (1979), in the order given."""
    adjusted, minimum = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(
        sorted(range(len(p_values)), key=p_values.__getitem__)
    ):
        minimum = max(minimum, min((len(p_values) - rank) * p_values[index], 1.0))
        adjusted[index] = minimum
    return adjusted
