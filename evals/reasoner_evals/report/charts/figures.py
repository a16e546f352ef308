"""The figures of a task, each with a caption and a description in words; a reason where there is none."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from reasoner.system.printing import printable
from reasoner_evals.report.charts.bars import cost_chart, gap_chart, harm_chart, samples_chart
from reasoner_evals.report.charts.drawing import Draw, Drawing, drawing, short
from reasoner_evals.report.charts.lines import (
    AXES,
    FLOPS,
    Axis,
    Line,
    accuracy_chart,
    banded_series,
    front_statuses,
    greedy_keys,
    left_out,
    lines,
    scaled_marks,
)
from reasoner_evals.report.charts.panels import calibration_chart, difficulty_chart, scaling_chart, verifier_chart
from reasoner_evals.report.charts.theme import SeriesStyle
from reasoner_evals.report.content import TaskReport

MAX_ROWS: Final = 24
"""Rows of a figure in rows."""
MAX_DESCRIBED: Final = 12
"""Lines that a description in words includes."""
_LARGEST: Final = "Each strategy at its largest size."

Styles = Mapping[str, SeriesStyle]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure to be shown."""

    name: str
    """Of its files; its ids depend on it."""
    alt: str
    caption: str
    drawing: Drawing


class Absent(NamedTuple):
    """Why there is no figure, in a sentence."""

    why: str


def figures(task: TaskReport, prefix: str, styles: Styles) -> dict[str, tuple[Figure | Absent, ...]]:
    """The figures of a task by section, in reading order; their names begin with `prefix`."""
    several_models = len(set(task.points["model"])) > 1
    return {
        "accuracy": tuple(_accuracy(task, axis, f"{prefix}-accuracy-{axis.key}", styles) for axis in AXES),
        "models": (_accuracy(task, FLOPS, f"{prefix}-models", styles),) if several_models else (),
        "gap": (_gap(task, f"{prefix}-gap", styles),),
        "cost": (_cost(task, f"{prefix}-cost"),),
        "endings": (_endings(task, f"{prefix}-endings"),),
        "harm": (_harm(task, f"{prefix}-harm", styles),),
        "difficulty": tuple(_difficulty(task, f"{prefix}-difficulty", styles)),
        "calibration": (_calibration(task, f"{prefix}-calibration", styles),),
        "scaling": (_scaling(task, f"{prefix}-scaling", styles),),
        "verifiers": (_verifiers(task, f"{prefix}-verifiers", styles),),
    }


def largest_points(rows: Iterable[Any]) -> dict[str, Any]:
    """Of each series the point with the most tokens, by its key."""
    largest: dict[str, Any] = {}
    for row in rows:
        if row.series not in largest or row.tokens > largest[row.series].tokens:
            largest[row.series] = row
    return {row.key: row for row in largest.values()}


def _accuracy(task: TaskReport, axis: Axis, name: str, styles: Styles) -> Figure | Absent:
    shown = lines(task, axis)
    if not shown:
        why = axis.unknown if len(task.points) else "no question has been finished and graded"
        return Absent(f"No accuracy against {axis.title}: {why}.")
    described = [
        f"{_name(task, line)}: {' to '.join(f'{mark.accuracy.value:.1%} at {short(mark.x)}' for mark in ends)}"
        for line in reversed(shown)
        for ends in [line.marks[:1] + line.marks[1:][-1:]]
        if line.kind != "random"
    ]
    banded, measured = banded_series(task, shown), {line.series for line in shown if line.kind == "measured"}
    few = "" if banded == measured else " Intervals that would hide others are in the table only."
    caption = [
        f"Accuracy against {axis.title}; the horizontal scale is logarithmic.",
        _counts(task.points.itertuples()),
        _band(task) + few if banded else "No band is drawn: the intervals are in the table.",
    ]
    if front_statuses(task, axis):
        caption.append("Hollow: not significantly behind the frontier; faded: significantly behind it.")
    if min(mark.accuracy.low or mark.accuracy.value for mark in scaled_marks(shown)) > 0.1:
        caption.append("The vertical scale does not begin at 0.")
    if absent := left_out(task, axis):
        names = ", ".join(map(printable, absent[:4])) + (f" and {len(absent) - 4} more" if absent[4:] else "")
        caption.append(f"Not shown, because they have no value on this axis: {names}.")
    draw = accuracy_chart(task, axis, styles)
    return _figure(name, f"Lines: accuracy against {axis.title}.", described, caption, draw)


