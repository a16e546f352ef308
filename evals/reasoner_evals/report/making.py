"""The way from run folders to a report's content."""

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from reasoner.errors import UsageError
from reasoner_evals.report.analysis import calibrations, difficulties, verifiers
from reasoner_evals.report.content import ArmState, Fact, Provenance, Report, TaskReport
from reasoner_evals.report.curves import curves
from reasoner_evals.report.differences import deltas, front
from reasoner_evals.report.endings import alarms, endings
from reasoner_evals.report.gallery import cases
from reasoner_evals.report.grouping import measure
from reasoner_evals.report.measures import ArmRead, mean, ungraded_rows
from reasoner_evals.report.scalings import scalings
from reasoner_evals.report.sentences import findings, limits, methods
from reasoner_evals.report.tables import groups_of, points
from reasoner_evals.runs.arrays import ERROR
from reasoner_evals.runs.reading import RunData, TaskItems, check_same, open_run, read_arm

_FOLDERS = re.compile(r"(?<==)[^,=]*/(?=[^,/]+)")
"""Where a task's file lies, which its title does without."""


def make_report(paths: Sequence[Path]) -> Report:
    """What these runs say, together.

    Raises:
        TraceError: a folder is no run, or one of its files cannot be read.
        UsageError: a run is given twice, two have one name, or they ask different questions of a task.
    """
    runs = open_runs(paths)
    arms = {run.name: [ArmRead(run, read_arm(run, arm.name)) for arm in run.manifest.arms] for run in runs}
    names = list(dict.fromkeys(source.task for run in runs for source in run.manifest.sources))
    tasks = tuple(_task(name, [run for run in runs if name in run.tasks], arms) for name in names)
    sources = tuple(_provenance(run, arms[run.name]) for run in runs)
    title = f"{', '.join(names)}: accuracy against compute"
    return Report(title, tasks, sources, methods(), limits(tasks, sources))


def open_runs(paths: Sequence[Path]) -> list[RunData]:
    """Several runs that can be reported together: each once, over the same questions where they share a task."""
    if not paths:
        raise UsageError("no run is given: name the folder of one or more")
    places = [path.resolve() for path in paths]
    for place, path in zip(places, paths, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"{path} is given twice: keep one")
    runs = [open_run(path) for path in paths]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        runs = [replace(run, name=str(path)) for run, path in zip(runs, paths, strict=True)]
    for later, run in enumerate(runs):
        for former in runs[:later]:
            for task in run.tasks.keys() & former.tasks.keys():
                check_same(former, run, task)
    return runs


def _task(name: str, runs: Sequence[RunData], arms: dict[str, list[ArmRead]]) -> TaskReport:
    items = runs[0].tasks[name]
    own = [one for run in runs for one in arms[run.name] if one.data.arm.task == name]
    several = len({run.manifest.model.name for run in runs}) > 1
    groups = groups_of(items)
    measured = list(measure(own, several_models=several))
    rows = points(measured, groups)
    there = {row.key for row in rows}
    measured = [one for one in measured if one.subject.key in there]
    differences = deltas(measured, items)
    fronts = [front([one for one in measured if one.subject.model == model], items)
              for model in dict.fromkeys(one.subject.model for one in measured)]  # fmt: skip
    by_tokens = tuple(member for one in fronts for member in one)
    by_flops = front(measured, items, cost=lambda one: mean(one.values.flops)) if several else ()
    return TaskReport(
        task=_FOLDERS.sub("", name),
        source=items.source,
        questions=len(items.ids),
        groups=len(set(items.groups) - {""}),
        chance=_chance(items),
        findings=tuple(findings(rows, differences, by_flops or by_tokens)),
        warnings=tuple(alarms(measured)),
        points=rows,
        curves=curves(measured, rows, groups),
        deltas=differences,
        front=by_tokens,
        front_by_flops=by_flops,
        difficulty=difficulties(measured, groups),
        endings=endings(measured),
        calibration=calibrations(measured),
        scaling=scalings(measured),
        verifiers=verifiers(measured, groups),
        cases=cases(measured, name),
    )


def _chance(items: TaskItems) -> float | None:
    chances = [one for one in items.chances if one is not None]
    return sum(chances) / len(chances) if chances and len(chances) == len(items.ids) else None


def _provenance(run: RunData, arms: Sequence[ArmRead]) -> Provenance:
    manifest = run.manifest
    card = [
        Fact(f"model {name.replace('_', ' ')}", str(value)) for name, value in asdict(manifest.model).items() if value
    ]
    graders = [Fact("grader", name) for name in sorted(run.verdicts.graders)]
    return Provenance(
        run=run.name,
        folder=str(run.folder.path),
        created=manifest.created,
        command=manifest.command,
        engine=manifest.engine,
        facts=(*card, *graders),
        sources=manifest.sources,
        prices=tuple(Fact(name, f"${usd:g} a million tokens") for name, usd in (manifest.prices or {}).items()),
        machine=manifest.machine,
        notes=manifest.notes,
        manifest_hash=run.manifest_hash,
        arms=tuple(_state(run, one) for one in arms),
    )


def _state(run: RunData, one: ArmRead) -> ArmState:
    data, arm = one.data, one.data.arm
    return ArmState(
        run=run.name,
        arm=arm.name,
        task=arm.task,
        strategy=arm.strategy,
        verifier=arm.verifier,
        budget=arm.limit,
        seed=arm.seed,
        pool=arm.pool,
        asked=len(data.outcome),
        finished=int(data.finished.sum()),
        errors=int((data.outcome == ERROR).sum()),
        ungraded=int(ungraded_rows(data).sum()),
        retried=data.retried,
        duplicates=data.duplicates,
    )
