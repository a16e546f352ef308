"""The points of a report as CSV: all numbers, unrounded, one row a point."""

import csv
import io

from reasoner_evals.report.content import Report
from reasoner_evals.report.rows import Cell, point_rows

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def points_csv(report: Report) -> str:
    """The table with its header; an unknown number is an empty cell. Lines end in LF."""
    file = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in point_rows(report):
        if writer is None:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return file.getvalue()


def _cell(value: Cell) -> Cell:
    # A spreadsheet runs a cell that begins like a formula; names come from models and users.
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
