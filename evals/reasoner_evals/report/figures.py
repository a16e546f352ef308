"""The figures of a task, each with a caption and a description in words; a reason in words where there is none."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from reasoner.system.printing import printable
from reasoner_evals.report.content import Bounded, TaskReport, estimate_of
from reasoner_evals.report.drawing import (
    KINDS,
    PAPER,
    QUIET,
    Figure,
    LegendKey,
    Panel,
    SeriesStyle,
    band,
    few_ticks,
    figure,
    log_x,
    panels,
    percent,
    percent_y,
    rows_panel,
    settings,
    short,
)
from reasoner_evals.runs.measures import FIELDS
from reasoner_evals.stats.calibration import Bin as ReliabilityBin

MAX_BANDS: Final = 6
"""With more measured lines, shaded intervals would hide each other and are left out."""
_QUIET: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "oracle": ("┄", "oracle: any sample right", {"linewidth": 0.8, "dashes": (5, 3), "alpha": 0.8}),
    "chance": ("⋯", "random guess", {"linewidth": 0.8, "dashes": (1, 3), "alpha": 0.8}),
}
"""The character of a kind of line in a legend, what the legend says, and how the line is drawn."""
MAX_ROWS: Final = 24
"""Rows of a figure in rows."""
BAR: Final = 0.3
"""Height of a bar, as a share of the row."""
PARTS: Final = ("uncached prompt", "cached prompt (free)", "generated", "verifier", "cancelled")
"""Names of `FIELDS`."""
_LARGEST: Final = "Each strategy at its largest size."

SeriesStyles = Mapping[str, SeriesStyle]


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


class Marker(NamedTuple):
    """A place on a line, and its status on the frontier of the axis, if it shows a point that has one."""

    x: float
    accuracy: Bounded
    status: str = "front"


class Curve(NamedTuple):
    """A line of a chart, ascending in x.

    "oracle" is the coverage of a pool, not an accuracy.
    """

    series: str
    model: str
    kind: Literal["oracle", "measured"]
    marks: tuple[Marker, ...]


def lines(task: TaskReport, axis: Axis) -> list[Curve]:
    """The lines that are drawn against an axis, the measured ones last and so on top."""
    measured: list[Curve] = []
    oracle: list[Curve] = []
    for series, rows in task.by_series.items():
        # Only positive values have a place on a log scale.
        placed = sorted((row for row in rows if getattr(row, axis.column)), key=lambda row: getattr(row, axis.column))
        if not placed:
            continue
        xs, heights = [getattr(row, axis.column) for row in placed], [_height(row) for row in placed]
        statuses = [(axis.front and getattr(row, axis.front)) or "front" for row in placed]
        measured.append(Curve(series, placed[0].model, "measured", tuple(map(Marker, xs, heights, statuses))))
        if placed[0].pooled:
            tops = [estimate_of(row, "coverage") or _height(row) for row in placed]
            oracle.append(Curve(series, placed[0].model, "oracle", tuple(map(Marker, xs, tops))))
    return [*_one_per_model(oracle, task), *measured]


def _one_per_model(drawn: Sequence[Curve], task: TaskReport) -> list[Curve]:
    """Of one kind, a line for each model: that of the verdict's series, otherwise the highest."""
    ranked = sorted(drawn, key=lambda line: (line.series == task.chosen_series, line.marks[-1].accuracy.value))
    return list({line.model: line for line in ranked}.values())


def _height(row: Any) -> Bounded:
    return estimate_of(row, "accuracy") or Bounded(0.0)


def banded_series(shown: Sequence[Curve]) -> set[str]:
    """The series that have their intervals drawn: all, or none if there are too many."""
    measured = {line.series for line in shown if line.kind == "measured"}
    return measured if len(measured) <= MAX_BANDS else set()


