"""A search over rated steps, level by level: children are rated as they arrive, and chains that ended vote."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from reasoner import Answer, Question, VoteState
from reasoner.specs import Range, Samples
from reasoner.strategy import (
    MAX_CHAINS,
    BudgetExhausted,
    Finished,
    Handle,
    Plan,
    Sample,
    Score,
    next_finished,
    start,
)
from reasoner_strategies._search.steps import Path, StepOptions
from reasoner_strategies._voting.pool import RunningVote, Selector


@dataclass(frozen=True, slots=True)
class SearchOptions(StepOptions):
    """The options of every search by levels: `n` is the number of chains, or of children per level.

    `selector` chooses among the chains that ended.
    """

    uses_verifier: ClassVar[bool] = True

    n: Annotated[Samples, Range(at_least=1, at_most=MAX_CHAINS)] = 16
    selector: Selector = field(default="weighted", kw_only=True)


Parents = Sequence[tuple[Path, int]]
"""The parents of a level, and how many children each has."""


def split_evenly(n: int, among: int) -> list[int]:
    """`n` children divided among parents; the first ones get the remainder."""
    return [n // among + (index < n % among) for index in range(among)]


def rank(path: Path) -> tuple[bool, float, int]:
    """The sort key of paths, best first: by rating, then in launch order; unrated ones come last."""
    return path.value is None, -(path.value or 0.0), path.order


@dataclass(slots=True, eq=False)
class Level:
    """Children that were requested together. `children` are those that arrived, by their position in launch order.

    `first` is the position of the first child, `branch` the part of the search that they belong to. `choose` says
    whether one of them is to be chosen, so that open ones must be rated. `missing` counts those that have not arrived
    or are not rated yet.
    """

    parents: tuple[Path, ...]
    first: int
    choose: bool
    missing: int
    branch: int = 0
    children: dict[int, Path] = field(default_factory=dict)

    def ranked(self) -> list[Path]:
        """The children that arrived, best first."""
        return sorted(self.children.values(), key=rank)


@dataclass(slots=True)
class _Child:
    level: Level
    parent: Path
    order: int


@dataclass(slots=True, eq=False)
class StepSearch:
    """The state of one search. `ended` are the chains that ended, by their position in launch order.

    `weight_of` is the weight of such a chain's vote, None for no vote yet; a weight that was counted stays, unless
    `recount` is called. Only the first `voters` chains that finished, in launch order, vote.
    """

    question: Question
    options: SearchOptions
    weight_of: Callable[[Path], float | None] = lambda path: path.value
    voters: int = MAX_CHAINS
    ended: dict[int, Path] = field(default_factory=dict)
    _running: dict[Handle, _Child] = field(default_factory=dict)
    _levels: list[Level] = field(default_factory=list)
    """The levels that are not complete."""
    _launched: int = 0
    _votes: RunningVote = field(init=False)
    _unrated: set[int] = field(default_factory=set)
    """The chains that ended with an answer and do not vote yet."""

    def __post_init__(self) -> None:
        self._votes = RunningVote(self.question.space, self.options.selector)

    def by_levels(
        self, n: int, parents_of: Callable[[Level], Parents], *, choose: bool = True
    ) -> Plan[Answer | None]:
        """Search level by level, from `n` children of the root on; `parents_of` a level are those of the next one."""
        parents: Parents = [(Path(self.question.prompt), n)]
        while parents:
            yield from self.launch(parents, choose=choose)
            level = yield from self.next_level()
            yield from self.publish()
            parents = parents_of(level) if level else []
        return (yield from self.finish())

    def launch(
        self,
        parents: Parents,
        *,
        choose: bool = True,
        first: int | None = None,
        branch: int = 0,
    ) -> Plan[Level]:
        """Start drawing the children of each parent; `first` is the position of the first in launch order."""
        order = self._launched if first is None else first
        level = Level(
            tuple(parent for parent, _ in parents),
            order,
            choose,
            sum(count for _, count in parents),
            branch,
        )
        self._levels.append(level)
        for parent, count in parents:
            handle = yield from start(self._sample(parent, branch), times=count)
            for index in range(count):
                self._running[Handle(handle + index)] = _Child(
                    level, parent, order + index
                )
            order += count
        self._launched = max(self._launched, order)
        return level

    def next_level(self) -> Plan[Level | None]:
        """Wait until all children of some level have arrived and are rated; None if none is left or the budget ends."""
        while self._levels:
            try:
                finished = yield from next_finished()
            except BudgetExhausted:
                return None
            child = self._running.pop(finished.handle)
            level = child.level
            if not (yield from self._continues(child, finished)):
                level.missing -= 1
            if not level.missing:
                self._levels.remove(level)
                return level
        return None

    def _sample(self, path: Path, branch: int) -> Sample:
        return Sample(
            (path.prompt,),
            params=self.options.draws(path),
            reserve=self.options.reserve,
            branch=branch,
        )

    def _continues(self, child: _Child, finished: Finished) -> Plan[bool]:
        """Keep what arrived of a child; whether more of it is awaited."""
        level = child.level
        if finished.ratings:
            rated = level.children[child.order]
            self._keep(level, replace(rated, value=finished.ratings[0].value))
            return False
        [completion] = finished.completions
        path = self.options.grown(child.parent, completion, order=child.order)
        self._keep(level, path)
        # A rating makes no difference for a single chain, nor for one that leads nowhere.
        if self.options.n == 1 or not (
            level.choose if path.open else path.answer(self.question)
        ):
            return False
        rating = Score(self.question, (completion,), self.options.reserve)
        self._running[(yield from start(rating))] = child
        return True

    def _keep(self, level: Level, path: Path) -> None:
        level.children[path.order] = path
        if not path.open:
            self._end(path)

    def _end(self, path: Path) -> None:
        if path.order not in self.ended:
            self._count(path)
        self.ended[path.order] = path

    def _count(self, path: Path) -> None:
        answer = self._answer(path)
        self._votes.count(answer, order=path.order)
        if answer is not None:
            self._unrated.add(path.order)

    def _answer(self, path: Path) -> Answer | None:
        """The answer of a chain that ended, also of a cut one if the question probes those."""
        return self.question.read(path.last) if path.last else None

    def recount(self) -> None:
        """Count all chains again: their weights have changed."""
        self._votes.restart()
        for path in self.ended.values():
            self._count(path)

    def publish(self) -> Plan[VoteState]:
        """Propose the vote of the chains that ended, unless it was already proposed."""
        beyond: set[int] = set()
        if len(self.ended) > self.voters:
            beyond = set(
                sorted(order for order, path in self.ended.items() if path.finished)[
                    self.voters :
                ]
            )
        for path in [
            self.ended[order] for order in self._unrated if order not in beyond
        ]:
            answer, weight = self._answer(path), self.weight_of(path)
            if answer is not None and weight is not None:
                self._votes.rate(answer, weight, order=path.order)
                self._unrated.remove(path.order)
        return (
            yield from self._votes.publish() if self.ended else self._votes.vote_state()
        )

    def finish(self) -> Plan[Answer | None]:
        """The answer. If the budget ended before any chain had one, the best open chain is drawn to its end."""
        vote_state = yield from self.publish()
        if vote_state.leader is None and (best := self._best_open()):
            last = replace(best, order=max(self.ended, default=-1) + 1)
            self._end((yield from self.options.closing(last)))
            vote_state = yield from self.publish()
        return vote_state.leader

    def _best_open(self) -> Path | None:
        """The best rated open path of the incomplete levels; a parent if none of its children is open."""
        paths: list[Path] = []
        for level in self._levels:
            paths += [
                path for path in level.children.values() if path.open
            ] or level.parents
        return min(paths, key=rank, default=None)
