"""Accuracy against compute: the curves, the greedy point, the oracle and the frontier."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reasoner_evals.report.axes import (
    FLOPS,
    TOKENS,
    Axis,
    legend,
    log_x,
    percent_y,
    place_on,
    sized,
)
from reasoner_evals.report.content import TaskReport
from reasoner_evals.report.drawing import WIDE, Draw
from reasoner_evals.report.looks import INK, PAPER, QUIET, Look
from reasoner_evals.report.points import ALLOCATED, Curve, CurvePoint, Estimate, FrontMember

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

TALL, SHORT = 400, 300
"""Pixels of height of the axes, on a desk and on a phone."""
BAND = 0.14
"""Opacity of an interval."""
MOST_BANDS = 6
"""Measured lines of a chart beyond which shaded intervals would hide each other, and are left out."""
MOST_THIN = 4
"""Lines of answers held on the way that a chart still has room for."""
FADED = 0.45
"""Opacity of a dominated point."""


class Marked(NamedTuple):
    """A point of a curve at its place on an axis."""

    x: float
    point: CurvePoint


def on_axis(curve: Curve, axis: Axis) -> list[Marked]:
    """The points of a curve that have a place on an axis, ascending."""
    found = [Marked(x, one) for one in curve.points if (x := place_on(axis, one)) is not None]
    return sorted(found, key=lambda one: one.x)


def lines_of(task: TaskReport, axis: Axis) -> list[tuple[Curve, list[Marked]]]:
    """The curves that are drawn against an axis, the measured ones last and so on top."""
    thin = axis is TOKENS and sum(one.kind == "anytime" for one in task.curves) <= MOST_THIN
    kept = [one for one in task.curves if one.kind != "anytime" or thin]
    ranked = sorted(kept, key=lambda one: ("random", "oracle", "anytime", "measured").index(one.kind))
    return [(one, marks) for one in ranked if (marks := on_axis(one, axis))]


def banded(lines: Sequence[tuple[Curve, list[Marked]]]) -> bool:
    """Whether a chart has room for the intervals of its lines."""
    return sum(curve.kind == "measured" for curve, _ in lines) <= MOST_BANDS


def spanned(lines: Sequence[tuple[Curve, list[Marked]]]) -> list[Marked]:
    """What the scales of a chart hold; what was held on the way before an answer only where nothing else is a curve."""
    found = [one for curve, marks in lines if curve.kind != "anytime" for one in marks]
    return found if len({one.x for one in found}) > 1 else [one for _, marks in lines for one in marks]


def front_of(task: TaskReport, axis: Axis) -> tuple[FrontMember, ...]:
    """Each point's standing on an axis that a frontier is known for."""
    if axis is FLOPS:
        return task.front_by_flops
    return task.front if axis is TOKENS else ()


def accuracy_chart(task: TaskReport, axis: Axis, looks: Mapping[str, Look]) -> Draw:
    """Accuracy against a measure of compute; there has to be a point that has one."""

    def draw(canvas: "Canvas", width: int) -> None:
        axes = canvas.add_subplot()
        lines = lines_of(task, axis)
        standing = {one.key: one for one in front_of(task, axis)}
        shaded = banded(lines)
        if shaded:
            for curve, marks in lines:
                if curve.kind == "measured":
                    band(axes, marks, looks[curve.series].colour.light)
        for curve, marks in lines:
            _line(axes, curve, marks, looks[curve.series], standing)
        _frontiers(axes, task, axis, lines)
        heights = [one.point.accuracy if shaded else Estimate(one.point.accuracy.value) for one in spanned(lines)]
        if task.chance is not None:
            axes.axhline(task.chance, color=QUIET.light, linewidth=1, dashes=(1, 3))
            heights.append(Estimate(task.chance))
        log_x(axes, [one.x for one in spanned(lines)], axis, pixels=width)
        percent_y(axes, heights)
        axes.set_xlabel(axis.title)
        axes.set_title("accuracy", fontweight="normal", color=QUIET.light)
        below = legend(canvas, list(_legend(task, axis, lines, looks)), width)
        sized(canvas, width, (TALL if width >= WIDE else SHORT) + below + 60)

    return draw


def _line(axes: "Axes", curve: Curve, marks: Sequence[Marked], look: Look, standing: Mapping[str, FrontMember]) -> None:
    x, y = [one.x for one in marks], [one.point.accuracy.value for one in marks]
    if curve.kind == "oracle":
        axes.plot(x, y, color=QUIET.light, linewidth=1.5, dashes=(5, 3), alpha=0.8)
    elif curve.kind == "random":
        axes.plot(x, y, color=QUIET.light, linewidth=1.2, dashes=(1, 2))
    elif curve.kind == "anytime":
        axes.step(x, y, where="post", color=look.colour.light, linewidth=1, alpha=0.7)
    else:
        dashes: Any = (0, look.dashes) if look.dashes else "-"
        axes.plot(x, y, color=look.colour.light, linestyle=dashes)
        for one in marks:
            _marker(axes, one, look, standing.get(one.point.key))


