"""The arms of an evaluation: tasks x strategies x budgets x seeds, each drawn as often as it needs to be."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from reasoner.budget import Budget
from reasoner.catalog import build, spec_of
from reasoner.errors import UsageError
from reasoner.protocols import Strategy
from reasoner.specs import Spec
from reasoner_evals.runs.records import Arm

DEFAULT_STRATEGIES = ("single:temperature=0", "self_consistency:n=16")
MOST_SEEDS = 1000
MOST_ARMS = 10_000
LONGEST_PART = 40
"""Characters of a strategy or a budget in the name of an arm."""

Rule = Literal["", "majority", "best", "weighted"]


@dataclass(frozen=True, slots=True)
class Grid:
    """What an evaluation combines. `budgets`, `totals` and `seeds` are empty where none were given."""

    tasks: tuple[str, ...]
    strategies: tuple[str, ...] = DEFAULT_STRATEGIES
    verifier: str = ""
    """The spec of who rates for strategies that ask for scores."""
    budgets: tuple[Budget, ...] = ()
    seeds: tuple[int, ...] = ()
    totals: tuple[Budget, ...] = ()
    """What all questions of a task may spend together."""
    price: float = 0.0
    """What a sample has to gain where a total is divided."""


class _Drawn(NamedTuple):
    """A strategy and how often it has to be drawn."""

    spec: str
    verifier: str
    pool: int
    rule: Rule
    greedy: bool


def arms_of(grid: Grid) -> tuple[Arm, ...]:
    """All arms, task by task.

    Strategies that select from independent samples are drawn once for each seed, without a budget: every smaller number
    of samples is estimated from that pool. A greedy single sample is drawn once. All others run at every budget. All
    but that greedy sample run at every total too, which the controller divides among the questions.

    Raises:
        UsageError: a task, strategy, budget or seed is given twice, or budgets or seeds change nothing.
    """
    drawn = _strategies(grid)
    tasks = _distinct("task", grid.tasks)
    _distinct("budget", [str(budget) for budget in grid.budgets])
    _distinct("total", [str(total) for total in grid.totals])
    _distinct("seed", [str(seed) for seed in grid.seeds])
    if grid.budgets and all(one.pool or one.greedy for one in drawn):
        raise UsageError(
            "--budgets has no effect: each of these strategies is drawn once and gives every smaller number of samples "
            "too; leave it out, or add a strategy that searches"
        )
    if grid.price and not grid.totals:
        raise UsageError(
            "--effort has no effect: it is the price at which --totals are divided; give them, or leave it"
        )
    if grid.totals and all(one.greedy for one in drawn):
        raise UsageError("--totals has no effect: one greedy sample a question leaves nothing to divide; leave it out")
    if len(grid.seeds) > 1 and all(one.greedy for one in drawn):
        raise UsageError("--seeds has no effect: greedy sampling gives the same each time; leave it out")
    limits = max(1, len(grid.budgets)) + len(grid.totals)
    wanted = len(tasks) * len(drawn) * limits * max(1, len(grid.seeds))
    if wanted > MOST_ARMS:
        raise UsageError(f"{wanted:,} combinations are more than the {MOST_ARMS:,} that one run holds: ask for fewer")
    arms = [arm for task in tasks for one in drawn for arm in _arms(task, one, grid)]
    return tuple(_named(arms, several_seeds=len(grid.seeds) > 1))


def read_budgets(text: str) -> tuple[Budget, ...]:
    """The budgets of `1k,2k,samples=8`: amounts, of tokens where no unit is named.

    Raises:
        UsageError: an amount is no positive number, or a unit is unknown.
    """
    parts = (part.strip() for part in text.split(","))
    return tuple(Budget.parse(part if "=" in part else f"tokens={part}") for part in parts)


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds of `3` (that many: 0, 1, 2) or of `4,7` or `4,` (these).

    Raises:
        UsageError: it is neither.
    """
    parts = [part.strip() for part in text.split(",")]
    listed = [part for part in parts if part]
    if not listed or not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in listed):
        raise UsageError(f"--seeds {text!r} is out of range: give how many, as in 3, or which, as in 4,7")
    numbers = tuple(int(part) for part in listed)
    if len(parts) > 1:
        found = numbers
    else:
        if not 1 <= numbers[0] <= MOST_SEEDS:
            raise UsageError(
                f"--seeds {text} is out of range: 1 to {MOST_SEEDS:,} of them; one seed alone is `{text},`"
            )
        found = tuple(range(numbers[0]))
    return found


def _strategies(grid: Grid) -> list[_Drawn]:
    built: list[Strategy] = [build("strategy", spec) for spec in grid.strategies]
    specs = _distinct("strategy", [spec_of(strategy) for strategy in built])
    return [_drawn(spec, strategy, grid.verifier) for spec, strategy in zip(specs, built, strict=True)]


def _drawn(spec: str, strategy: Strategy, verifier: str) -> _Drawn:
    """Plug-ins are known by name here, not by class; whatever is not known has to be run at every budget."""
    name, options = Spec.parse(spec).name, cast("Any", strategy)
    rates = verifier if strategy.uses_verifier else ""
    if getattr(options, "stop", None) is not None:
        return _Drawn(spec, rates, 0, "", greedy=False)
    if name == "self_consistency" and options.of is None:
        return _Drawn(spec, rates, options.n, "majority", greedy=False)
    if name == "best_of_n" and options.of is None:
        rule: Rule = "best" if options.selector == "argmax" else "weighted"
        return _Drawn(spec, rates, options.n, rule, greedy=False)
    return _Drawn(spec, rates, 0, "", greedy=name == "single" and options.params.temperature == 0)


def _distinct(kind: str, given: Sequence[str]) -> Sequence[str]:
    for place, one in enumerate(given):
        if one in given[:place]:
            raise UsageError(f"{kind} {one} is given twice: keep one")
    return given


def _arms(task: str, one: _Drawn, grid: Grid) -> Iterator[Arm]:
    seeds = grid.seeds or (0,)
    budgets = ("",) if one.pool or one.greedy else tuple(map(str, grid.budgets))
    totals = () if one.greedy else tuple(map(str, grid.totals))
    for budget in budgets or (() if totals else ("",)):
        for seed in seeds[:1] if one.greedy else seeds:
            arm = Arm(name="", task=task, strategy=one.spec, verifier=one.verifier, budget=budget, seed=seed)
            yield arm.model_copy(update={"pool": one.pool, "rule": one.rule})
    for total in totals:
        for seed in seeds:
            arm = Arm(name="", task=task, strategy=one.spec, verifier=one.verifier, budget="", seed=seed)
            yield arm.model_copy(update={"total": total, "price": grid.price})


def _named(arms: Sequence[Arm], *, several_seeds: bool) -> Iterator[Arm]:
    """The arms with names that no file system takes for one another; a number tells apart what is cut alike."""
    taken: set[str] = set()
    for arm in arms:
        parts = [file_part(arm.task.partition(":")[0]), file_part(arm.strategy)]
        parts += [file_part(arm.budget)] if arm.budget else []
        parts += [file_part(f"all-{arm.total}")] if arm.total else []
        parts += [f"seed{arm.seed}"] if several_seeds else []
        plain = name = ".".join(parts)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain}.{number}"
        taken.add(name.casefold())
        yield arm.model_copy(update={"name": name})


def file_part(spec: str, *, longest: int = LONGEST_PART) -> str:
    """A spec as a part of a file name: `self_consistency:n=16` is `self_consistency-n16`."""
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", spec.replace("=", ""))
    return plain.strip("-.")[:longest].rstrip("-.") or "x"
