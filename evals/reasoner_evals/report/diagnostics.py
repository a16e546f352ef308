"""Why the numbers are as they are: verifiers and failures."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from reasoner.system.printing import counted
from reasoner_evals.report.comparisons import estimate
from reasoner_evals.report.content import FailureExample, FailureKind, VerifierQuality
from reasoner_evals.runs.measures import ArmReading, Measurement, spread
from reasoner_evals.runs.reading import OUTCOMES, RIGHT, SILENT, WRONG, questions_of
from reasoner_evals.runs.records import AskedItem, ItemRecord, counted_records
from reasoner_evals.stats import Bools, Floats
from reasoner_evals.stats.estimators import auroc_within, best_of_k, coverage_at_k
from reasoner_evals.stats.intervals import Groups, interval

MAX_FAILURES: Final = 12
SURE: Final = 0.8
"""A wrong answer with at least this share of the vote counts as overconfident."""
KINDS: Final[tuple[FailureKind, ...]] = get_args(FailureKind)


def verifiers(
    measured: Sequence[Measurement], groups: Groups | None
) -> tuple[VerifierQuality, ...]:
    """The quality of the scores that rated the replies, arm by arm."""
    arms = {arm.name: (point.series, arm) for point in measured for arm in point.arms}
    qualities = (_quality(series, arm, groups) for series, arm in arms.values())
    return tuple(quality for quality in qualities if quality)


def _quality(
    series: str, arm: ArmReading, groups: Groups | None
) -> VerifierQuality | None:
    replies, verifier = arm.data.replies, arm.data.arm.verifier
    width = int(replies.rows.length.max(initial=0))
    rated = np.isin(replies.outcome, [RIGHT, WRONG]) & ~np.isnan(replies.score)
    if not verifier or not rated.any():
        return None
    right = spread(
        replies,
        np.where(rated, (replies.outcome == RIGHT).astype(float), np.nan),
        np.nan,
        width,
    )
    scores = spread(replies, np.where(rated, replies.score, np.nan), np.nan, width)
    known_right = ~np.isnan(right)
    within = auroc_within(right, scores)
    mixed = int((~np.isnan(within)).sum())
    return VerifierQuality(
        arm=arm.name,
        series=series,
        verifier=verifier,
        replies=int(known_right.sum()),
        unrated=int(((replies.classes != SILENT) & np.isnan(replies.score)).sum()),
        within=estimate(interval(within, groups)) if mixed else None,
        mixed=mixed,
        top=estimate(interval(_best_rated(right, scores), groups)),
        chance=estimate(interval(coverage_at_k(right, [1])[:, 0], groups)),
    )


def _best_rated(right: Floats, scores: Floats) -> Floats:
    """[Q]: how often the best rated of all a question's rated replies is right."""
    rated = (~np.isnan(right)).sum(axis=1)
    top = np.full(len(right), np.nan)
    for size in np.unique(rated[rated > 0]).tolist():
        rows = rated == size
        top[rows] = np.clip(best_of_k(right[rows], scores[rows], [size])[:, 0], 0, 1)
    return top


def failures(measured: Sequence[Measurement], task: str) -> tuple[FailureExample, ...]:
    """Up to `MAX_FAILURES` of a task, no question twice, a third of each kind; the most confident first."""
    chosen = _chosen(measured)
    ids = [point.arms[0].run.tasks[task].ids[row] for _, point, row in chosen]
    records: dict[str, dict[str, tuple[ItemRecord, Path]]] = {}
    # Each file is read once for all of its failures.
    for arm in {point.arms[0].name: point.arms[0] for _, point, _ in chosen}.values():
        own = {
            name
            for (_, point, _), name in zip(chosen, ids, strict=True)
            if point.arms[0].name == arm.name
        }
        records[arm.name] = {
            record.question_id: (record, files.trace)
            for files in (part.arm(arm.data.arm.name) for part in arm.run.parts)
            for record in counted_records(files, own)
        }
    runs = [point.arms[0].run for _, point, _ in chosen]
    shown = all(run.tasks[task].source.shareable for run in runs)
    items = questions_of(runs[0], task, set(ids)) if runs and shown else {}
    return tuple(
        _failure(kind, point, row, *records[point.arms[0].name][name], items.get(name))
        for (kind, point, row), name in zip(chosen, ids, strict=True)
    )


def _chosen(
    measured: Sequence[Measurement],
) -> list[tuple[FailureKind, Measurement, int]]:
    """The kind, the point that failed, and the row of the question."""
    chosen: dict[int, tuple[FailureKind, Measurement, int]] = {}
    for number, kind in enumerate(KINDS, 1):
        new = (
            (point, row) for point, row in _of_kind(kind, measured) if row not in chosen
        )
        chosen |= {
            row: (kind, point, row)
            for point, row in islice(new, MAX_FAILURES * number // 3 - len(chosen))
        }
    return list(chosen.values())


def _of_kind(
    kind: FailureKind, measured: Sequence[Measurement]
) -> list[tuple[Measurement, int]]:
    """All failures of a kind of all strategies but greedy, the most confident first."""
    failed = [
        (point, row)
        for point in measured
        if point.size in (None, point.arm.pool) and not point.is_greedy
        for row in np.flatnonzero(_failed(kind, point, measured)).tolist()
    ]
    return sorted(
        failed,
        key=lambda failure: (-failure[0].arms[0].data.share[failure[1]], failure[1]),
    )


def _failed(
    kind: FailureKind, point: Measurement, measured: Sequence[Measurement]
) -> Bools:
    """[Q]: which questions are a failure of a kind."""
    data = point.arms[0].data
    wrong: Bools = data.outcome == WRONG
    if kind == "backfired":
        greedy = next(
            (
                other
                for other in measured
                if other.is_greedy and other.model == point.model
            ),
            None,
        )
        return wrong & (greedy.values["right"] == 1) if greedy else np.zeros_like(wrong)
    if kind == "missed":
        return data.missed
    return wrong & (data.share >= SURE)


def _failure(
    kind: FailureKind,
    point: Measurement,
    row: int,
    record: ItemRecord,
    trace: Path,
    item: AskedItem | None,
) -> FailureExample:
    """The failure, with its texts if `item` is given."""
    arm = point.arms[0]
    right = arm.data.replies.right(row)
    verb = "is" if right == 1 else "are"
    why = {
        "backfired": "one greedy sample is right, this answer is wrong",
        "missed": f"{right} of {counted(len(record.pool), 'sample')} {verb} right, another answer was chosen",
        "overconfident": f"wrong with {record.share:.0%} of the vote",
    }
    left_out: dict[str, Any] = {"pool": ()} | (
        {} if item else {"answer": "", "key": ""}
    )
    return FailureExample(
        kind=kind,
        key=point.key,
        trace=trace,
        record=record.model_copy(update=left_out),
        item=item,
        outcome=OUTCOMES[arm.data.outcome[row]],
        why=why[kind],
    )
