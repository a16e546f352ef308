"""The figures of a task: accuracy against each measure of compute, or the reason in words why there is none."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from reasoner.system.printing import counted, printable
from reasoner_evals.report.content import BoundedValue, TaskReport, estimate_of
from reasoner_evals.report.drawing import (
    PAPER,
    QUIET,
    Figure,
    LegendKey,
    SeriesStyle,
    band,
    figure,
    log_x,
    panel,
    percent_y,
    series_styles,
    settings,
)
from reasoner_evals.report.narrative import NOTHING

MAX_BANDS: Final = 6
"""With more series, shaded intervals would hide each other and are left out."""
_IN_TABLE: Final = "The numbers are in the table of this section."

Figures = tuple[Figure | str, ...]
"""The figures of a task, one for each of `AXES`; a text says why there is none."""


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
    Axis(
        "tokens",
        "tokens",
        "Tokens",
        "tokens per question",
        10,
        "nothing was spent",
        "tokens_front",
    ),
    Axis(
        "sequential",
        "sequential_tokens",
        "Sequential",
        "sequential tokens per question",
        10,
        "sequential tokens were not counted",
        "sequential_front",
    ),
    Axis(
        "samples",
        "size",
        "Samples",
        "samples per question",
        2,
        "no strategy was drawn as a pool of samples",
    ),
    Axis(
        "flops",
        "flops",
        "FLOPs",
        "FLOPs per question",
        10,
        "the geometry of the model is not known",
        "flops_front",
    ),
    Axis(
        "seconds",
        "seconds",
        "Seconds",
        "seconds per question, at the run's concurrency",
        10,
        "no time was measured",
    ),
    Axis(
        "usd",
        "usd",
        "Money",
        "US dollars per question",
        10,
        "the run has no price table; give one with --prices",
    ),
)


def report_figures(tasks: Sequence[TaskReport]) -> dict[str, Figures]:
    """The figures of all tasks, by the id of a task; a series looks the same in all of them."""
    styles = series_styles(tasks)
    with settings():
        return {
            task.id: tuple(_accuracy(task, axis, styles) for axis in AXES)
            for task in tasks
        }


def placed_rows(task: TaskReport, axis: Axis) -> dict[str, list[Any]]:
    """By series the rows that have a place on the axis, ascending; only positive values have one on a log scale."""
    placed: dict[str, list[Any]] = {}
    for row in sorted(
        (row for row in task.rows if getattr(row, axis.column)),
        key=attrgetter(axis.column),
    ):
        placed.setdefault(row.series, []).append(row)
    return {
        series: placed[series]
        for series in dict.fromkeys(row.series for row in task.rows)
        if series in placed
    }


def oracles(task: TaskReport, placed: Mapping[str, Sequence[Any]]) -> list[str]:
    """The series with their coverage drawn: of each model the verdict's, or else the one with the highest."""
    chosen = (
        task.by_key[task.verdict.key].series if task.verdict.key in task.by_key else ""
    )
    pools = [rows[-1] for rows in placed.values() if rows[-1].pooled]
    ranked = sorted(
        pools, key=lambda row: (row.series == chosen, _height(row, "coverage").value)
    )
    return list({row.model: row.series for row in ranked}.values())


def _height(row: Any, name: str = "acc") -> BoundedValue:
    return estimate_of(row, name) or estimate_of(row, "acc") or BoundedValue(0.0)


def _accuracy(
    task: TaskReport, axis: Axis, styles: Mapping[str, SeriesStyle]
) -> Figure | str:
    placed = placed_rows(task, axis)
    if not placed:
        why = axis.unknown if task.rows else NOTHING
        return f"No accuracy against {axis.title}: {why}."
    x_of, banded, axes = attrgetter(axis.column), len(placed) <= MAX_BANDS, panel()
    keys: dict[str, LegendKey] = {}
    heights: list[BoundedValue] = []
    for series in oracles(task, placed):
        tops = [_height(row, "coverage").value for row in placed[series]]
        axes.plot(
            [x_of(row) for row in placed[series]],
            tops,
            color=QUIET.light,
            linewidth=0.8,
            dashes=(5, 3),
            alpha=0.8,
        )
        heights += map(BoundedValue, tops)
        keys["oracle"] = LegendKey("┄", QUIET, "oracle: any sample right")
    # The highest comes first in the legend.
    for series, rows in sorted(
        placed.items(), key=lambda item: _height(item[1][-1]).value
    ):
        style, own = styles[series], [_height(row) for row in rows]
        if banded:
            band(
                axes,
                [(x_of(row), height) for row, height in zip(rows, own, strict=True)],
                style.colour.light,
            )
        heights += own if banded else [BoundedValue(height.value) for height in own]
        axes.plot(
            [x_of(row) for row in rows],
            [height.value for height in own],
            color=style.colour.light,
            linestyle=style.line,
        )
        for row, height in zip(rows, own, strict=True):
            # Filled on the frontier, hollow if not significantly behind it, faded if behind.
            status = axis.front and getattr(row, axis.front)
            fill = PAPER if status == "level" else style.colour
            axes.plot(
                x_of(row),
                height.value,
                **style.options,
                markerfacecolor=fill.light,
                alpha=0.45 if status == "behind" else 1,
                zorder=3,
            )
        text = series if len(rows) > 1 else rows[0].label
        keys = {series: LegendKey(style.glyph, style.colour, text), **keys}
    log_x(axes, [x_of(row) for rows in placed.values() for row in rows], axis.base)
    percent_y(axes, heights)
    clustered = f", clustered by {counted(task.groups, 'group')}" if task.groups else ""
    caption = [
        f"Accuracy against {axis.title}; the horizontal scale is logarithmic.",
        _counts(task.rows),
        f"Shaded: 95 % interval over questions{clustered}."
        if banded
        else f"No band is drawn. {_IN_TABLE}",
    ]
    if axis.front and any(getattr(row, axis.front) for row in task.rows):
        caption.append(
            "Hollow: not significantly behind the frontier; faded: significantly behind it."
        )
    if axes.get_ylim()[0] > 0:
        caption.append("The vertical scale does not begin at 0.")
    if absent := [row.label for row in task.rows if not x_of(row)]:
        names = ", ".join(map(printable, absent[:4])) + (
            f" and {len(absent) - 4} more" if absent[4:] else ""
        )
        caption.append(f"Not shown, because they have no value on this axis: {names}.")
    return figure(
        f"{task.id}-accuracy-{axis.key}",
        f"Lines: accuracy against {axis.title}. {_IN_TABLE}",
        caption,
        axes,
        x=axis.title,
        y="questions answered right",
        keys=list(keys.values()),
    )


def _counts(rows: Sequence[Any]) -> str:
    """How many questions and seeds are behind some points."""
    questions, seeds = (
        [getattr(row, name) for row in rows] for name in ("questions", "seeds")
    )
    least, most = min(questions), max(questions)
    asked = counted(most, "question")
    return f"n = {f'{least:,} to {asked}' if most > least else asked}, {counted(max(seeds), 'seed')}."
