"""Figures of small panels: accuracy by difficulty, confidence against correctness, and how curves scale."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reasoner_evals.report.axes import SAMPLES, TOKENS, legend, log_x, percent, percent_y, sized
from reasoner_evals.report.charts import Marked, band, series_key
from reasoner_evals.report.diagnoses import Bin, Calibration, Difficulty, Fit, ReliabilityBin, Scaling, VerifierQuality
from reasoner_evals.report.drawing import WIDE, Draw, label
from reasoner_evals.report.looks import QUIET, Look
from reasoner_evals.report.points import CurvePoint, Estimate, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SQUARE = 290
"""Pixels of height of a panel."""
LARGEST_DOT = 160.0
"""Area of the dot that stands for the most answers."""


def difficulty_chart(found: Difficulty, points: Mapping[str, Point], looks: Mapping[str, Look]) -> Draw:
    """Accuracy against tokens within each bin, hardest first, on one scale."""

    def draw(canvas: "Canvas", width: int) -> None:
        columns = len(found.bins) if width >= WIDE else 2
        grid = _grid(canvas, len(found.bins), columns, share=True)
        rows = [(points[row.key], row.accuracies) for row in found.rows if row.key in points]
        series = list(dict.fromkeys(point.series for point, _ in rows))
        for place, (axes, one) in enumerate(zip(grid, found.bins, strict=True)):
            for name in series:
                marks = _marks((point, heights[place]) for point, heights in rows if point.series == name)
                _small_line(axes, marks, looks[name])
            axes.set_title(_bin_title(one), fontweight="normal")
            log_x(axes, [point.spent.tokens.mean for point, _ in rows], TOKENS, pixels=width // columns - 20)
        percent_y(grid[0], [height for _, heights in rows for height in heights if height])
        grid[(len(grid) - 1) // 2 if columns > 2 else -1].set_xlabel("total tokens a question (log scale)")
        below = legend(canvas, [series_key(name, looks[name]) for name in series], width)
        sized(canvas, width, 210 * math.ceil(len(found.bins) / columns) + below + 60)

    return draw


def _bin_title(one: Bin) -> str:
    if not one.questions:
        return "no question"
    span = f"{100 * one.low:.0f} to {100 * one.high:.0f} %" if one.high > one.low else f"{100 * one.low:.0f} %"
    return f"{span} right\nn = {one.questions:,}"


def _marks(row: Iterator[tuple[Point, Estimate | None]]) -> list[Marked]:
    found = [
        Marked(point.spent.tokens.mean, CurvePoint(point.size, point.spent.tokens.mean, None, None, None, height))
        for point, height in row
        if height is not None and point.spent.tokens.mean > 0
    ]
    return sorted(found, key=lambda one: one.x)


def _small_line(axes: "Axes", marks: Sequence[Marked], look: Look) -> None:
    band(axes, marks, look.colour.light)
    axes.plot([one.x for one in marks], [one.point.accuracy.value for one in marks], color=look.colour.light,
              linestyle=_dashes(look), marker=look.marker, markersize=4, linewidth=1.5)  # fmt: skip


def calibration_chart(found: Sequence[Calibration], points: Mapping[str, Point], looks: Mapping[str, Look]) -> Draw:
    """Reliability on the left, risk against coverage on the right."""

    def draw(canvas: "Canvas", width: int) -> None:
        left, right = _grid(canvas, 2, 2 if width >= WIDE else 1)
        keys = []
        for one in found:
            point = points[one.key]
            look = looks[point.series]
            _reliability(left, one.bins, look)
            right.step([risk.coverage for risk in one.risks], [risk.risk for risk in one.risks], where="post",
                       color=look.colour.light, linestyle=_dashes(look))  # fmt: skip
            keys.append(series_key(point.label, look))
        _diagonal(left)
        left.set_title("Reliability")
        left.set_xlabel("share of the vote")
        left.set_ylabel("share that is right")
        right.set_title("Risk if only the surest are answered")
        right.set_xlabel("questions answered")
        right.set_ylabel("wrong among them")
        right.set_xlim(-0.02, 1.02)
        percent(right.xaxis)
        percent_y(right, [Estimate(0.0), *(Estimate(risk.risk) for one in found for risk in one.risks)])
        below = legend(canvas, keys, width)
        sized(canvas, width, (SQUARE + 70) * (1 if width >= WIDE else 2) + below)

    return draw


def verifier_chart(found: Sequence[VerifierQuality], looks: Mapping[str, Look]) -> Draw:
    """The share of right replies by decile of the verifier's value."""

    def draw(canvas: "Canvas", width: int) -> None:
        [axes] = _grid(canvas, 1, 1)
        for one in found:
            _reliability(axes, one.deciles, looks[one.series])
        _diagonal(axes)
        axes.set_xlabel("verifier's value")
        axes.set_ylabel("share that is right")
        keys = [series_key(one.series, looks[one.series]) for one in found]
        sized(canvas, width, SQUARE + legend(canvas, keys, width) + 60)

    return draw


