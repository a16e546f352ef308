"""Counting votes by equivalence class, with an outcome that does not depend on the order of arrival."""

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from typing import Literal

from reasoner.types import Answer, AnswerSpace, Blocks, Standing, Vote

LONGEST_STREAK = 64
"""How far back it is looked for samples that agree with the latest one."""
MOST_COMPARISONS = 10_000
"""Pairs of answers that one tally asks about. Only answers that nobody meant as answers come near it."""


@dataclass(slots=True, eq=False)
class _Class:
    """The votes of answers that are the same: their number and exact weight, the first index, the heaviest member."""

    keys: set[str]
    answer: Answer
    first: int
    heaviest: tuple[float, int, str]
    total: Fraction | int = 0
    count: int = 0
    row: tuple[float, int, str] = (0.0, 0, "")
    """Where it ranks: minus its weight, the index that decides ties, a key."""

    def add(self, answer: Answer, index: int, weight: float) -> None:
        # Whole weights, as those of a plain vote, add up as integers: fractions take ten times as long.
        self.total += int(weight) if weight == int(weight) else Fraction(weight)
        self.count += 1
        self._take((-weight, index, answer.key), answer, index)

    def absorb(self, other: "_Class") -> None:
        self.keys |= other.keys
        self.total += other.total
        self.count += other.count
        self._take(other.heaviest, other.answer, other.first)

    def _take(self, heaviest: tuple[float, int, str], answer: Answer, first: int) -> None:
        self.first = min(self.first, first)
        if heaviest < self.heaviest:
            self.heaviest, self.answer = heaviest, answer


