"""The paired verdict on two arms, or on all arms that two runs share."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reasoner.errors import UsageError
from reasoner_evals.report.differences import paired
from reasoner_evals.report.measures import ArmRead, as_run
from reasoner_evals.report.points import Estimate
from reasoner_evals.report.tables import estimate, groups_of, known
from reasoner_evals.runs.reading import RunData, check_same, open_run, read_arm
from reasoner_evals.runs.records import Arm
from reasoner_evals.stats.comparison import holm
from reasoner_evals.stats.intervals import interval, ratio_interval

Side = tuple[Path, str]
"""A run's folder and the name of one of its arms; empty for all."""


@dataclass(frozen=True, slots=True)
class PairedResult:
    """One arm against another, over the questions of a task that both finished."""

    task: str
    first: str
    second: str
    questions: int
    missing: int
    """Questions without a value in one of the two."""
    first_accuracy: Estimate
    second_accuracy: Estimate
    difference: Estimate
    p: float
    p_holm: float
    """Adjusted for all `family` verdicts of this comparison."""
    family: int
    test: str
    better: int
    worse: int
    detectable: float | None
    resolvable: bool
    cost_ratio: Estimate | None
    """The total of the first's tokens over that of the second's, on these questions; None where that spent none."""


def verdicts(first: Side, second: Side, *, task: str = "") -> tuple[PairedResult, ...]:
    """Every pair of arms that the two sides name, as it was run: of a pool, at its whole size.

    Raises:
        TraceError: a run cannot be read.
        UsageError: there is no such arm or task, nothing is in both, or the questions are not the same.
    """
    one, other = open_run(first[0]), open_run(second[0])
    if one.name == other.name and first[0].resolve() != second[0].resolve():
        one, other = replace(one, name=str(first[0])), replace(other, name=str(second[0]))
    pairs = list(_pairs(one, first[1], other, second[1], task))
    if not pairs:
        raise UsageError(
            f"{one.name} and {other.name} have nothing in common to compare{f' on {task}' if task else ''}: "
            "name an arm of each, as RUN:ARM"
        )
    found = [_verdict(one, a, other, b) for a, b in pairs]
    adjusted = holm([each.p for each in found])
    return tuple(replace(each, p_holm=p, family=len(found)) for each, p in zip(found, adjusted, strict=True))


def _pairs(one: RunData, first: str, other: RunData, second: str, task: str) -> Iterator[tuple[Arm, Arm]]:
    named = bool(first or second)
    for a in _arms(one, first, task):
        for b in _arms(other, second, task):
            if a.task == b.task and (named or _setting(a) == _setting(b)):
                yield a, b


def _arms(run: RunData, name: str, task: str) -> list[Arm]:
    known_tasks = tuple(run.tasks)
    if task and task not in known_tasks:
        raise UsageError(f"{run.name} has no task {task!r} (there are: {', '.join(known_tasks)})")
    arms = [arm for arm in run.manifest.arms if name in ("", arm.name)]
    if not arms:
        names = ", ".join(arm.name for arm in run.manifest.arms)
        raise UsageError(f"{run.name} has no arm {name!r} (there are: {names})")
    return [arm for arm in arms if task in ("", arm.task)]


def _setting(arm: Arm) -> tuple[str, ...]:
    return arm.task, arm.strategy, arm.verifier, arm.limit, str(arm.seed), str(arm.pool)


def _verdict(one: RunData, a: Arm, other: RunData, b: Arm) -> PairedResult:
    check_same(one, other, a.task)
    items = one.tasks[a.task]
    groups = groups_of(items)
    first, second = (as_run(ArmRead(run, read_arm(run, arm.name))) for run, arm in ((one, a), (other, b)))
    both = ~np.isnan(first.right - second.right)
    if not both.any():
        raise UsageError(f"no question of {a.task} has been finished and graded in both {a.name} and {b.name}")
    found = paired(items, first.right, second.right)
    tokens = [np.where(both, values.tokens, np.nan) for values in (first, second)]
    spends = np.nansum(tokens[1]) > 0
    return PairedResult(
        task=a.task,
        first=f"{one.name}:{a.name}",
        second=f"{other.name}:{b.name}",
        questions=found.difference.n,
        missing=found.difference.missing,
        first_accuracy=estimate(interval(np.where(both, first.right, np.nan), groups)),
        second_accuracy=estimate(interval(np.where(both, second.right, np.nan), groups)),
        difference=estimate(found.difference),
        p=found.p_value,
        p_holm=found.p_value,
        family=1,
        test=found.test,
        better=found.better,
        worse=found.worse,
        detectable=known(found.detectable),
        resolvable=found.resolvable,
        cost_ratio=estimate(ratio_interval(tokens[0], tokens[1], groups)) if spends else None,
    )