def accuracy_panel(
    task: TaskReport, axis: Axis, shown: Sequence[Curve], banded: set[str], styles: Mapping[str, SeriesStyle]
) -> tuple[Panel, list[LegendKey]]:
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
        mark.accuracy if line.kind == "measured" and line.series in banded else Bounded(mark.accuracy.value)
        for line, mark in scaled
    ]
    if task.chance is not None:
        axes.axhline(task.chance, color=QUIET.light, **_QUIET["chance"][2])
        heights.append(Bounded(task.chance))
    log_x(axes, [mark.x for _, mark in scaled], axis.base)
    percent_y(axes, heights)
    measured = sorted(
        (line for line in shown if line.kind == "measured"), key=lambda line: -line.marks[-1].accuracy.value
    )
    keys = [
        LegendKey(styles[line.series].glyph, styles[line.series].colour, task.names[line.series]) for line in measured
    ]
    kinds = {line.kind for line in shown} | ({"chance"} if task.chance is not None else set())
    keys += [LegendKey(glyph, QUIET, text) for kind, (glyph, text, _) in _QUIET.items() if kind in kinds]
    return panel._replace(y="questions answered right", x=axis.title), keys


def figures(task: TaskReport, prefix: str, styles: SeriesStyles) -> dict[str, tuple[Figure | str, ...]]:
    """The figures of a task by section, or why there is none in a sentence; their names begin with `prefix`."""
    several_models = len(set(task.points["model"])) > 1
    with settings():
        return {
            "accuracy": tuple(_accuracy(task, axis, f"{prefix}-accuracy-{axis.key}", styles) for axis in AXES),
            "models": (_accuracy(task, FLOPS, f"{prefix}-models", styles),) if several_models else (),
            "cost": (_cost(task, f"{prefix}-cost"),),
            "difficulty": tuple(_difficulty(task, f"{prefix}-difficulty", styles)),
            "calibration": (_calibration(task, f"{prefix}-calibration", styles),),
            "verifiers": (_verifiers(task, f"{prefix}-verifiers", styles),),
        }


def largest_points(rows: Iterable[Any]) -> dict[str, Any]:
    """Of each series the point with the most tokens, by its key."""
    largest: dict[str, Any] = {}
    for row in rows:
        if row.series not in largest or row.tokens > largest[row.series].tokens:
            largest[row.series] = row
    return {row.key: row for row in largest.values()}


def _accuracy(task: TaskReport, axis: Axis, name: str, styles: SeriesStyles) -> Figure | str:
    shown = lines(task, axis)
    if not shown:
        why = axis.unknown if task.rows else "no question has been finished and graded"
        return f"No accuracy against {axis.title}: {why}."
    described = [
        f"{_name(task, line)}: {' to '.join(f'{mark.accuracy.value:.1%} at {short(mark.x)}' for mark in ends)}"
        for line in reversed(shown)
        for ends in [line.marks[:1] + line.marks[1:][-1:]]
    ]
    banded = banded_series(shown)
    caption = [
        f"Accuracy against {axis.title}; the horizontal scale is logarithmic.",
        _counts(task.rows),
        _band(task) if banded else "No band is drawn: the intervals are in the table.",
    ]
    if axis.front and any(getattr(row, axis.front) for row in task.rows):
        caption.append("Hollow: not significantly behind the frontier; faded: significantly behind it.")
    if min(y.low or y.value for line in shown for _, y, _ in line.marks) > 0.1:
        caption.append("The vertical scale does not begin at 0.")
    if absent := [row.words for row in task.rows if not getattr(row, axis.column)]:
        names = ", ".join(map(printable, absent[:4])) + (f" and {len(absent) - 4} more" if absent[4:] else "")
        caption.append(f"Not shown, because they have no value on this axis: {names}.")
    panel, keys = accuracy_panel(task, axis, shown, banded, styles)
    return figure(name, f"Lines: accuracy against {axis.title}.", described, caption, [panel], keys)


