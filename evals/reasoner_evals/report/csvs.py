"""The points and the questions of a report as CSV: all numbers, unrounded, a row each."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from reasoner_evals.cells import plain_cell
from reasoner_evals.report.content import Report
from reasoner_evals.report.questions import question_rows
from reasoner_evals.report.rows import Cell, point_rows


def points_csv(report: Report) -> str:
    """The table with its header; an unknown number is an empty cell. Lines end in LF."""
    return "".join(_lines(point_rows(report)))


def questions_csv(report: Report) -> Iterator[str]:
    """The lines of a table with a row for each finished question of each arm, read from the runs' folders as it goes.

    Raises:
        TraceError: a journal can no longer be read.
    """
    return _lines(row for run in report.runs for row in question_rows(Path(run.folder), run.run))


class _Echo:
    """A file that gives back what is written to it, as `writerow` then does."""

    def write(self, text: str) -> str:
        return text


def _lines(rows: Iterable[Mapping[str, Cell]]) -> Iterator[str]:
    """The lines of a table, its header first."""
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(_Echo(), list(row), lineterminator="\n")
            yield str(writer.writeheader())
        yield str(writer.writerow({name: plain_cell(value) for name, value in row.items()}))