def _name(task: TaskReport, line: Line) -> str:
    return task.names[line.series] + ("" if line.kind == "measured" else f", {line.kind}")


def _gap(task: TaskReport, name: str, styles: Styles) -> Figure | Absent:
    covered = (row for row in task.points.itertuples() if row.coverage is not None)
    points = list(largest_points(covered).values())[:MAX_ROWS]
    if not points:
        return Absent("No selection gap: it needs a strategy that draws several whole replies.")
    described = [f"{row.words}: {row.accuracy:.1%} of {row.coverage:.1%}" for row in points]
    oracle = "Accuracy, and the share of questions with a right answer among the samples: an oracle, not an accuracy."
    caption = [oracle, _LARGEST, _counts(points)]
    return _figure(name, "Rows: accuracy and coverage.", described, caption, gap_chart(points, styles))


def _cost(task: TaskReport, name: str) -> Figure | Absent:
    points = list(largest_points(task.points.itertuples()).values())[:MAX_ROWS]
    if not points:
        return Absent("No cost: no question has been finished and graded.")
    described = [f"{row.words}: {short(row.tokens)} tokens" for row in points]
    caption = ["Tokens per question by kind; cached prompt tokens are not computed and not in the total.",
               _LARGEST, _counts(points)]  # fmt: skip
    return _figure(name, "Stacked bars: tokens by kind.", described, caption, cost_chart(points))


def _endings(task: TaskReport, name: str) -> Figure | Absent:
    ended = largest_points(row for row in task.points.itertuples() if row.ended)
    points = [row for row in ended.values() if len(row.sample_counts) > 1][:MAX_ROWS]
    if not points:
        return Absent("No strategy draws more samples for some questions than for others.")
    described = [f"{row.words}: {row.samples:.3g} samples, 95th percentile {row.samples_p95:.3g}" for row in points]
    caption = ["Share of the questions by the number of samples drawn, of strategies for which it differs.",
               _LARGEST, _counts(points), "No band is drawn."]  # fmt: skip
    draw = samples_chart({row.words: row.sample_counts for row in points})
    return _figure(name, "Stacked bars: questions by samples drawn.", described, caption, draw)


def _harm(task: TaskReport, name: str, styles: Styles) -> Figure | Absent:
    largest = largest_points(task.points.itertuples())
    deltas = [delta for delta in task.deltas if delta.against == "greedy" and delta.key in largest and delta.questions]
    rows = [(largest[delta.key], delta) for delta in deltas][:MAX_ROWS]
    if not rows:
        why = "nothing to compare" if greedy_keys(task) else "no greedy sample to compare with"
        return Absent(f"Where a strategy harms is not known: there is {why}.")
    described = [f"{row.words}: behind on {delta.worse}, ahead on {delta.better}" for row, delta in rows]
    caption = ["Questions on which a strategy is ahead of one greedy sample, and behind it.",
               _LARGEST, _counts(row for row, _ in rows)]  # fmt: skip
    return _figure(name, "Bars to both sides: harmed and helped.", described, caption, harm_chart(rows, styles))


