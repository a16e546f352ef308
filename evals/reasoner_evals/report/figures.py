"""The figures of a task, each with its caption and its description in words; a reason instead where there is none."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reasoner_evals.report.axes import AXES, FLOPS, Axis, short
from reasoner_evals.report.bars import Harm, cost_chart, drawn_chart, gap_chart, harm_chart
from reasoner_evals.report.charts import accuracy_chart, banded, front_of, greedy_keys, left_out, lines_of, spanned
from reasoner_evals.report.content import TaskReport
from reasoner_evals.report.drawing import Draw, Drawn, drawn, label
from reasoner_evals.report.looks import Look
from reasoner_evals.report.panels import calibration_chart, difficulty_chart, scaling_chart, verifier_chart
from reasoner_evals.report.points import Point

MOST_ROWS = 24
"""Rows of a figure in rows."""
MOST_TOLD = 12
"""Lines that a description in words tells of."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure to be shown."""

    name: str
    """Of its files, and what its ids begin with."""
    alt: str
    caption: str
    drawn: Drawn


class Absent(NamedTuple):
    """Why there is no figure, in a sentence."""

    why: str


class Tab(NamedTuple):
    """A figure that is shown when its tab is chosen."""

    title: str
    figure: Figure | Absent


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """The figures of a task, in reading order."""

    accuracy: tuple[Tab, ...]
    models: Figure | Absent
    gap: Figure | Absent
    cost: Figure | Absent
    endings: Figure | Absent
    harm: Figure | Absent
    difficulty: tuple[Figure | Absent, ...]
    calibration: Figure | Absent
    scaling: Figure | Absent
    verifiers: Figure | Absent

    def __iter__(self) -> Iterator[Figure]:
        every = (*(tab.figure for tab in self.accuracy), self.models, self.gap, self.cost, self.endings, self.harm,
                 *self.difficulty, self.calibration, self.scaling, self.verifiers)  # fmt: skip
        return (one for one in every if isinstance(one, Figure))


def figures(task: TaskReport, prefix: str, looks: Mapping[str, Look]) -> TaskFigures:
    """All figures of a task; their names begin with `prefix`."""
    return TaskFigures(
        accuracy=tuple(Tab(axis.tab, _accuracy(task, axis, f"{prefix}-accuracy-{axis.key}", looks)) for axis in AXES),
        models=_models(task, f"{prefix}-models", looks),
        gap=_gap(task, f"{prefix}-gap", looks),
        cost=_cost(task, f"{prefix}-cost"),
        endings=_endings(task, f"{prefix}-endings"),
        harm=_harm(task, f"{prefix}-harm", looks),
        difficulty=_difficulty(task, f"{prefix}-difficulty", looks),
        calibration=_calibration(task, f"{prefix}-calibration", looks),
        scaling=_scaling(task, f"{prefix}-scaling", looks),
        verifiers=_verifiers(task, f"{prefix}-verifiers", looks),
    )


def _accuracy(task: TaskReport, axis: Axis, name: str, looks: Mapping[str, Look]) -> Figure | Absent:
    lines = lines_of(task, axis)
    if not lines:
        return Absent(f"No curve: {axis.unknown if task.points else 'no question has been finished and graded'}.")
    told = [
        f"{curve.label}: {marks[0].point.accuracy.value:.1%} at {short(marks[0].x)}"
        + (f" to {marks[-1].point.accuracy.value:.1%} at {short(marks[-1].x)}" if len(marks) > 1 else "")
        for curve, marks in reversed(lines)
        if curve.kind != "random"
    ]
    drawn_bands = _band(task) if banded(lines) else "No band is drawn, as the lines are many; the table has intervals."
    caption = [f"Accuracy against {axis.title.removesuffix(' (log scale)')}.", _counts(task.points), drawn_bands]
    if front_of(task, axis):
        caption.append("Hollow: not told apart from the frontier; faded: behind it beyond chance.")
    low = min(one.point.accuracy.low or one.point.accuracy.value for one in spanned(lines))
    if low > 0.1:
        caption.append("The vertical scale does not begin at 0.")
    if absent := left_out(task, axis):
        shown = ", ".join(label(one) for one in absent[:4]) + (f" and {len(absent) - 4} more" if absent[4:] else "")
        caption.append(f"Not shown, as {axis.key if axis.key != 'usd' else 'money'} is not known: {shown}.")
    return _figure(name, f"Lines: accuracy against {axis.title}.", told, caption, accuracy_chart(task, axis, looks))


