"""Build a report from run folders, and write its files."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from reasoner.errors import TraceError, UsageError
from reasoner.journal.folder import make_folder, write_whole
from reasoner.specs import Spec
from reasoner.system.files import check_replaceable, file_errors
from reasoner_evals.report.comparisons import deltas, front, groups_of
from reasoner_evals.report.content import Against, EvalReport, Provenance, TaskReport
from reasoner_evals.report.diagnostics import failures, verifiers
from reasoner_evals.report.drawing import Figure
from reasoner_evals.report.figures import report_figures
from reasoner_evals.report.narrative import METHODS, unfinished, verdict
from reasoner_evals.report.page import page, to_markdown
from reasoner_evals.report.table import CSV_COLUMNS, points_table
from reasoner_evals.runs.export import plain_cell
from reasoner_evals.runs.measures import ArmReading, measure, ungraded_rows
from reasoner_evals.runs.naming import is_greedy, shared_settings, short_names
from reasoner_evals.runs.reading import ERROR, RunData, check_same, open_runs, read_arm

_FOLDERS = re.compile(r"(?<==)[^,=]*/(?=[^,/]+)")
"""The folders of a task's file, which a title leaves out."""


def make_report(paths: Sequence[Path], *, hide_questions: bool = False) -> EvalReport:
    """The report of these runs together; `hide_questions` leaves out the texts of questions and answers.

    Raises:
        TraceError: a folder is not a run, or one of its files cannot be read.
        UsageError: a run is given twice, or two runs ask different questions of a task.
    """
    runs = _open_runs(paths)
    if hide_questions:
        runs = [_hidden(run) for run in runs]
    arms = {
        run.name: [
            ArmReading(run, read_arm(run, arm.name)) for arm in run.manifest.arms
        ]
        for run in runs
    }
    names = list(
        dict.fromkeys(source.task for run in runs for source in run.manifest.sources)
    )
    labels = _labels(names)
    tasks = tuple(
        _task(
            f"t{number}",
            name,
            labels[name],
            [run for run in runs if name in run.tasks],
            arms,
        )
        for number, name in enumerate(names, start=1)
    )
    provenance = tuple(_provenance(run, arms[run.name]) for run in runs)
    return EvalReport(
        f"{', '.join(labels.values())}: accuracy against compute",
        tasks,
        provenance,
        METHODS,
        tuple(unfinished(provenance)),
    )


def _open_runs(paths: Sequence[Path]) -> list[RunData]:
    """Several runs that can be reported together: each once, over the same questions if they share a task."""
    if not paths:
        raise UsageError("no run is given: name the folder of one or more")
    runs = open_runs(paths)
    for index, run in enumerate(runs):
        for former in runs[:index]:
            for task in run.tasks.keys() & former.tasks.keys():
                check_same(former, run, task)
    return runs


def _labels(names: Sequence[str]) -> dict[str, str]:
    """The name of each task for people: a file's name in place of a spec, where no other task has the same."""
    labels = {name: _label(Spec.parse(name)) for name in names}
    taken = Counter(labels.values())
    return {
        name: label if label and taken[label] == 1 else _FOLDERS.sub("", name)
        for name, label in labels.items()
    }


def _label(task: Spec) -> str:
    """The name of a task by its file; empty without one."""
    file = task.options.get("path")
    if not file:
        return ""
    stem = Path(Path(str(file)).name.removesuffix(".gz")).stem
    # The tasks that read any file: the file's name says more than theirs
    return stem if task.name in ("jsonl", "pool") else f"{task.name} ({stem})"


def _hidden(run: RunData) -> RunData:
    """The run, whose questions may not be shown."""
    return replace(
        run,
        tasks={
            name: replace(
                items, source=items.source.model_copy(update={"shareable": False})
            )
            for name, items in run.tasks.items()
        },
    )


