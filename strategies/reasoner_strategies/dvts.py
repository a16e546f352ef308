"""Diverse verifier tree search: independent subtrees that keep their best step each."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from reasoner import Answer, Question
from reasoner.specs import Count
from reasoner.strategy import Plan
from reasoner_strategies._search.step_search import (
    Level,
    SearchOptions,
    StepSearch,
    split_evenly,
)
from reasoner_strategies._search.steps import Path


@dataclass(frozen=True, slots=True)
class Dvts(SearchOptions):
    """Greedy step searches side by side that never compete (Beeching 2024, search-and-learn).

    `n` children per level are divided among n / width subtrees, rounded up, each with at most `width`. A subtree draws
    its children, keeps the best rated one, and ends when that one is a finished chain. `candidates` are the "best" of
    each subtree or, as in the published code, its "siblings" too: the chains that finished in the same level; that
    code takes the unfinished ones as well. Other finished chains count only until a subtree has ended. What could not
    be rated comes last, in launch order.

    No subtree waits for another, and what it draws does not depend on the others.
    """

    listed_under: ClassVar[str] = "Search over steps"

    width: Count = 4
    candidates: Literal["best", "siblings"] = "best"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Start all subtrees, extend each by a level as soon as its children are there; then vote."""
        chosen: set[int] = set()
        search = StepSearch(
            question,
            self,
            weight_of=lambda path: path.value if path.order in chosen else None,
        )
        widths = split_evenly(self.n, math.ceil(self.n / self.width))
        subtrees: dict[Level, int] = {}

        def expand(number: int, path: Path) -> Plan[None]:
            """Draw the children of a subtree's path, at positions in launch order that no other subtree changes."""
            width = widths[number]
            first = number * self.n * self.max_steps + path.steps * width
            level = yield from search.launch(
                [(path, width)], choose=width > 1, first=first, branch=number
            )
            subtrees[level] = number

        for number in range(len(widths)):
            yield from expand(number, Path(question.prompt))
        while level := (yield from search.next_level()):
            number = subtrees.pop(level)
            best = next(
                (path for path in level.ranked() if path.open or path.answer(question)),
                None,
            )
            if best and best.open:
                yield from expand(number, best)
            elif best:
                finished = [
                    path.order for path in level.children.values() if path.finished
                ]
                chosen.update(
                    finished if self.candidates == "siblings" else [best.order]
                )
            yield from search.publish()
        return (yield from search.finish())
