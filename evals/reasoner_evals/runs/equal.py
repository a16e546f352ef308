"""Strategies at equal cost: each in the size at which it computes about the same number of tokens for a question."""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, cast

from reasoner import Budget, Cost, Question, solve_many
from reasoner.engine import Engine, reset_caches
from reasoner.errors import UsageError
from reasoner.execution.session import CONCURRENCY
from reasoner.registry import build, entries, load, options_of, spec_of
from reasoner.specs import BareWord, Spec
from reasoner.strategy import Strategy
from reasoner.system.printing import counted
from reasoner.verifier import Verifier
from reasoner_evals.tasks.benchmark import TaskData

PILOT: Final = 12
"""The most questions on which a size is measured."""
FIRST: Final = 4
MAX_SIZE: Final = 1024
TRIALS: Final = 6
"""How many sizes of a strategy are measured."""
SIZES: Final = ("n", "simulations", "chains", "b", "k")
"""The options that say how much a strategy does; the first one that it has is its size."""


@dataclass(frozen=True, slots=True)
class EqualCost:
    """What each strategy is to cost, and how its size is found."""

    goal: Budget
    """Tokens, or sequential tokens, that a question costs on average."""
    questions: tuple[Question, ...]
    """Others than those of the run."""
    strategies: tuple[str, ...]
    named: bool
    """Whether the user named them; of all others, those that do not apply are left out."""


def read_goal(text: str, option: str = "--equal") -> Budget:
    """The goal of `4k` or `sequential=2k`. Raises UsageError if it is anything else."""
    goal = Budget.parse(text if "=" in text else f"tokens={text}")
    if goal not in (Budget(tokens=goal.tokens), Budget(sequential=goal.sequential)):
        raise UsageError(
            f"{option} must be tokens or sequential tokens, as in 4k or sequential=2k (got {text})"
        )
    return goal


def all_strategies(*, rated: bool) -> tuple[str, ...]:
    """The names of all strategies, first those that others are compared with; `rated` says that there is a verifier."""
    usable = [
        name
        for name in entries("strategy")
        if rated or not build("strategy", name).uses_verifier
    ]
    return tuple(dict.fromkeys(("single", "self_consistency", *usable)))


def pilot(whole: TaskData, kept: TaskData) -> tuple[Question, ...]:
    """Up to `PILOT` questions of a task that are not asked in the run, nor related to one. Raises UsageError."""
    asked = {
        name for item in kept.items for name in (item.question.id, item.group) if name
    }
    others = [
        item.question
        for item in whole.items
        if not asked & {item.question.id, item.group}
    ]
    if not others:
        raise UsageError(
            "--equal needs other questions of the task to find the sizes with: add --limit, or lower it"
        )
    return tuple(others[:PILOT])


async def sized(
    equal: EqualCost,
    engine: Engine,
    verifier: Verifier | None,
    tell: Callable[[str], None],
) -> tuple[str, ...]:
    """The strategies in the sizes whose cost is nearest to the goal, in order; `single` has none.

    Raises:
        UsageError: a strategy that the user named does not apply here.
        EngineError: the engine fails.
    """
    specs = []
    for spec in equal.strategies:
        if Spec.parse(spec).name == "single":
            specs.append(spec)
            continue
        try:
            chosen, cost = await _sized(spec, equal, engine, verifier)
        except UsageError as error:
            if equal.named:
                raise
            tell(f"{spec} is left out: {error}")
        else:
            specs.append(chosen)
            others = counted(len(equal.questions), "other question")
            tell(f"{chosen}: {cost:,.0f} of {_amount(equal.goal):,} tokens on {others}")
    return tuple(dict.fromkeys(specs))


