"""Profiles made from the finished runs of a model, and whether such a calibration still holds where it is used."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, cast, get_args

import numpy as np

from reasoner.calibration.profile import MIN_QUESTIONS, ArmRow, Bins, Family, Profile, Signal, Trust, read_profile
from reasoner.calibration.risk import broken_promise, lost_accuracy
from reasoner.errors import ReasonerError, UsageError
from reasoner.registry import build
from reasoner.strategy import CalibratedStrategy, CalibrationSummary
from reasoner_evals.calibration.outcomes import (
    SAFE,
    Outcomes,
    PooledArm,
    Way,
    concatenated,
    from_pool,
    measured,
    pooled_arm,
    rule,
    usable,
)
from reasoner_evals.runs.measures import ArmRead
from reasoner_evals.runs.reading import SILENT, RunData, check_same, open_runs, questions_of, read_arm
from reasoner_evals.runs.records import Arm
from reasoner_evals.stats import Bools, Floats, Ints

FIRST: Final = 4
"""Samples that the signal `split` looks at."""
SPLITS: Final = (0.5, 0.75, 1.0)
PARTS: Final = 3
MAX_PARTS: Final = 20
POINTS: Final = 50
"""Of a trust curve, at most."""
MIN_LEVEL: Final = 15
"""Questions that a level of a trust curve needs: a level of fewer is noise."""
DIGITS: Final = 12
"""Decimals of a sum: further ones are rounding noise."""
SHARE_DIGITS: Final = 6
"""Decimals of a share in a trust curve."""


@dataclass(frozen=True, slots=True)
class Binning:
    """A signal and the number of bins, which have about equal size; 0 is the signal's default."""

    signal: Signal = "none"
    parts: int = 0

    @classmethod
    def parse(cls, text: str) -> "Binning":
        """The binning of a signal, or with a number of bins as in `prompt:4`. Raises UsageError for other texts."""
        name, colon, count = text.partition(":")
        if name not in get_args(Signal):
            raise UsageError(f"--bins must be one of {', '.join(get_args(Signal))}, as in split:3 (got {text!r})")
        if not colon:
            return cls(cast("Signal", name))
        if name == "none":
            raise UsageError(f"--bins none makes one bin and takes no number (got {text!r})")
        if not (count.isascii() and count.isdigit() and len(count) <= 2 and 2 <= int(count) <= MAX_PARTS):
            raise UsageError(f"--bins must have 2 to {MAX_PARTS} bins, as in {name}:3 (got {text!r})")
        return cls(cast("Signal", name), int(count))

    def bins(self, values: Floats) -> Bins:
        """The edges between questions with these signals [Q]; bins of fewer than 30 are merged with a neighbour."""
        if self.signal == "none":
            return Bins()
        if self.signal == "split" and not self.parts:
            edges = list(SPLITS)
        else:
            parts = self.parts or PARTS
            edges = np.quantile(values, [part / parts for part in range(1, parts)]).tolist()
        # An edge at the minimum would leave the bin below it empty.
        edges = sorted({edge for edge in edges if edge > values.min()})
        while edges:
            sizes = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).tolist()
            smallest = sizes.index(min(sizes))
            if sizes[smallest] >= MIN_QUESTIONS:
                break
            # The smallest bin is merged with the smaller of its neighbours.
            below, above = (sizes[i] if 0 <= i < len(sizes) else math.inf for i in (smallest - 1, smallest + 1))
            del edges[smallest - 1 if below <= above else smallest]
        return Bins(signal=self.signal, edges=tuple(edges)) if edges else Bins()


def check_signal(binning: Binning, arms: Sequence[Arm]) -> None:
    """Raise UsageError if these arms cannot provide the signal, before anything is sampled."""
    if binning.signal == "split" and (pools := [arm.pool for arm in arms if arm.rule == "majority"]):
        _check_split(max(pools))


