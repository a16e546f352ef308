"""REBASE: a tree search that spends the children of a level in proportion to the ratings of their parents."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from reasoner.errors import require
from reasoner.plan import Plan
from reasoner.types import Answer, Question, SamplingParams
from reasoner_strategies._search.step_search import PARAMS, Level, Levels, check
from reasoner_strategies._search.steps import Path

EPSILON = 1e-9
"""How far above a whole number a share may be and still count as it: the rounding error of sums of weights."""


@dataclass(frozen=True, slots=True)
class Rebase:
    r"""Balanced allocation of `n` children over the open paths (Wu 2024, 2408.00724).

    A path rated r weighs exp(r / `balance_temperature`): the lower, the more goes to the best. From the best on each
    gets its share of what is left, rounded up, and the last ones none. Each chain that ended takes a place along, so
    there are `n` chains in all at most. They vote with their ratings. What could not be rated goes on only where
    nothing is rated; then all share evenly.

    The paper's `balance_temperature` is 0.1, that of its code 0.2. A chain is limited by `params.max_tokens` as a
    whole, which the paper's code does step by step.

    A step ends at `step`, or after `step_tokens` if above 0; the last of `max_steps` runs to the chain's end. `reserve`
    tokens are held back at every step: where the budget ends before any chain has come to an answer, they bring the
    best open one to its end.
    """

    uses_verifier: ClassVar[bool] = True

    n: int = 16
    balance_temperature: float = 0.2
    step: str = "\n\n"
    step_tokens: int = 0
    max_steps: int = 40
    reserve: int = 128
    params: SamplingParams = PARAMS

    def __post_init__(self) -> None:
        check(self)
        require(self.balance_temperature, "balance_temperature", above=0, below=math.inf)

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, rate and allocate, level by level; then vote."""
        levels = Levels(question, self)
        parents = [(levels.root, self.n)]
        while parents:
            yield from levels.launch(parents)
            level = yield from levels.complete()
            yield from levels.tell()
            parents = self._parents(level, self.n - len(levels.over)) if level else []
        return (yield from levels.finish())

    def _parents(self, level: Level, places: int) -> list[tuple[Path, int]]:
        """What the next level grows from, and how many children each has."""
        ranked = [path for path in level.ranked() if path.open]
        rated = [path for path in ranked if path.value is not None] or ranked
        counts = allocate([path.value or 0.0 for path in rated], places, self.balance_temperature)
        return [(path, count) for path, count in zip(rated, counts, strict=True) if count]


def allocate(scores: Sequence[float], width: int, temperature: float) -> list[int]:
    """How many of `width` children each candidate gets, in the order of `scores`; ties favour the earlier.

    They sum to `width` wherever there is a candidate, and depend on the differences of scores alone.
    """
    highest = max(scores, default=0.0)
    weights = [math.exp((score - highest) / temperature) for score in scores]
    ranked = sorted(range(len(scores)), key=lambda place: -scores[place])
    counts, left = [0] * len(scores), width
    for at, place in enumerate(ranked):
        if left < 1:
            break
        share = weights[place] / math.fsum(weights[one] for one in ranked[at:])
        counts[place] = left if place == ranked[-1] else min(left, math.ceil(left * share - EPSILON))
        left -= counts[place]
    return counts
