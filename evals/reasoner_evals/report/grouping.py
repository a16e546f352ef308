"""Arms brought together to points: seeds of one strategy are one, and a pool is one a size."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import numpy as np

from reasoner.errors import UsageError
from reasoner.specs import Spec
from reasoner_evals.report.measures import ArmRead, Measured, Subject, Values, as_run, pooled, ungraded_rows
from reasoner_evals.report.points import ALLOCATED
from reasoner_evals.report.pools import sizes_of
from reasoner_evals.report.spending import overshoots
from reasoner_evals.runs.arrays import ERROR


def measure(arms: Sequence[ArmRead], *, several_models: bool) -> Iterator[Measured]:
    """The points of one task, strategy by strategy in the order of the arms; seeds of one strategy are one point.

    Raises:
        UsageError: two runs hold the same arm with the same seed, or models of one name that are not one.
    """
    lines: dict[tuple[str, ...], list[ArmRead]] = {}
    for one in arms:
        arm = one.data.arm
        key = (one.run.manifest.model.name, arm.strategy, arm.verifier, arm.limit, arm.rule, str(arm.pool))
        _check_apart(lines.setdefault(key, []), one)
        lines[key].append(one)
    # Pools of one strategy that differ in their size alone would share their points' names.
    names = Counter(_line(seeds[0]) for seeds in lines.values() if seeds[0].data.arm.pool)
    for seeds in lines.values():
        pool = seeds[0].data.arm.pool
        yield from _points(tuple(seeds), several_models, f" of {pool}" if names[_line(seeds[0])] > 1 and pool else "")


def _check_apart(there: Sequence[ArmRead], one: ArmRead) -> None:
    """Refuse what would be averaged as two seeds, and is not."""
    for other in there:
        if other.data.arm.seed == one.data.arm.seed:
            raise UsageError(
                f"{other.name} and {one.name} are the same strategy with the same seed: report runs together that "
                "differ in model, strategy, budget or seed, and set these against each other by `reasoner compare`"
            )
        if other.run.manifest.model != one.run.manifest.model:
            raise UsageError(
                f"{other.run.name} and {one.run.name} used different models that are both called "
                f"{one.run.manifest.model.name}: report them apart"
            )


def _line(one: ArmRead) -> tuple[str, str]:
    """A model and the name of a strategy's curve: its spec without the number of samples, and its verifier."""
    arm = one.data.arm
    line = f"{Spec.parse(arm.strategy).without('n')}{f' with {arm.verifier}' if arm.verifier else ''}"
    return one.run.manifest.model.name, line


def _points(seeds: tuple[ArmRead, ...], several_models: bool, of_pool: str) -> Iterator[Measured]:
    arm = seeds[0].data.arm
    every: list[tuple[int | None, list[Values]]]
    if arm.pool:
        ks = sizes_of(arm.pool)
        of_seeds = [pooled(one, ks) for one in seeds]
        every = [(k, [values[place] for values in of_seeds]) for place, k in enumerate(ks)]
    else:
        every = [(None, [as_run(one) for one in seeds])]
    outcomes = np.concatenate([one.data.outcome for one in seeds])
    ungraded = sum(int(ungraded_rows(one.data).sum()) for one in seeds)
    over = sum(overshoots(one.data, one.run.manifest.prices) for one in seeds)
    for size, found in every:
        subject = _subject(seeds, size, several_models, of_pool)
        yield Measured(subject, _averaged(found), int((outcomes == ERROR).sum()), ungraded, over, seeds)


def _subject(seeds: tuple[ArmRead, ...], size: int | None, several_models: bool, of_pool: str) -> Subject:
    arm = seeds[0].data.arm
    model, line = _line(seeds[0])
    if size is None:
        label = arm.strategy + (f" with {arm.verifier}" if arm.verifier else "")
        label += f", {arm.limit}" if arm.limit else ""
    else:
        label = f"{line}, n={size}{of_pool}"
    whole = f"{model}: " if several_models else ""
    return Subject(
        key=f"{model}|{arm.task}|{label}",
        series=whole + line + of_pool + (ALLOCATED if arm.total else ""),
        model=model,
        task=arm.task,
        strategy=arm.strategy,
        verifier=arm.verifier,
        label=whole + label,
        arms=tuple(one.name for one in seeds),
        pooled=size is not None,
        few_subsets=size is not None and size > arm.pool / 2,
        size=size,
        budget=arm.limit,
        seeds=len({one.data.arm.seed for one in seeds}),
    )


def _averaged(found: Sequence[Values]) -> Values:
    if len(found) == 1:
        return found[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of questions that no seed has a value for
        means = {
            field.name: np.nanmean([getattr(one, field.name) for one in found], axis=0) for field in fields(Values)
        }
    # What one seed does not know, the mean does not know either.
    flops = np.where(np.isnan([one.flops for one in found]).any(axis=0), np.nan, means["flops"])
    unknown = [np.isnan(one.strict) & ~np.isnan(one.right) for one in found]
    return replace(Values(**means), flops=flops, strict=np.where(np.any(unknown, axis=0), np.nan, means["strict"]))
