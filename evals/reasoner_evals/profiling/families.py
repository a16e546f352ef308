"""From the finished runs of a task to its family of a profile: bins, a row for each way to spend, and trust."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from reasoner.controller.profile import ArmRow, Family, Trust
from reasoner.errors import UsageError
from reasoner_evals.profiling.binning import Binning, signals
from reasoner_evals.profiling.outcomes import (
    Outcomes,
    Sampled,
    Way,
    from_pool,
    measured,
    sampled,
    together,
    trusted_way,
    usable,
    voting_way,
)
from reasoner_evals.report.data.measures import ArmRead
from reasoner_evals.runs.arrays import Bools, Ints
from reasoner_evals.runs.reading import RunData, check_same, read_arm
from reasoner_evals.runs.records import Arm

POINTS: Final = 50
"""Of a trust curve, at most."""
DIGITS: Final = 12
"""Behind the point of a sum: more of them are noise of the last addition."""
SHARE_DIGITS: Final = 6
"""Behind the point of a share that is trusted: those that are nearer are one."""


class Made(NamedTuple):
    """A family, and what a person should know of how it was made."""

    family: Family
    notes: tuple[str, ...]


def check_arms(arms: Sequence[Arm]) -> None:
    """Refuse a choice of strategies that no profile can be made of.

    Raises:
        UsageError: no vote over a pool is among them.
    """
    if not any(arm.rule == "majority" for arm in arms):
        raise UsageError(
            "no vote over a pool is among the strategies, and risk and trust are measured against one: add "
            "-s self_consistency:n=16"
        )


def family_of(runs: Sequence[RunData], task: str, binning: Binning) -> Made:
    """What these runs measured on a task that all of them ask.

    A question counts where every arm has a result for it, so that all rows are of the same questions.

    Raises:
        UsageError: the runs ask different questions, an arm is not finished, or no question has all results.
    """
    for run in runs[1:]:
        check_same(runs[0], run, task)
    arms = [ArmRead(run, read_arm(run, arm.name)) for run in runs for arm in run.manifest.arms if _counts(arm, task)]
    check_arms([one.data.arm for one in arms])
    rows, notes = _rows(arms, task)
    pools = [sampled(one, rows) for one in arms if one.data.arm.pool]
    votes = [pool for pool in pools if pool.one.data.arm.rule == "majority"]
    # The largest vote, and of several the first.
    chief = max(votes, key=lambda pool: pool.one.data.arm.pool)
    baseline = voting_way(chief)
    ways = _ways(arms, pools, rows)
    values = signals(binning.signal, chief)
    known = ~np.isnan(values)
    if not known.any():
        raise UsageError(f"no question of {task} has the signal {binning.signal}: choose other --bins")
    notes += _lacking(f"the signal {binning.signal}", known)
    bins = binning.bins(values[known])
    places = np.where(known, np.searchsorted(bins.edges, values, side="right"), -1)
    family = Family(
        task=task,
        questions=int(known.sum()),
        bins=bins,
        arms=tuple(row for place in range(bins.count) for row in _bin(ways, baseline, places == place, place)),
        baseline=baseline.strategy,
        sample_tokens=_rounded((chief.drawn.again + chief.drawn.own.mean(axis=1))[known].mean()),
        trust=trust_in(ways[trusted_way(chief)].of(known)),
        origin=", ".join(f"{run.name} of {run.manifest.created}" for run in runs),
    )
    return Made(family, tuple(notes))


def _counts(arm: Arm, task: str) -> bool:
    """Whether an arm is of this task, and spends on each question without regard to the others."""
    return arm.task == task and not arm.total


def _rows(arms: Sequence[ArmRead], task: str) -> tuple[Ints, list[str]]:
    """The questions that every arm has a result for."""
    for one in arms:
        done, asked = int(one.data.finished.sum()), len(one.data.finished)
        if done < asked:
            raise UsageError(
                f"{one.name} is not finished ({done} of {asked} questions): go on with it by "
                f"`reasoner eval --resume {one.run.folder.path}`"
            )
    there = np.logical_and.reduce([usable(one) for one in arms])
    if not there.any():
        raise UsageError(
            f"no question of {task} has a result in every arm: try again those that failed by "
            f"`reasoner eval --resume {arms[0].run.folder.path}`, and grade what has no verdict by `reasoner grade`"
        )
    return np.flatnonzero(there), _lacking("a result in every arm", there)


def _lacking(what: str, there: Bools) -> list[str]:
    left = int((~there).sum())
    return [f"{left} of {len(there)} questions lack {what} and are left out"] if left else []


def _ways(arms: Sequence[ArmRead], pools: Sequence[Sampled], rows: Ints) -> dict[Way, Outcomes]:
    """All ways to spend; several seeds of one are put together."""
    found: dict[Way, list[Outcomes]] = {}
    told = [one for pool in pools for one in from_pool(pool)]
    for one in (*told, *(measured(arm, rows) for arm in arms if not arm.data.arm.pool)):
        found.setdefault(one.way, []).append(one)
    return {way: together(parts) for way, parts in found.items()}


def _bin(ways: dict[Way, Outcomes], baseline: Way, rows: Bools, place: int) -> Iterator[ArmRow]:
    """The rows of one bin."""
    inside = {way: one.of(rows) for way, one in ways.items()}
    standard = inside[baseline].right.mean(axis=1)
    # As the profile orders them: by tokens as they are written, ties by name.
    cheapest = min(inside, key=lambda way: (round(float(inside[way].tokens.mean()), DIGITS), way))
    least = inside[cheapest].right.mean(axis=1)
    for way, one in inside.items():
        right = one.right.mean(axis=1)
        # Of several seeds the baseline differs from itself, which is no harm; what a rule stopped is set against the
        # vote of all samples in the same order, so that what cannot differ from it does not.
        apart = float(way != baseline)
        whole = standard[:, None] if one.whole is None else one.whole
        sums = {
            "right": right,
            "squares": right**2,
            "harmed": apart * (whole * (1 - one.right)).mean(axis=1),
            "helped": apart * (one.right * (1 - whole)).mean(axis=1),
            "gap": right - least,
            "gap_squares": (right - least) ** 2,
        }
        yield ArmRow(
            strategy=way.strategy,
            verifier=way.verifier,
            budget=way.budget,
            bin=place,
            questions=len(right),
            **{name: _rounded(values.sum()) for name, values in sums.items()},
            tokens=_rounded(one.tokens.mean()),
            tokens_p95=_rounded(float(np.percentile(one.tokens, 95))),
            samples=_rounded(one.samples.mean()),
            share=_rounded(one.share.mean()),
            share_sd=_rounded(one.share.std()),
        )


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)


def trust_in(ended: Outcomes) -> Trust:
    """The chance of being right by the smoothed share in the end: rising, each question with the same weight.

    Isotonic regression over the shares that occur, neighbours put together where they are more than `POINTS`.
    """
    from scipy.optimize import isotonic_regression

    share, place = np.unique(ended.share.ravel().round(SHARE_DIGITS), return_inverse=True)
    weight = np.bincount(place.ravel()).astype(np.float64)
    # Parts of about equal mass: as many as are allowed, or one a share.
    part = np.minimum((weight.cumsum() - weight / 2) / weight.sum() * POINTS, POINTS - 1).astype(np.int64)
    part = np.unique(part, return_inverse=True)[1] if len(share) > POINTS else np.arange(len(share))
    mass = np.bincount(part, weights=weight)
    shares = np.bincount(part, weights=weight * share) / mass
    right = np.bincount(part[place.ravel()], weights=ended.right.ravel()) / mass
    # No share makes sure: the next question may be the first that it fails on.
    doubt = 1 / (len(ended.right) + 2)
    chances = np.clip(isotonic_regression(right, weights=mass).x, doubt, 1 - doubt)
    flat = np.zeros(len(shares), dtype=bool)
    # Between two points of one chance the line goes through those within by itself.
    flat[1:-1] = (chances[1:-1] == chances[:-2]) & (chances[1:-1] == chances[2:])
    return Trust(
        questions=len(ended.right),
        shares=tuple(shares[~flat].round(SHARE_DIGITS).tolist()),
        chances=tuple(chances[~flat].round(SHARE_DIGITS).tolist()),
    )
