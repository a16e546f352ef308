"""Accuracy against compute: the curves, the greedy point, the oracle and the frontier."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from reasoner.specs import Spec
from reasoner_evals.report.charts.drawing import WIDE, Draw, log_x, percent_y, sized, wrapped
from reasoner_evals.report.charts.labels import GAP, EndLabel, place_labels
from reasoner_evals.report.charts.theme import PAPER, QUIET, SeriesStyle
from reasoner_evals.report.content import Estimate, TaskReport, estimate_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

HEIGHT, NARROW_HEIGHT = 420, 320
"""Pixels of height, on a desktop and on a phone; more where the names of the lines need it."""
BAND: Final = 0.14
"""Opacity of an interval."""
MAX_BANDS: Final = 6
"""With more measured lines, shaded intervals would hide each other and are left out."""
OVERLAP: Final = 0.5
"""Bands that share more than this part of the lower one's height cannot be distinguished: only the first is drawn."""
MAX_ANYTIME: Final = 2
"""With more of them, a chart has no room for lines of answers held on the way."""
FADED: Final = 0.45
"""Opacity of a dominated point."""
_STYLES: Final[dict[str, dict[str, Any]]] = {
    "oracle": {"linewidth": 1, "dashes": (5, 3), "alpha": 0.8},
    "random": {"linewidth": 1, "dashes": (1, 2), "alpha": 0.8},
    "chance": {"linewidth": 1, "dashes": (1, 3), "alpha": 0.8},
    "longer": {"linewidth": 1.5, "dashes": (6, 2), "alpha": 0.9},
}
_QUIET_NAMES: Final = {
    "oracle": "oracle: any sample right",
    "random": "a sample at random",
    "anytime": "thin: answers held on the way",
    "longer": "one sample, longer thinking",
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
    Axis("tokens", "tokens", "Tokens", "tokens per question", 10, "nothing was spent"),
    Axis("samples", "size", "Samples", "samples per question", 2,
         "no strategy was drawn as a pool of samples"),
    Axis("flops", "flops", "FLOPs", "FLOPs per question", 10, "the geometry of the model is not known"),
    Axis("seconds", "seconds", "Seconds", "seconds per question, at the run's concurrency", 10,
         "no time was measured"),
    Axis("usd", "usd", "Money", "US dollars per question", 10,
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
    random; "anytime" is a step function of the answers held on the way; "longer" joins the single samples of series
    that differ in how long the model thinks, where each of these series is itself a line of more samples.
    """

    series: str
    model: str
    label: str
    kind: Literal["random", "oracle", "anytime", "longer", "measured"]
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
    return [*_quiet(random, task), *_quiet(oracle, task), *anytime, *_longer(task, axis), *measured]


def _longer(task: TaskReport, axis: Axis) -> Iterator[Line]:
    """Of series that differ only in how long the model thinks, a line through the smallest point of each."""
    families: dict[tuple[str, str, str], list[Any]] = {}
    for points in rows_by_series(task).values():
        first = min(points, key=lambda row: row.size or 0)
        if "thinking=" not in first.strategy or not getattr(first, axis.column):
            continue
        spec = Spec.parse(first.strategy)
        if "thinking" in spec.options:
            rest = str(spec.without("thinking").without("n"))
            families.setdefault((first.model, rest, first.verifier), []).append(first)
    for (model, _, _), rows in families.items():
        rows.sort(key=lambda row: getattr(row, axis.column))
        if len(rows) > 1:
            marks = tuple(Mark(getattr(row, axis.column), _accuracy(row)) for row in rows)
            yield Line(rows[0].series, model, f"{rows[0].series}, longer", "longer", marks)


def _quiet(drawn: Sequence[Line], task: TaskReport) -> list[Line]:
    """Of one kind, a line for each model: that of the verdict's series, otherwise the highest."""
    series = next((row.series for row in task.points.itertuples() if row.key == task.verdict.key), "")
    ranked = sorted(drawn, key=lambda line: (line.series == series, line.marks[-1].accuracy.value))
    return list({line.model: line for line in ranked}.values())


def _accuracy(row: Any) -> Estimate:
    return estimate_of(row, "accuracy") or Estimate(0.0)


def banded_series(task: TaskReport, shown: Sequence[Line]) -> set[str]:
    """The series whose intervals are drawn: that of the verdict first, then those that can be distinguished from it."""
    measured = [line for line in shown if line.kind == "measured"]
    if len(measured) > MAX_BANDS:
        return set()
    first = {row.series for row in task.points.itertuples() if row.key == task.verdict.key}
    measured.sort(key=lambda line: line.series not in first)
    banded: list[Line] = []
    for line in measured:
        if all(_overlap(line, other) <= OVERLAP for other in banded):
            banded.append(line)
    return {line.series for line in banded}


def _overlap(line: Line, other: Line) -> float:
    """The part of the lower of two bands that the other covers, on average where both are drawn."""
    bands = [
        [(math.log(x), y.low, y.high) for x, y, _ in member.marks if y.low is not None and y.high is not None]
        for member in (line, other)
    ]
    if not all(bands):
        return 0.0
    x, low, high = (np.array(column) for column in zip(*bands[0], strict=True))
    x2, low2, high2 = (np.array(column) for column in zip(*bands[1], strict=True))
    positions = np.unique(np.concatenate([x, x2]))
    positions = positions[(positions >= max(x[0], x2[0]) - 1e-9) & (positions <= min(x[-1], x2[-1]) + 1e-9)]
    if not len(positions):
        return 0.0
    lows, highs = [np.interp(positions, x, low), np.interp(positions, x2, low2)], [
        np.interp(positions, x, high), np.interp(positions, x2, high2)]  # fmt: skip
    shared = np.clip(np.minimum(*highs) - np.maximum(*lows), 0, None)
    lower = np.maximum(np.minimum(highs[0] - lows[0], highs[1] - lows[1]), 1e-9)
    return float(np.mean(shared / lower))


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
    return [row.words for row in task.points.itertuples() if not getattr(row, axis.column)]


def accuracy_chart(task: TaskReport, axis: Axis, styles: Mapping[str, SeriesStyle]) -> Draw:
    """Accuracy against a measure of compute; at least one point must have it. Each line is named at its end."""
    shown, front = lines(task, axis), front_statuses(task, axis)
    banded = banded_series(task, shown)

    def draw(canvas: "Canvas", width: int) -> None:
        wide = width >= WIDE
        names = list(_end_names(task, shown, styles, 32 if wide else 14))
        column = width - min(250 if wide else 112, GAP + max(name.width for name in names))
        height = max(HEIGHT if wide else NARROW_HEIGHT, sum(name.height for name in names) + 40)
        # The names need final positions, which a layout engine would move.
        canvas.set_layout_engine("none")
        sized(canvas, width, height)
        left, below, above = 48, 44, 24
        rectangle = (left / width, below / height, (column - 14 - left) / width, 1 - (below + above) / height)
        axes = canvas.add_axes(rectangle)
        for line in shown:
            if line.kind == "measured" and line.series in banded:
                band(axes, line.marks, styles[line.series].colour.light)
        for line in shown:
            _draw_line(axes, line, styles[line.series], front)
        marks = scaled_marks(shown)
        heights = [
            mark.accuracy if line.kind == "measured" and line.series in banded else Estimate(mark.accuracy.value)
            for line in shown
            for mark in line.marks
            if mark in marks
        ]
        if task.chance is not None:
            axes.axhline(task.chance, color=QUIET.light, **_STYLES["chance"])
            heights.append(Estimate(task.chance))
        log_x(axes, [mark.x for mark in marks], axis.base, pixels=int(column - left))
        percent_y(axes, heights)
        axes.set_xlabel(axis.title)
        axes.set_title("questions answered right", fontweight="normal", color=QUIET.light)
        place_labels(canvas, axes, names, column)

    return draw


def _end_names(
    task: TaskReport, shown: Sequence[Line], styles: Mapping[str, SeriesStyle], limit: int
) -> Iterator[EndLabel]:
    """The names of the lines that have one: all measured lines, and of the quiet ones the highest of each kind."""
    names = task.names
    for line in reversed(shown):
        if line.kind == "measured":
            yield _end_label(wrapped(names[line.series], limit), styles[line.series].colour.light, line)
    for kind, text in _QUIET_NAMES.items():
        if quiet := [line for line in shown if line.kind == kind]:
            yield _end_label(wrapped(text, limit), QUIET.light, max(quiet, key=lambda line: line.marks[-1].accuracy))
    if task.chance is not None:
        last = max(mark.x for line in shown for mark in line.marks)
        yield EndLabel(wrapped("random guess", limit), QUIET.light, [last], [task.chance])


def _end_label(text: str, colour: str, line: Line) -> EndLabel:
    return EndLabel(text, colour, [mark.x for mark in line.marks], [mark.accuracy.value for mark in line.marks])


def _draw_line(axes: "Axes", line: Line, style: SeriesStyle, front: Mapping[str, str]) -> None:
    x, y = [mark.x for mark in line.marks], [mark.accuracy.value for mark in line.marks]
    if line.kind == "anytime":
        axes.step(x, y, where="post", color=style.colour.light, linewidth=1, alpha=0.7)
    elif line.kind != "measured":
        axes.plot(x, y, color=QUIET.light, **_STYLES[line.kind])
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
