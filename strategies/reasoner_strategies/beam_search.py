"""Beam search over steps that a verifier rates."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from reasoner.errors import require
from reasoner.plan import Plan
from reasoner.types import Answer, Question, SamplingParams
from reasoner_strategies._search.step_search import PARAMS, Level, Levels, Options, check, parts, shares
from reasoner_strategies._search.steps import Path


@dataclass(frozen=True, slots=True)
class BeamSearch:
    r"""The best of `n` steps go on at each level (Snell 2024, 2408.03314; search-and-learn).

    A level is `n` children, at most `width` of each kept path: n / width paths are kept, rounded up, and where that
    does not come out even the best of them have one child more. Identical prefixes are kept once. Chains that ended
    keep their rating and leave the beam. With `refill` it still has `n` children, also where fewer paths than that are
    left and each has more of them, and it ends with `n` finished chains; without, each chain that ended takes a place
    along. The finished vote with their ratings. What could not be rated is kept last, in launch order.

    A step ends at `step`, or after `step_tokens` if above 0; the last of `max_steps` runs to the chain's end. `reserve`
    tokens are held back at every step: where the budget ends before any chain has come to an answer, they bring the
    best open one to its end.
    """

    uses_verifier: ClassVar[bool] = True

    n: int = 16
    width: int = 4
    refill: bool = True
    step: str = "\n\n"
    step_tokens: int = 0
    max_steps: int = 40
    reserve: int = 128
    params: SamplingParams = PARAMS

    def __post_init__(self) -> None:
        check(self)
        require(self.width, "width", at_least=1)

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, rate and prune, level by level; then vote."""
        return (yield from beam(self, Levels(question, self)))


class Beam(Options, Protocol):
    """How wide a beam is."""

    @property
    def width(self) -> int: ...
    @property
    def refill(self) -> bool: ...


def beam(options: Beam, levels: Levels) -> Plan[Answer | None]:
    """A beam search, however its levels are rated."""
    parents = [(levels.root, options.n)]
    while parents:
        yield from levels.launch(parents, choose=min(options.n, options.width) > 1)
        level = yield from levels.complete()
        yield from levels.tell()
        parents = _parents(options, levels, level) if level else []
    return (yield from levels.finish())


def _parents(options: Beam, levels: Levels, level: Level) -> list[tuple[Path, int]]:
    """What the next level grows from, and how many children each has."""
    places = options.n if options.refill else options.n - len(levels.over)
    if levels.finished >= options.n or places < 1:
        return []
    kept = distinct([path for path in level.ranked() if path.open])[: parts(places, options.width)]
    return list(zip(kept, shares(places, len(kept)), strict=True)) if kept else []


def distinct(ranked: list[Path]) -> list[Path]:
    """Each prefix once: the best rated, or first, of those with the same tokens."""
    best: dict[object, Path] = {}
    for path in ranked:
        best.setdefault((path.prompt.token_ids, path.prompt.text), path)
    return list(best.values())
