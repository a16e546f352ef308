"""Figures in rows: what compute went into, what selection leaves, and whom a strategy helped and harmed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reasoner_evals.report.axes import legend, percent, short, sized
from reasoner_evals.report.diagnoses import Drawn
from reasoner_evals.report.drawing import WIDE, Draw, folded, label
from reasoner_evals.report.looks import INK, KINDS, PAPER, QUIET, Look
from reasoner_evals.report.points import Delta, Point, Spent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

ROW, TALL_ROW = 44, 62
"""Pixels of a row: its label, and its bar below; where a label takes two lines, the other."""
BAR = 0.34
"""Height of a bar, as a share of the row."""
PARTS = ("uncached prompt", "cached prompt (free)", "generated", "verifier", "cancelled")


class Harm(NamedTuple):
    """A comparison with the point that it is of."""

    point: Point
    delta: Delta


def parts(spent: Spent) -> tuple[float, ...]:
    """The tokens of a question by `PARTS`."""
    return spent.prompt, spent.cached, spent.generated, spent.verifier, spent.cancelled


def cost_chart(points: Sequence[Point]) -> Draw:
    """Tokens a question, stacked by kind."""

    def draw(canvas: "Canvas", width: int) -> None:
        from matplotlib.patches import Patch

        axes = _rows(canvas, [one.label for one in points], width)
        for row, one in enumerate(points):
            left = 0.0
            for amount, colour in zip(parts(one.spent), KINDS, strict=True):
                axes.barh(row, amount, BAR, left, color=colour.light, edgecolor=PAPER.light, linewidth=0.5)
                left += amount
        axes.set_xlim(0, 1.02 * max(1.0, *(sum(parts(one.spent)) for one in points)))
        axes.xaxis.set_major_formatter(lambda value, _: short(value))
        axes.xaxis.set_major_locator(_few(width))
        axes.set_xlabel("tokens a question")
        keys = [Patch(color=colour.light, label=part) for part, colour in zip(PARTS, KINDS, strict=True)]
        _finish(canvas, [one.label for one in points], legend(canvas, keys, width), width)

    return draw


def drawn_chart(rows: Sequence[tuple[str, Sequence[Drawn]]]) -> Draw:
    """The questions of each label by how many samples they drew, stacked to 100 %: the more samples, the darker."""
    spans = sorted({(one.low, one.high) for _, parts in rows for one in parts})
    strengths = {span: 0.15 + 0.85 * (place + 1) / len(spans) for place, span in enumerate(spans)}

    def draw(canvas: "Canvas", width: int) -> None:
        from matplotlib.patches import Patch

        axes = _rows(canvas, [name for name, _ in rows], width)
        for row, (_, parts) in enumerate(rows):
            left = 0.0
            for low, high, share in parts:
                axes.barh(row, share, BAR, left, color=KINDS[0].light, alpha=strengths[low, high])
                left += share
        axes.set_xlim(0, 1)
        percent(axes.xaxis)
        axes.set_xlabel("share of questions")
        keys = [Patch(color=KINDS[0].light, alpha=strengths[low, high], label=_span(low, high)) for low, high in spans]
        _finish(canvas, [name for name, _ in rows], legend(canvas, keys, width), width)

    return draw


def _span(low: int, high: int) -> str:
    numbers = f"{low}" if low == high else f"{low} to {high}"
    return f"{numbers} sample{'' if high == 1 else 's'}"


def gap_chart(points: Sequence[Point], looks: Mapping[str, Look]) -> Draw:
    """From accuracy to coverage: what a perfect selection would still gain. Every point has a coverage."""

    def draw(canvas: "Canvas", width: int) -> None:
        from matplotlib.lines import Line2D

        axes = _rows(canvas, [one.label for one in points], width)
        for row, one in enumerate(points):
            look, covered = looks[one.series], one.coverage
            axes.hlines(row, one.accuracy.value, covered.value if covered else 0, color=QUIET.light, linewidth=1.5)
            axes.plot(one.accuracy.value, row, marker=look.marker, color=look.colour.light, markersize=8)
            axes.plot(covered.value if covered else 0, row, marker="o", markersize=8, color=QUIET.light,
                      markerfacecolor=PAPER.light, markeredgewidth=1.5)  # fmt: skip
        axes.set_xlim(-0.02, 1.02)
        percent(axes.xaxis)
        keys = [
            Line2D([], [], linestyle="none", marker="o", color=INK.light, label="accuracy (the series' own marker)"),
            Line2D([], [], linestyle="none", marker="o", color=QUIET.light, markerfacecolor=PAPER.light,
                   label="oracle: any sample right"),
        ]  # fmt: skip
        _finish(canvas, [one.label for one in points], legend(canvas, keys, width), width)

    return draw


def harm_chart(rows: Sequence[Harm], looks: Mapping[str, Look]) -> Draw:
    """The shares of questions on which a point is behind the baseline, leftwards, and ahead of it, rightwards."""

    def draw(canvas: "Canvas", width: int) -> None:
        axes = _rows(canvas, [one.point.label for one in rows], width)
        most = 0.02
        for row, (point, delta) in enumerate(rows):
            colour = looks[point.series].colour.light
            behind, ahead = delta.worse / delta.questions, delta.better / delta.questions
            axes.barh(row, -behind, BAR, facecolor=PAPER.light, edgecolor=colour, hatch="////", linewidth=1)
            axes.barh(row, ahead, BAR, color=colour, edgecolor=colour, linewidth=1)
            _beside(axes, -behind, row, f"{behind:.1%}", "right")
            _beside(axes, ahead, row, f"{ahead:.1%}", "left")
            most = max(most, behind, ahead)
        axes.axvline(0, color=QUIET.light, linewidth=1)
        # The numbers stand beside the bars.
        axes.set_xlim(-most * (1.5 if width < WIDE else 1.2), most * (1.5 if width < WIDE else 1.2))
        axes.xaxis.set_major_locator(_few(width))
        axes.xaxis.set_major_formatter(lambda value, _: f"{abs(100 * value):.3g} %")
        axes.set_xlabel("behind  ←  share of questions  →  ahead")
        _finish(canvas, [one.point.label for one in rows], 0, width)

    return draw


def _beside(axes: "Axes", x: float, row: int, text: str, side: str) -> None:
    axes.annotate(text, (x, row), (5 if side == "left" else -5, 0), textcoords="offset points", ha=side, va="center")


def _rows(canvas: "Canvas", labels: Sequence[str], width: int) -> "Axes":
    """Axes with a row for each label, which stands above its bar, from the left edge."""
    axes = canvas.add_subplot()
    axes.set_ylim(len(labels) - 0.5, -0.82)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    for row, text in enumerate(labels):
        shown = folded(text, _limit(width))
        axes.text(0, row - 0.3, shown, transform=axes.get_yaxis_transform(), va="bottom", ha="left")
    return axes


def _limit(width: int) -> int:
    """Characters on a line of a label."""
    return 40 if width < WIDE else 90


def _few(width: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=max(3, width // 110))


def _finish(canvas: "Canvas", labels: Sequence[str], below: int, width: int) -> None:
    row = TALL_ROW if any(len(label(text)) > _limit(width) for text in labels) else ROW
    sized(canvas, width, row * (len(labels) + 0.32) + below + 60)
