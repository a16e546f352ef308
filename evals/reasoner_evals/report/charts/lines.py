"""Accuracy against compute: the curves, the greedy point, the oracle and the frontier."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from reasoner_evals.report.charts.drawing import WIDE, Draw, legend, line_key, log_x, percent_y, series_key, sized
from reasoner_evals.report.charts.theme import INK, PAPER, QUIET, SeriesStyle
from reasoner_evals.report.content import Estimate, TaskReport, estimate_of
from reasoner_evals.report.data.measures import ALLOCATED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

HEIGHT, NARROW_HEIGHT = 400, 300
"""Pixels of height of the axes, on a desktop and on a phone."""
BAND: Final = 0.14
"""Opacity of an interval."""
MAX_BANDS: Final = 6
"""With more measured lines, shaded intervals would hide each other and are left out."""
MAX_ANYTIME: Final = 4
"""With more of them, a chart has no room for lines of answers held on the way."""
FADED: Final = 0.45
"""Opacity of a dominated point."""
_STYLES: Final[dict[str, dict[str, Any]]] = {
    "oracle": {"linewidth": 1.5, "dashes": (5, 3)},
    "random": {"linewidth": 1.2, "dashes": (1, 2)},
    "chance": {"linewidth": 1, "dashes": (1, 3)},
}


class Axis(NamedTuple):
    """A measure of compute, on a log scale."""

    key: str
    column: str
    """Of the table of results."""
    tab: str
    title: str
    base: int
    unknown: str
    """Why no point may have it."""


AXES: Final = (
    Axis("tokens", "tokens", "Tokens", "total tokens per question (log scale)", 10, "nothing was spent"),
    Axis("samples", "size", "Samples", "samples per question (log scale)", 2,
         "no strategy was drawn as a pool of samples"),
    Axis("flops", "flops", "FLOPs", "FLOPs per question (log scale)", 10, "the geometry of the model is not known"),
    Axis("seconds", "seconds", "Seconds", "seconds per question, at the run's concurrency (log scale)", 10,
         "no time was measured"),
    Axis("usd", "usd", "Money", "US dollars per question (log scale)", 10,
         "the run has no price table; give one with --prices"),
)  # fmt: skip
TOKENS, SAMPLES, FLOPS = AXES[:3]


class Mark(NamedTuple):
    """A place on a line, and the key of the point that it shows, if it shows one."""

    x: float
    accuracy: Estimate
    key: str = ""


class Line(NamedTuple):
    """A line of a chart, ascending in x.

    "oracle" is the coverage of a pool, not an accuracy; "random" is the accuracy of one of its samples chosen at
    random; "anytime" is a step function of the answers held on the way.
    """

    series: str
    model: str
    label: str
    kind: Literal["random", "oracle", "anytime", "measured"]
    marks: tuple[Mark, ...]


def rows_by_series(task: TaskReport) -> dict[str, list[Any]]:
    """The points of each series, ascending in tokens."""
    rows: dict[str, list[Any]] = {}
    for row in sorted(task.points.itertuples(), key=lambda row: row.tokens):
        rows.setdefault(row.series, []).append(row)
    return {series: rows[series] for series in dict.fromkeys(task.points["series"])}


def lines(task: TaskReport, axis: Axis) -> list[Line]:
    """The lines that are drawn against an axis, the measured ones last and so on top."""
    measured: list[Line] = []
    oracle: list[Line] = []
    random: list[Line] = []
    for series, points in rows_by_series(task).items():
        model = points[0].model
        # Only positive values have a place on a log scale.
        placed = sorted((row for row in points if getattr(row, axis.column)), key=lambda row: getattr(row, axis.column))
        heights = [(getattr(row, axis.column), _accuracy(row), row) for row in placed]
        if not placed:
            continue
        measured.append(Line(series, model, series, "measured", tuple(Mark(x, y, row.key) for x, y, row in heights)))
        if points[0].pooled:
            # The vote of one sample is that sample.
            single = _accuracy(min(points, key=lambda row: row.size or 0))
            tops = tuple(Mark(x, estimate_of(row, "coverage") or y) for x, y, row in heights)
            level = tuple(Mark(x, single) for x, *_ in heights)
            oracle.append(Line(series, model, f"{series}, oracle", "oracle", tops))
            random.append(Line(series, model, f"{series}, random", "random", level))
    anytime = [
        Line(curve.series, curve.model, curve.label, "anytime", tuple(map(Mark, curve.tokens, curve.accuracies)))
        for curve in task.anytime
        if axis is TOKENS and len(task.anytime) <= MAX_ANYTIME
    ]
    return [*random, *oracle, *anytime, *measured]


def _accuracy(row: Any) -> Estimate:
    return estimate_of(row, "accuracy") or Estimate(0.0)


def has_bands(shown: Sequence[Line]) -> bool:
    """Whether a chart has room for the intervals of its lines."""
    return sum(line.kind == "measured" for line in shown) <= MAX_BANDS


def scaled_marks(shown: Sequence[Line]) -> list[Mark]:
    """The marks that the scales include; anytime marks only if nothing else is a curve."""
    marks = [mark for line in shown if line.kind != "anytime" for mark in line.marks]
    return marks if len({mark.x for mark in marks}) > 1 else [mark for line in shown for mark in line.marks]


def front_statuses(task: TaskReport, axis: Axis) -> dict[str, str]:
    """Each point's status on the Pareto frontier of an axis, by key; empty where none is known for it."""
    column = {"tokens": "tokens_front", "flops": "flops_front"}.get(axis.key)
    return {row.key: status for row in task.points.itertuples() if column and (status := getattr(row, column))}