def _models(task: TaskReport, name: str, looks: Mapping[str, Look]) -> Figure | Absent:
    if len({one.model for one in task.points}) < 2:
        return Absent("There is one model.")
    return _accuracy(task, FLOPS, name, looks)


def _gap(task: TaskReport, name: str, looks: Mapping[str, Look]) -> Figure | Absent:
    kept = dearest([one for one in task.points if one.coverage])[:MOST_ROWS]
    if not kept:
        return Absent("No selection gap: it needs a strategy that draws several whole replies.")
    told = [f"{one.label}: {one.accuracy.value:.1%} of {one.coverage.value:.1%}" for one in kept if one.coverage]
    caption = ["Accuracy, and the share of questions with a right answer among the samples: an oracle, no accuracy.",
               "Each strategy at its largest size.", _counts(kept)]  # fmt: skip
    return _figure(name, "Rows: accuracy and coverage.", told, caption, gap_chart(kept, looks))


def _cost(task: TaskReport, name: str) -> Figure | Absent:
    if not task.points:
        return Absent("No cost: no question has been finished and graded.")
    kept = dearest(task.points)[:MOST_ROWS]
    told = [f"{one.label}: {short(one.spent.tokens.mean)} tokens" for one in kept]
    caption = ["Tokens a question by kind; cached prompt tokens are not computed and not in the total.",
               "Each strategy at its largest size.", _counts(kept)]  # fmt: skip
    return _figure(name, "Stacked bars: tokens by kind.", told, caption, cost_chart(kept))


def _endings(task: TaskReport, name: str) -> Figure | Absent:
    by_key = {one.key: one for one in task.points}
    largest = {one.key for one in dearest([by_key[one.key] for one in task.endings if one.key in by_key])}
    kept = [one for one in task.endings if one.key in largest and len(one.drawn) > 1][:MOST_ROWS]
    if not kept:
        return Absent("No strategy draws more samples for some questions than for others.")
    told = [
        f"{by_key[one.key].label}: {one.samples:.3g} samples, 95th percentile {one.samples_p95:.3g}" for one in kept
    ]
    points = [by_key[one.key] for one in kept]
    caption = ["Share of the questions by the number of samples drawn, of strategies for which it differs.",
               "Each strategy at its largest size.", _counts(points), "No band is drawn."]  # fmt: skip
    draw = drawn_chart([(by_key[one.key].label, one.drawn) for one in kept])
    return _figure(name, "Stacked bars: questions by samples drawn.", told, caption, draw)


def _harm(task: TaskReport, name: str, looks: Mapping[str, Look]) -> Figure | Absent:
    by_key = {one.key: one for one in task.points}
    largest = {one.key for one in dearest(task.points)}
    rows = [
        Harm(by_key[one.key], one)
        for one in task.deltas
        if one.against == "greedy" and one.key in largest and one.questions
    ][:MOST_ROWS]
    if not rows:
        why = "no greedy sample to compare with" if not greedy_keys(task) else "nothing to compare"
        return Absent(f"Not known whom a strategy harms: there is {why}.")
    told = [f"{one.point.label}: behind on {one.delta.worse}, ahead on {one.delta.better}" for one in rows]
    caption = ["Questions on which a strategy is ahead of one greedy sample, and behind it.",
               "Each strategy at its largest size.", _counts([one.point for one in rows])]  # fmt: skip
    return _figure(name, "Bars to both sides: harmed and helped.", told, caption, harm_chart(rows, looks))


def _difficulty(task: TaskReport, name: str, looks: Mapping[str, Look]) -> tuple[Figure | Absent, ...]:
    by_key = {one.key: one for one in task.points}
    found: list[Figure | Absent] = []
    for place, one in enumerate(task.difficulty):
        rows = [row for row in one.rows if row.key in by_key]
        if not rows:
            continue
        told = [
            f"{by_key[row.key].label}: " + ", ".join(f"{at.value:.0%}" if at else "none" for at in row.accuracies)
            for row in rows
        ]
        caption = [
            f"Accuracy by difficulty, hardest first, as {one.held_out} samples a question of {label(one.arm)} tell it.",
            "Those samples are held out: they are in no accuracy here.",
            _counts([by_key[row.key] for row in rows]),
            _band(task),
        ]
        draw = difficulty_chart(one, by_key, looks)
        found.append(_figure(f"{name}-{place + 1}", "Panels: accuracy by difficulty.", told, caption, draw))
    why = "it needs a pool of at least 4 samples a question, and more questions than this"
    return tuple(found) or (Absent(f"No difficulty: {why}."),)


