"""Beam search over steps that a verifier rates."""

import math
from dataclasses import dataclass
from typing import ClassVar

from reasoner import Answer, Question
from reasoner.specs import Count
from reasoner.strategy import Plan
from reasoner_strategies._search.step_search import (
    Level,
    Parents,
    SearchOptions,
    StepSearch,
    split_evenly,
)
from reasoner_strategies._search.steps import Path


@dataclass(frozen=True, slots=True)
class BeamSearch(SearchOptions):
    """The best of `n` steps continue at each level (Snell 2024, 2408.03314; search-and-learn).

    A level is `n` children, at most `width` of each kept path: n / width paths are kept, rounded up, and the best of
    them get the remainder. Identical prefixes are kept once. Chains that ended keep their rating and leave the beam.
    Each level has `n` children, also if fewer paths are left, until `n` chains have finished. The first `n` of these,
    by level and launch order, are the candidates, as in the published code. What could not be rated is kept last, in
    launch order.
    """

    listed_under: ClassVar[str] = "Search over steps"

    width: Count = 4

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, rate and prune, level by level; then vote."""
        search = StepSearch(question, self, voters=self.n)
        return (
            yield from search.by_levels(
                self.n,
                lambda level: self._parents(search, level),
                choose=min(self.n, self.width) > 1,
            )
        )

    def _parents(self, search: StepSearch, level: Level) -> Parents:
        """The parents of the next level, and how many children each has."""
        if sum(path.finished for path in search.ended.values()) >= self.n:
            return []
        best: dict[object, Path] = {}
        for path in level.ranked():
            if path.open:
                best.setdefault((path.prompt.token_ids, path.prompt.text), path)
        kept = list(best.values())[: math.ceil(self.n / self.width)]
        return (
            list(zip(kept, split_evenly(self.n, len(kept)), strict=True))
            if kept
            else []
        )
