"""A report as one page of HTML without script or network: what runs hold is shown, never obeyed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reasoner.tree.page import style as tree_style
from reasoner.tree.page import visible
from reasoner_evals.report.axes import short
from reasoner_evals.report.content import Report, TaskReport
from reasoner_evals.report.courses import Trace, traces
from reasoner_evals.report.diagnoses import Calibration, Case, Ending
from reasoner_evals.report.figures import TaskFigures, figures
from reasoner_evals.report.looks import COLOURS, looks
from reasoner_evals.report.points import Delta, Estimate, Point

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

LONGEST: Final = 4000
"""Characters of any one text of a run in the page."""
SECTIONS: Final[tuple[tuple[str, str], ...]] = (
    ("accuracy", "Accuracy against compute"),
    ("differences", "Differences at matched compute"),
    ("models", "Models at matched FLOPs"),
    ("gap", "Selection gap"),
    ("cost", "What the compute went into"),
    ("endings", "What ended the questions"),
    ("statuses", "Answers that were not given"),
    ("harm", "Whom it helps and harms"),
    ("difficulty", "By difficulty"),
    ("calibration", "Calibration and abstention"),
    ("scaling", "Where more samples lead"),
    ("verifiers", "Quality of the verifier"),
    ("failures", "Failures worth reading"),
)
_AGAINST: Final = {
    "greedy": "Against one greedy sample",
    "self_consistency": "Against self-consistency that costs no more tokens",
    "larger_model": "A smaller model with more samples against a larger one once",
}
_KINDS: Final = {
    "backfired": "Backfired",
    "missed": "Right among the samples, not chosen",
    "no_answer": "No answer",
    "truncated": "Truncated",
    "overconfident": "Sure and wrong",
}


Keyed = Point | Delta | Calibration | Ending
"""What a row of a table is about."""


class Forest(NamedTuple):
    """Where an interval lies in its cell, in percent of the cell's width; 0 is in the middle."""

    low: float
    width: float
    value: float


@dataclass(frozen=True)
class View:
    """A task as the template shows it."""

    id: str
    task: TaskReport
    figures: TaskFigures
    traces: tuple[Trace, ...]

    @cached_property
    def by_key(self) -> Mapping[str, Point]:
        """The points by their keys."""
        return {one.key: one for one in self.task.points}

    @property
    def several_models(self) -> bool:
        """Whether models are compared."""
        return len({one.model for one in self.task.points}) > 1

    @property
    def sections(self) -> list[tuple[str, str]]:
        """The anchors and titles of its sections."""
        absent = {"models": not self.several_models, "endings": not self.task.endings}
        return [one for one in SECTIONS if not absent.get(one[0])]

    @property
    def against(self) -> list[tuple[str, list[Delta]]]:
        """The differences by what they are against."""
        kept = [one for one in self.task.deltas if {one.key, one.baseline} <= self.by_key.keys()]
        tables = ((title, [one for one in kept if one.against == name]) for name, title in _AGAINST.items())
        return [(title, deltas) for title, deltas in tables if deltas]

    @property
    def cases(self) -> list[tuple[Case, Trace]]:
        """The failures with their traces."""
        return list(zip(self.task.cases, self.traces, strict=True))

    def grouped(self, items: Sequence[Keyed]) -> list[list[Keyed]]:
        """Rows about points, those of one series together; without those of points that are not there."""
        found: dict[str, list[Keyed]] = {}
        for one in items:
            if one.key in self.by_key:
                found.setdefault(self.by_key[one.key].series, []).append(one)
        return list(found.values())

    def kind(self, case: Case) -> str:
        """A kind of failure in words."""
        return _KINDS[case.kind]

    def one_baseline(self, deltas: Sequence[Delta]) -> bool:
        """Whether all are against the same point, so that a column for it would say nothing."""
        return len({one.baseline for one in deltas}) == 1

    def baseline(self, one: Delta, deltas: Sequence[Delta]) -> str:
        """What a difference is against, short where all of its table are of one series."""
        point = self.by_key[one.baseline]
        alike = len({self.by_key[delta.baseline].series for delta in deltas}) == 1
        return one.against_label(_part(point) if alike else point.label)

    def forest(self, one: Delta, deltas: Sequence[Delta]) -> Forest:
        """The place of an interval on the scale that all of its table share."""
        most = (
            max((abs(bound) for delta in deltas for bound in delta.difference if bound is not None), default=0) or 1.0
        )
        value, low, high = (48 * (bound or 0.0) / most + 50 for bound in one.difference)
        return Forest(round(low, 2), round(high - low, 2), round(value, 2))

    def tests(self, deltas: Sequence[Delta]) -> str:
        """How the differences of a table were tested."""
        against = {self.by_key[one.baseline].label for one in deltas}
        series = {self.by_key[one.baseline].series for one in deltas}
        named = against if len(against) == 1 else series
        baseline = f" against {next(iter(named))}" if len(named) == 1 else ""
        names = " or ".join(sorted({one.test.replace("mcnemar", "McNemar's exact test") for one in deltas}))
        families = " or ".join(str(size) for size in sorted({one.family for one in deltas}))
        return (
            f"Paired by question{baseline}; p by {names}, adjusted by Holm's rule within {families}. Detectable: the "
            "smallest difference that so many questions can show, at 80 % power and the 5 % level; below it a "
            "difference is not resolvable. Backfired: the baseline is right and the strategy wrong."
        )

    def risk_at_half(self, one: Calibration) -> float | None:
        """The share of wrong answers if only the surest half of the questions is answered."""
        return next((risk.risk for risk in one.risks if risk.coverage >= 0.5), None)


