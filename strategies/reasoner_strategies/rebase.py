"""REBASE: a tree search that divides the children of a level in proportion to the ratings of their parents."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from reasoner import Answer, Question
from reasoner.specs import Range
from reasoner.strategy import Plan
from reasoner_strategies._search.step_search import Level, SearchOptions, StepSearch
from reasoner_strategies._search.steps import Path


@dataclass(frozen=True, slots=True)
class Rebase(SearchOptions):
    """Search that shares `n` children among the open paths (Wu 2024, 2408.00724).

    A path rated r has the weight exp(r / `balance_temperature`): the lower, the more children the best gets. In order
    from the best, each path gets its share of what is left, rounded up; the last ones may get none. Each chain that
    ended reduces the number of children by one, so there are at most `n` chains. They vote with their ratings. Unrated
    paths continue only if nothing is rated; then all share evenly.

    The paper's `balance_temperature` is 0.1, its code's 0.2. A chain is limited by `params.max_tokens` as a
    whole, which the paper's code does step by step.
    """

    listed_under: ClassVar[str] = "Search over steps"

    balance_temperature: Annotated[float, Range(above=0, below=math.inf)] = 0.2

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, rate and allocate, level by level; then vote."""
        search = StepSearch(question, self)
        return (
            yield from search.by_levels(
                self.n, lambda level: self._parents(level, self.n - len(search.ended))
            )
        )

    def _parents(self, level: Level, children: int) -> list[tuple[Path, int]]:
        """The parents of the next level, and how many children each has."""
        ranked = [path for path in level.ranked() if path.open]
        rated = [path for path in ranked if path.value is not None] or ranked
        counts = allocate(
            [path.value or 0.0 for path in rated], children, self.balance_temperature
        )
        return [
            (path, count) for path, count in zip(rated, counts, strict=True) if count
        ]


def allocate(scores: Sequence[float], width: int, temperature: float) -> list[int]:
    """How many of `width` children each candidate gets, in the order of `scores`; ties favour the earlier.

    They sum to `width` if there is a candidate, and depend only on the differences of scores.
    """
    highest = max(scores, default=0.0)
    weights = [math.exp((score - highest) / temperature) for score in scores]
    ranked = sorted(range(len(scores)), key=lambda index: -scores[index])
    counts, left = [0] * len(scores), width
    for position, index in enumerate(ranked):
        if left < 1:
            break
        share = weights[index] / math.fsum(
            weights[other] for other in ranked[position:]
        )
        counts[index] = (
            left
            if index == ranked[-1]
            # How far above a whole number a share may be and still count as it: the rounding error of
            # sums of weights
            else min(left, math.ceil(left * share - 1e-9))
        )
        left -= counts[index]
    return counts