def greedy_keys(task: TaskReport) -> set[str]:
    """The points that are the greedy baseline of others."""
    return {delta.baseline for delta in task.deltas if delta.against == "greedy"}


def left_out(task: TaskReport, axis: Axis) -> list[str]:
    """The labels of the points that have no place on an axis."""
    return [row.label for row in task.points.itertuples() if not getattr(row, axis.column)]


def accuracy_chart(task: TaskReport, axis: Axis, styles: Mapping[str, SeriesStyle]) -> Draw:
    """Accuracy against a measure of compute; at least one point must have it."""

    def draw(canvas: "Canvas", width: int) -> None:
        axes = canvas.add_subplot()
        shown, front = lines(task, axis), front_statuses(task, axis)
        shaded = has_bands(shown)
        for line in shown:
            if shaded and line.kind == "measured":
                band(axes, line.marks, styles[line.series].colour.light)
        for line in shown:
            _draw_line(axes, line, styles[line.series], front)
        _draw_frontiers(axes, axis, shown, front)
        marks = scaled_marks(shown)
        heights = [mark.accuracy if shaded else Estimate(mark.accuracy.value) for mark in marks]
        if task.chance is not None:
            axes.axhline(task.chance, color=QUIET.light, **_STYLES["chance"])
            heights.append(Estimate(task.chance))
        log_x(axes, [mark.x for mark in marks], axis.base, pixels=width)
        percent_y(axes, heights)
        axes.set_xlabel(axis.title)
        axes.set_title("accuracy", fontweight="normal", color=QUIET.light)
        below = legend(canvas, list(_legend(task, shown, styles, has_front=bool(front))), width)
        sized(canvas, width, (HEIGHT if width >= WIDE else NARROW_HEIGHT) + below + 60)

    return draw


def _draw_line(axes: "Axes", line: Line, style: SeriesStyle, front: Mapping[str, str]) -> None:
    x, y = [mark.x for mark in line.marks], [mark.accuracy.value for mark in line.marks]
    if line.kind == "oracle":
        axes.plot(x, y, color=QUIET.light, alpha=0.8, **_STYLES["oracle"])
    elif line.kind == "random":
        axes.plot(x, y, color=QUIET.light, **_STYLES["random"])
    elif line.kind == "anytime":
        axes.step(x, y, where="post", color=style.colour.light, linewidth=1, alpha=0.7)
    else:
        axes.plot(x, y, color=style.colour.light, linestyle=style.line)
        for mark in line.marks:
            _draw_marker(axes, mark, style, front.get(mark.key, "front"))


def band(axes: "Axes", marks: Sequence[Mark], colour: str) -> None:
    """The intervals of a line as a shaded band; of a single point as a bar."""
    spans = [(x, y.low, y.high) for x, y, _ in marks if y.low is not None and y.high is not None]
    x, low, high = ([span[index] for span in spans] for index in range(3))
    if len(spans) == 1:
        axes.vlines(x, low, high, color=colour, linewidth=1.5, alpha=0.6)
    else:
        axes.fill_between(x, low, high, color=colour, alpha=BAND, linewidth=0)


def _draw_marker(axes: "Axes", mark: Mark, style: SeriesStyle, status: str) -> None:
    """Filled on the frontier, hollow if not significantly behind it, faded if behind."""
    colour = style.colour.light
    axes.plot(
        mark.x,
        mark.accuracy.value,
        marker=style.marker,
        color=colour,
        markerfacecolor=PAPER.light if status == "level" else colour,
        markeredgecolor=colour,
        markeredgewidth=1.5,
        alpha=FADED if status == "behind" else 1,
        zorder=3,
    )


def _draw_frontiers(axes: "Axes", axis: Axis, shown: Sequence[Line], front: Mapping[str, str]) -> None:
    """The frontier of each model as a step line; on FLOPs, one across models."""
    by_model: dict[str, list[Mark]] = {}
    for line in shown:
        for mark in line.marks:
            if front.get(mark.key) == "front":
                by_model.setdefault("" if axis is FLOPS else line.model, []).append(mark)
    for marks in by_model.values():
        marks.sort(key=lambda mark: mark.x)
        axes.step([mark.x for mark in marks], [mark.accuracy.value for mark in marks], where="post",
                  color=INK.light, linewidth=1, alpha=0.75, zorder=2.5)  # fmt: skip


def _legend(
    task: TaskReport, shown: Sequence[Line], styles: Mapping[str, SeriesStyle], *, has_front: bool
) -> Iterator[Any]:
    kinds = {line.kind for line in shown}
    greedy, pools = greedy_keys(task), {line.series for line in shown if line.kind == "oracle"}
    allocated = any(line.series.endswith(ALLOCATED) for line in shown)
    for line in shown:
        if line.kind == "measured":
            name = f"greedy: {line.label}" if any(mark.key in greedy for mark in line.marks) else line.label
            # A pool gives every question the same number of samples.
            name += ", uniform" if allocated and line.series in pools else ""
            yield series_key(name, styles[line.series], line=len(line.marks) > 1)
    if "oracle" in kinds:
        yield line_key("oracle: any sample right", **_STYLES["oracle"])
    if "random" in kinds:
        yield line_key("one sample, chosen at random", **_STYLES["random"])
    if task.chance is not None:
        yield line_key("random guess", **_STYLES["chance"])
    if "anytime" in kinds:
        yield line_key("thin: answers held on the way", linewidth=1)
    if has_front:
        yield line_key("Pareto frontier", color=INK.light, linewidth=1, drawstyle="steps-post")