def views(report: Report) -> tuple[View, ...]:
    """The tasks with their figures drawn and their traces read."""
    found = looks(report)
    return tuple(
        View(f"t{place}", task, figures(task, f"t{place}", found), traces(task.cases))
        for place, task in enumerate(report.tasks, start=1)
    )


def page(report: Report, shown: Sequence[View]) -> str:
    """The page. The same report makes the same page, byte for byte."""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            views=shown,
            models=list(dict.fromkeys(one.model for task in report.tasks for one in task.points)),
            looks=looks(report),
            style=_style(),
            version=version("reasoner-kit"),
        )
    )


def _style() -> "Markup":
    from markupsafe import Markup

    light, dark = (
        " ".join(f"--{colour.name}: {shade};" for colour, shade in zip(COLOURS, shades, strict=True))
        for shades in ([one.light for one in COLOURS], [one.dark for one in COLOURS])
    )
    series = "\n".join(f".{one.name} {{ color: var(--{one.name}); }}" for one in COLOURS if one.name.startswith("s"))
    own = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    colours = (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ color-scheme: light; {light} }} }}\n"
    )
    return Markup(f"{tree_style()}\n{colours}{series}\n{own}")  # noqa: S704 ours


def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def safe(value: object) -> object:
        """A text of a run, made visible and short; what is markup already is ours."""
        if not isinstance(value, str) or isinstance(value, Markup):
            return value
        return visible(value[:LONGEST]) + ("…" if len(value) > LONGEST else "")

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, finalize=safe
    )
    filters: dict[str, Any] = environment.filters
    filters |= {
        "percent": lambda value: "–" if value is None else f"{100 * value:.1f}",
        "three": lambda value: "–" if value is None else f"{value:.3g}",
        "short": lambda value: "–" if value is None else short(value),
        "p_value": lambda value: "< 0.0001" if value < 1e-4 else f"{value:.2g}",
        "signed": _signed,
        "part": _part,
        "breakable": _breakable,
        "capitalized": lambda text: text[:1].upper() + text[1:],
        # matplotlib escaped the texts in it
        "drawn": Markup,
    }
    return environment


def _part(one: Point) -> str:
    """What tells a point from the others of its series."""
    if one.pooled:
        return one.label.removeprefix(one.series).lstrip(", ") or one.label
    samples = re.findall(r"[:,]\s*(n=\d+)", one.strategy)[:1]
    return ", ".join((*samples, *filter(None, [one.budget]))) or one.label


def _breakable(text: str) -> "Markup":
    """A name that may be broken between its parts."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?<=[_:,=.])", visible(text[:LONGEST]))
    return Markup("<wbr>").join(escape(part) for part in parts if part)


def _signed(one: Estimate) -> "Markup":
    from markupsafe import Markup

    bounds = "" if one.low is None or one.high is None else f"{_points(one.low)} to {_points(one.high)}"
    return Markup('{} <span class="ci">{}</span>').format(_points(one.value), bounds)


def _points(difference: float) -> str:
    """A difference of shares in points, with its sign; never a negative zero."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}".replace("-", "−")