async def _sized(
    spec: str, equal: EqualCost, engine: Engine, verifier: Verifier | None
) -> tuple[str, float]:
    """The strategy in the size whose cost is nearest to the goal, and that cost."""
    goal = _amount(equal.goal)

    async def measure(text: str) -> float:
        costs = await costs_of(text, equal.questions, engine, verifier)
        return fmean(
            each.tokens if equal.goal.tokens else each.sequential_tokens
            for each in costs
        )

    tried: dict[int, tuple[str, float]] = {}
    await narrow_down(spec, goal, tried, measure)
    return min(tried.values(), key=lambda each: abs(each[1] - goal))


async def narrow_down(
    spec: str,
    goal: float,
    tried: dict[int, tuple[str, float]],
    measure: Callable[[str], Awaitable[float]],
    trials: int = TRIALS,
) -> None:
    """Measure sizes of a strategy around a goal, by interpolation; `tried` has the spec and the cost of each size.

    Raises:
        UsageError: the strategy accepts no size, or does not apply here.
        EngineError: the engine fails.
    """
    for _ in range(trials):
        below = max((at for at, (_, cost) in tried.items() if cost < goal), default=0)
        above = min(
            (at for at, (_, cost) in tried.items() if cost >= goal and at > below),
            default=MAX_SIZE,
        )
        if above - below <= 1:
            return
        least, most = (tried[at][1] if at in tried else 0.0 for at in (below, above))
        size = FIRST
        if tried:
            slope = (
                (most - least) / (above - below) if above in tried else least / below
            )
            size = max(
                below + 1,
                min(
                    above - 1,
                    below + round((goal - least) / max(slope, goal / MAX_SIZE)),
                ),
            )
        size, text = _next_valid(spec, size)
        if size in tried:
            return
        tried[size] = text, await measure(text)


def _amount(goal: Budget) -> int:
    return cast("int", goal.tokens or goal.sequential)


class SpendExceeded(UsageError):
    """A size costs more than may be spent."""


async def costs_of(
    spec: str,
    questions: Sequence[Question],
    engine: Engine,
    verifier: Verifier | None,
    most: float = math.inf,
    *,
    concurrency: int = CONCURRENCY,
) -> list[Cost]:
    """The costs of these questions, with empty caches. Raises the error of one that fails.

    Raises SpendExceeded: together they would cost more than `most` tokens, and cost less.
    """
    share = (
        Budget()
        if most == math.inf
        else Budget(tokens=max(1, int(most // len(questions))))
    )
    await reset_caches(engine, verifier)
    strategy: Strategy = build("strategy", spec)
    solutions = await solve_many(
        questions,
        strategy,
        engine,
        verifier=verifier if strategy.uses_verifier else None,
        each=share,
        concurrency=concurrency,
    )
    if error := next(
        (solution.error for solution in solutions if solution.error), None
    ):
        raise error
    if any(each.ended_by == "budget" for each in solutions):
        raise SpendExceeded(
            f"--spend is too little to find the size of {spec}: raise it, or name fewer strategies with -s"
        )
    return [each.cost for each in solutions]


def _next_valid(spec: str, size: int) -> tuple[int, str]:
    """The next size from `size` on that the strategy accepts, such as a multiple of its width, and the spec of it."""
    refusal: UsageError | None = None
    # How many sizes from one on are tried until a strategy accepts one
    for at in range(size, size + 65):
        try:
            return at, spec_of(build("strategy", _with_size(spec, at)))
        except UsageError as error:
            refusal = refusal or error
    raise cast("UsageError", refusal)


def _with_size(spec: str, size: int) -> Spec:
    """The strategy in a size: of a single chain, a vote; of an escalation, what a disagreement leads to."""
    plain = Spec.parse(spec_of(build("strategy", spec)))
    known = options_of(load("strategy", plain.name))
    vote = {"n": BareWord(size)}
    if "then" in known and "then" not in plain.options:
        return Spec(
            plain.name, {**plain.options, "then": Spec("self_consistency", vote)}
        )
    option = next((name for name in SIZES if name in known), None)
    if option is None:
        return Spec("self_consistency", {**vote, "of": plain})
    return Spec(plain.name, {**plain.options, option: BareWord(size)})
