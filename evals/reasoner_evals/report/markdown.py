"""A report as Markdown: findings, the table of points, and the limits, for a README or a pull request."""

import re
from collections.abc import Iterator, Sequence

from reasoner.tree.page import visible
from reasoner_evals.report.content import Provenance, Report, TaskReport
from reasoner_evals.report.diagnoses import Ending
from reasoner_evals.report.points import Delta, Estimate, Point

_COLUMNS = ("strategy", "accuracy %", "strict %", "vs greedy", "vs voting at equal tokens", "coverage %", "gap",
            "no answer %", "cut %", "tie %", "tokens", "p95", "cached", "verifier", "TFLOP", "s", "over", "n",
            "seeds")  # fmt: skip
_ENDINGS = ("strategy", "by rule %", "by price %", "by budget %", "by strategy %", "samples", "p95", "confidence %",
            "right %", "of", "n")  # fmt: skip
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


def to_markdown(report: Report) -> str:
    """The whole as one text that ends in a newline; what models and users named is escaped."""
    lines = [f"# {_plain(report.title)}", ""]
    for task in report.tasks:
        lines += [*_task(task), ""]
    for name, sentences in (("How the numbers are made", report.methods), ("Limits", report.limits)):
        lines += [f"## {name}", "", *(f"- {_plain(one)}" for one in sentences), ""]
    lines += ["## Runs", "", *(f"- {line}" for run in report.runs for line in _run(run))]
    return "\n".join(lines).rstrip() + "\n"


def _task(task: TaskReport) -> Iterator[str]:
    source = task.source
    yield f"## {_plain(task.task)}"
    yield ""
    yield _plain(f"{task.questions:,} questions from {source.origin} ({source.subset}); prompt {source.prompt}.")
    if task.chance is not None:
        yield f"A blind guess gets {task.chance:.1%} right."
    yield ""
    yield from (f"- **Warning:** {_plain(one)}" for one in task.warnings)
    yield from (f"- {_plain(one)}" for one in task.findings)
    if task.points:
        yield ""
        yield from _table(task)
    if task.endings:
        yield from ("", "What ended the questions, in brackets the mean tokens of those:", "")
        yield from _endings(task)


def _table(task: TaskReport) -> Iterator[str]:
    front = {one.key for one in task.front if one.on_front}
    yield f"| {' | '.join(_COLUMNS)} |"
    yield f"|---|{'---:|' * (len(_COLUMNS) - 1)}"
    for point in task.points:
        yield f"| {' | '.join(_cells(point, task.deltas, on_front=point.key in front))} |"
    yield ""
    yield "Bold: on the frontier of tokens and accuracy. °: above half of its pool. Differences are in points, paired"
    yield "by question, with Holm's p; (±d): the measured one is below the smallest that can be shown, d."


def _endings(task: TaskReport) -> Iterator[str]:
    labels = {one.key: one.label for one in task.points}
    yield f"| {' | '.join(_ENDINGS)} |"
    yield f"|---|{'---:|' * (len(_ENDINGS) - 1)}"
    for one in task.endings:
        yield f"| {' | '.join(_ending(labels.get(one.key, one.key), one))} |"


def _ending(label: str, one: Ending) -> Iterator[str]:
    yield _plain(label)
    for part in one.by:
        yield f"{100 * part.share:.1f}" + ("" if part.tokens is None else f" ({part.tokens:,.0f})")
    yield f"{one.samples:.3g}"
    yield f"{one.samples_p95:.3g}"
    for share in (one.confidence, one.accuracy):
        yield "" if share is None else f"{100 * share:.1f}"
    yield f"{one.judged:,}" if one.judged else ""
    yield f"{one.questions:,}"


def _cells(point: Point, deltas: Sequence[Delta], *, on_front: bool) -> Iterator[str]:
    label = _plain(point.label) + ("°" if point.few_subsets else "")
    yield f"**{label}**" if on_front else label
    yield _percent(point.accuracy)
    yield "" if point.strict is None else _percent(point.strict)
    for against in ("greedy", "self_consistency"):
        yield next((_difference(one) for one in deltas if (one.key, one.against) == (point.key, against)), "")
    yield "" if point.coverage is None else f"{100 * point.coverage.value:.1f}"
    yield "" if point.gap is None else f"{100 * point.gap.value:.1f}"
    for rate in (point.rates.no_answer, point.rates.truncated, point.rates.tied):
        yield "" if rate is None else f"{100 * rate:.1f}"
    spent = point.spent
    for amount in (spent.tokens.mean, spent.tokens.p95, spent.cached, spent.verifier):
        yield f"{amount:,.0f}"
    yield "" if spent.flops is None else f"{spent.flops / 1e12:.3g}"
    yield f"{spent.seconds:.3g}"
    yield f"{point.overshoots}"
    yield f"{point.questions:,}"
    yield f"{point.seeds}"


def _percent(one: Estimate) -> str:
    bounds = "" if one.low is None or one.high is None else f" ({100 * one.low:.1f}–{100 * one.high:.1f})"
    return f"{100 * one.value:.1f}{bounds}"


def _difference(one: Delta) -> str:
    text = f"{100 * one.difference.value:+.1f}, p = {one.p_holm:.2g}"
    return text if one.resolvable or one.detectable is None else f"{text} (±{100 * one.detectable:.1f})"


def _run(run: Provenance) -> Iterator[str]:
    yield _plain(f"{run.run}: {run.created}, {run.engine}, manifest {run.manifest_hash[:12]}: {run.command}")


def _plain(text: str) -> str:
    """Text that Markdown and HTML take as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text).replace("&", "&amp;").split()))
