"""Figures in rows: what compute was spent on, what selection leaves, and where a strategy helps and harms."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from reasoner.system.printing import printable
from reasoner_evals.report.charts.drawing import WIDE, Draw, few_ticks, folded, legend, line_key, percent, short, sized
from reasoner_evals.report.charts.theme import INK, KINDS, PAPER, QUIET, SeriesStyle
from reasoner_evals.report.content import Delta, SampleCount
from reasoner_evals.report.data.pools import FIELDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

ROW, TALL_ROW = 44, 62
"""Pixels of a row: its label, and its bar below; the second where a label takes two lines."""
BAR: Final = 0.34
"""Height of a bar, as a share of the row."""
PARTS: Final = ("uncached prompt", "cached prompt (free)", "generated", "verifier", "cancelled")
"""Names of `FIELDS`."""


def _row_chart(labels: Sequence[str], paint: Callable[["Axes", int], Sequence[Any]]) -> Draw:
    """A row for each label, with the label above its bar; `paint` draws the bars and returns the legend."""

    def draw(canvas: "Canvas", width: int) -> None:
        limit = 40 if width < WIDE else 90
        axes = canvas.add_subplot()
        axes.set_ylim(len(labels) - 0.5, -0.82)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        for row, text in enumerate(labels):
            above = axes.get_yaxis_transform()
            axes.text(0, row - 0.3, folded(text, limit), transform=above, va="bottom", ha="left")
        below = legend(canvas, paint(axes, width), width)
        height = TALL_ROW if any(len(printable(text)) > limit for text in labels) else ROW
        sized(canvas, width, height * (len(labels) + 0.32) + below + 60)

    return draw


def cost_chart(points: Sequence[Any]) -> Draw:
    """Tokens per question, stacked by kind."""
    parts = [[getattr(point, f"{name}_tokens") for name in FIELDS] for point in points]

    def paint(axes: "Axes", width: int) -> Sequence[Any]:
        from matplotlib.patches import Patch

        for row, amounts in enumerate(parts):
            left = 0.0
            for amount, colour in zip(amounts, KINDS, strict=True):
                axes.barh(row, amount, BAR, left, color=colour.light, edgecolor=PAPER.light, linewidth=0.5)
                left += amount
        axes.set_xlim(0, 1.02 * max(1.0, *map(sum, parts)))
        axes.xaxis.set_major_formatter(lambda value, _: short(value))
        few_ticks(axes.xaxis, max(3, width // 110))
        axes.set_xlabel("tokens per question")
        return [Patch(color=colour.light, label=part) for part, colour in zip(PARTS, KINDS, strict=True)]

    return _row_chart([point.words for point in points], paint)


def samples_chart(rows: Mapping[str, Sequence[SampleCount]]) -> Draw:
    """The questions of each label by how many samples they drew, stacked to 100 %: the more samples, the darker."""
    spans = sorted({part[:2] for parts in rows.values() for part in parts})
    strengths = {span: 0.15 + 0.85 * (index + 1) / len(spans) for index, span in enumerate(spans)}

    def paint(axes: "Axes", _width: int) -> Sequence[Any]:
        from matplotlib.patches import Patch

        for row, parts in enumerate(rows.values()):
            left = 0.0
            for low, high, share in parts:
                axes.barh(row, share, BAR, left, color=KINDS[0].light, alpha=strengths[low, high])
                left += share
        axes.set_xlim(0, 1)
        percent(axes.xaxis)
        axes.set_xlabel("share of questions")
        return [Patch(color=KINDS[0].light, alpha=strengths[span], label=_samples(*span)) for span in spans]

    return _row_chart(list(rows), paint)


def _samples(low: int, high: int) -> str:
    numbers = f"{low}" if low == high else f"{low} to {high}"
    return f"{numbers} sample{'' if high == 1 else 's'}"


def gap_chart(points: Sequence[Any], styles: Mapping[str, SeriesStyle]) -> Draw:
    """From accuracy to coverage: what perfect selection would gain. Every point has a coverage."""
    hollow: dict[str, Any] = {"marker": "o", "color": QUIET.light, "markerfacecolor": PAPER.light}

    def paint(axes: "Axes", _width: int) -> Sequence[Any]:
        for row, point in enumerate(points):
            style = styles[point.series]
            axes.hlines(row, point.accuracy, point.coverage, color=QUIET.light, linewidth=1.5)
            axes.plot(point.accuracy, row, marker=style.marker, color=style.colour.light, markersize=8)
            axes.plot(point.coverage, row, markersize=8, markeredgewidth=1.5, **hollow)
        axes.set_xlim(-0.02, 1.02)
        percent(axes.xaxis)
        return [
            line_key("accuracy (the strategy's own marker)", linestyle="none", marker="o", color=INK.light),
            line_key("oracle: any sample right", linestyle="none", **hollow),
        ]

    return _row_chart([point.words for point in points], paint)


def harm_chart(rows: Sequence[tuple[Any, Delta]], styles: Mapping[str, SeriesStyle]) -> Draw:
    """The shares of questions on which a point is behind the baseline, to the left, and ahead of it, to the right."""

    def paint(axes: "Axes", width: int) -> Sequence[Any]:
        limit = 0.02
        for row, (point, delta) in enumerate(rows):
            colour = styles[point.series].colour.light
            behind, ahead = delta.worse / delta.questions, delta.better / delta.questions
            axes.barh(row, -behind, BAR, facecolor=PAPER.light, edgecolor=colour, hatch="////", linewidth=1)
            axes.barh(row, ahead, BAR, color=colour, edgecolor=colour, linewidth=1)
            for x, share, offset, side in ((-behind, behind, -5, "right"), (ahead, ahead, 5, "left")):
                axes.annotate(f"{share:.1%}", (x, row), (offset, 0), textcoords="offset points", ha=side, va="center")
            limit = max(limit, behind, ahead)
        axes.axvline(0, color=QUIET.light, linewidth=1)
        # The numbers beside the bars need room.
        limit *= 1.5 if width < WIDE else 1.2
        axes.set_xlim(-limit, limit)
        few_ticks(axes.xaxis, max(3, width // 110))
        axes.xaxis.set_major_formatter(lambda value, _: f"{abs(100 * value):.3g} %")
        axes.set_xlabel("behind  ←  share of questions  →  ahead")
        return ()

    return _row_chart([point.words for point, _ in rows], paint)