def _calibration(task: TaskReport, name: str, looks: Mapping[str, Look]) -> Figure | Absent:
    by_key = {one.key: one for one in task.points}
    largest = {one.key for one in dearest([by_key[one.key] for one in task.calibration if one.key in by_key])}
    kept = [one for one in task.calibration if one.key in largest][:MOST_ROWS]
    if not kept:
        return Absent("No calibration: no strategy states a confidence that differs between enough questions.")
    told = [f"{by_key[one.key].label}: calibration error {one.ece:.3f}" for one in kept]
    caption = [
        "Confidence is a strategy's share of the vote.",
        "A larger dot stands for more answers; on the dotted line, confidence is right as often as it says.",
        "Risk: what is wrong among the answers, if only the surest questions are answered.",
        "Each strategy at its largest size.",
        _counts([by_key[one.key] for one in kept]),
        "No band is drawn.",
    ]
    draw = calibration_chart(kept, by_key, looks)
    return _figure(name, "Two panels: reliability, and risk against coverage.", told, caption, draw)


def _scaling(task: TaskReport, name: str, looks: Mapping[str, Look]) -> Figure | Absent:
    kept = [one for one in task.scaling if any(fit and fit.points for fit in (one.coverage, one.selection))]
    if not kept:
        return Absent("No scaling law: it needs a pool of several sizes that a law can be fitted to.")
    pooled = [one for one in task.points if one.pooled]
    caption = [
        "Laws fitted to the sizes of a pool; shaded: their 95 % band over questions.",
        "Dashed: beyond what was measured, no further than twice that.",
        _counts(pooled),
    ]
    return _figure(name, "Panels: fitted scaling laws.", [one.label for one in kept], caption,
                   scaling_chart(kept, looks))  # fmt: skip


def _verifiers(task: TaskReport, name: str, looks: Mapping[str, Look]) -> Figure | Absent:
    if not task.verifiers:
        return Absent("No verifier rated replies.")
    most = {one.series: one for one in sorted(task.verifiers, key=lambda one: one.replies)}
    kept = list(most.values())[:MOST_ROWS]
    told = [f"{one.verifier}: best rated right {one.top.value:.1%}, by chance {one.chance.value:.1%}" for one in kept]
    replies = sum(one.replies for one in kept)
    caption = [
        f"Share of right replies by the verifier's value, over {replies:,} rated replies.",
        "A larger dot stands for more replies. Each strategy with its largest arm. No band is drawn.",
        _counts(task.points),
    ]
    return _figure(name, "Reliability of verifiers.", told, caption, verifier_chart(kept, looks))


def dearest(points: Sequence[Point]) -> list[Point]:
    """Of each series the point with the most tokens."""
    found: dict[str, Point] = {}
    for one in points:
        former = found.get(one.series)
        if former is None or one.spent.tokens.mean > former.spent.tokens.mean:
            found[one.series] = one
    return list(found.values())


def _figure(name: str, kind: str, told: Sequence[str], caption: Iterable[str], draw: Draw) -> Figure:
    more = f" And {len(told) - MOST_TOLD} more." if len(told) > MOST_TOLD else ""
    alt = f"{kind} {'; '.join(label(one, 120) for one in told[:MOST_TOLD])}.{more}"
    return Figure(name, alt, " ".join(one for one in caption if one), drawn(name, draw))


def _counts(points: Sequence[Point]) -> str:
    """How many questions and seeds are behind some points."""
    if not points:
        return ""
    questions, seeds = ({getattr(one, name) for one in points} for name in ("questions", "seeds"))
    several = "seeds" if max(seeds) > 1 else "seed"
    return f"n = {_range(questions)} questions, {_range(seeds)} {several}."


def _range(values: set[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _band(task: TaskReport) -> str:
    clustered = f", clustered by {task.groups:,} groups" if task.groups else ""
    return f"Shaded: 95 % interval over questions{clustered}."
