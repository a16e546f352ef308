"""The files of a report. Each takes its place whole; all are derived, and can be made anew."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from reasoner.errors import UsageError
from reasoner.files import check_replaceable, replacing
from reasoner_evals.report.content import Report
from reasoner_evals.report.csvs import points_csv, questions_csv
from reasoner_evals.report.markdown import to_markdown
from reasoner_evals.report.page import page, views

FIGURES = "figures"


class File(NamedTuple):
    """A file to be written."""

    path: Path
    content: Iterable[bytes]


def write_report(report: Report, html: Path) -> None:
    """Write the page, and beside it `results.csv`, `results.md`, `questions.csv` and each figure as SVG and PNG.

    Raises:
        UsageError: a file cannot be written; those before it are.
        TraceError: a journal can no longer be read.
    """
    try:
        html.parent.mkdir(parents=True, exist_ok=True)
        check_replaceable(html)
    except OSError as error:
        raise _failed(html, error) from error
    for file in _files(report, html):
        _put(file)


def _files(report: Report, html: Path) -> Iterator[File]:
    """All files, the page last: once it is there, so is what stands beside it."""
    shown = views(report)
    for figure in (one for view in shown for one in view.figures):
        yield File(html.parent / FIGURES / f"{figure.name}.svg", [figure.drawn.svg])
        yield File(html.parent / FIGURES / f"{figure.name}.png", [figure.drawn.png])
    yield File(html.parent / "results.csv", _encoded([points_csv(report)]))
    yield File(html.parent / "results.md", _encoded([to_markdown(report)]))
    yield File(html.parent / "questions.csv", _encoded(questions_csv(report)))
    yield File(html, _encoded([page(report, shown)]))


def _encoded(texts: Iterable[str]) -> Iterator[bytes]:
    return (text.encode("utf-8", "replace") for text in texts)


def _put(file: File) -> None:
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file.path) as opened:
            opened.writelines(file.content)
    except OSError as error:
        raise _failed(file.path, error) from error


def _failed(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror}")
