"""What ended the questions of each strategy as it was run, and whether their calibrated confidences hold."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from reasoner.controller.risk import ALARM, broken_promise
from reasoner.solution import EndedBy
from reasoner_evals.report.diagnoses import Drawn, Ended, Ending
from reasoner_evals.report.measures import ArmRead, Measured
from reasoner_evals.runs.arrays import COSTS, ENDS, ERROR, RIGHT, UNFINISHED, UNGRADED, ArmData, Bools, Floats, Ints

TOLD: Final[tuple[EndedBy, ...]] = ("rule", "price", "budget", "strategy")
"""Who ends a question that has a result, in the order of a report."""


def endings(measured: Sequence[Measured]) -> tuple[Ending, ...]:
    """A row for each point that was run and not pooled; none at all where all ended as their strategies do."""
    rows = tuple(made for one in measured if not one.subject.pooled and (made := _ending(one)))
    told = any(row.judged or any(part.share for part in row.by if part.by != "strategy") for row in rows)
    return rows if told else ()


def _ending(one: Measured) -> Ending | None:
    done = [(arm.data, _done(arm.data)) for arm in one.arms]
    ended = np.concatenate([data.ended[rows] for data, rows in done])
    if not len(ended):
        return None
    tokens = np.concatenate([data.tokens[rows] for data, rows in done])
    samples = np.concatenate([data.costs[rows, COSTS.index("samples")] for data, rows in done])
    confidence, right = (
        np.concatenate(parts) for parts in zip(*(_promised(arm.data) for arm in one.arms), strict=True)
    )
    return Ending(
        key=one.subject.key,
        questions=len(ended),
        by=tuple(_by(by, tokens[ended == ENDS.index(by)], len(ended)) for by in TOLD),
        samples=float(samples.mean()),
        samples_p95=float(np.percentile(samples, 95)),
        drawn=tuple(_drawn(samples)),
        judged=len(right),
        confidence=float(confidence.mean()) if len(right) else None,
        accuracy=float(right.mean()) if len(right) else None,
    )


def _done(data: ArmData) -> Bools:
    """[Q]: which questions have a result."""
    done: Bools = (data.outcome != UNFINISHED) & (data.outcome != ERROR)
    return done


def _by(by: EndedBy, tokens: Ints, questions: int) -> Ended:
    return Ended(by, len(tokens) / questions, float(tokens.mean()) if len(tokens) else None)


def _drawn(samples: Ints) -> Iterator[Drawn]:
    """The shares by the number of samples, between powers of two: 0, 1, 2, 3 to 4, 5 to 8."""
    places, counts = np.unique(np.ceil(np.log2(np.maximum(samples, 0.5))).astype(int), return_counts=True)
    for place, count in zip(places.tolist(), counts.tolist(), strict=True):
        high = 2**place if place >= 0 else 0
        yield Drawn(high // 2 + 1 if high > 1 else high, high, count / len(samples))


def _promised(data: ArmData) -> tuple[Floats, Bools]:
    """The calibrated confidences of the graded questions that have one, and which of those are right.

    As in an accuracy, what was not answered or not judged is wrong.
    """
    known = _done(data) & (data.outcome != UNGRADED) & ~np.isnan(data.confidence)
    return data.confidence[known], data.outcome[known] == RIGHT


def alarms(measured: Sequence[Measured]) -> Iterator[str]:
    """A warning for each arm with fewer right answers than its confidences promise.

    The chance of any false one in a task is `ALARM`, however many arms there are; their questions count as independent.
    """
    # A pool is the same arm at each of its sizes.
    arms = {arm.name: (one, arm) for one in measured for arm in one.arms}
    found = [(one, arm, confidence, right) for one, arm in arms.values()
             for confidence, right in [_promised(arm.data)] if len(right)]  # fmt: skip
    for one, arm, confidence, right in found:
        if line := broken_promise(confidence.tolist(), right.tolist(), ALARM / len(found)):
            yield f"{_named(one, arm)}: {line}. Its calibration does not hold on these questions."


def _named(one: Measured, arm: ArmRead) -> str:
    return one.subject.label + (f", seed {arm.data.arm.seed}" if len(one.arms) > 1 else "")
