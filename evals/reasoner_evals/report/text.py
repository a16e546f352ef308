"""The tables of a report as CSV."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args

from reasoner_evals.cells import plain_cell
from reasoner_evals.report.content import Against, Delta, Report, TaskReport
from reasoner_evals.report.data.table import CSV_COLUMNS
from reasoner_evals.runs.arrays import OUTCOMES
from reasoner_evals.runs.reading import RunData, records_in

_DELTA_COLUMNS: Final = ("p", "p_holm", "family", "better", "worse", "detectable", "resolvable", "backfired")


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
