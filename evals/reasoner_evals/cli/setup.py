"""The objects that the options of an evaluation describe. A resumed run supplies the options that were left out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import click

from reasoner import Prices
from reasoner.budget import Budget
from reasoner.cli.given import (
    GivenOptions,
    check_sampling,
    read_prices,
    runs_code,
    with_sampling,
)
from reasoner.engine import Engine
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import ReasonerError, UsageError
from reasoner.registry import DEFAULT_VERIFIER, build, spec_of
from reasoner.specs import Spec
from reasoner.system.foreign import ForeignErrors
from reasoner.system.printing import one_line
from reasoner.types import thinking_level
from reasoner.verifier import Verifier
from reasoner_evals.runs.arms import (
    DEFAULT_STRATEGIES,
    Grid,
    Shard,
    Subset,
    arms_of,
    read_seeds,
)
from reasoner_evals.runs.manifest import (
    Drift,
    DriftError,
    decisions,
    differences,
    read_manifest,
)
from reasoner_evals.runs.records import Arm, Manifest, RunFolder
from reasoner_evals.tasks.benchmark import TaskData, checked_data
from reasoner_evals.tasks.own_files import task_spec


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(GivenOptions):
    """The options as they were typed; empty or None where they were left out."""

    tasks: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    budgets: tuple[str, ...] = ()
    totals: tuple[str, ...] = ()
    seeds: str | None = None
    limit: int | None = None
    subset_seed: int | None = None
    shard: str | None = None
    reuse: Path | None = None

    def with_sampling(self, strategies: Sequence[str]) -> tuple[str, ...]:
        """The specs of strategies, with -n, --temperature and --max-tokens in each that has such an option.

        A strategy that draws samples is there once for each level of --thinking.

        Raises:
            UsageError: none of them has it, or a level is unknown.
        """
        given = {
            name: value for name, value in self.sampling.items() if name != "thinking"
        }
        levels: list[str | None] = [None]
        if self.thinking is not None:
            levels = [str(thinking_level(each)) for each in self.thinking.split(",")]
        if levels == [None] and all(value is None for value in given.values()):
            return tuple(strategies)
        changed = [
            with_sampling(Spec.parse(spec), **given, thinking=level)
            for spec in strategies
            for level in levels
        ]
        check_sampling(
            set.intersection(*(missing for _, missing in changed)), strategies
        )
        specs = [str(spec) for spec, _ in changed]
        # One that has no such option is the same at each level.
        fixed = {str(spec) for spec, missing in changed if "thinking" in missing}
        return tuple(
            spec
            for at, spec in enumerate(specs)
            if spec not in fixed or spec not in specs[:at]
        )


@dataclass(frozen=True, slots=True)
class RunSetup:
    """Everything a run consists of; the tasks, cut to the subset, by the spec in their source."""

    tasks: Mapping[str, TaskData]
    arms: tuple[Arm, ...]
    engine: Engine
    verifier: Verifier | None
    prices: Prices | None
    reuse: Path | None = None


def set_up(options: RunOptions) -> RunSetup:
    """The objects that the options describe.

    Raises:
        UsageError: an option is out of range, unknown or without effect, or data cannot be loaded.
    """
    options = replace(
        options,
        tasks=tuple(task_spec(task, options.column_pairs) for task in options.tasks),
    )
    engine = options.to_engine()
    if isinstance(engine, ReplayEngine):
        raise UsageError(
            "--engine replay cannot be evaluated, as it samples nothing new: choose another engine"
        )
    strategies = options.with_sampling(options.strategies or DEFAULT_STRATEGIES)
    budgets = tuple(map(Budget.parse, options.budgets))
    totals = tuple(map(Budget.parse, options.totals))
    prices = read_prices(options.prices, (*budgets, *totals))
    if options.reuse is not None:
        read_manifest(RunFolder(options.reuse))  # before a model is loaded
    subset = Subset(
        options.limit,
        options.subset_seed,
        None if options.shard is None else Shard.parse(options.shard),
    )
    verifier = verifier_of(options, strategies, engine)
    grid = Grid(
        tasks=options.tasks,
        strategies=strategies,
        verifier=spec_of(verifier) if verifier else "",
        budgets=budgets,
        totals=totals,
        seeds=read_seeds(options.seeds) if options.seeds is not None else (),
    )
    arms_of(grid)  # refuses what cannot be combined before data is fetched
    tasks = load_tasks(options.tasks, subset, unsandboxed=options.unsandboxed)
    arms = arms_of(replace(grid, tasks=tuple(tasks)))
    return RunSetup(tasks, arms, engine, verifier, prices, options.reuse)


@contextmanager
def locked_run(
    options: RunOptions,
    folder: RunFolder,
    *,
    resume: bool,
) -> Iterator[tuple[RunSetup, Manifest | None]]:
    """The objects of a run, with its manifest if it is resumed; its folder is locked meanwhile.

    Raises:
        Drifted: something that decides a resumed run has changed; the differences are shown.
        UsageError: as `set_up`.
    """
    if not resume:
        setup = set_up(options)
        with folder.writing(fresh=True):
            yield setup, None
        return
    frozen = read_manifest(folder)
    with folder.writing():
        try:
            setup = set_up_again(options, frozen, folder)
        except DriftError as error:
            for line in error.diff:
                click.echo(one_line(line), err=True)
            raise
        yield setup, frozen


def set_up_again(options: RunOptions, frozen: Manifest, folder: RunFolder) -> RunSetup:
    """The objects of a run to be resumed; options that are given must be those of the run.

    Raises:
        Drifted: something that decides the run has changed, in the options or elsewhere.
        UsageError: as `set_up`.
    """
    check_consent(frozen, unsandboxed=options.unsandboxed)
    before = _options_of(frozen)
    if options.strategies:
        named = {
            spec_of(build("strategy", spec))
            for spec in options.with_sampling(options.strategies)
        }
        if named != set(before.strategies):
            then, now = (
                ", ".join(sorted(specs)) for specs in (before.strategies, named)
            )
            raise DriftError(folder, [Drift("the strategies", then, now)])
    if options.engine or options.model or options.base_url:
        before = replace(before, engine=None)
    typed = {
        each.name: value
        for each in fields(options)
        if (value := getattr(options, each.name)) not in (None, ())
    }
    setup = set_up(replace(before, **{**typed, "strategies": before.strategies}))
    current = decisions(setup.tasks, setup.arms, setup.engine, setup.prices)
    if changed := differences(frozen, frozen.model_copy(update=current)):
        raise DriftError(folder, changed)
    return setup


def _options_of(frozen: Manifest) -> RunOptions:
    """The options that give a run of this manifest."""
    arms = frozen.arms
    subset = Subset.parse(frozen.sources[0].subset)
    return RunOptions(
        tasks=tuple(source.task for source in frozen.sources),
        strategies=tuple(dict.fromkeys(arm.strategy for arm in arms)),
        verifier=next((arm.verifier for arm in arms if arm.verifier), None),
        budgets=tuple(dict.fromkeys(arm.budget for arm in arms if arm.budget)),
        totals=tuple(dict.fromkeys(arm.total for arm in arms if arm.total)),
        seeds=",".join(dict.fromkeys(str(arm.seed) for arm in arms)) + ",",
        limit=subset.limit,
        subset_seed=subset.seed,
        shard=str(subset.shard) if subset.shard else None,
        engine=frozen.engine,
        prices=",".join(
            f"{kind}={usd!r}" for kind, usd in (frozen.prices or {}).items()
        )
        or None,
    )


def check_consent(frozen: Manifest, *, unsandboxed: bool) -> None:
    """Refuse to run code without a sandbox only because a run's folder, which may come from anybody, says so.

    Raises:
        UsageError: the manifest allows it, and `unsandboxed` does not.
    """
    specs = [
        *(source.task for source in frozen.sources),
        *(arm.verifier for arm in frozen.arms),
    ]
    if not unsandboxed and any("allow_unsandboxed" in spec for spec in specs):
        raise UsageError(
            "this run executed code without a sandbox: add --allow-unsandboxed-code to allow it here too"
        )


def load_tasks(
    specs: Sequence[str], subset: Subset, *, unsandboxed: bool = False
) -> dict[str, TaskData]:
    """The data of tasks, cut to the subset, by the spec in their source.

    Raises:
        UsageError: a name or an option is unknown, data cannot be loaded, or a task is given twice.
    """
    tasks: dict[str, TaskData] = {}
    for spec in specs:
        allowed = (
            {"allow_unsandboxed": True}
            if unsandboxed and runs_code("task", spec)
            else {}
        )
        task = build("task", spec, **allowed)
        with ForeignErrors(f"the task {spec}", ReasonerError):
            data = checked_data(task, task.load(), subset.cut)
        if data.source.task in tasks:
            raise UsageError(f"task {spec} is given twice: keep one")
        tasks[data.source.task] = data
    return tasks


def unchanged_tasks(manifest: Manifest, *, unsandboxed: bool) -> dict[str, TaskData]:
    """The questions of the run with their graders. Raises UsageError: they cannot be loaded, or have changed."""
    check_consent(manifest, unsandboxed=unsandboxed)
    tasks: dict[str, TaskData] = {}
    for source in manifest.sources:
        try:
            [data] = load_tasks(
                [source.task], Subset.parse(source.subset), unsandboxed=unsandboxed
            ).values()
        except UsageError as error:
            raise UsageError(
                f"the questions of {source.task} ({source.origin}) cannot be loaded: {error}"
            ) from error
        if data.source.data_hash != source.data_hash:
            raise UsageError(
                f"the questions of {source.task} have changed: the run used those of {source.origin} with hash "
                f"{source.data_hash}, and {data.source.origin} now has {data.source.data_hash}; restore the old data"
            )
        tasks[source.task] = data
    return tasks


def verifier_of(
    options: RunOptions, specs: Sequence[str], engine: Engine
) -> Verifier | None:
    """The verifier for these strategies; None where none of them uses one. Raises UsageError as `set_up`."""
    strategies = [build("strategy", spec) for spec in specs]
    unsandboxed = options.unsandboxed and (
        any(strategy.uses_verifier for strategy in strategies)
        and runs_code("verifier", options.verifier or DEFAULT_VERIFIER)
    )
    if (
        options.unsandboxed
        and not unsandboxed
        and not any(runs_code("task", spec) for spec in options.tasks)
    ):
        raise UsageError(
            "--allow-unsandboxed-code has no effect: no task or verifier here runs code; omit it"
        )
    return replace(options, unsandboxed=unsandboxed).to_verifier(strategies, engine)
