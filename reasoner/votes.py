"""Counting votes by equivalence class, with an outcome that does not depend on the order of arrival."""

import math
from dataclasses import dataclass, field

from reasoner.answers import AnswerSpace
from reasoner.types import Answer, Standing, Vote


@dataclass(frozen=True, slots=True)
class _Ballot:
    index: int
    answer: Answer
    weight: float


@dataclass(slots=True)
class Tally:
    """Votes of one question (`algorithms`: the vote of self-consistency, Wang 2022, 2203.11171).

    Two answers are one class when their keys are equal or their space says so in both directions; classes are closed
    under transitivity. Abstentions count as samples and never vote. Ties go to the earliest launch index. Weights are 0
    or more; where all are 0 the majority decides. The representative of a class is its heaviest member, earliest first.
    """

    space: AnswerSpace
    _ballots: list[_Ballot] = field(default_factory=list)
    _classes: list[set[str]] = field(default_factory=list)
    _by_key: dict[str, Answer] = field(default_factory=dict)
    _samples: int = 0

    def add(self, answer: Answer | None, *, index: int, weight: float = 1.0) -> None:
        """Count one sample: `index` is its place in launch order, `answer` None an abstention."""
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"a vote weighs 0 or more, not {weight}")
        self._samples += 1
        if answer is None:
            return
        self._ballots.append(_Ballot(index, answer, weight))
        if answer.key not in self._by_key:
            self._join(answer)

    def _join(self, answer: Answer) -> None:
        same = [group for group in self._classes if any(self._one(answer, self._by_key[key]) for key in group)]
        self._by_key[answer.key] = answer
        self._classes = [group for group in self._classes if group not in same]
        self._classes.append({answer.key}.union(*same))

    def _one(self, a: Answer, b: Answer) -> bool:
        return self.space.same(a, b) and self.space.same(b, a)

    def standing(self) -> Standing:
        """The classes, winner first."""
        class_of = {key: number for number, group in enumerate(self._classes) for key in group}
        members: dict[int, list[_Ballot]] = {}
        for ballot in self._ballots:
            members.setdefault(class_of[ballot.answer.key], []).append(ballot)
        weightless = all(ballot.weight == 0 for ballot in self._ballots)
        ranked: list[tuple[float, int, Vote]] = []
        for ballots in members.values():
            best = min(ballots, key=lambda ballot: (-ballot.weight, ballot.index))
            weight = float(len(ballots)) if weightless else math.fsum(sorted(ballot.weight for ballot in ballots))
            first = min(ballot.index for ballot in ballots)
            ranked.append((-weight, first, Vote(best.answer, weight, len(ballots))))
        ranked.sort(key=lambda row: row[:2])
        votes = tuple(vote for _, _, vote in ranked)
        tied = len(votes) > 1 and votes[0].weight == votes[1].weight
        return Standing(votes, self._samples, tied)

    def leader(self) -> Answer | None:
        """The winner's representative; None where nothing voted."""
        votes = self.standing().votes
        return votes[0].answer if votes else None
