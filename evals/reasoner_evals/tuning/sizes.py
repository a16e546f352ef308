"""The size of a strategy at which it computes about a number of tokens for a question."""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, cast

from reasoner import Budget, Cost, Question, solve_many
from reasoner.engine import Engine, reset_caches
from reasoner.errors import UsageError
from reasoner.registry import build, entries, load, options_of, spec_of
from reasoner.specs import BareWord, Spec
from reasoner.strategy import Strategy
from reasoner.verifier import Verifier

FIRST: Final = 4
MAX_SIZE: Final = 1024
TRIALS: Final = 2
"""How many sizes of a strategy are measured for a goal."""
SIZES: Final = ("n", "simulations", "chains", "b", "k")
"""The options that say how much a strategy does; the first one that it has is its size."""


def read_tokens(text: str, option: str) -> int:
    """The number of `4k`. Raises UsageError if it is anything else."""
    goal = Budget.parse(text if "=" in text else f"tokens={text}")
    if goal.tokens is None or goal != Budget(tokens=goal.tokens):
        raise UsageError(f"{option} must be an amount of tokens, as in 4k (got {text})")
    return goal.tokens


def all_strategies(*, rated: bool) -> tuple[str, ...]:
    """The names of all strategies, first those that others are compared with; `rated` says that there is a verifier."""
    usable = [
        name
        for name in entries("strategy")
        if rated or not build("strategy", name).uses_verifier
    ]
    return tuple(dict.fromkeys(("single", "self_consistency", *usable)))


async def narrow_down(
    spec: str,
    goal: float,
    tried: dict[int, tuple[str, float]],
    measure: Callable[[str], Awaitable[float]],
) -> None:
    """Measure sizes of a strategy around a goal, by interpolation; `tried` has the spec and the cost of each size.

    Raises:
        UsageError: the strategy accepts no size, or does not apply here.
        EngineError: the engine fails.
    """
    for _ in range(TRIALS):
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


class SpendExceeded(UsageError):
    """A size costs more than may be spent."""


async def costs_of(
    spec: str,
    questions: Sequence[Question],
    engine: Engine,
    verifier: Verifier | None,
    most: float = math.inf,
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
    )
    if error := next(
        (solution.error for solution in solutions if solution.error), None
    ):
        raise error
    if any(each.ended_by == "budget" for each in solutions):
        raise SpendExceeded(
            f"--total is too little to find the size of {spec}: raise it, or name fewer strategies with -s"
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
