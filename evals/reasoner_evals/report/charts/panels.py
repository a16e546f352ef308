"""Figures of small panels: accuracy by difficulty, confidence against correctness, and scaling laws."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from reasoner.system.printing import printable
from reasoner_evals.report.charts.drawing import (
    WIDE,
    Draw,
    legend,
    line_key,
    log_x,
    percent,
    percent_y,
    series_key,
    sized,
)
from reasoner_evals.report.charts.lines import Mark, band
from reasoner_evals.report.charts.theme import QUIET, SeriesStyle
from reasoner_evals.report.content import Calibration, Difficulty, Estimate, Fit, Scaling, VerifierQuality
from reasoner_evals.stats.calibration import Bin as ReliabilityBin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SQUARE: Final = 290
"""Pixels of height of a panel."""
MAX_DOT: Final = 160.0
"""Area of the dot for the most answers."""


def _grid(canvas: "Canvas", count: int, columns: int, *, share: bool = False) -> "list[Axes]":
    grid = list(canvas.subplots(math.ceil(count / columns), columns, squeeze=False, sharey=share).flat)
    for spare in grid[count:]:
        spare.set_visible(False)
    return grid[:count]


def difficulty_chart(difficulty: Difficulty, points: Mapping[str, Any], styles: Mapping[str, SeriesStyle]) -> Draw:
    """Accuracy against tokens within each bin, hardest first, on one scale."""
    bins = difficulty.bins
    rows = [(points[key], accuracies) for key, accuracies in difficulty.accuracies.items()]
    rows.sort(key=lambda row: row[0].tokens)
    titles = {point.series: point.name for point, _ in rows}
    names = [name for name in styles if name in titles]

    def draw(canvas: "Canvas", width: int) -> None:
        columns = len(bins) if width >= WIDE else 2
        grid = _grid(canvas, len(bins), columns, share=True)
        for index, (axes, members) in enumerate(zip(grid, bins, strict=True)):
            for name in names:
                heights = [(point, accuracies[index]) for point, accuracies in rows if point.series == name]
                _small_line(axes, [Mark(point.tokens, height) for point, height in heights if height], styles[name])
            low, high = f"{100 * members.low:.0f}", f"{100 * members.high:.0f}"
            title = f"{low}{'' if low == high else f' to {high}'} % right\nn = {members.questions:,}"
            axes.set_title(title if members.questions else "no question", fontweight="normal")
            log_x(axes, [point.tokens for point, _ in rows], 10, pixels=width // columns - 20)
        percent_y(grid[0], [height for _, accuracies in rows for height in accuracies if height])
        grid[(len(grid) - 1) // 2 if columns > 2 else -1].set_xlabel("tokens per question")
        below = legend(canvas, [series_key(titles[name], styles[name]) for name in names], width)
        sized(canvas, width, 210 * math.ceil(len(bins) / columns) + below + 60)

    return draw


def _small_line(axes: "Axes", marks: Sequence[Mark], style: SeriesStyle) -> None:
    band(axes, marks, style.colour.light)
    axes.plot([mark.x for mark in marks], [mark.accuracy.value for mark in marks], color=style.colour.light,
              linestyle=style.line, marker=style.marker, markersize=4, linewidth=1.5)  # fmt: skip


def calibration_chart(
    calibrations: Sequence[Calibration], points: Mapping[str, Any], styles: Mapping[str, SeriesStyle]
) -> Draw:
    """Reliability on the left, risk against coverage on the right."""

    def draw(canvas: "Canvas", width: int) -> None:
        left, right = _grid(canvas, 2, 2 if width >= WIDE else 1)
        keys = []
        for calibration in calibrations:
            point = points[calibration.key]
            style = styles[point.series]
            _reliability(left, calibration.bins, style)
            coverage, risk = zip(*calibration.risks, strict=True)
            right.step(coverage, risk, where="post", color=style.colour.light, linestyle=style.line)
            keys.append(series_key(point.words, style))
        _diagonal(left)
        left.set(title="Reliability", xlabel="share of the vote", ylabel="share that is right")
        right.set(title="Risk if only the surest are answered", xlabel="questions answered", ylabel="wrong among them",
                  xlim=(-0.02, 1.02))  # fmt: skip
        percent(right.xaxis)
        risks = [risk.risk for calibration in calibrations for risk in calibration.risks]
        percent_y(right, map(Estimate, [0.0, *risks]))
        below = legend(canvas, keys, width)
        sized(canvas, width, (SQUARE + 70) * (1 if width >= WIDE else 2) + below)

    return draw


def verifier_chart(
    verifiers: Sequence[VerifierQuality], names: Mapping[str, str], styles: Mapping[str, SeriesStyle]
) -> Draw:
    """The share of right replies by decile of the verifier's score."""

    def draw(canvas: "Canvas", width: int) -> None:
        [axes] = _grid(canvas, 1, 1)
        for verifier in verifiers:
            _reliability(axes, verifier.deciles, styles[verifier.series])
        _diagonal(axes)
        axes.set(xlabel="verifier's score", ylabel="share that is right")
        keys = [
            series_key(names.get(verifier.series, verifier.series), styles[verifier.series]) for verifier in verifiers
        ]
        sized(canvas, width, SQUARE + legend(canvas, keys, width) + 60)

    return draw