def _difficulty(task: TaskReport, name: str, styles: Styles) -> Iterator[Figure | Absent]:
    if not task.difficulty:
        why = "it needs a pool of at least 4 samples per question, and more questions than this"
        yield Absent(f"No difficulty: {why}.")
    points = task.by_key
    for number, difficulty in enumerate(task.difficulty, start=1):
        of = points[difficulty.key]
        described = [
            f"{points[key].words}: {', '.join(f'{share.value:.0%}' if share else 'none' for share in shares)}"
            for key, shares in difficulty.accuracies.items()
        ]
        caption = [
            "Accuracy by difficulty, hardest first.",
            f"The difficulty is measured by {difficulty.held_out} samples per question of {printable(of.name)}.",
            "No pool is read with those samples, but a strategy without a pool may have drawn some of them again.",
            _counts(points[key] for key in difficulty.accuracies),
            _band(task),
        ]
        draw = difficulty_chart(difficulty, points, styles)
        yield _figure(f"{name}-{number}", "Panels: accuracy by difficulty.", described, caption, draw)


def _calibration(task: TaskReport, name: str, styles: Styles) -> Figure | Absent:
    by_key = task.by_key
    largest = largest_points(by_key[judged.key] for judged in task.calibration if judged.key in by_key)
    shown = [calibration for calibration in task.calibration if calibration.key in largest][:MAX_ROWS]
    if not shown:
        return Absent("No calibration: no strategy has a confidence that differs between enough questions.")
    described = [f"{largest[calibration.key].words}: calibration error {calibration.ece:.3f}" for calibration in shown]
    caption = [
        "Confidence is a strategy's share of the vote.",
        "A larger dot stands for more answers; on the dotted line, the share that is right equals the confidence.",
        "Risk: what is wrong among the answers, if only the surest questions are answered.",
        _LARGEST,
        _counts(largest[calibration.key] for calibration in shown),
        "No band is drawn.",
    ]
    draw = calibration_chart(shown, largest, styles)
    return _figure(name, "Two panels: reliability, and risk against coverage.", described, caption, draw)


def _scaling(task: TaskReport, name: str, styles: Styles) -> Figure | Absent:
    shown = [scaling for scaling in task.scaling if scaling.coverage.band or scaling.selection.band]
    if not shown:
        return Absent("No scaling law: it needs a pool of several sizes that a law can be fitted to.")
    caption = [
        "Laws fitted to the sizes of a pool; shaded: their 95 % band over questions.",
        "Dashed: beyond what was measured, up to twice that.",
        _counts(row for row in task.points.itertuples() if row.pooled),
    ]
    described = [task.names.get(scaling.series, scaling.series) for scaling in shown]
    return _figure(name, "Panels: fitted scaling laws.", described, caption, scaling_chart(shown, task.names, styles))


def _verifiers(task: TaskReport, name: str, styles: Styles) -> Figure | Absent:
    if not task.verifiers:
        return Absent("No verifier rated replies.")
    largest = {quality.series: quality for quality in sorted(task.verifiers, key=lambda quality: quality.replies)}
    shown = list(largest.values())[:MAX_ROWS]
    described = [
        f"{quality.verifier}: best rated right {quality.top.value:.1%}, by chance {quality.chance.value:.1%}"
        for quality in shown
    ]
    replies = sum(quality.replies for quality in shown)
    caption = [
        f"Share of right replies by the verifier's score, over {replies:,} rated replies.",
        "A larger dot stands for more replies. Each strategy with its largest arm. No band is drawn.",
        _counts(task.points.itertuples()),
    ]
    return _figure(name, "Reliability of verifiers.", described, caption, verifier_chart(shown, task.names, styles))


def _figure(name: str, kind: str, described: Sequence[str], caption: Iterable[str], draw: Draw) -> Figure:
    more = f" And {len(described) - MAX_DESCRIBED} more." if len(described) > MAX_DESCRIBED else ""
    alt = f"{kind} {'; '.join(printable(line, limit=120) for line in described[:MAX_DESCRIBED])}.{more}"
    return Figure(name, alt, " ".join(sentence for sentence in caption if sentence), drawing(name, draw))


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