def _check_split(pool: int) -> None:
    if pool < FIRST:
        raise UsageError(
            f"--bins split looks at the first {FIRST} samples of a vote, and the largest has {pool}: add "
            "-s self_consistency:n=16, or choose other bins"
        )


def signals(signal: Signal, pooled: PooledArm) -> Floats:
    """[q]: the signal of each question of a pool. Raises UsageError as `check_signal`."""
    if signal == "prompt":
        questions = questions_of(pooled.read.run, pooled.arm.task, set(pooled.ids))
        return np.array([float(len(questions[question_id].text)) for question_id in pooled.ids])
    if signal == "split":
        _check_split(pooled.arm.pool)
        return np.array([_split(classes) for classes in pooled.samples.classes[:, :FIRST]])
    return np.zeros(len(pooled.ids))


def _split(classes: Ints) -> float:
    """The leader's share of the votes of the first samples; 0 without an answer."""
    votes = Counter(number for number in classes.tolist() if number != SILENT)
    return max(votes.values()) / votes.total() if votes else 0.0


class Made(NamedTuple):
    """A family, and notes for the user on how it was made."""

    family: Family
    notes: tuple[str, ...]


def runs_of_one_model(paths: Sequence[Path]) -> list[RunData]:
    """These runs, opened. Raises UsageError if one is given twice or their models differ."""
    runs = open_runs(paths)
    for run in runs[1:]:
        if run.manifest.model != runs[0].manifest.model:
            raise UsageError(
                f"{runs[0].name} is of the model {runs[0].manifest.model.name} and {run.name} of "
                f"{run.manifest.model.name}, or of another revision of it: a profile is of one model; calibrate each "
                "on its own"
            )
    return runs


def families_of(runs: Sequence[RunData], binning: Binning) -> dict[str, Made]:
    """The families that runs of one model give, by task. Raises as `family_of`."""
    tasks = dict.fromkeys(task for run in runs for task in run.tasks)
    return {task: family_of([run for run in runs if task in run.tasks], task, binning) for task in tasks}


def merged(model: str, families: Sequence[Family], former: Profile | None) -> Profile:
    """A profile of these families, and of the former ones of other tasks in their order."""
    by_task = {family.task: family for family in (*(former.families if former else ()), *families)}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Profile(model=model, created=now, families=tuple(by_task.values()))


def former_profile(path: Path, model: str | None) -> Profile | None:
    """The profile in a file; None without a file. Raises UsageError if it is not one, or of another model."""
    if not path.exists():
        return None
    former = read_profile(path)
    if model is not None and former.model != model:
        raise UsageError(
            f"{path} is the profile of {former.model}, not of {model}: a profile is of one model; give --out another "
            "file"
        )
    return former


def check_arms(arms: Sequence[Arm]) -> None:
    """Raise UsageError unless a vote over a pool, which profiles need, is among the arms."""
    if not any(arm.rule == "majority" for arm in arms):
        raise UsageError(
            "none of the strategies is a vote over a pool, which risk and trust are measured against: add "
            "-s self_consistency:n=16"
        )


