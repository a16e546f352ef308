"""From values by question to the rows of a report: means with their intervals."""

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from reasoner_evals.report.measures import Measured, Values, mean
from reasoner_evals.report.points import Estimate, Point, Rates, Spent, Spread
from reasoner_evals.runs.arrays import Floats
from reasoner_evals.runs.reading import TaskItems
from reasoner_evals.stats.intervals import Groups, Interval, difference_interval, interval


def groups_of(items: TaskItems) -> Groups | None:
    """The keys that intervals are clustered by; None where no question has one."""
    return items.groups if any(items.groups) else None


def estimate(found: Interval) -> Estimate:
    """An interval of the statistics as a report shows it."""
    return Estimate(found.mean, known(found.low), known(found.high))


def known(value: float) -> float | None:
    """A number, or None where it is nan."""
    return None if math.isnan(value) else value


def point(one: Measured, groups: Groups | None) -> Point | None:
    """The row of a point; None where no question has a value yet."""
    values = one.values
    questions = int((~np.isnan(values.right)).sum())
    if not questions:
        return None
    covered = bool(np.any(~np.isnan(values.covered)))
    return Point(
        **asdict(one.subject),
        questions=questions,
        accuracy=estimate(interval(values.right, groups)),
        strict=None if _unknown(values) else estimate(interval(values.strict, groups)),
        coverage=estimate(interval(values.covered, groups)) if covered else None,
        gap=estimate(difference_interval(_clipped(values.covered - values.right), groups)) if covered else None,
        spent=_spent(one),
        rates=_rates(one),
        errors=one.errors,
        ungraded=one.ungraded,
        overshoots=one.overshoots,
    )


def points(measured: Sequence[Measured], groups: Groups | None) -> tuple[Point, ...]:
    """The rows of all points that have a value."""
    return tuple(row for one in measured if (row := point(one, groups)))


def _unknown(values: Values) -> bool:
    """Whether the strict accuracy of any question is not known, so that its mean would be over other questions."""
    return bool(np.any(np.isnan(values.strict) & ~np.isnan(values.right)))


def _clipped(values: Floats) -> Floats:
    """Differences of shares, without what rounding left of a difference that is none."""
    return np.clip(np.round(values, 12) + 0.0, -1.0, 1.0)


def _spent(one: Measured) -> Spent:
    values = one.values
    return Spent(
        prompt=mean(values.prompt),
        cached=mean(values.cached),
        generated=mean(values.generated),
        verifier=mean(values.verifier),
        cancelled=mean(values.cancelled),
        tokens=_spread(values.tokens),
        flops=_if_all_known(values.flops, values.prompt),
        seconds=mean(values.seconds),
        usd=_if_all_known(values.usd, values.prompt),
    )


def _spread(tokens: Floats) -> Spread:
    there = tokens[~np.isnan(tokens)]
    median, p95, most = np.percentile(there, (50, 95, 100))
    return Spread(float(there.mean()), float(median), float(p95), float(most))


def _if_all_known(values: Floats, reference: Floats) -> float | None:
    """The mean, unless a question that was charged does not have the value."""
    return None if np.any(np.isnan(values) & ~np.isnan(reference)) else known(mean(values))


def _rates(one: Measured) -> Rates:
    values = one.values
    return Rates(
        tied=known(mean(values.tied)),
        no_answer=mean(values.no_answer),
        truncated=mean(values.truncated),
        timed_out=mean(values.timed_out),
        grader=mean(values.grader),
        replies_without_answer=known(mean(values.replies_without_answer)),
        replies_truncated=known(mean(values.replies_truncated)),
    )
