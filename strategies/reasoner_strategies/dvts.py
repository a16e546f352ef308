"""Diverse verifier tree search: independent subtrees, each of which keeps its best step."""

from dataclasses import dataclass

from reasoner.answers.questions import Question
from reasoner.errors import require
from reasoner.strategy import MAX_CHAINS, Plan
from reasoner.types import Answer
from reasoner_strategies._search.step_search import Level, SearchOptions, StepSearch, parent_count, split_evenly
from reasoner_strategies._search.steps import Path


@dataclass(frozen=True, slots=True)
class Dvts(SearchOptions):
    """Greedy step searches side by side that never compete (Beeching 2024, search-and-learn).

    `n` children per level are divided among n / width subtrees, rounded up, each with at most `width`. A subtree draws
    its children, keeps the best rated one, and ends when that one is a finished chain, which then votes with its
    rating. With `siblings` the other finished chains vote too; without, they count only until a subtree has ended. What
    could not be rated comes last, in launch order.

    No subtree waits for another, and what it draws does not depend on the others.
    """

    width: int = 4
    siblings: bool = False

    def __post_init__(self) -> None:
        SearchOptions.__post_init__(self)
        require(self.n, "n", at_least=1, at_most=MAX_CHAINS)
        require(self.width, "width", at_least=1)

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Start all subtrees, extend each by a level as soon as its children are there; then vote."""
        chosen: set[int] = set()
        search = StepSearch(
            question, self, weight_of=lambda path: path.value if self.siblings or path.order in chosen else None
        )
        subtrees: dict[Level, _Subtree] = {}
        for number, width in enumerate(split_evenly(self.n, parent_count(self.n, self.width))):
            subtree = _Subtree(number, number * self.n * self.max_steps, width)
            subtrees[(yield from subtree.expand(search, search.root))] = subtree
        while level := (yield from search.next_level()):
            subtree = subtrees.pop(level)
            best = next((path for path in level.ranked() if path.open or search.answer(path)), None)
            if best and best.open:
                subtrees[(yield from subtree.expand(search, best))] = subtree
            elif best:
                chosen.add(best.order)
            yield from search.publish()
        return (yield from search.finish())


@dataclass(frozen=True, slots=True)
class _Subtree:
    """Its number, its first position in launch order, which no other subtree changes, and its children per level."""

    number: int
    first: int
    width: int

    def expand(self, search: StepSearch, path: Path) -> Plan[Level]:
        first = self.first + path.steps * self.width
        return (yield from search.launch([(path, self.width)], choose=self.width > 1, first=first, branch=self.number))
