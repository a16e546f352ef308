"""What an evaluation runs: its arms, without those that another arm already covers, and which questions they ask."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from reasoner import Budget
from reasoner.errors import UsageError, require, shown
from reasoner.registry import build, spec_of
from reasoner.specs import Spec
from reasoner.strategy import Strategy
from reasoner.types import NO_THINKING
from reasoner_evals.runs.records import Arm, Rule
from reasoner_evals.tasks.benchmark import TaskData

DEFAULT_STRATEGIES = ("single", "self_consistency:n=16")
MAX_SEEDS = 1000
MAX_ARMS = 10_000
MAX_SHARDS: Final = 100_000
_SPEC = re.compile(
    r"(?:all|first (\d+)(?: in the order of seed (\d+))?)(?:, shard (\d+/\d+))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Grid:
    """What an evaluation combines."""

    tasks: tuple[str, ...]
    strategies: tuple[str, ...] = DEFAULT_STRATEGIES
    verifier: str = ""
    """The spec of the verifier for strategies that ask for scores."""
    budgets: tuple[Budget, ...] = ()
    seeds: tuple[int, ...] = ()
    totals: tuple[Budget, ...] = ()
    """Budgets of all questions of a task together."""


def arms_of(grid: Grid) -> tuple[Arm, ...]:
    """All arms, task by task.

    Strategies that select from independent samples run once per seed, without a budget: every smaller number of samples
    is estimated from that pool. A greedy single sample runs once. All others run at every budget. All but the greedy
    sample also run at every total, which the controller divides among the questions.

    Raises:
        UsageError: a task, strategy, budget or seed is given twice, or budgets or seeds have no effect.
    """
    plans = [_plan(build("strategy", spec), grid.verifier) for spec in grid.strategies]
    _check_distinct("strategy", [arm.strategy for arm, _ in plans])
    _check_distinct("task", grid.tasks)
    _check_distinct("budget", [str(budget) for budget in grid.budgets])
    _check_distinct("total", [str(total) for total in grid.totals])
    _check_distinct("seed", [str(seed) for seed in grid.seeds])
    all_greedy = all(greedy for _, greedy in plans)
    if grid.budgets and all(arm.pool or greedy for arm, greedy in plans):
        raise UsageError(
            "--budget has no effect: each of these strategies runs once, and smaller numbers of samples are estimated "
            "from that run; leave it out, or add a strategy that searches"
        )
    if all_greedy and (grid.totals or len(grid.seeds) > 1):
        option = "--total" if grid.totals else "--seeds"
        raise UsageError(
            f"{option} has no effect: one greedy sample per question is all there is; leave it out"
        )
    limits = max(1, len(grid.budgets)) + len(grid.totals)
    combinations = len(grid.tasks) * len(plans) * limits * max(1, len(grid.seeds))
    if combinations > MAX_ARMS:
        raise UsageError(
            f"{combinations:,} combinations are more than the {MAX_ARMS:,} of one run: ask for fewer"
        )
    arms = [
        arm for task in grid.tasks for plan in plans for arm in _arms(task, *plan, grid)
    ]
    return tuple(_with_names(arms, several_seeds=len(grid.seeds) > 1))


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds of `3` (a count: 0, 1, 2) or of `4,7` or `4,` (these seeds). Raises UsageError if it is neither."""
    parts = [part.strip() for part in text.split(",")]
    listed = [part for part in parts if part]
    if not listed or not all(
        part.isascii() and part.isdigit() and len(part) <= 18 for part in listed
    ):
        raise UsageError(
            f"--seeds must be a number of seeds, as in 3, or a list, as in 4,7 (got {shown(text)})"
        )
    numbers = tuple(int(part) for part in listed)
    if len(parts) > 1:
        return numbers
    if not 1 <= numbers[0] <= MAX_SEEDS:
        raise UsageError(
            f"--seeds must be from 1 to {MAX_SEEDS:,} (got {text}); a single seed is written `{text},`"
        )
    return tuple(range(numbers[0]))


RULES: Final[Mapping[str, Rule]] = {
    "argmax": "best",
    "weighted": "weighted",
    "majority": "majority",
}
"""How an arm of best-of-n selects from a pool, by its selector."""


def _plan(strategy: Strategy, verifier: str) -> tuple[Arm, bool]:
    """The arm of a strategy, without a task, a budget and a seed; and whether it is one greedy sample.

    Strategies with pools are known by name here, not by class; any other has to run at every budget.
    """
    options, spec = cast("Any", strategy), spec_of(strategy)
    name, stopped = Spec.parse(spec).name, getattr(options, "stop", None) is not None
    pool, rule = 0, ""
    if name in ("self_consistency", "best_of_n") and options.of is None and not stopped:
        rule = RULES.get(getattr(options, "selector", "majority"), "")
        pool = options.n if rule else 0
    arm = Arm(
        name="",
        task="",
        strategy=spec,
        verifier=verifier if strategy.uses_verifier else "",
        budget="",
        seed=0,
        pool=pool,
        rule=cast("Rule", rule),
    )
    # On a model that does not think.
    greedy = options.params.temperature in (None, 0) and options.params.thinking in (
        None,
        NO_THINKING,
    )
    return arm, name == "single" and not stopped and greedy