def _reliability(axes: "Axes", bins: Sequence[ReliabilityBin], look: Look) -> None:
    kept = [one for one in bins if one.answers]
    x, y = [one.confidence for one in kept], [one.accuracy for one in kept]
    most = max((one.answers for one in kept), default=1)
    axes.plot(x, y, color=look.colour.light, linestyle=_dashes(look), linewidth=1.2)
    areas = [max(12.0, LARGEST_DOT * one.answers / most) for one in kept]
    axes.scatter(x, y, areas, color=look.colour.light, marker=look.marker, alpha=0.75, linewidths=0)


def _diagonal(axes: "Axes") -> None:
    axes.plot([0, 1], [0, 1], color=QUIET.light, linewidth=1, dashes=(1, 2))
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(-0.04, 1.04)
    percent(axes.xaxis)
    percent(axes.yaxis)


def scaling_chart(found: Sequence[Scaling], looks: Mapping[str, Look]) -> Draw:
    """The fitted laws with their bands over what was measured, a panel for each pool."""

    def draw(canvas: "Canvas", width: int) -> None:
        columns = min(len(found), 3) if width >= WIDE else 1
        for axes, one in zip(_grid(canvas, len(found), columns), found, strict=True):
            look = looks[one.series]
            fits = [(fit, colour, marker) for fit, colour, marker in (
                (one.coverage, QUIET.light, "o"), (one.selection, look.colour.light, look.marker))
                if fit is not None and fit.points]  # fmt: skip
            for fit, colour, marker in fits:
                _fit(axes, fit, colour, marker)
            axes.set_title(label(one.label, 32))
            axes.set_xlabel("samples a question (log scale)")
            log_x(axes, [at.size for fit, *_ in fits for at in fit.points], SAMPLES, pixels=width // columns)
            heights = [
                height for fit, *_ in fits for at in fit.points for height in (at.fitted, *_as_height(at.measured))
            ]
            percent_y(axes, heights)
        below = legend(canvas, list(_scaling_keys()), width)
        sized(canvas, width, (SQUARE + 40) * math.ceil(len(found) / columns) + below + 20)

    return draw


def _as_height(value: float | None) -> tuple[Estimate, ...]:
    return () if value is None else (Estimate(value),)


def _fit(axes: "Axes", fit: Fit, colour: str, marker: str) -> None:
    """A law: solid where it was measured, dashed beyond."""
    measured = [(at.size, at.measured) for at in fit.points if at.measured is not None]
    last = max((size for size, _ in measured), default=0.0)
    inside = [at for at in fit.points if at.size <= last]
    beyond = [at for at in fit.points if at.size >= last]
    marks = [Marked(at.size, CurvePoint(at.size, at.size, None, None, None, at.fitted)) for at in fit.points]
    band(axes, marks, colour)
    axes.plot([at.size for at in inside], [at.fitted.value for at in inside], color=colour, linewidth=1.5)
    axes.plot(
        [at.size for at in beyond], [at.fitted.value for at in beyond], color=colour, linewidth=1.5, dashes=(2, 2)
    )
    axes.plot([size for size, _ in measured], [share for _, share in measured], color=colour, linestyle="none",
              marker=marker)  # fmt: skip


def _scaling_keys() -> Iterator[Any]:
    from matplotlib.lines import Line2D

    yield Line2D([], [], color=QUIET.light, marker="o", label="oracle, in grey: measured, law")
    yield Line2D([], [], color=QUIET.light, marker="D", label="accuracy: measured, law")
    yield Line2D([], [], color=QUIET.light, dashes=(2, 2), label="beyond what was measured")


def _dashes(look: Look) -> Any:
    return (0, look.dashes) if look.dashes else "-"


def _grid(canvas: "Canvas", count: int, columns: int, *, share: bool = False) -> "list[Axes]":
    rows = math.ceil(count / columns)
    grid = canvas.subplots(rows, columns, squeeze=False, sharey=share)
    found = list(grid.flat)
    for spare in found[count:]:
        spare.set_visible(False)
    return found[:count]
