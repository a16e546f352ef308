"""A report as one HTML page without scripts or network access, and as Markdown: texts of runs are escaped."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment
from markupsafe import Markup, escape

from reasoner.system.printing import visible
from reasoner.trace.outline import ending
from reasoner.trace.page import environment as templates
from reasoner.trace.page import policy
from reasoner.trace.page import style as tree_style
from reasoner_evals.report.content import (
    BoundedValue,
    Delta,
    EvalReport,
    TaskReport,
    estimate_of,
)
from reasoner_evals.report.drawing import COLOURS, SERIES, series_styles, short
from reasoner_evals.report.figures import AXES, MAX_BANDS, Figures
from reasoner_evals.report.narrative import capitalized, signed
from reasoner_evals.report.table import STOP_REASONS

MAX_TEXT: Final = 4000
"""Characters of any one text of a run in the page."""
SECTIONS: Final[tuple[tuple[str, str], ...]] = (
    ("accuracy", "Does more compute help?"),
    ("differences", "Are the differences real?"),
    ("cost", "Where does the compute go?"),
    ("verifiers", "Can the verifier be trusted?"),
    ("failures", "What went wrong?"),
    ("endings", "What ends a question?"),
)


def _sections(task: TaskReport) -> list[tuple[str, str]]:
    """The anchors and titles of a task's sections."""
    present = {"accuracy", "cost", "failures"} if task.rows else set()
    tables = {
        "differences": any(row.deltas for row in task.rows),
        "verifiers": task.verifiers,
        "endings": any(row.ended for row in task.rows),
    }
    present |= {name for name, table in tables.items() if table}
    return [section for section in SECTIONS if section[0] in present]


def _grouped(rows: Iterable[Any]) -> list[list[Any]]:
    """Rows, those of one series together."""
    by_series: dict[str, list[Any]] = {}
    for row in rows:
        by_series.setdefault(row.series, []).append(row)
    return list(by_series.values())


def _forest(delta: Delta, deltas: Sequence[Delta]) -> tuple[float, float, float]:
    """Start, width and value of an interval in its cell, in percent of the cell's width; 0 is in the middle."""
    bounds = [
        abs(bound)
        for other in deltas
        for bound in other.difference
        if bound is not None
    ]
    value, low, high = (
        48 * (bound or 0.0) / (max(bounds, default=0) or 1.0) + 50
        for bound in delta.difference
    )
    return round(low, 2), round(high - low, 2), round(value, 2)


def page(report: EvalReport, figures: Mapping[str, Figures]) -> str:
    """The page with these figures, by the id of a task. The same report gives the same page, byte for byte."""
    template = _environment(_safe).get_template("report.html.j2")
    several = len(report.tasks) > 1
    return template.render(
        report=report,
        figures=figures,
        several=several,
        level=3 if several else 2,
        models=list(
            dict.fromkeys(row.model for task in report.tasks for row in task.rows)
        ),
        styles=series_styles(report.tasks),
        policy=policy(),
        style=_style(),
        version=version("reasoner-kit"),
    )


def to_markdown(report: EvalReport) -> str:
    """Findings, tables and limits for a README or a pull request; names from models and users are escaped."""
    return (
        _environment(_plain)
        .overlay(trim_blocks=True)
        .get_template("report.md.j2")
        .render(report=report)
    )


def _safe(value: object) -> object:
    """A text of a run, made visible and short; markup is ours."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return visible(value[:MAX_TEXT]) + ("…" if len(value) > MAX_TEXT else "")


def _plain(value: object) -> object:
    """A text of a run that Markdown and HTML show unchanged, on one line."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    escaped = " ".join(visible(value).replace("&", "&amp;").split())
    return Markup(re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", escaped))  # noqa: S704


def _style() -> Markup:
    light, dark = (
        " ".join(f"--{colour.name}: {getattr(colour, theme)};" for colour in SERIES)
        for theme in ("light", "dark")
    )
    series = "\n".join(f".{name} {{ color: var(--{name}); }}" for name, *_ in COLOURS)
    own = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    colours = f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    return Markup(f"{tree_style()}\n{colours}{series}\n{own}")  # noqa: S704 ours


def _environment(finalize: Callable[[object], object]) -> Environment:
    environment = templates(Path(__file__).parent, finalize)
    # matplotlib escaped the texts in a drawing.
    filters = {
        "signed": _signed,
        "estimate_of": estimate_of,
        "breakable": _breakable,
        "drawn": Markup,
        "capitalized": capitalized,
    }
    formats = {
        "count": "{:,}".format,
        "percent": lambda value: "–" if value is None else f"{100 * value:.1f}",
        "three": lambda value: "–" if value is None else f"{value:.3g}",
        "short": lambda value: "–" if value is None else short(value),
        "p_value": lambda value: "< 0.0001" if value < 1e-4 else f"{value:.2g}",
    }
    environment.filters.update({**filters, **formats})
    environment.globals.update(
        {
            **formats,
            "failure_titles": {
                "backfired": "Backfired",
                "missed": "Right among the samples, not chosen",
                "overconfident": "Confident and wrong",
            },
            "ending": ending,
            "forest": _forest,
            "grouped": _grouped,
            "stop_reasons": STOP_REASONS,
            "axes": AXES,
            "baselines": {
                "greedy": "Against one greedy sample",
                "cheapest": "Against the cheapest",
                "self_consistency": "Against self-consistency for as many tokens",
            },
            # Failures of a task that are not folded
            "shown_failures": 4,
            "sections": _sections,
            # Whether a task has too many series for a figure to tell them apart: then the table comes before it.
            "crowded": lambda task: len(task.largest) > MAX_BANDS,
        }
    )
    return environment


def _breakable(text: str) -> Markup:
    """A name that may be broken between its parts."""
    parts = re.split(r"(?<=[_:,=.])", visible(text[:MAX_TEXT]))
    return Markup("<wbr>").join(escape(part) for part in parts if part)


def _signed(difference: BoundedValue) -> Markup:
    value, low, high = map(signed, difference)
    return Markup('{} <span class="ci">{}</span>').format(
        value, f"{low} to {high}" if low and high else ""
    )
