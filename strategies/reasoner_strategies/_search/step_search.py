"""Levels of a search over rated steps: children are rated as they come, chains that ended are kept and vote."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal, NamedTuple, Protocol

from reasoner.errors import BudgetExhausted, require
from reasoner.plan import Finished, Handle, Plan, Sample, Score, check_n, next_finished, propose, start
from reasoner.types import Answer, Question, SamplingParams, Standing
from reasoner_strategies._search.steps import Path, Stepping, closing
from reasoner_strategies._voting.running_vote import RunningVote

PARAMS = SamplingParams(temperature=0.8)


class Options(Protocol):
    """What every search by levels is told."""

    @property
    def n(self) -> int: ...
    @property
    def step(self) -> str: ...
    @property
    def step_tokens(self) -> int: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def reserve(self) -> int: ...
    @property
    def params(self) -> SamplingParams: ...


def stepping_of(options: Options) -> Stepping:
    """How its chains grow."""
    return Stepping(options.params, options.step, options.step_tokens, options.max_steps)


def check(options: Options) -> None:
    """Refuse common options that are out of range."""
    check_n(options.n)
    require(options.reserve, "reserve", at_least=0)
    stepping_of(options)


def parts(n: int, width: int) -> int:
    """How many parents `n` children have, of which none has more than `width`."""
    return -(-n // width)


def shares(n: int, among: int) -> list[int]:
    """`n` children dealt out evenly, the first parents one more where that does not come out even."""
    return [n // among + (place < n % among) for place in range(among)]


def rank(path: Path) -> tuple[bool, float, int]:
    """The key by which paths are sorted, best first: by rating, unrated ones last, in launch order."""
    return path.value is None, -(path.value or 0.0), path.order


@dataclass(slots=True, eq=False)
class Level:
    """Children that were asked for together. `children` are those that came so far, by their place in launch order.

    `first` is the place of the first, `branch` the part of the search that they belong to. `choose` says whether there
    is a choice between them, so that those that can go on have to be rated. `missing` counts those that have not come
    or are not rated yet.
    """

    parents: tuple[Path, ...]
    first: int
    choose: bool
    missing: int
    branch: int = 0
    children: dict[int, Path] = field(default_factory=dict)

    def ranked(self) -> list[Path]:
        """What came, best first."""
        return sorted(self.children.values(), key=rank)


@dataclass(slots=True)
class _Child:
    level: Level
    parent: Path
    order: int
    probe: Path | None = None
    """What is rated: the child itself, or how it might go on."""


class _Litter(NamedTuple):
    """Children of one parent that were started together; their handles and their places follow the first ones."""

    first: Handle
    level: Level
    parent: Path
    order: int


@dataclass(slots=True, eq=False)
class Levels:
    """The state of one search. `over` are the chains that ended, by their place in launch order, with their ratings.

    `weigh` is with how much such a chain votes, None for not at all so far; once it votes its weight stays, unless all
    are counted `anew`. `by` is that of a tally. With `ahead`, an open child is rated by how it goes on in so many
    greedy steps.
    """

    question: Question
    options: Options
    ahead: int = 0
    weigh: Callable[[Path], float | None] = lambda path: path.value
    by: Literal["sum", "max"] = "sum"
    over: dict[int, Path] = field(default_factory=dict)
    stepping: Stepping = field(init=False)
    _greedy: Stepping = field(init=False)
    _running: dict[Handle, _Child] = field(default_factory=dict)
    _litters: list[_Litter] = field(default_factory=list)
    _under_way: list[Level] = field(default_factory=list)
    _launched: int = 0
    _told: Standing | None = None
    _votes: RunningVote = field(init=False)
    _waiting: dict[int, bool] = field(default_factory=dict)
    """The chains that ended and do not vote yet, and whether they were looked at."""

    def __post_init__(self) -> None:
        self._votes = RunningVote(self.question.space, self.by)
        self.stepping = stepping_of(self.options)
        self._greedy = replace(self.stepping, params=replace(self.options.params, temperature=0.0))

    @property
    def root(self) -> Path:
        """The chain of no steps."""
        return self.stepping.root(self.question)

    @property
    def finished(self) -> int:
        """How many chains the model ended."""
        return sum(path.finished for path in self.over.values())

    def launch(
        self, parents: Sequence[tuple[Path, int]], *, choose: bool = True, first: int | None = None, branch: int = 0
    ) -> Plan[Level]:
        """Start drawing so many children of each parent; `first` is the place of the first in launch order."""
        order = self._launched if first is None else first
        level = Level(tuple(parent for parent, _ in parents), order, choose, sum(count for _, count in parents), branch)
        self._under_way.append(level)
        # Children of one parent are one start, so that a million of them are none in memory until they come.
        for _, alike in groupby(parents, key=lambda pair: id(pair[0])):
            counted = list(alike)
            parent, times = counted[0][0], sum(count for _, count in counted)
            handle = yield from start(self._op(parent, self.stepping, branch), times=times)
            self._litters.append(_Litter(handle, level, parent, order))
            order += times
        self._launched = max(self._launched, order)
        return level

    def complete(self) -> Plan[Level | None]:
        """Wait until all children of some level have come and are rated; None where none is under way, or refused."""
        while self._under_way:
            try:
                finished = yield from next_finished()
            except BudgetExhausted:
                return None
            child = self._running.pop(finished.handle, None) or self._born(finished.handle)
            level = child.level
            if not (yield from self._goes_on(child, finished)):
                level.missing -= 1
            if not level.missing:
                self._under_way.remove(level)
                return level
        return None

    def _op(self, path: Path, stepping: Stepping, branch: int) -> Sample:
        return Sample((path.prompt,), params=stepping.draws(path), reserve=self.options.reserve, branch=branch)

    def _born(self, handle: Handle) -> _Child:
        litter = self._litters[bisect_right(self._litters, handle, key=lambda one: one.first) - 1]
        return _Child(litter.level, litter.parent, litter.order + handle - litter.first)

    def _goes_on(self, child: _Child, finished: Finished) -> Plan[bool]:
        """Take in what came of a child; whether there is more to come."""
        if finished.ratings:
            self._keep(child.level, child.level.children[child.order].rated(finished.ratings[0].value))
            return False
        [completion] = finished.completions
        if child.probe is None:
            child.probe = self.stepping.grown(child.parent, completion, order=child.order)
            self._keep(child.level, child.probe)
        else:
            child.probe = self._greedy.grown(child.probe, completion, order=child.order)
        path, probe = child.level.children[child.order], child.probe
        if not self._worth_rating(child.level, path):
            return False
        if path.open and probe.open and probe.steps < path.steps + self.ahead:
            self._running[(yield from start(self._op(probe, self._greedy, child.level.branch)))] = child
        else:
            assert probe.last is not None
            self._running[(yield from start(Score(self.question, (probe.last,), self.options.reserve)))] = child
        return True

    def _keep(self, level: Level, path: Path) -> None:
        level.children[path.order] = path
        if not path.open:
            self._end(path)

    def _end(self, path: Path) -> None:
        self._waiting.setdefault(path.order, False)
        self.over[path.order] = path

    def anew(self) -> None:
        """Count all chains again: their weights have changed."""
        self._votes, self._waiting = RunningVote(self.question.space, self.by), dict.fromkeys(self.over, False)

    def _worth_rating(self, level: Level, path: Path) -> bool:
        """Whether a rating can make a difference: not where one chain is all, nor for one that leads nowhere."""
        if self.options.n == 1:
            return False
        return level.choose if path.open else self.answer(path) is not None

    def answer(self, path: Path) -> Answer | None:
        """What a chain came to."""
        return self.question.read(path.last) if path.finished and path.last else None

    def tell(self) -> Plan[Standing]:
        """Propose the vote of the chains that ended, unless that has been told."""
        for order, looked in list(self._waiting.items()):
            path, weight = self.over[order], self.weigh(self.over[order])
            if looked and weight is None:
                continue
            answer = self.question.read(path.last) if path.last else None
            if not looked:
                self._votes.look(answer, order=order)
                self._waiting[order] = True
            if answer is None:
                del self._waiting[order]
            elif weight is not None:
                self._votes.rate(answer, weight, order=order)
                del self._waiting[order]
        standing = yield from self._votes.standing()
        if self.over and standing != self._told:
            yield from propose(standing.leader, standing)
        self._told = standing
        return standing

    def finish(self) -> Plan[Answer | None]:
        """The answer. Where the budget ended before any chain came to one, the best open one is drawn to its end."""
        standing = yield from self.tell()
        if standing.leader is None and (best := self._best_open()):
            last = replace(best, order=max(self.over, default=-1) + 1)
            path = yield from closing(self.stepping, last)
            self._end(path)
            standing = yield from self.tell()
        return standing.leader

    def _best_open(self) -> Path | None:
        """The best rated path that was to go on; a parent where none of its children is open."""
        paths: list[Path] = []
        for level in self._under_way:
            paths += [path for path in level.children.values() if path.open] or level.parents
        return min(paths, key=rank, default=None)