def _name(task: TaskReport, line: Curve) -> str:
    return task.names[line.series] + ("" if line.kind == "measured" else f", {line.kind}")


def _cost(task: TaskReport, name: str) -> Figure | str:
    points = list(largest_points(task.rows).values())[:MAX_ROWS]
    if not points:
        return "No cost: no question has been finished and graded."
    panel = rows_panel([row.words for row in points])
    widest = 1.0
    for at, row in enumerate(points):
        left = 0.0
        for field, colour in zip(FIELDS, KINDS, strict=True):
            amount = getattr(row, f"{field}_tokens")
            panel.axes.barh(at, amount, BAR, left, color=colour.light, edgecolor=PAPER.light, linewidth=0.4)
            left += amount
        widest = max(widest, left)
    panel.axes.set_xlim(0, 1.02 * widest)
    panel.axes.xaxis.set_major_formatter(lambda value, _: short(value))
    few_ticks(panel.axes.xaxis)
    keys = [LegendKey("■", colour, part) for part, colour in zip(PARTS, KINDS, strict=True)]
    described = [f"{row.words}: {short(row.tokens)} tokens" for row in points]
    free = "Tokens per question by kind; cached prompt tokens are not computed and not in the total."
    return figure(name, "Stacked bars: tokens by kind.", described, [free, _LARGEST, _counts(points)],
                  [panel._replace(x="tokens per question")], keys)  # fmt: skip


def _difficulty(task: TaskReport, name: str, styles: SeriesStyles) -> Iterator[Figure | str]:
    if not task.difficulty:
        why = "it needs a pool of at least 4 samples per question, and more questions than this"
        yield f"No difficulty: {why}."
    for number, difficulty in enumerate(task.difficulty, start=1):
        source = task.by_key[difficulty.key]
        rows = [row for row in task.rows if row.by_difficulty and row.model == source.model]
        series = [of for of in styles if any(row.series == of for row in rows)]
        parts = panels(len(difficulty.bins), 190, 170, left=42)
        for index, (panel, (low, high, questions)) in enumerate(zip(parts, difficulty.bins, strict=True)):
            for chosen in series:
                style = styles[chosen]
                own = [row for row in task.by_series[chosen] if row in rows and row.by_difficulty[index]]
                points = [(row.tokens, row.by_difficulty[index]) for row in own]
                band(panel.axes, points, style.colour.light)
                heights = [height.value for _, height in points]
                panel.axes.plot([x for x, _ in points], heights, **style.options, markersize=3)
            log_x(panel.axes, [row.tokens for row in rows], 10, limit=2)
            percent_y(panel.axes, [part for row in rows for part in row.by_difficulty if part])
            span = f"{100 * low:.0f}" + ("" if round(100 * low) == round(100 * high) else f" to {100 * high:.0f}")
            title = f"{span} % right, n = {questions:,}" if questions else "no question"
            parts[index] = panel._replace(title=title, x="tokens per question")
        described = [
            f"{row.words}: {', '.join(f'{share.value:.0%}' if share else 'none' for share in row.by_difficulty)}"
            for row in rows
        ]
        caption = [
            "Accuracy by difficulty, hardest first.",
            f"The difficulty is measured by {difficulty.held_out} samples per question of {printable(source.name)}.",
            "No pool is read with those samples, but a strategy without a pool may have drawn some of them again.",
            _counts(rows),
            _band(task),
        ]
        keys = [_series_key(styles[of], task.names[of]) for of in series]
        yield figure(f"{name}-{number}", "Panels: accuracy by difficulty.", described, caption, parts, keys)


def _series_key(style: SeriesStyle, text: str) -> LegendKey:
    return LegendKey(style.glyph, style.colour, text)