def _reliability(axes: "Axes", bins: Sequence[ReliabilityBin], style: SeriesStyle) -> None:
    x, y = [part.confidence for part in bins], [part.accuracy for part in bins]
    axes.plot(x, y, color=style.colour.light, linestyle=style.line, linewidth=1.2)
    largest = max(part.n for part in bins)
    areas = [max(12.0, MAX_DOT * part.n / largest) for part in bins]
    axes.scatter(x, y, areas, color=style.colour.light, marker=style.marker, alpha=0.75, linewidths=0)


def _diagonal(axes: "Axes") -> None:
    axes.plot([0, 1], [0, 1], color=QUIET.light, linewidth=1, dashes=(1, 2))
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    percent(axes.xaxis)
    percent(axes.yaxis)


def scaling_chart(scalings: Sequence[Scaling], names: Mapping[str, str], styles: Mapping[str, SeriesStyle]) -> Draw:
    """The fitted laws with their bands over what was measured, a panel for each pool."""

    def draw(canvas: "Canvas", width: int) -> None:
        columns = min(len(scalings), 3) if width >= WIDE else 1
        for axes, scaling in zip(_grid(canvas, len(scalings), columns), scalings, strict=True):
            style = styles[scaling.series]
            _draw_fit(axes, scaling.coverage, QUIET.light, "o")
            _draw_fit(axes, scaling.selection, style.colour.light, style.marker)
            axes.set_title(printable(names.get(scaling.series, scaling.series), limit=32))
            axes.set_xlabel("samples per question")
            fits = [fit for fit in (scaling.coverage, scaling.selection) if fit.band]
            log_x(axes, [k for fit in fits if fit.band for k in fit.band.ks], 2, pixels=width // columns)
            percent_y(axes, [height for fit in fits for height in (*fit.fitted, *map(Estimate, fit.measured))])
        keys = [
            line_key("oracle, in grey: measured, law", marker="o"),
            line_key("accuracy: measured, law", marker="D"),
            line_key("beyond what was measured", dashes=(2, 2)),
        ]
        sized(canvas, width, (SQUARE + 40) * math.ceil(len(scalings) / columns) + legend(canvas, keys, width) + 20)

    return draw


def _draw_fit(axes: "Axes", fit: Fit, colour: str, marker: str) -> None:
    """A law: solid where it was measured, dashed beyond."""
    if fit.band is None:
        return
    sizes, known = fit.band.ks, len(fit.measured)
    band(axes, list(map(Mark, sizes, fit.fitted)), colour)
    axes.plot(sizes[:known], fit.band.value[:known], color=colour, linewidth=1.5)
    axes.plot(sizes[known - 1 :], fit.band.value[known - 1 :], color=colour, linewidth=1.5, dashes=(2, 2))
    axes.plot(sizes[:known], fit.measured, color=colour, linestyle="none", marker=marker)