@dataclass(slots=True)
class _Block:
    """The keys that are at home in one block and its guests; `slow` are those whose blocks took slow work."""

    home: list[str] = field(default_factory=list)
    guests: list[str] = field(default_factory=list)
    slow_home: list[str] = field(default_factory=list)
    slow_guests: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """The votes of one question (self-consistency: Wang 2022, 2203.11171).

    Two answers are one class when their keys are equal or their space says so in both directions; classes are closed
    under transitivity. Only answers that meet in a block are compared. What the space cannot tell at once stays apart
    until `place` and `decide` are told, for which `plan.count` asks. Keys alone are compared, as texts of one key may
    differ. Abstentions count as samples and never vote. Ties go to the earliest launch index. Weights are 0 or more;
    where all are 0 the majority decides. The representative of a class is its heaviest member, earliest first. A class
    weighs the sum of its members, or with `by` "max" as much as the heaviest, whose launch index decides ties.
    """

    space: AnswerSpace
    by: Literal["sum", "max"] = "sum"
    most: int = 0
    """How many samples there will be in all; 0 where that is not known."""
    _classes: dict[str, _Class] = field(default_factory=dict)
    _rows: list[tuple[float, int, str]] = field(default_factory=list)
    _votes: list[Vote] = field(default_factory=list)
    _weighted: bool = False
    _samples: int = 0
    _order: list[tuple[int, bool, str]] = field(default_factory=list)
    _blocks: dict[str, _Block] = field(default_factory=dict)
    _unplaced: dict[str, None] = field(default_factory=dict)
    _open: dict[str, Iterator[str]] = field(default_factory=dict)
    """The keys that each key has still to be compared with."""
    _waiting: list[tuple[str, str]] = field(default_factory=list)
    _asked: set[frozenset[str]] = field(default_factory=set)
    _width: int = 1

    def add(self, answer: Answer | None, *, index: int, weight: float = 1.0) -> None:
        """Count one sample: `index` is its place in launch order, `answer` None an abstention."""
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"a vote weighs 0 or more, not {weight}")
        self._samples += 1
        bisect.insort(self._order, (index, answer is None, answer.key if answer else ""))
        if answer is None:
            return
        if weight and not self._weighted:
            self._weigh()
        known = self._classes.get(answer.key)
        if known is None:
            known = _Class({answer.key}, answer, index, (-weight, index, answer.key))
            self._classes[answer.key] = known
        else:
            self._unrank(known)
        fresh = not known.count
        known.add(answer, index, weight)
        self._rank(known)
        if fresh:
            self._put(answer.key, self.space.blocks(_named(answer.key)))

    def _weigh(self) -> None:
        """From the first weight above 0 on, weights decide and no longer the numbers of votes."""
        self._weighted = True
        self._rows, self._votes = [], []
        for one in {id(one): one for one in self._classes.values()}.values():
            self._rank(one)

    def _rank(self, one: _Class) -> None:
        weight, first = float(one.count), one.first
        if self._weighted:
            weight = float(one.total)
            if self.by == "max":
                weight, first = -one.heaviest[0], one.heaviest[1]
        one.row = (-weight, first, one.answer.key)
        place = bisect.bisect_left(self._rows, one.row)
        self._rows.insert(place, one.row)
        self._votes.insert(place, Vote(one.answer, weight, one.count))

    def _unrank(self, one: _Class) -> None:
        place = bisect.bisect_left(self._rows, one.row)
        del self._rows[place], self._votes[place]

    def _merge(self, a: str, b: str) -> None:
        larger, smaller = self._classes[a], self._classes[b]
        if larger is smaller:
            return
        if len(larger.keys) < len(smaller.keys):
            larger, smaller = smaller, larger
        self._unrank(larger)
        self._unrank(smaller)
        larger.absorb(smaller)
        self._classes |= dict.fromkeys(smaller.keys, larger)
        self._rank(larger)

    def _put(self, key: str, blocks: Blocks | None) -> None:
        """Put an answer that is new into its blocks; what it meets there is compared, at once or later."""
        if blocks is None:
            self._unplaced[key] = None
            return
        home, guest = self._opened(blocks.home), self._opened(blocks.guest)
        met = chain(*(chain(one.home, one.guests) for one in home), *(one.home for one in guest))
        unsure: list[str] = []
        for other in dict.fromkeys(met):
            verdict = mutual(self.space, _named(key), _named(other))
            if verdict:
                self._merge(key, other)
            elif verdict is None:
                unsure.append(other)
        later = [part for one in home for part in (one.slow_home, one.slow_guests)] + [one.slow_home for one in guest]
        self._leave_open(key, [unsure, *later])
        for one in home:
            one.home.append(key)
        for one in guest:
            one.guests.append(key)

    def _opened(self, names: Sequence[str]) -> list[_Block]:
        return [self._blocks.setdefault(name, _Block()) for name in names]

    def _leave_open(self, key: str, others: Iterable[list[str]]) -> None:
        """Compare an answer later with those that are in these lists now."""
        if lists := [islice(one, len(one)) for one in others if one]:
            self._open[key] = chain.from_iterable(lists)

    def unplaced(self) -> tuple[Answer, ...]:
        """The answers whose blocks their space cannot tell at once."""
        return tuple(map(_named, self._unplaced))

    def place(self, answers: Sequence[Answer], blocks: Sequence[Blocks | None]) -> None:
        """Take in the blocks of these answers; one without blocks is compared with no other."""
        for answer, told in zip(answers, blocks, strict=True):
            del self._unplaced[answer.key]
            home, guest = self._opened(told.home if told else ()), self._opened(told.guest if told else ())
            met = [part for one in home for part in (one.home, one.guests, one.slow_home, one.slow_guests)]
            self._leave_open(answer.key, met + [part for one in guest for part in (one.home, one.slow_home)])
            for one in home:
                one.slow_home.append(answer.key)
            for one in guest:
                one.slow_guests.append(answer.key)

    def undecided(self) -> tuple[tuple[Answer, Answer], ...]:
        """The next pairs of answers to find out about; the verdicts may leave others to ask about.

        One pair for each answer at first, as most answers that meet are the same, then two, four and so on.
        """
        self._waiting = [pair for pair in self._waiting if self._apart(*pair)]
        while self._open and not self._waiting:
            self._waiting = [pair for key in list(self._open) for pair in self._drawn(key)]
            self._width *= 2
        if not self._open:
            self._width = 1
        return tuple((_named(a), _named(b)) for a, b in self._waiting)

    def _drawn(self, key: str) -> Iterator[tuple[str, str]]:
        """The next pairs of an answer with answers of other classes."""
        left = self._width
        for other in self._open[key]:
            pair = frozenset((key, other))
            if not self._apart(key, other) or pair in self._asked:
                continue
            if len(self._asked) >= MOST_COMPARISONS:
                break
            self._asked.add(pair)
            yield other, key
            left -= 1
            if not left:
                return
        del self._open[key]

    def _apart(self, a: str, b: str) -> bool:
        return self._classes[a] is not self._classes[b]

    def decide(self, pairs: Sequence[tuple[Answer, Answer]], verdicts: Sequence[bool | None]) -> None:
        """Take in which of these pairs are the same, in both directions; none of them is asked about again."""
        for (a, b), same in zip(pairs, verdicts, strict=True):
            if same:
                self._merge(a.key, b.key)
        decided = {frozenset((a.key, b.key)) for a, b in pairs}
        self._waiting = [pair for pair in self._waiting if frozenset(pair) not in decided]

    def standing(self) -> Standing:
        """The classes, winner first."""
        tied = len(self._rows) > 1 and self._rows[0][0] == self._rows[1][0]
        return Standing(tuple(self._votes), self._samples, tied, self._streak(), self.most)

    def _streak(self) -> int:
        latest = [None if silent else self._classes[key] for _, silent, key in self._order[: -LONGEST_STREAK - 1 : -1]]
        if not latest or latest[0] is None:
            return 0
        return next((place for place, one in enumerate(latest) if one is not latest[0]), len(latest))


def mutual(space: AnswerSpace, a: Answer, b: Answer) -> bool | None:
    """Whether each of two answers accepts the other; None where only slow work can tell."""
    verdicts = space.same(a, b), space.same(b, a)
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _named(key: str) -> Answer:
    """An answer that stands for all of one key, whichever of them came first."""
    return Answer(key, key)
