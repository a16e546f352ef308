"""The lines of a report's figures: measured, oracle, random and anytime."""

from collections.abc import Iterator, Sequence

import numpy as np

from reasoner_evals.report.measures import ArmRead, Measured
from reasoner_evals.report.points import Curve, CurveKind, CurvePoint, Estimate, Point
from reasoner_evals.report.tables import estimate
from reasoner_evals.runs.arrays import ERROR, RIGHT, UNGRADED, Bools, Floats
from reasoner_evals.stats.intervals import Groups, interval

GRID = 48
"""Places at which an anytime curve is read, evenly on a log scale of tokens."""


def curves(measured: Sequence[Measured], rows: Sequence[Point], groups: Groups | None) -> tuple[Curve, ...]:
    """All lines of a task, the measured ones first."""
    by_series: dict[str, list[Point]] = {}
    for row in rows:
        by_series.setdefault(row.series, []).append(row)
    ordered = {series: sorted(of, key=lambda row: row.spent.tokens.mean) for series, of in by_series.items()}
    lines = [_line(of, "measured") for of in ordered.values()]
    pools = [of for of in ordered.values() if of[0].pooled]
    lines += [_line(of, "oracle") for of in pools]
    lines += [_line(of, "random") for of in pools]
    return (*lines, *_anytime(measured, groups))


def _line(rows: Sequence[Point], kind: CurveKind) -> Curve:
    single = min(rows, key=lambda row: row.size or 0)
    heights = {
        "measured": [row.accuracy for row in rows],
        "oracle": [row.coverage or row.accuracy for row in rows],
        # The vote of one is that one.
        "random": [single.accuracy for _ in rows],
    }[kind]
    marks = (
        _mark(row, height, row.key if kind == "measured" else "") for row, height in zip(rows, heights, strict=True)
    )
    label = rows[0].series if kind == "measured" else f"{rows[0].series}, {kind}"
    return Curve(rows[0].series, rows[0].model, label, kind, tuple(marks))


def _mark(row: Point, height: Estimate, key: str) -> CurvePoint:
    spent = row.spent
    return CurvePoint(row.size, spent.tokens.mean, spent.flops, spent.seconds, spent.usd, height, key)


def _anytime(measured: Sequence[Measured], groups: Groups | None) -> Iterator[Curve]:
    """Of each strategy that was run rather than pooled: what it held on the way, its largest budget alone."""
    largest: dict[str, Measured] = {}
    for one in measured:
        former = largest.get(one.subject.series)
        if not one.subject.pooled and (former is None or one.tokens > former.tokens):
            largest[one.subject.series] = one
    for series, one in largest.items():
        steps = max((int(arm.data.along.rows.length.max(initial=0)) for arm in one.arms), default=0)
        if steps < 2:
            continue
        grid = _grid(one.arms)
        held = np.mean([_held(arm, grid) for arm in one.arms], axis=0)
        marks = (
            CurvePoint(None, float(tokens), None, None, None, estimate(interval(held[:, place], groups)))
            for place, tokens in enumerate(grid)
        )
        yield Curve(series, one.subject.model, f"{one.subject.label}, anytime", "anytime", tuple(marks))


def _grid(arms: Sequence[ArmRead]) -> Floats:
    tokens = np.concatenate([one.data.along.tokens for one in arms])
    least, most = max(int(tokens.min()), 1), max(int(tokens.max()), 2)
    return np.unique(np.round(np.geomspace(least, most, GRID)))


def _held(one: ArmRead, grid: Floats) -> Floats:
    """[Q, G]: whether the answer held when so many tokens were spent is right; before the first, there is none."""
    data, along = one.data, one.data.along
    found = np.zeros((len(data.outcome), len(grid)))
    for row in range(len(found)):
        stretch = along.rows.of(row)
        place = np.searchsorted(along.tokens[stretch], grid, side="right") - 1
        codes = along.outcome[stretch]
        if len(codes):
            found[row] = np.where(place >= 0, codes[np.maximum(place, 0)] == RIGHT, False)
        if np.any(codes == UNGRADED):
            found[row] = np.nan
    lost: Bools = ~data.finished | (data.outcome == ERROR)
    found[lost] = np.nan
    return found
