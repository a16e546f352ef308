"""Accuracy against compute: the curves, the greedy point, the oracle and the frontier."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from reasoner.specs import Spec
from reasoner_evals.report.content import Estimate, TaskReport, estimate_of
from reasoner_evals.report.drawing import PAPER, QUIET, Key, Panel, Style, band, log_x, panels, percent_y

MAX_BANDS: Final = 6
"""With more measured lines, shaded intervals would hide each other and are left out."""
_QUIET: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "oracle": ("┄", "oracle: any sample right", {"linewidth": 0.8, "dashes": (5, 3), "alpha": 0.8}),
    "longer": ("╌", "one sample, longer thinking", {"linewidth": 1.1, "dashes": (6, 2), "alpha": 0.9}),
    "chance": ("⋯", "random guess", {"linewidth": 0.8, "dashes": (1, 3), "alpha": 0.8}),
}
"""The character of a kind of line in a legend, what the legend says, and how the line is drawn."""


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
    front: str = ""
    """The column of the status on its frontier."""


AXES: Final = (
    Axis("tokens", "tokens", "Tokens", "tokens per question", 10, "nothing was spent", "tokens_front"),
    Axis("samples", "size", "Samples", "samples per question", 2,
         "no strategy was drawn as a pool of samples"),
    Axis("flops", "flops", "FLOPs", "FLOPs per question", 10, "the geometry of the model is not known",
         "flops_front"),
    Axis("seconds", "seconds", "Seconds", "seconds per question, at the run's concurrency", 10,
         "no time was measured"),
    Axis("usd", "usd", "Money", "US dollars per question", 10,
         "the run has no price table; give one with --prices"),
)  # fmt: skip
TOKENS, SAMPLES, FLOPS = AXES[:3]


class Mark(NamedTuple):
    """A place on a line, and its status on the frontier of the axis, if it shows a point that has one."""

    x: float
    accuracy: Estimate
    status: str = "front"


class Line(NamedTuple):
    """A line of a chart, ascending in x.

    "oracle" is the coverage of a pool, not an accuracy; "longer" joins the single samples of series that differ in how
    long the model thinks.
    """

    series: str
    model: str
    kind: Literal["oracle", "longer", "measured"]
    marks: tuple[Mark, ...]


def lines(task: TaskReport, axis: Axis) -> list[Line]:
    """The lines that are drawn against an axis, the measured ones last and so on top."""
    measured: list[Line] = []
    oracle: list[Line] = []
    first: list[Any] = []
    for series, rows in task.by_series.items():
        # Only positive values have a place on a log scale.
        placed = sorted((row for row in rows if getattr(row, axis.column)), key=lambda row: getattr(row, axis.column))
        if not placed:
            continue
        # The vote of one sample is that sample.
        single = min(rows, key=lambda row: row.size or 0)
        first += [single] if getattr(single, axis.column) else []
        xs, heights = [getattr(row, axis.column) for row in placed], [_accuracy(row) for row in placed]
        statuses = [(axis.front and getattr(row, axis.front)) or "front" for row in placed]
        measured.append(Line(series, single.model, "measured", tuple(map(Mark, xs, heights, statuses))))
        if single.pooled:
            tops = [estimate_of(row, "coverage") or _accuracy(row) for row in placed]
            oracle.append(Line(series, single.model, "oracle", tuple(map(Mark, xs, tops))))
    return [*_one_per_model(oracle, task), *_longer(first, axis), *measured]


def _longer(first: Sequence[Any], axis: Axis) -> Iterator[Line]:
    """Of series that differ only in how long the model thinks, a line through the smallest point of each."""
    families: dict[tuple[str, str, str], list[Any]] = {}
    for row in first:
        spec = Spec.parse(row.strategy)
        if "thinking" in spec.options:
            rest = str(spec.without("thinking").without("n"))
            families.setdefault((row.model, rest, row.verifier), []).append(row)
    for (model, _, _), rows in families.items():
        marks = sorted(Mark(getattr(row, axis.column), _accuracy(row)) for row in rows)
        if len(marks) > 1:
            yield Line(rows[0].series, model, "longer", tuple(marks))


def _one_per_model(drawn: Sequence[Line], task: TaskReport) -> list[Line]:
    """Of one kind, a line for each model: that of the verdict's series, otherwise the highest."""
    ranked = sorted(drawn, key=lambda line: (line.series == task.chosen_series, line.marks[-1].accuracy.value))
    return list({line.model: line for line in ranked}.values())


def _accuracy(row: Any) -> Estimate:
    return estimate_of(row, "accuracy") or Estimate(0.0)


def banded_series(shown: Sequence[Line]) -> set[str]:
    """The series that have their intervals drawn: all, or none if there are too many."""
    measured = {line.series for line in shown if line.kind == "measured"}
    return measured if len(measured) <= MAX_BANDS else set()


def accuracy_panel(
    task: TaskReport, axis: Axis, shown: Sequence[Line], banded: set[str], styles: Mapping[str, Style]
) -> tuple[Panel, list[Key]]:
    """The lines against a measure of compute, and their legend: the highest first, then those that are not measured."""
    [panel] = panels()
    axes = panel.axes
    for line in shown:
        style, marks = styles[line.series], line.marks
        x, y = [mark.x for mark in marks], [mark.accuracy.value for mark in marks]
        if line.kind != "measured":
            axes.plot(x, y, color=QUIET.light, **_QUIET[line.kind][2])
            continue
        if line.series in banded:
            band(axes, [mark[:2] for mark in marks], style.colour.light)
        axes.plot(x, y, color=style.colour.light, linestyle=style.line)
        for mark in marks:
            # Filled on the frontier, hollow if not significantly behind it, faded if behind.
            fill = PAPER if mark.status == "level" else style.colour
            alpha = 0.45 if mark.status == "behind" else 1
            axes.plot(mark.x, mark.accuracy.value, **style.options, markerfacecolor=fill.light, alpha=alpha, zorder=3)
    scaled = [(line, mark) for line in shown for mark in line.marks]
    heights = [
        mark.accuracy if line.kind == "measured" and line.series in banded else Estimate(mark.accuracy.value)
        for line, mark in scaled
    ]
    if task.chance is not None:
        axes.axhline(task.chance, color=QUIET.light, **_QUIET["chance"][2])
        heights.append(Estimate(task.chance))
    log_x(axes, [mark.x for _, mark in scaled], axis.base)
    percent_y(axes, heights)
    measured = sorted(
        (line for line in shown if line.kind == "measured"), key=lambda line: -line.marks[-1].accuracy.value
    )
    keys = [Key(styles[line.series].glyph, styles[line.series].colour, task.names[line.series]) for line in measured]
    kinds = {line.kind for line in shown} | ({"chance"} if task.chance is not None else set())
    keys += [Key(glyph, QUIET, text) for kind, (glyph, text, _) in _QUIET.items() if kind in kinds]
    return panel._replace(y="questions answered right", x=axis.title), keys