def _task(
    report_id: str,
    name: str,
    label: str,
    runs: Sequence[RunData],
    arms: dict[str, list[ArmReading]],
) -> TaskReport:
    items = runs[0].tasks[name]
    models = list(dict.fromkeys(run.manifest.model.name for run in runs))
    several = len(models) > 1
    groups = groups_of(items)
    every = (arm for run in runs for arm in arms[run.name] if arm.data.arm.task == name)
    # The questions of an unfinished arm are no sample of all: those that end early are easier.
    own = [arm for arm in every if arm.data.finished.all()]
    measured = [
        point for point in measure(own, several_models=several) if point.questions
    ]
    fronts: dict[str, dict[str, str]] = {"tokens": {}, "sequential": {}}
    for model in models:
        own_points = [point for point in measured if point.model == model]
        for cost in fronts:
            fronts[cost] |= front(own_points, groups, cost=cost)
    points = points_table(
        measured,
        groups,
        tokens_front=fronts["tokens"],
        sequential_front=fronts["sequential"],
        flops_front=front(measured, groups, cost="flops") if several else {},
        deltas=deltas(measured, groups),
    )
    rows = list(points.itertuples())
    cold = any(is_greedy(row.strategy, thinks=True) for row in rows)
    shared = shared_settings(Spec.parse(row.strategy) for row in rows)
    return TaskReport(
        id=report_id,
        task=label,
        source=items.source,
        questions=len(items.ids),
        groups=len(set(items.groups) - {""}),
        shared=", ".join(f"{name}={value}" for name, value in sorted(shared.items()))
        + (" but for greedy" if cold and "temperature" in shared else ""),
        verdict=verdict(rows),
        points=points,
        verifiers=verifiers(measured, groups),
        failures=failures(measured, name),
    )


def _provenance(run: RunData, arms: Sequence[ArmReading]) -> Provenance:
    manifest = run.manifest
    facts = [
        (f"model {name.replace('_', ' ')}", str(value))
        for name, value in asdict(manifest.model).items()
        if value and isinstance(value, str | int)
    ]
    facts += [("grader", name) for name in sorted(run.verdicts.graders)]
    states = (
        {
            "asked": len(data.outcome),
            "finished": int(data.finished.sum()),
            "errors": int((data.outcome == ERROR).sum()),
            "ungraded": int(ungraded_rows(data).sum()),
        }
        for _, data in arms
    )
    return Provenance(
        run,
        tuple(facts),
        tuple(zip(manifest.arms, states, strict=True)),
        short_names(manifest.arms, thinks=manifest.model.thinking is not None),
    )


def write_report(report: EvalReport, html: Path) -> None:
    """Write the page, and beside it `results.csv`, `results.md` and each figure as SVG and PNG.

    Each file is replaced as a whole. Raises TraceError if one cannot be written; those before it are.
    """
    make_folder(html.parent)
    with file_errors(TraceError, f"cannot write {html}"):
        check_replaceable(html)
    for path, content in _files(report, html):
        make_folder(path.parent)
        write_whole(path, [content])


def _files(report: EvalReport, html: Path) -> Iterator[tuple[Path, bytes]]:
    """All files with their contents. The page comes last: if it is there, so are the files beside it."""
    drawn = report_figures(report.tasks)
    for figure in (figure for shown in drawn.values() for figure in shown):
        if isinstance(figure, Figure):
            yield html.parent / "figures" / f"{figure.name}.svg", figure.svg
            yield html.parent / "figures" / f"{figure.name}.png", figure.png
    texts = {
        "results.csv": points_csv(report),
        "results.md": to_markdown(report),
        html.name: page(report, drawn),
    }
    for name, text in texts.items():
        yield html.parent / name, text.encode("utf-8", "replace")


def points_csv(report: EvalReport) -> str:
    """The table of results; an unknown number is an empty cell. Lines end in LF."""
    rows = [
        {name: getattr(row, name) for name in CSV_COLUMNS} | _delta_cells(task, row)
        for task in report.tasks
        for row in task.rows
    ]
    cells = [{name: plain_cell(value) for name, value in row.items()} for row in rows]
    return str(
        pd.DataFrame(cells, dtype=object).to_csv(index=False, lineterminator="\n")
    )


def _delta_cells(task: TaskReport, row: Any) -> dict[str, object]:
    """The differences of a point, each by the name of its kind of baseline."""
    cells: dict[str, object] = {}
    for against in get_args(Against):
        delta = row.deltas.get(against)
        baseline = delta and delta.against_label(task.by_key[delta.baseline].label)
        bounds = delta.difference if delta else (None, None, None)
        cells |= {
            f"{against}_baseline": baseline,
            **dict(
                zip(
                    (
                        f"{against}_delta",
                        f"{against}_delta_low",
                        f"{against}_delta_high",
                    ),
                    bounds,
                    strict=True,
                )
            ),
            **{
                f"{against}_{name}": getattr(delta, name, None)
                for name in (
                    "p",
                    "p_holm",
                    "family",
                    "better",
                    "worse",
                    "detectable",
                    "resolvable",
                    "backfired",
                )
            },
        }
    return cells
