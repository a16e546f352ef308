"""Counting votes by equivalence class, with an outcome that does not depend on the order of arrival."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from reasoner.types import Answer, AnswerSpace, Standing, Vote

LONGEST_STREAK = 64
"""How far back it is looked for samples that agree with the latest one."""


@dataclass(slots=True)
class _Pile:
    """The votes for one key: weights ascending, the first launch index, the heaviest member and its index."""

    answer: Answer
    first: int
    heaviest: tuple[float, int]
    weights: list[float] = field(default_factory=list)

    def add(self, answer: Answer, index: int, weight: float) -> None:
        bisect.insort(self.weights, weight)
        self.first = min(self.first, index)
        if (-weight, index) < self.heaviest:
            self.heaviest, self.answer = (-weight, index), answer


@dataclass(slots=True)
class Tally:
    """The votes of one question (self-consistency: Wang 2022, 2203.11171).

    Two answers are one class when their keys are equal or their space says so in both directions; classes are closed
    under transitivity. What the space cannot tell at once stays apart until `decide` is told, for which `plan.count`
    asks. Keys alone are compared, as texts of one key may differ. Abstentions count as samples and never vote. Ties go
    to the earliest launch index. Weights are 0 or more; where all are 0 the majority decides. The representative of a
    class is its heaviest member, earliest first. A class weighs the sum of its members, or with `by` "max" as much as
    the heaviest, whose launch index decides ties.
    """

    space: AnswerSpace
    by: Literal["sum", "max"] = "sum"
    most: int = 0
    """How many samples there will be in all; 0 where that is not known."""
    _piles: dict[str, _Pile] = field(default_factory=dict)
    _classes: list[set[str]] = field(default_factory=list)
    _open: list[tuple[str, str]] = field(default_factory=list)
    _samples: int = 0
    _order: list[tuple[int, bool, str]] = field(default_factory=list)

    def add(self, answer: Answer | None, *, index: int, weight: float = 1.0) -> None:
        """Count one sample: `index` is its place in launch order, `answer` None an abstention."""
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"a vote weighs 0 or more, not {weight}")
        self._samples += 1
        bisect.insort(self._order, (index, answer is None, answer.key if answer else ""))
        if answer is None:
            return
        if answer.key not in self._piles:
            self._join(answer)
            self._piles[answer.key] = _Pile(answer, index, (-weight, index))
        self._piles[answer.key].add(answer, index, weight)

    def _join(self, answer: Answer) -> None:
        verdicts = {key: self._one(_named(answer.key), _named(key)) for key in self._piles}
        self._classes.append({answer.key})
        for key, verdict in verdicts.items():
            if verdict:
                self._merge(key, answer.key)
        self._open += [(key, answer.key) for key, verdict in verdicts.items() if verdict is None]

    def _merge(self, *keys: str) -> None:
        touched = [group for group in self._classes if group.intersection(keys)]
        self._classes = [group for group in self._classes if group not in touched]
        self._classes.append(set().union(*touched))

    def _one(self, a: Answer, b: Answer) -> bool | None:
        verdicts = self.space.same(a, b), self.space.same(b, a)
        if False in verdicts:
            return False
        return None if None in verdicts else True

    def undecided(self) -> tuple[tuple[Answer, Answer], ...]:
        """The pairs of answers whose space cannot tell at once whether they are one, classes that are one left out."""
        classes = {key: place for place, group in enumerate(self._classes) for key in group}
        self._open = [(a, b) for a, b in self._open if classes[a] != classes[b]]
        return tuple((_named(a), _named(b)) for a, b in self._open)

    def decide(self, pairs: Sequence[tuple[Answer, Answer]], verdicts: Sequence[bool]) -> None:
        """Take in which of these pairs are one, in both directions; the others are not asked about again."""
        for (a, b), one in zip(pairs, verdicts, strict=True):
            if one:
                self._merge(a.key, b.key)
        decided = {frozenset((a.key, b.key)) for a, b in pairs}
        self._open = [pair for pair in self._open if frozenset(pair) not in decided]

    def standing(self) -> Standing:
        """The classes, winner first."""
        weightless = all(pile.weights[-1] == 0 for pile in self._piles.values())
        ranked: list[tuple[float, int, Vote]] = []
        for group in self._classes:
            piles = [self._piles[key] for key in group]
            weights = piles[0].weights if len(piles) == 1 else sorted(w for pile in piles for w in pile.weights)
            best = min(piles, key=lambda pile: pile.heaviest)
            first = min(pile.first for pile in piles)
            if weightless:
                weight = float(len(weights))
            elif self.by == "max":
                weight, first = weights[-1], best.heaviest[1]
            else:
                weight = math.fsum(weights)
            ranked.append((-weight, first, Vote(best.answer, weight, len(weights))))
        ranked.sort(key=lambda row: row[:2])
        votes = tuple(vote for _, _, vote in ranked)
        tied = len(votes) > 1 and votes[0].weight == votes[1].weight
        return Standing(votes, self._samples, tied, self._streak(), self.most)

    def _streak(self) -> int:
        latest = [None if silent else key for _, silent, key in self._order[: -LONGEST_STREAK - 1 : -1]]
        one = next((group for group in self._classes if latest[0] in group), set()) if latest else set[str]()
        return next((place for place, key in enumerate(latest) if key not in one), len(latest))


def _named(key: str) -> Answer:
    """An answer that stands for all of one key, whichever of them came first."""
    return Answer(key, key)