def family_of(runs: Sequence[RunData], task: str, binning: Binning) -> Made:
    """The family of a task that all these runs ask, over the questions with a result in every arm.

    Raises:
        UsageError: the runs ask different questions, an arm is not finished, or no question has all results.
    """
    for run in runs[1:]:
        check_same(runs[0], run, task)
    # Where a total is divided, a question's cost depends on the others.
    arms = [
        ArmRead(run, read_arm(run, arm.name))
        for run in runs
        for arm in run.manifest.arms
        if arm.task == task and not arm.total
    ]
    check_arms([read.data.arm for read in arms])
    rows, notes = _rows(arms, task)
    pools = [pooled_arm(read, rows) for read in arms if read.data.arm.pool]
    # The largest vote, and the first of several.
    reference = max((pool for pool in pools if pool.arm.rule == "majority"), key=lambda pool: pool.arm.pool)
    by_way: dict[Way, list[Outcomes]] = {}
    predicted = (outcomes for pool in pools for outcomes in from_pool(pool))
    for outcomes in (*predicted, *(measured(read, rows) for read in arms if not read.data.arm.pool)):
        by_way.setdefault(outcomes.way, []).append(outcomes)
    # Several seeds of one way are concatenated.
    ways = {way: concatenated(parts) for way, parts in by_way.items()}
    values = signals(binning.signal, reference)
    bins = binning.bins(values)
    indices = np.searchsorted(bins.edges, values, side="right")
    baseline, samples = reference.way(), reference.samples
    family = Family(
        task=task,
        questions=len(values),
        bins=bins,
        arms=tuple(row for index in range(bins.count) for row in bin_rows(ways, baseline, indices == index, index)),
        baseline=baseline.strategy,
        safe=reference.way(stop=rule(SAFE), order="launch").strategy,
        sample_tokens=_rounded((samples.further_prompt + samples.own.mean(axis=1)).mean()),
        origin=", ".join(f"{run.name} of {run.manifest.created}" for run in runs),
    )
    return Made(family, tuple(notes))


def _rows(arms: Sequence[ArmRead], task: str) -> tuple[Ints, list[str]]:
    """The questions with a result in every arm."""
    for read in arms:
        done, total = int(read.data.finished.sum()), len(read.data.finished)
        if done < total:
            raise UsageError(
                f"{read.name} is not finished ({done} of {total} questions): resume it with "
                f"`reasoner eval --resume {read.run.folder.path}`"
            )
    complete = np.logical_and.reduce([usable(read) for read in arms])
    if not complete.any():
        raise UsageError(
            f"no question of {task} has a result in every arm: try failed questions again with "
            f"`reasoner eval --resume {arms[0].run.folder.path}`, and grade answers without a verdict with "
            "`reasoner grade`"
        )
    return np.flatnonzero(complete), _note_missing("a result in every arm", complete)


def _note_missing(name: str, present: Bools) -> list[str]:
    missing = int((~present).sum())
    return [f"{missing} of {len(present)} questions lack {name} and are left out"] if missing else []


def bin_rows(ways: Mapping[Way, Outcomes], baseline: Way, rows: Bools, index: int) -> Iterator[ArmRow]:
    """The rows of a bin with this index, by the outcomes of these questions, a mask [Q]."""
    inside = {way: outcomes.of(rows) for way, outcomes in ways.items()}
    standard = inside[baseline].right.mean(axis=1)
    for way, outcomes in inside.items():
        right = outcomes.right.mean(axis=1)
        # The seeds of the baseline differ from each other, which is not harm. A stopped vote is compared with the
        # vote of all samples in the same order, so that chance differences between orders do not count.
        other = float(way != baseline)
        whole = standard[:, None] if outcomes.whole is None else outcomes.whole
        sums = {
            "right": right,
            "squares": right**2,
            "harmed": other * (whole * (1 - outcomes.right)).mean(axis=1),
            "helped": other * (outcomes.right * (1 - whole)).mean(axis=1),
            "loss_squares": other * (whole - outcomes.right).mean(axis=1) ** 2,
        }
        yield ArmRow(
            strategy=way.strategy,
            verifier=way.verifier,
            budget=way.budget,
            bin=index,
            questions=len(right),
            **{name: _rounded(values.sum()) for name, values in sums.items()},
            tokens=_rounded(outcomes.tokens.mean()),
            tokens_p95=_rounded(float(np.percentile(outcomes.tokens, 95))),
            samples=_rounded(outcomes.samples.mean()),
            share=_rounded(outcomes.share.mean()),
            share_sd=_rounded(outcomes.share.std()),
            trust=trust_in(outcomes),
        )


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)


class _Level(NamedTuple):
    """Questions of one chance of being right: their number, and the sums of their shares and outcomes."""

    questions: float
    shares: float
    right: float

    @property
    def chance(self) -> float:
        return self.right / self.questions