def _check_distinct(kind: str, given: Sequence[str]) -> None:
    for index, value in enumerate(given):
        if value in given[:index]:
            raise UsageError(f"{kind} {value} is given twice: keep one")


def _arms(task: str, plan: Arm, greedy: bool, grid: Grid) -> Iterator[Arm]:
    seeds = grid.seeds or (0,)
    budgets = () if plan.pool or greedy else tuple(map(str, grid.budgets))
    totals = () if greedy else tuple(map(str, grid.totals))
    # A strategy that needs budgets and has only totals is not run without them.
    unbounded = not budgets and (plan.pool or greedy or not totals)
    for budget in ("",) if unbounded else budgets:
        for seed in seeds[:1] if greedy else seeds:
            yield plan.model_copy(update={"task": task, "seed": seed, "budget": budget})
    for total in totals:
        for seed in seeds:
            yield plan.model_copy(
                update={
                    "task": task,
                    "seed": seed,
                    "total": total,
                    "pool": 0,
                    "rule": "",
                }
            )


def _with_names(arms: Sequence[Arm], *, several_seeds: bool) -> Iterator[Arm]:
    """The arms with names that differ on every file system; equal ones get a number."""
    taken: set[str] = set()
    for arm in arms:
        parts = [file_part(arm.task.partition(":")[0]), file_part(arm.strategy)]
        parts += [file_part(arm.budget)] if arm.budget else []
        parts += [file_part(f"all-{arm.total}")] if arm.total else []
        parts += [f"seed{arm.seed}"] if several_seeds else []
        base = name = ".".join(parts)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}.{number}"
        taken.add(name.casefold())
        yield arm.model_copy(update={"name": name})


def file_part(spec: str, *, longest: int = 40) -> str:
    """A spec in at most `longest` characters of a file name: `self_consistency:n=16` is `self_consistency-n16`."""
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", spec.replace("=", ""))
    return plain.strip("-.")[:longest].rstrip("-.") or "x"


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """One of `count` equal parts of a run: it has every `count`-th question in order, from number `part`, from 1."""

    count: int
    part: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard that `str` writes as `text`, such as 2/8. Raises UsageError for other texts."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, flags=re.ASCII)
        if not match or not 1 <= int(match[1]) <= int(match[2]) <= MAX_SHARDS:
            raise UsageError(
                f"--shard must be I/N with I from 1 to N and N at most {MAX_SHARDS:,}, as in 2/8 (got {text!r:.40})"
            )
        return cls(int(match[2]), int(match[1]))

    def __str__(self) -> str:
        return f"{self.part}/{self.count}"


@dataclass(frozen=True, slots=True)
class Subset:
    """All questions, or the first `limit` in the benchmark's own order or in a seed's; or one shard of these.

    In a seed's order the rank of a question depends only on its id, so a larger limit only adds questions.
    """

    limit: int | None = None
    seed: int | None = None
    shard: Shard | None = None

    def __post_init__(self) -> None:
        require(self.limit, "--limit", at_least=1)
        require(self.seed, "--subset-seed", at_least=0)
        if self.seed is not None and self.limit is None:
            raise UsageError(
                f"--subset-seed {self.seed} has no effect without --limit: add it, or leave this out"
            )

    @classmethod
    def parse(cls, text: str) -> "Subset":
        """The subset that `str` wrote as `text`. Raises UsageError for other texts."""
        match = _SPEC.fullmatch(text)
        if not match:
            raise UsageError(
                f"{text!r} is not a subset: write all, first 100, or first 100 in the order of seed 0; a part of it is "
                "written all, shard 2/8"
            )
        limit, seed = (
            None if number is None else int(number) for number in match.groups()[:2]
        )
        return cls(limit, seed, None if match[3] is None else Shard.parse(match[3]))

    def __str__(self) -> str:
        whole = "all" if self.limit is None else f"first {self.limit}"
        order = "" if self.seed is None else f" in the order of seed {self.seed}"
        return whole + order + (f", shard {self.shard}" if self.shard else "")

    def part_of(self, total: Budget) -> Budget:
        """The part of a budget for all questions of a run that a shard has: all of it without shards.

        A deadline holds for each shard in full, as all run at the same time.
        """
        if self.shard is None:
            return total
        return total.part_of(self.shard.count, self.shard.part)

    def cut(self, data: TaskData) -> TaskData:
        """The task with these questions only; its source counts them, its data hash still covers all."""
        items = data.items
        if self.seed is not None:
            items = tuple(
                sorted(items, key=lambda item: _rank(item.question.id, self.seed))
            )
        items = items[: self.limit]
        if self.shard is not None:
            items = items[self.shard.part - 1 :: self.shard.count]
        return replace(
            data,
            items=items,
            source=data.source.model_copy(
                update={"items": len(items), "subset": str(self)}
            ),
        )


def _rank(question_id: str, seed: int | None) -> bytes:
    return hashlib.sha256(
        f"{seed}\0{question_id}".encode("utf-8", "surrogatepass")
    ).digest()