def band(axes: "Axes", marks: Sequence[Marked], colour: str) -> None:
    """The intervals of a curve as a shaded band; of a lone point as a bar."""
    heights = [(one.x, one.point.accuracy) for one in marks]
    spans = [(x, one.low, one.high) for x, one in heights if one.low is not None and one.high is not None]
    x, low, high = ([span[place] for span in spans] for place in range(3))
    if len(spans) == 1:
        axes.vlines(x, low, high, color=colour, linewidth=1.5, alpha=0.6)
    else:
        axes.fill_between(x, low, high, color=colour, alpha=BAND, linewidth=0)


def _marker(axes: "Axes", one: Marked, look: Look, member: FrontMember | None) -> None:
    """Filled on the frontier, hollow where not told apart from it, faded where behind."""
    colour = look.colour.light
    hollow = member is not None and not member.on_front and not member.significant
    faded = member is not None and member.significant
    axes.plot(
        one.x,
        one.point.accuracy.value,
        marker=look.marker,
        color=colour,
        markerfacecolor=PAPER.light if hollow else colour,
        markeredgecolor=colour,
        markeredgewidth=1.5,
        alpha=FADED if faded else 1,
        zorder=3,
    )


def _frontiers(axes: "Axes", task: TaskReport, axis: Axis, lines: Sequence[tuple[Curve, list[Marked]]]) -> None:
    """The frontier of each model as a step line; on FLOPs, one across models."""
    places = {one.point.key: (one, curve.model) for curve, marks in lines for one in marks if one.point.key}
    found: dict[str, list[Marked]] = {}
    for member in front_of(task, axis):
        if member.on_front and member.key in places:
            mark, model = places[member.key]
            found.setdefault("" if axis is FLOPS else model, []).append(mark)
    for members in found.values():
        ordered = sorted(members, key=lambda one: one.x)
        axes.step([one.x for one in ordered], [one.point.accuracy.value for one in ordered], where="post",
                  color=INK.light, linewidth=1, alpha=0.75, zorder=2.5)  # fmt: skip


def greedy_keys(task: TaskReport) -> set[str]:
    """The points that others were set against as the greedy sample."""
    return {one.baseline for one in task.deltas if one.against == "greedy"}


def _legend(
    task: TaskReport, axis: Axis, lines: Sequence[tuple[Curve, list[Marked]]], looks: Mapping[str, Look]
) -> Iterator[Any]:
    from matplotlib.lines import Line2D

    kinds = {curve.kind for curve, _ in lines}
    allocated = any(curve.series.endswith(ALLOCATED) for curve, _ in lines)
    for curve, marks in lines:
        if curve.kind == "measured":
            greedy = any(one.point.key in greedy_keys(task) for one in marks)
            name = f"greedy: {curve.label}" if greedy else curve.label
            # As many samples for every question.
            name += ", uniform" if allocated and marks[0].point.size is not None else ""
            yield series_key(name, looks[curve.series], line=len(marks) > 1)
    if "oracle" in kinds:
        yield Line2D([], [], color=QUIET.light, linewidth=1.5, dashes=(5, 3), label="oracle: any sample right")
    if "random" in kinds:
        yield Line2D([], [], color=QUIET.light, linewidth=1.2, dashes=(1, 2), label="one sample, drawn blindly")
    if task.chance is not None:
        yield Line2D([], [], color=QUIET.light, linewidth=1, dashes=(1, 3), label="blind guess")
    if "anytime" in kinds:
        yield Line2D([], [], color=QUIET.light, linewidth=1, label="thin: answers held on the way")
    if front_of(task, axis):
        yield Line2D([], [], color=INK.light, linewidth=1, drawstyle="steps-post", label="Pareto frontier")


def series_key(name: str, look: Look, *, line: bool = True) -> Any:
    """A series in a legend."""
    from matplotlib.lines import Line2D

    dashes: Any = (0, look.dashes) if look.dashes else "-"
    return Line2D([], [], color=look.colour.light, linestyle=dashes if line else "none", marker=look.marker, label=name)


def left_out(task: TaskReport, axis: Axis) -> list[str]:
    """The labels of the points that have no place on an axis."""
    drawn = {one.point.key for _, marks in lines_of(task, axis) for one in marks}
    return [one.label for one in task.points if one.key not in drawn]
