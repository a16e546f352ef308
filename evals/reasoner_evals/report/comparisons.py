"""Points compared question by question: differences to baselines, the Pareto frontier, and arms of two runs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reasoner.errors import UnknownName, UsageError
from reasoner.specs import Spec
from reasoner_evals.report.content import LEVEL, Against, BoundedValue, Delta
from reasoner_evals.runs.measures import ArmReading, Measurement, Values, as_run
from reasoner_evals.runs.reading import (
    RunData,
    TaskItems,
    check_same,
    open_runs,
    read_arm,
)
from reasoner_evals.runs.records import Arm
from reasoner_evals.stats import Floats, mean_of
from reasoner_evals.stats.intervals import (
    Groups,
    Interval,
    PairedTest,
    compare,
    holm,
    interval,
)


def groups_of(items: TaskItems) -> Groups | None:
    """The keys that intervals are clustered by; None where no question has one."""
    return items.groups if any(items.groups) else None


def estimate(result: Interval) -> BoundedValue:
    """An interval of the statistics as a report shows it."""
    return BoundedValue(result.mean, known(result.low), known(result.high))


def known(value: float) -> float | None:
    """A number, or None where it is nan."""
    return None if math.isnan(value) else value


@dataclass(frozen=True, slots=True)
class _Pair:
    point: Measurement
    baseline: Measurement
    mixed: float = 0.0
    """The share of questions that the next size of the baseline answers."""


def deltas(
    measured: Sequence[Measurement], groups: Groups | None
) -> dict[str, dict[Against, Delta]]:
    """By point: its difference to greedy or else the cheapest point, then to self-consistency at matched compute.

    The p-values of each baseline and model are one family, adjusted together (Holm 1979).
    """
    by_point: dict[str, dict[Against, Delta]] = {point.key: {} for point in measured}
    for model in dict.fromkeys(point.model for point in measured):
        own = [point for point in measured if point.model == model]
        greedy = next((point for point in own if point.is_greedy), None)
        votes = [_matched_vote(own, point) for point in own if not _is_vote(point)]
        first = greedy or min(own, key=lambda point: point.tokens)
        others = [
            _Pair(point, first)
            for point in own
            if point is not first and not point.is_greedy
        ]
        _add_family(by_point, "greedy" if greedy else "cheapest", others, groups)
        _add_family(by_point, "self_consistency", votes, groups)
    return by_point


def _is_vote(point: Measurement) -> bool:
    """Whether a point is plain self-consistency."""
    return Spec.parse(point.arm.strategy).name == "self_consistency"


def _matched_vote(own: Iterable[Measurement], point: Measurement) -> _Pair | None:
    """A point against self-consistency for as many tokens: a random choice between the two sizes around it."""
    votes = sorted(filter(_is_vote, own), key=lambda vote: vote.tokens)
    cheaper = [vote for vote in votes if vote.tokens <= point.tokens]
    if not cheaper:
        return None
    smaller = cheaper[-1]
    larger = next(
        (vote for vote in votes[len(cheaper) :] if vote.series == smaller.series), None
    )
    if larger is None:
        return _Pair(point, smaller)
    share = (point.tokens - smaller.tokens) / (larger.tokens - smaller.tokens)
    right = (1 - share) * smaller.values["right"] + share * larger.values["right"]
    return _Pair(
        point, replace(smaller, values=smaller.values | {"right": right}), share
    )


def _add_family(
    by_point: dict[str, dict[Against, Delta]],
    against: Against,
    pairs: Iterable[_Pair | None],
    groups: Groups | None,
) -> None:
    compared = [
        pair for pair in pairs if pair and _comparable(pair.point, pair.baseline)
    ]
    family = [
        replace(
            _delta(pair.point.values, pair.baseline.values, groups, pair.baseline.key),
            mixed=pair.mixed,
        )
        for pair in compared
    ]
    for pair, delta in zip(compared, _adjusted(family), strict=True):
        by_point[pair.point.key][against] = delta


def _delta(
    first: Values, second: Values, groups: Groups | None, baseline: str
) -> Delta:
    """The first minus the second, which is called `baseline`, as a comparison of its own."""
    result = compare(first["right"], second["right"], groups)
    return Delta(
        baseline=baseline,
        questions=result.difference.n,
        difference=estimate(result.difference),
        p=result.p_value,
        p_holm=result.p_value,
        family=1,
        test=result.test,
        better=result.better,
        worse=result.worse,
        detectable=known(result.detectable),
        resolvable=result.resolvable,
        backfired=mean_of(second["right"] * (1 - first["right"])),
    )


def _adjusted(family: Sequence[Delta]) -> list[Delta]:
    """These differences as one family (Holm 1979)."""
    adjusted = holm([delta.p for delta in family])
    return [
        replace(delta, p_holm=p, family=len(family))
        for delta, p in zip(family, adjusted, strict=True)
    ]


def _comparable(point: Measurement, baseline: Measurement) -> bool:
    """Whether any question has a value in both."""
    return bool(np.any(~np.isnan(point.values["right"] - baseline.values["right"])))


def front(
    measured: Sequence[Measurement], groups: Groups | None, *, cost: str = "tokens"
) -> dict[str, str]:
    """Each point's status on the Pareto frontier of a cost and accuracy, by key, cheapest first.

    "front" by point estimates; "behind" if the paired difference to the frontier point that costs no more is
    significant; otherwise "level". These comparisons are one family, adjusted together (Holm 1979).
    """
    ranked = [
        (mean_of(point.values[cost]), -mean_of(point.values["right"]), point)
        for point in measured
    ]
    best: Measurement | None = None
    highest = -math.inf
    statuses: dict[str, str] = {}
    compared: dict[str, PairedTest] = {}
    known_costs = [entry for entry in ranked if not math.isnan(entry[0] + entry[1])]
    for _, loss, point in sorted(known_costs, key=lambda entry: entry[:2]):
        if best is None or -loss > highest:
            best, highest = point, -loss
            statuses[point.key] = "front"
        else:
            statuses[point.key] = "level"
            if _comparable(point, best):
                compared[point.key] = compare(
                    point.values["right"], best.values["right"], groups
                )
    adjusted = holm([result.p_value for result in compared.values()])
    for (key, result), p_value in zip(compared.items(), adjusted, strict=True):
        if result.difference.mean < 0 and p_value < LEVEL:
            statuses[key] = "behind"
    return statuses


class PairedResult(NamedTuple):
    """One arm against another, over the questions of a task that both finished; the family is the whole comparison."""

    task: str
    first: str
    first_model: str
    """The model of the first; with its engine where both models have one name and their engines differ."""
    second_model: str
    missing: int
    """Questions without a value in one of the two."""
    first_acc: BoundedValue
    second_acc: BoundedValue
    cost_ratio: float | None
    """The first's tokens divided by the second's, on these questions; None where the second has none."""
    sequential_ratio: float | None
    """The same of their sequential tokens."""
    delta: Delta

    @property
    def document(self) -> dict[str, Any]:
        """The same as JSON holds it, with the bounds of each estimate beside it."""
        return {
            **self._asdict(),
            **self.first_acc.cells("first_acc"),
            **self.second_acc.cells("second_acc"),
            "delta": {
                **asdict(self.delta),
                **self.delta.difference.cells("difference"),
            },
        }


def compare_runs(
    first: tuple[Path, str], second: tuple[Path, str]
) -> tuple[PairedResult, ...]:
    """Every pair of arms of two runs, or of the named arm of each, as they were run: of a pool, at its whole size.

    Raises:
        TraceError: a run cannot be read.
        UsageError: there is no such arm, the sides have nothing in common, or their questions differ.
    """
    same = first[0].resolve() == second[0].resolve()
    runs = open_runs([first[0]] if same else [first[0], second[0]])
    left, right = runs[0], runs[-1]
    named = bool(first[1] or second[1])
    pairs = [
        (left_arm, right_arm)
        for left_arm in _arms(left, first[1])
        for right_arm in _arms(right, second[1])
        if left_arm.task == right_arm.task
        and (named or _settings(left_arm) == _settings(right_arm))
    ]
    if not pairs:
        raise UsageError(
            f"{left.name} and {right.name} have nothing in common to compare: name an arm of each, as RUN:ARM"
        )
    results = [
        _paired_result(left, left_arm, right, right_arm)
        for left_arm, right_arm in pairs
    ]
    deltas = _adjusted([result.delta for result in results])
    return tuple(
        result._replace(delta=delta)
        for result, delta in zip(results, deltas, strict=True)
    )


def _arms(run: RunData, name: str) -> list[Arm]:
    arms = {arm.name: arm for arm in run.manifest.arms}
    if name and name not in arms:
        raise UnknownName("arm", name, arms, of=f"run {run.name}")
    return [arm for arm in arms.values() if name in ("", arm.name)]


def _settings(arm: Arm) -> tuple[str, ...]:
    return arm.task, arm.strategy, arm.verifier, arm.limit, str(arm.seed), str(arm.pool)


def _model(run: RunData, other: RunData) -> str:
    own, theirs = run.manifest, other.manifest
    alike = own.model.name == theirs.model.name and own.engine != theirs.engine
    return f"{own.model.name} ({own.engine})" if alike else own.model.name


def _ratio(first: Floats, second: Floats) -> float | None:
    """The total of the first divided by the second's; None where it is not known."""
    return known(float(first.sum() / second.sum())) if second.any() else None


def _paired_result(
    left: RunData, left_arm: Arm, right: RunData, right_arm: Arm
) -> PairedResult:
    check_same(left, right, left_arm.task)
    groups = groups_of(left.tasks[left_arm.task])
    sides = ((left, left_arm), (right, right_arm))
    first, second = (
        as_run(ArmReading(run, read_arm(run, arm.name))) for run, arm in sides
    )
    both = ~np.isnan(first["right"] - second["right"])
    if not both.any():
        raise UsageError(
            f"no question of {left_arm.task} has been finished and graded in both {left_arm.name} and {right_arm.name}"
        )
    return PairedResult(
        task=left_arm.task,
        first=f"{left.name}:{left_arm.name}",
        first_model=_model(left, right),
        second_model=_model(right, left),
        missing=int((~both).sum()),
        first_acc=estimate(interval(np.where(both, first["right"], np.nan), groups)),
        second_acc=estimate(interval(np.where(both, second["right"], np.nan), groups)),
        cost_ratio=_ratio(first["tokens"][both], second["tokens"][both]),
        sequential_ratio=_ratio(first["sequential"][both], second["sequential"][both]),
        delta=_delta(first, second, groups, f"{right.name}:{right_arm.name}"),
    )