def _calibration(task: TaskReport, name: str, styles: SeriesStyles) -> Figure | str:
    shown = list(largest_points(row for row in task.rows if row.calibration).values())[:MAX_ROWS]
    if not shown:
        return "No calibration: no strategy has a confidence that differs between enough questions."
    left, right = panels(2, 340)
    _diagonal(left.axes)
    for row in shown:
        style = styles[row.series]
        _reliability(left.axes, row.calibration.bins, style)
        coverage, risk = zip(*row.calibration.risks, strict=True)
        right.axes.step(coverage, risk, where="post", color=style.colour.light, linestyle=style.line)
    right.axes.set_xlim(-0.02, 1.02)
    percent(right.axes.xaxis)
    percent_y(right.axes, [Bounded(0.0), *(Bounded(risk) for row in shown for _, risk in row.calibration.risks)])
    described = [f"{row.words}: calibration error {row.calibration.ece:.3f}" for row in shown]
    caption = [
        "Confidence is a strategy's share of the vote.",
        "A larger dot stands for more answers; on the dotted line, the share that is right equals the confidence.",
        "Risk: what is wrong among the answers, if only the surest questions are answered.",
        _LARGEST,
        _counts(shown),
        "No band is drawn.",
    ]
    parts = [
        left._replace(title="Reliability", y="share that is right", x="share of the vote"),
        right._replace(title="Risk if only the surest are answered", y="wrong among them", x="questions answered"),
    ]
    keys = [_series_key(styles[row.series], row.words) for row in shown]
    return figure(name, "Two panels: reliability, and risk against coverage.", described, caption, parts, keys)


def _reliability(axes: Any, bins: Sequence[ReliabilityBin], style: SeriesStyle) -> None:
    x, y = [part.confidence for part in bins], [part.accuracy for part in bins]
    axes.plot(x, y, color=style.colour.light, linestyle=style.line, linewidth=1)
    largest = max(part.n for part in bins)
    areas = [max(8.0, 110 * part.n / largest) for part in bins]
    axes.scatter(x, y, areas, color=style.colour.light, marker=style.marker, alpha=0.75, linewidths=0)


def _diagonal(axes: Any) -> None:
    axes.plot([0, 1], [0, 1], color=QUIET.light, linewidth=0.8, dashes=(1, 2))
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    percent(axes.xaxis)
    percent(axes.yaxis)


def _verifiers(task: TaskReport, name: str, styles: SeriesStyles) -> Figure | str:
    if not task.verifiers:
        return "No verifier rated replies."
    largest = {quality.series: quality for quality in sorted(task.verifiers, key=lambda quality: quality.replies)}
    shown = list(largest.values())[:MAX_ROWS]
    [panel] = panels(1, 340)
    _diagonal(panel.axes)
    for quality in shown:
        _reliability(panel.axes, quality.deciles, styles[quality.series])
    described = [
        f"{quality.verifier}: best rated right {quality.top.value:.1%}, by chance {quality.chance.value:.1%}"
        for quality in shown
    ]
    replies = sum(quality.replies for quality in shown)
    caption = [
        f"Share of right replies by the verifier's score, over {replies:,} rated replies.",
        "A larger dot stands for more replies. Each strategy with its largest arm. No band is drawn.",
        _counts(task.rows),
    ]
    keys = [_series_key(styles[quality.series], task.names[quality.series]) for quality in shown]
    parts = [panel._replace(y="share that is right", x="verifier's score")]
    return figure(name, "Reliability of verifiers.", described, caption, parts, keys)


def _counts(rows: Iterable[Any]) -> str:
    """How many questions and seeds are behind some points."""
    counts = [(row.questions, row.seeds) for row in rows]
    if not counts:
        return ""
    questions, seeds = zip(*counts, strict=True)
    return f"n = {_range(questions)} questions, {_range(seeds)} {'seeds' if max(seeds) > 1 else 'seed'}."


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _band(task: TaskReport) -> str:
    clustered = f", clustered by {task.groups:,} groups" if task.groups else ""
    return f"Shaded: 95 % interval over questions{clustered}."
