"""What was asked for on the command line of `reasoner eval`, as objects; a resumed run fills in what was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reasoner.blame import where
from reasoner.budget import Prices
from reasoner.catalog import build, spec_of
from reasoner.cli.choosing import (
    DEFAULT_VERIFIER,
    check_prices,
    choose_engine,
    choose_verifier,
    read_prices,
    runs_code,
)
from reasoner.controller.stopping import EFFORTS, price_of
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import ReasonerError, UsageError
from reasoner.protocols import Engine, Verifier
from reasoner_evals.runs.arms import DEFAULT_STRATEGIES, Grid, arms_of, read_budgets, read_seeds
from reasoner_evals.runs.folder import RunFolder
from reasoner_evals.runs.manifest import Difference, Drifted, as_of_now, differences
from reasoner_evals.runs.records import Arm, Manifest
from reasoner_evals.runs.subset import Subset
from reasoner_evals.tasks.benchmark import Task, TaskData


@dataclass(frozen=True, slots=True)
class Given:
    """The options as they were typed; empty or None where they were left out."""

    tasks: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    verifier: str | None = None
    budgets: str | None = None
    totals: str | None = None
    effort: str | None = None
    seeds: str | None = None
    limit: int | None = None
    subset_seed: int | None = None
    engine: str | None = None
    model: str | None = None
    base_url: str | None = None
    prices: str | None = None
    unsandboxed: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """All that a run is made of; tasks by the spec that their source names, cut to the subset."""

    tasks: Mapping[str, TaskData]
    arms: tuple[Arm, ...]
    engine: Engine
    verifier: Verifier | None
    prices: Prices | None


def choose(given: Given) -> Chosen:
    """The objects that the options describe.

    Raises:
        UsageError: an option is out of range, unknown, without effect, or names data that cannot be had.
    """
    if not given.tasks:
        raise UsageError("no task is given: name one or more, as in `reasoner eval arithmetic`, or --resume a run")
    engine = choose_engine(given.engine, model_id=given.model, base_url=given.base_url)
    if isinstance(engine, ReplayEngine):
        raise UsageError("--engine replay plays a run back and draws nothing anew: name an engine that does")
    specs = given.strategies or DEFAULT_STRATEGIES
    prices = None if given.prices is None else read_prices(given.prices)
    budgets = () if given.budgets is None else read_budgets(given.budgets)
    totals = () if given.totals is None else read_budgets(given.totals)
    check_prices((*budgets, *totals), prices)
    subset = Subset(given.limit, given.subset_seed)
    verifier = _verifier(given, specs, engine)
    grid = Grid(
        tasks=given.tasks,
        strategies=specs,
        verifier=spec_of(verifier) if verifier else "",
        budgets=budgets,
        totals=totals,
        price=price_of(given.effort) if given.effort else 0.0,
        seeds=() if given.seeds is None else read_seeds(given.seeds),
    )
    arms_of(grid)  # what cannot be combined is told before data is fetched
    tasks = load_tasks(given.tasks, subset, unsandboxed=given.unsandboxed)
    return Chosen(tasks, arms_of(replace(grid, tasks=tuple(tasks))), engine, verifier, prices)


def choose_again(given: Given, frozen: Manifest, folder: RunFolder) -> Chosen:
    """The objects of a run that goes on; what is given beside --resume has to be what it was.

    Raises:
        Drifted: what decides the run has changed, by what was given or by itself.
        UsageError: as `choose`.
    """
    check_consent(frozen, unsandboxed=given.unsandboxed)
    arms = frozen.arms
    strategies = tuple(dict.fromkeys(arm.strategy for arm in arms))
    if given.strategies:
        named = {spec_of(build("strategy", spec)) for spec in given.strategies}
        if named != set(strategies):
            raise Drifted(
                folder, [Difference("the strategies", ", ".join(sorted(strategies)), ", ".join(sorted(named)))]
            )
    verifiers = [arm.verifier for arm in arms if arm.verifier]
    budgets = dict.fromkeys(arm.budget for arm in arms if arm.budget)
    totals = dict.fromkeys(arm.total for arm in arms if arm.total)
    prices_then = {arm.price for arm in arms}
    seeds = dict.fromkeys(str(arm.seed) for arm in arms)
    subset = Subset.parse(frozen.sources[0].subset)
    prices = ",".join(f"{kind}={usd!r}" for kind, usd in (frozen.prices or {}).items())
    another_engine = given.engine or given.model or given.base_url
    chosen = choose(
        replace(
            given,
            tasks=given.tasks or tuple(source.task for source in frozen.sources),
            strategies=strategies,
            verifier=given.verifier or (verifiers[0] if verifiers else None),
            budgets=given.budgets or ",".join(budgets) or None,
            totals=given.totals or ",".join(totals) or None,
            effort=given.effort or next((name for name, price in EFFORTS.items() if price in prices_then), None),
            seeds=given.seeds or ",".join(seeds) + ",",
            limit=subset.limit if given.limit is None else given.limit,
            subset_seed=subset.seed if given.subset_seed is None else given.subset_seed,
            engine=given.engine if another_engine else frozen.engine,
            prices=given.prices or prices or None,
        )
    )
    now = as_of_now(frozen, chosen.tasks, chosen.arms, chosen.engine, chosen.prices)
    if found := differences(frozen, now):
        raise Drifted(folder, found)
    return chosen


def check_consent(frozen: Manifest, *, unsandboxed: bool) -> None:
    """A run's folder may come from anybody: that code ran without a sandbox there allows nothing here.

    Raises:
        UsageError: its manifest would let code of a model run without a sandbox, and that was not allowed now.
    """
    specs = [*(source.task for source in frozen.sources), *(arm.verifier for arm in frozen.arms)]
    if not unsandboxed and any("allow_unsandboxed" in spec for spec in specs):
        raise UsageError(
            "this run was begun with code allowed to run without a sandbox: add --allow-unsandboxed-code to allow it "
            "here too"
        )


def load_tasks(specs: Sequence[str], subset: Subset, *, unsandboxed: bool = False) -> dict[str, TaskData]:
    """The data of tasks, cut, by the spec that their source names.

    Raises:
        UsageError: a name or an option is unknown, data cannot be had, or two of them are one task.
    """
    found: dict[str, TaskData] = {}
    for spec in specs:
        allowed = {"allow_unsandboxed": True} if unsandboxed and runs_code("task", spec) else {}
        data = subset.cut(_loaded(spec, build("task", spec, **allowed)))
        if not data.items:
            raise UsageError(f"task {spec} has no questions: give it data with some")
        if data.source.task in found:
            raise UsageError(f"task {spec} is given twice: keep one")
        found[data.source.task] = data
    return found


def _loaded(spec: str, task: Task) -> TaskData:
    try:
        return task.load()
    except ReasonerError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}{where(error)}"
        raise ReasonerError(f"the task {spec} failed with {what}") from error


def _verifier(given: Given, strategies: Sequence[str], engine: Engine) -> Verifier | None:
    built = [build("strategy", spec) for spec in strategies]
    rates = any(strategy.uses_verifier for strategy in built) and runs_code(
        "verifier", given.verifier or DEFAULT_VERIFIER
    )
    if given.unsandboxed and not rates and not any(runs_code("task", spec) for spec in given.tasks):
        raise UsageError("--allow-unsandboxed-code has no effect: no task or verifier here runs code; leave it out")
    return choose_verifier(given.verifier, built, engine, unsandboxed=given.unsandboxed and rates)
