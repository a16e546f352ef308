"""Diverse verifier tree search: independent subtrees, each of which keeps its best step."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.errors import require
from reasoner.plan import MOST_CHAINS, Plan
from reasoner.types import Answer, Question, SamplingParams
from reasoner_strategies._search.step_search import PARAMS, Level, Levels, check, parts, shares
from reasoner_strategies._search.steps import Path


@dataclass(frozen=True, slots=True)
class Dvts:
    r"""Greedy step searches side by side that never compete (Beeching 2024, search-and-learn).

    `n` children a level are dealt out to n / width subtrees, rounded up, each with at most `width`. A subtree draws its
    children, keeps the best rated of them, and ends when that one is a finished chain, which then votes with its
    rating. With `siblings` the other finished chains vote too; without, they count only until a subtree has ended. What
    could not be rated comes last, in launch order.

    No subtree waits for another, and each draws the same whatever the others do.

    A step ends at `step`, or after `step_tokens` if above 0; the last of `max_steps` runs to the chain's end. `reserve`
    tokens are held back at every step: where the budget ends before any chain has come to an answer, they bring the
    best open one to its end.
    """

    uses_verifier: ClassVar[bool] = True

    n: int = 16
    width: int = 4
    siblings: bool = False
    step: str = "\n\n"
    step_tokens: int = 0
    max_steps: int = 40
    reserve: int = 128
    params: SamplingParams = PARAMS

    def __post_init__(self) -> None:
        check(self)
        require(self.n, "n", at_least=1, at_most=MOST_CHAINS)
        require(self.width, "width", at_least=1)

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Start all subtrees, take each one a level on as its children are there; then vote."""
        kept: set[int] = set()
        levels = Levels(question, self, weigh=lambda path: path.value if self.siblings or path.order in kept else None)
        subtrees: dict[Level, _Subtree] = {}
        for place, width in enumerate(shares(self.n, parts(self.n, self.width))):
            subtree = _Subtree(place, place * self.n * self.max_steps, width)
            subtrees[(yield from subtree.expand(levels, levels.root))] = subtree
        while level := (yield from levels.complete()):
            subtree = subtrees.pop(level)
            best = next((path for path in level.ranked() if path.open or levels.answer(path)), None)
            if best and best.open:
                subtrees[(yield from subtree.expand(levels, best))] = subtree
            elif best:
                kept.add(best.order)
            yield from levels.tell()
        return (yield from levels.finish())


@dataclass(frozen=True, slots=True)
class _Subtree:
    """Its number, its place in launch order, which no other's course changes, and its number of children a level."""

    number: int
    first: int
    width: int

    def expand(self, levels: Levels, path: Path) -> Plan[Level]:
        first = self.first + path.steps * self.width
        return (yield from levels.launch([(path, self.width)], choose=self.width > 1, first=first, branch=self.number))
