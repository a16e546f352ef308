"""The tables of a report as CSV and Markdown."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args

from reasoner.trace.tree.page import visible
from reasoner_evals.cells import plain_cell
from reasoner_evals.report.content import Against, Delta, Estimate, Report, TaskReport, estimate_of
from reasoner_evals.report.data.table import CSV_COLUMNS, STOP_REASONS
from reasoner_evals.runs.arrays import OUTCOMES
from reasoner_evals.runs.reading import RunData, records_in

_COLUMNS: Final = ("strategy", "accuracy %", "strict %", "vs greedy", "vs voting at equal tokens", "coverage %", "gap",
                   "no answer %", "truncated %", "tie %", "tokens", "p95", "cached", "verifier", "TFLOP", "s", "over",
                   "n", "seeds")  # fmt: skip
_STOP_COLUMNS: Final = ("strategy", "by rule %", "by price %", "by budget %", "by strategy %", "samples", "p95",
                        "confidence %", "right %", "of", "n")  # fmt: skip
_DELTA_COLUMNS: Final = ("p", "p_holm", "family", "better", "worse", "detectable", "resolvable", "backfired")
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>|#~])")


def points_csv(report: Report) -> Iterator[str]:
    """The lines of the table of results, its header first; an unknown number is an empty cell. Lines end in LF."""
    return _csv_lines(
        {name: getattr(row, name) for name in CSV_COLUMNS} | _delta_cells(task, row)
        for task in report.tasks
        for row in task.rows
    )


def _delta_cells(task: TaskReport, row: Any) -> dict[str, object]:
    """The differences of a point, each by the name of its kind of baseline."""
    cells: dict[str, object] = {}
    for against in get_args(Against):
        delta: Delta | None = row.deltas.get(against)
        baseline = task.by_key.get(delta.baseline) if delta else None
        cells[f"{against}_baseline"] = (
            delta.against_label(baseline.label if baseline else delta.baseline) if delta else None
        )
        bounds = delta.difference if delta else (None, None, None)
        cells |= dict(zip((f"{against}_delta", f"{against}_delta_low", f"{against}_delta_high"), bounds, strict=True))
        cells |= {f"{against}_{name}": getattr(delta, name, None) for name in _DELTA_COLUMNS}
    return cells


def questions_csv(report: Report) -> Iterator[str]:
    """The lines of a table with a row for each finished question of each arm, streamed from the runs' folders.

    Raises:
        TraceError: a journal can no longer be read.
    """
    return _csv_lines(row for run in report.runs for row in _questions(run.run))


def _questions(run: RunData) -> Iterator[dict[str, object]]:
    for arm in run.manifest.arms:
        for record in records_in(run, arm.name):
            [code] = run.verdicts.of(arm.task, record.question_id, [record.answer])
            yield {
                "run": run.name,
                "arm": arm.name,
                "question_id": record.question_id,
                "outcome": OUTCOMES[code] if record.status == "answered" else record.status,
                "samples": record.cost.samples,
                "tokens": record.cost.tokens,
                "ended_by": record.ended_by,
                "reason": record.reason,
                "share": record.share,
                "confidence": record.confidence,
            }


class _Echo:
    """A file whose `write` returns the text, so that `writerow` does."""

    def write(self, text: str) -> str:
        return text


def _csv_lines(rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(_Echo(), list(row), lineterminator="\n")
            yield str(writer.writeheader())
        yield str(writer.writerow({name: plain_cell(value) for name, value in row.items()}))


def to_markdown(report: Report) -> str:
    """Findings, tables and limits for a README or a pull request; names from models and users are escaped."""
    lines = [f"# {_plain(report.title)}", ""]
    for task in report.tasks:
        lines += [*_task(task), ""]
    for title, sentences in (("How the numbers are made", report.methods), ("Limits", report.limits)):
        lines += [f"## {title}", "", *(f"- {_plain(sentence)}" for sentence in sentences), ""]
    lines += ["## Runs", ""]
    for run, *_ in report.runs:
        made = f"{run.manifest.created}, {run.manifest.engine}, manifest {run.manifest_hash[:12]}"
        lines.append(f"- {_plain(f'{run.name}: {made}: {run.manifest.command}')}")
    return "\n".join(lines).rstrip() + "\n"


def _task(task: TaskReport) -> Iterator[str]:
    source = task.source
    yield f"## {_plain(task.task)}"
    yield ""
    yield _plain(f"{task.questions:,} questions from {source.origin} ({source.subset}); prompt {source.prompt}.")
    if task.chance is not None:
        yield f"A random guess gets {task.chance:.1%} right."
    yield ""
    yield f"**{_plain(task.verdict.sentence)}**"
    yield ""
    yield from (f"- **Warning:** {_plain(warning)}" for warning in task.warnings)
    yield from (f"- {_plain(finding)}" for finding in task.findings)
    if len(task.points):
        yield ""
        yield from _table(_COLUMNS, (_point_cells(row) for row in task.rows))
        yield ""
        yield "Bold: on the frontier of tokens and accuracy. °: above half of its pool. Differences are in points,"
        yield "paired by question, with Holm's p; (±d): smaller than d, the smallest difference that can be shown."
    if reasons := [row for row in task.rows if row.ended]:
        yield from ("", "What ended the questions, with the mean tokens of those in brackets:", "")
        yield from _table(_STOP_COLUMNS, map(_stop_cells, reasons))


def _table(columns: tuple[str, ...], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|---|{'---:|' * (len(columns) - 1)}"
    yield from (f"| {' | '.join(cells)} |" for cells in rows)


def _point_cells(row: Any) -> Iterator[str]:
    label = _plain(row.label) + ("°" if row.few_subsets else "")
    yield f"**{label}**" if row.tokens_front == "front" else label
    yield _percent(estimate_of(row, "accuracy"))
    yield _percent(estimate_of(row, "strict_accuracy"))
    yield from (_difference(row.deltas.get(against)) for against in ("greedy", "self_consistency"))
    for share in (row.coverage, row.gap, row.no_answer, row.truncated, row.tied):
        yield "" if share is None else f"{100 * share:.1f}"
    for amount in (row.tokens, row.tokens_p95, row.cached_tokens, row.verifier_tokens):
        yield f"{amount:,.0f}"
    yield "" if row.flops is None else f"{row.flops / 1e12:.3g}"
    yield from (f"{row.seconds:.3g}", f"{row.overshoots}", f"{row.questions:,}", f"{row.seeds}")


def _stop_cells(row: Any) -> Iterator[str]:
    yield _plain(row.label)
    for reason in STOP_REASONS:
        tokens = getattr(row, f"tokens_by_{reason}")
        yield f"{100 * getattr(row, f'ended_by_{reason}'):.1f}" + ("" if tokens is None else f" ({tokens:,.0f})")
    yield from (f"{row.samples:.3g}", f"{row.samples_p95:.3g}")
    for share in (row.confidence, row.confidence_accuracy):
        yield "" if share is None else f"{100 * share:.1f}"
    yield from (f"{row.confidence_questions:,}" if row.confidence_questions else "", f"{row.ended:,}")


def _percent(value: Estimate | None) -> str:
    if value is None:
        return ""
    bounds = "" if value.low is None or value.high is None else f" ({100 * value.low:.1f}–{100 * value.high:.1f})"
    return f"{100 * value.value:.1f}{bounds}"


def _difference(delta: Delta | None) -> str:
    if delta is None:
        return ""
    text = f"{100 * delta.difference.value:+.1f}, p = {delta.p_holm:.2g}"
    return text if delta.resolvable or delta.detectable is None else f"{text} (±{100 * delta.detectable:.1f})"


def _plain(text: str) -> str:
    """Text that Markdown and HTML show unchanged, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text).replace("&", "&amp;").split()))
