"""Why the numbers are as they are: difficulty, calibration, verifiers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from reasoner_evals.report.diagnoses import (
    Bin,
    BinRow,
    Calibration,
    Difficulty,
    ReliabilityBin,
    RiskPoint,
    VerifierQuality,
)
from reasoner_evals.report.measures import ArmRead, Measured, selected
from reasoner_evals.report.points import Estimate
from reasoner_evals.report.pools import pool_of, sizes_of, spread
from reasoner_evals.report.tables import estimate, known
from reasoner_evals.runs.arrays import OUTCOMES, SILENT, Bools, Floats
from reasoner_evals.stats.calibration import auroc, auroc_within, calibration_error, reliability, risk_coverage
from reasoner_evals.stats.estimators import BINS, best_of_k, coverage_at_k, difficulty
from reasoner_evals.stats.intervals import Groups, interval

LEAST = 10
"""Questions below which no confidence is judged."""
RISKS = 101
"""Points of a risk-coverage curve."""
LEAST_POOL = 4
"""Samples a question below which half of them tell no difficulty."""


def largest_pools(measured: Sequence[Measured]) -> Iterator[tuple[Measured, ArmRead]]:
    """Each pooled strategy at its whole size, with the arm of its first seed."""
    for one in measured:
        if one.subject.pooled and one.subject.size == one.arms[0].data.arm.pool:
            yield one, one.arms[0]


def difficulties(measured: Sequence[Measured], groups: Groups | None) -> tuple[Difficulty, ...]:
    """For each model, the accuracy of all its points by difficulty, as the largest of its pools tells it."""
    found: dict[str, ArmRead] = {}
    for _, arm in largest_pools(measured):
        model = arm.run.manifest.model.name
        if model not in found or arm.data.arm.pool > found[model].data.arm.pool:
            found[model] = arm
    return tuple(
        made
        for model, arm in found.items()
        if (made := _difficulty([one for one in measured if one.subject.model == model], arm, groups))
    )


def _difficulty(measured: Sequence[Measured], arm: ArmRead, groups: Groups | None) -> Difficulty | None:
    pool = pool_of(arm.data)
    usable = (~np.isnan(pool.right)).sum(axis=1)
    if arm.data.arm.pool < LEAST_POOL or (usable > 1).sum() < 2 * BINS:
        return None
    split = difficulty(pool.right)
    places = [split.bins == place for place in range(BINS)]
    bins = tuple(
        Bin(float(split.estimate[inside].min()), float(split.estimate[inside].max()), int(inside.sum()))
        if inside.any() else Bin(0.0, 0.0, 0)
        for inside in places
    )  # fmt: skip
    rest = replace(pool, right=split.measured)
    ks = [size for size in sizes_of(arm.data.arm.pool) if size <= arm.data.arm.pool - arm.data.arm.pool // 2]
    halves = dict(zip(ks, np.clip(selected(arm.data.arm.rule, rest, ks)[0], 0, 1).T, strict=True))
    rows = []
    for one in measured:
        # Where a point's own pool made the bins, the other half of it is read; sizes beyond that half are left out.
        own = one.arms[0].name == arm.name
        values = halves.get(one.subject.size or 0) if own else one.values.right
        if values is not None:
            rows.append(BinRow(one.subject.key, tuple(_within(values, inside, groups) for inside in places)))
    return Difficulty(arm.name, arm.data.arm.pool // 2, bins, tuple(rows))


def _within(values: Floats, inside: Bools, groups: Groups | None) -> Estimate | None:
    chosen = np.where(inside, values, np.nan)
    return None if np.all(np.isnan(chosen)) else estimate(interval(chosen, groups))


def calibrations(measured: Sequence[Measured]) -> tuple[Calibration, ...]:
    """The confidence of every strategy that states one, as it was run: of pools, at their whole size."""
    wholes = {one.subject.key for one, _ in largest_pools(measured)}
    chosen = [one for one in measured if not one.subject.pooled or one.subject.key in wholes]
    return tuple(made for one in chosen if (made := _calibration(one)))


def _calibration(one: Measured) -> Calibration | None:
    share, right = (np.concatenate(parts) for parts in zip(*map(_answered, one.arms), strict=True))
    if len(right) < LEAST or np.ptp(share) == 0:
        return None
    risks = risk_coverage(share, right)
    surest = np.sort(share)[::-1]
    shown = np.unique(np.linspace(0, len(right) - 1, RISKS).round().astype(int))
    return Calibration(
        key=one.subject.key,
        questions=len(right),
        ece=calibration_error(share, right),
        auroc=known(auroc(share, right)),
        aurc=risks.area,
        bins=_reliability(share, right),
        risks=tuple(RiskPoint(float(risks.coverage[at]), float(risks.risk[at]), float(surest[at])) for at in shown),
    )


def _answered(arm: ArmRead) -> tuple[Floats, Floats]:
    """The confidence and correctness of the answers of an arm that were graded."""
    data = arm.data
    graded = np.isin(data.outcome, [OUTCOMES.index("right"), OUTCOMES.index("wrong")])
    return np.clip(data.share[graded], 0, 1), (data.outcome[graded] == OUTCOMES.index("right")).astype(np.float64)


def _reliability(confidence: Floats, right: Floats) -> tuple[ReliabilityBin, ...]:
    return tuple(
        ReliabilityBin(one.low, one.high, one.n, one.confidence, one.accuracy) for one in reliability(confidence, right)
    )


def verifiers(measured: Sequence[Measured], groups: Groups | None) -> tuple[VerifierQuality, ...]:
    """The quality of the values that replies were rated with, arm by arm."""
    found: dict[str, VerifierQuality] = {}
    for one in measured:
        for arm in one.arms:
            if arm.name not in found and (made := _quality(one, arm, groups)):
                found[arm.name] = made
    return tuple(found.values())


def _quality(one: Measured, arm: ArmRead, groups: Groups | None) -> VerifierQuality | None:
    replies, verifier = arm.data.replies, arm.data.arm.verifier
    width = int(replies.rows.length.max(initial=0))
    if not verifier or not width or np.all(np.isnan(replies.score)):
        return None
    kept = np.isin(replies.outcome, [OUTCOMES.index("right"), OUTCOMES.index("wrong")]) & ~np.isnan(replies.score)
    right = spread(
        replies, np.where(kept, (replies.outcome == OUTCOMES.index("right")).astype(float), np.nan), np.nan, width
    )
    scores = spread(replies, np.where(kept, replies.score, np.nan), np.nan, width)
    there = ~np.isnan(right)
    if not there.any():
        return None
    within = auroc_within(right, scores)
    mixed = int((~np.isnan(within)).sum())
    return VerifierQuality(
        arm=arm.name,
        series=one.subject.series,
        verifier=verifier,
        replies=int(there.sum()),
        unrated=int(((replies.classes != SILENT) & np.isnan(replies.score)).sum()),
        within=estimate(interval(within, groups)) if mixed else None,
        mixed=mixed,
        top=estimate(interval(_best(right, scores), groups)),
        chance=estimate(interval(coverage_at_k(right, [1])[:, 0], groups)),
        deciles=_reliability(scores[there], right[there]),
    )


def _best(right: Floats, scores: Floats) -> Floats:
    """[Q]: how often the best rated of all a question's rated replies is right."""
    rated = (~np.isnan(right)).sum(axis=1)
    found = np.full(len(right), np.nan)
    for size in np.unique(rated[rated > 0]).tolist():
        rows = rated == size
        found[rows] = np.clip(best_of_k(right[rows], scores[rows], [size])[:, 0], 0, 1)
    return found