def trust_in(ended: Outcomes) -> Trust:
    """The chance of being right by the final smoothed share: rising, with equal weight for each question.

    Isotonic regression over the shares that occur, grouped if there are more than `POINTS`; then levels of fewer than
    `MIN_LEVEL` questions are merged with the more similar neighbour.
    """
    from scipy.optimize import isotonic_regression

    # The outcome of a size is a mean over its orders.
    outcomes = np.repeat(ended.right, ended.share.shape[1] // ended.right.shape[1], axis=1)
    share, inverse = np.unique(ended.share.ravel().round(SHARE_DIGITS), return_inverse=True)
    weight = np.bincount(inverse.ravel()).astype(np.float64)
    # At most `POINTS` parts of about equal mass.
    part = np.minimum((weight.cumsum() - weight / 2) / weight.sum() * POINTS, POINTS - 1).astype(np.int64)
    part = np.unique(part, return_inverse=True)[1] if len(share) > POINTS else np.arange(len(share))
    sums = np.stack([
        np.bincount(part, weights=weight),
        np.bincount(part, weights=weight * share),
        np.bincount(part[inverse.ravel()], weights=outcomes.ravel()),
    ])  # fmt: skip
    blocks = isotonic_regression(sums[2] / sums[0], weights=sums[0]).blocks
    sums = np.add.reduceat(sums, blocks[:-1], axis=1) / ended.share.shape[1]
    levels = _merged([_Level(*column) for column in sums.T.tolist()])
    # No share is certain: the next question may be the first failure.
    doubt = 1 / (len(ended.right) + 2)
    return Trust(
        shares=tuple(round(level.shares / level.questions, SHARE_DIGITS) for level in levels),
        chances=tuple(round(min(max(level.chance, doubt), 1 - doubt), SHARE_DIGITS) for level in levels),
        weights=tuple(round(level.questions / len(ended.right), SHARE_DIGITS) for level in levels),
    )


def _merged(levels: list[_Level]) -> list[_Level]:
    """Levels in order, the smallest merged with the more similar neighbour while it has too few questions."""
    while len(levels) > 1 and min(levels).questions < MIN_LEVEL:
        at = levels.index(min(levels))
        near = [other for other in (at - 1, at + 1) if 0 <= other < len(levels)]
        first = min(at, min(near, key=lambda other: abs(levels[other].chance - levels[at].chance)))
        pair = levels[first : first + 2]
        levels = [*levels[:first], _Level(*map(sum, zip(*pair, strict=True))), *levels[first + 2 :]]
    return levels


UNKNOWN = 149
"""As many as certify a risk of 2 % (docs/controller.md): most calibrations have about as many or more."""


def fewer_right(
    measured: CalibrationSummary | None,
    confidences: Sequence[float],
    right: Sequence[bool],
    unanswered: int,
    alpha: float,
) -> Iterator[str]:
    """A line for each sign that fewer answers are right than a calibration promised, with a false chance of `alpha`.

    Answers have `confidences`, and `right` says which are right; so many questions more are `unanswered`: then right
    answers are also compared with those in calibration, which counted such questions too. The two tests nearly agree
    where nothing is wrong. A calibration that is not known counts as one on `UNKNOWN` questions.
    """
    questions = measured.questions if measured else UNKNOWN
    if measured and unanswered:
        # Two tests share the chance of a false alarm.
        alpha /= 2
        if line := lost_accuracy(measured.accuracy, questions, sum(right), len(right) + unanswered, alpha):
            yield line
    if right and (line := broken_promise(confidences, right, questions, alpha)):
        yield line


def calibration_of(spec: str) -> CalibrationSummary | None:
    """The calibration of a strategy by its spec; None if it has none, or its profile can no longer be read."""
    try:
        strategy = build("strategy", spec)
    except ReasonerError:
        return None
    return strategy.measured_on if isinstance(strategy, CalibratedStrategy) else None
