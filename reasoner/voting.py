"""Votes by equivalence class, with an outcome that does not depend on the order of arrival, and votes in words."""

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from typing import Any, Literal

from reasoner.system.printing import counted, printable
from reasoner.types import Answer, AnswerSpace, Blocks, Vote, VoteState

__all__ = ["MAX_STREAK", "Tally"]

MAX_STREAK = 64
"""Samples that are searched for a streak of equal answers, latest first."""
MAX_COMPARISONS = 10_000
"""Maximum pairs of answers that one tally returns. Only garbage answers come near this limit."""
MAX_ANSWERS = 6
"""Answers that the vote line names."""
MAX_TIED = 3
"""Answers that a tie names."""
MAX_ANSWER_LENGTH = 32
"""Characters of an answer that are shown."""


@dataclass(slots=True, eq=False)
class _AnswerClass:
    """The votes for equal answers: count, exact weight, first index and heaviest member."""

    keys: set[str]
    answer: Answer
    first: int
    heaviest: tuple[float, int, str]
    total: Fraction | int = 0
    count: int = 0
    row: tuple[float, int, str] = (0.0, 0, "")
    """Its sort key: minus its weight, the index that breaks ties, a key."""

    def add(self, answer: Answer, index: int, weight: float) -> None:
        # Integers for whole weights, as in a plain vote: fractions take ten times as long.
        self.total += int(weight) if weight == int(weight) else Fraction(weight)
        self.count += 1
        self._take((-weight, index, answer.key), answer, index)

    def absorb(self, other: "_AnswerClass") -> None:
        self.keys |= other.keys
        self.total += other.total
        self.count += other.count
        self._take(other.heaviest, other.answer, other.first)

    def _take(
        self, heaviest: tuple[float, int, str], answer: Answer, first: int
    ) -> None:
        self.first = min(self.first, first)
        if heaviest < self.heaviest:
            self.heaviest, self.answer = heaviest, answer


@dataclass(slots=True)
class _Block:
    """The keys at home in one block and its guests; `slow_...` are keys with blocks that a worker had to find."""

    home: list[str] = field(default_factory=list)
    guests: list[str] = field(default_factory=list)
    slow_home: list[str] = field(default_factory=list)
    slow_guests: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """The votes of one question (self-consistency: Wang 2022, 2203.11171).

    Two answers are in one class if their keys are equal or if their space accepts them in both directions; classes are
    closed under transitivity. Only answers that share a block are compared, by their keys. Answers that the space
    cannot compare at once remain separate until `set_blocks` and `decide` get the results, which `count_votes` asks
    for. Abstentions count as samples but not as votes. Ties go to the earliest launch index. Weights are 0 or more; if
    all are 0 the majority decides. A class is represented by its heaviest member, the earliest of equals. Its weight is
    the sum of its members' weights; with `by` "max" it is the largest, and its launch index breaks ties.
    """

    space: AnswerSpace
    by: Literal["sum", "max"] = "sum"
    max_samples: int = 0
    """The total number of samples to come; 0 if unknown."""
    _classes: dict[str, _AnswerClass] = field(default_factory=dict)
    _rows: list[tuple[float, int, str]] = field(default_factory=list)
    _votes: list[Vote] = field(default_factory=list)
    _weighted: bool = False
    _samples: int = 0
    _tokens: int = 0
    _order: list[tuple[int, bool, str]] = field(default_factory=list)
    _blocks: dict[str, _Block] = field(default_factory=dict)
    _unplaced: dict[str, None] = field(default_factory=dict)
    _open: dict[str, Iterator[str]] = field(default_factory=dict)
    """For each key, the keys that it must still be compared with."""
    _waiting: list[tuple[str, str]] = field(default_factory=list)
    _asked: set[frozenset[str]] = field(default_factory=set)
    _width: int = 1

    def add(
        self, answer: Answer | None, *, index: int, weight: float = 1.0, tokens: int = 0
    ) -> None:
        """Count one sample with its generated `tokens`; `index` is its launch index, `answer` None an abstention."""
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"the weight of a vote must be at least 0 (got {weight})")
        self._samples += 1
        self._tokens += tokens
        bisect.insort(
            self._order, (index, answer is None, answer.key if answer else "")
        )
        if answer is None:
            return
        if weight and not self._weighted:
            # Votes are ranked by weights instead of counts from the first weight above 0 on.
            self._weighted = True
            self._rank_all()
        known = self._classes.get(answer.key)
        if known is None:
            known = _AnswerClass(
                {answer.key}, answer, index, (-weight, index, answer.key)
            )
            self._classes[answer.key] = known
        else:
            self._unrank(known)
        fresh = not known.count
        known.add(answer, index, weight)
        self._rank(known)
        if fresh and (blocks := self.space.blocks(_named(answer.key))):
            self._join(answer.key, blocks)
        elif fresh:
            self._unplaced[answer.key] = None

    def _rank_all(self) -> None:
        self._rows, self._votes = [], []
        for group in {id(group): group for group in self._classes.values()}.values():
            self._rank(group)

    def _rank(self, group: _AnswerClass) -> None:
        weight, first = float(group.count), group.first
        if self._weighted:
            weight = float(group.total)
            if self.by == "max":
                weight, first = -group.heaviest[0], group.heaviest[1]
        group.row = (-weight, first, group.answer.key)
        index = bisect.bisect_left(self._rows, group.row)
        self._rows.insert(index, group.row)
        self._votes.insert(index, Vote(group.answer, weight, group.count))

    def _unrank(self, group: _AnswerClass) -> None:
        index = bisect.bisect_left(self._rows, group.row)
        del self._rows[index], self._votes[index]

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

    def _join(self, key: str, blocks: Blocks, *, slow: bool = False) -> None:
        """Put a new answer into its blocks, and compare it with their members, at once or later.

        `slow` means that a worker had to find the blocks: then all comparisons need one too.
        """
        home, guest = self._opened(blocks.home), self._opened(blocks.guest)
        at_once = [keys for block in home for keys in (block.home, block.guests)] + [
            block.home for block in guest
        ]
        later = [
            keys for block in home for keys in (block.slow_home, block.slow_guests)
        ]
        later += [block.slow_home for block in guest]
        unsure: list[str] = []
        for other in dict.fromkeys(() if slow else chain.from_iterable(at_once)):
            verdict = mutual(self.space, _named(key), _named(other))
            if verdict:
                self._merge(key, other)
            elif verdict is None:
                unsure.append(other)
        left = [*at_once, *later] if slow else [unsure, *later]
        # Only their members as of now: later ones are compared with this answer.
        if lists := [islice(keys, len(keys)) for keys in left if keys]:
            self._open[key] = chain.from_iterable(lists)
        for block in home:
            (block.slow_home if slow else block.home).append(key)
        for block in guest:
            (block.slow_guests if slow else block.guests).append(key)

    def _opened(self, names: Sequence[str]) -> list[_Block]:
        return [self._blocks.setdefault(name, _Block()) for name in names]

    def unplaced(self) -> tuple[Answer, ...]:
        """The answers with blocks that only a worker can find."""
        return tuple(map(_named, self._unplaced))

    def set_blocks(
        self, answers: Sequence[Answer], blocks: Sequence[Blocks | None]
    ) -> None:
        """Set the blocks of these answers; one without blocks is not compared."""
        for answer, placed in zip(answers, blocks, strict=True):
            del self._unplaced[answer.key]
            self._join(answer.key, placed or Blocks(), slow=True)

    def undecided(self) -> tuple[tuple[Answer, Answer], ...]:
        """The next pairs of answers to compare; more may follow once they are decided.

        One pair per answer at first, because most answers that meet are equal, then two, four and so on.
        """
        self._waiting = [pair for pair in self._waiting if self._apart(*pair)]
        while self._open and not self._waiting:
            self._waiting = [
                pair for key in list(self._open) for pair in self._next_pairs(key)
            ]
            self._width *= 2
        if not self._open:
            self._width = 1
        return tuple((_named(a), _named(b)) for a, b in self._waiting)

    def _next_pairs(self, key: str) -> Iterator[tuple[str, str]]:
        """The next pairs of an answer with answers of other classes."""
        left = self._width
        for other in self._open[key]:
            pair = frozenset((key, other))
            if not self._apart(key, other) or pair in self._asked:
                continue
            if len(self._asked) >= MAX_COMPARISONS:
                break
            self._asked.add(pair)
            yield other, key
            left -= 1
            if not left:
                return
        del self._open[key]

    def _apart(self, a: str, b: str) -> bool:
        return self._classes[a] is not self._classes[b]

    def decide(
        self, pairs: Sequence[tuple[Answer, Answer]], verdicts: Sequence[bool | None]
    ) -> None:
        """Set which of these pairs are equal in both directions; none of them is returned again."""
        for (a, b), same in zip(pairs, verdicts, strict=True):
            if same:
                self._merge(a.key, b.key)
        decided = {frozenset((a.key, b.key)) for a, b in pairs}
        self._waiting = [
            pair for pair in self._waiting if frozenset(pair) not in decided
        ]

    def same(self, a: Answer, b: Answer) -> bool:
        """Whether two answers are in one class, as far as they were counted and compared."""
        known, other = self._classes.get(a.key), self._classes.get(b.key)
        return a.key == b.key or (known is not None and known is other)

    def vote_state(self) -> VoteState:
        """The classes, winner first."""
        tied = len(self._rows) > 1 and self._rows[0][0] == self._rows[1][0]
        length = self._tokens / max(1, self._samples)
        return VoteState(
            tuple(self._votes),
            self._samples,
            tied,
            self._streak(),
            self.max_samples,
            length=length,
        )

    def _streak(self) -> int:
        latest = [
            None if silent else self._classes[key]
            for _, silent, key in self._order[: -MAX_STREAK - 1 : -1]
        ]
        if not latest or latest[0] is None:
            return 0
        return next(
            (index for index, group in enumerate(latest) if group is not latest[0]),
            len(latest),
        )


def mutual(space: AnswerSpace, a: Answer, b: Answer) -> bool | None:
    """Whether two answers accept each other; None if only a worker can tell."""
    verdicts = space.same(a, b), space.same(b, a)
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _named(key: str) -> Answer:
    """The same answer for all of one key, whichever came first."""
    return Answer(key, key)


@dataclass(frozen=True, slots=True)
class VoteSummary:
    """The votes of a question in words, for the progress line, the summary and JSON. A vote is a sample's answer."""

    vote_state: VoteState

    @property
    def tied(self) -> tuple[str, ...]:
        """All answers of the highest weight if there are several, the chosen one first."""
        votes = self.vote_state.votes
        return (
            tuple(vote.answer.text for vote in votes if vote.weight == votes[0].weight)
            if self.vote_state.tied
            else ()
        )

    @property
    def weighted(self) -> bool:
        """Whether any vote has a weight other than 1."""
        return any(vote.weight != vote.count for vote in self.vote_state.votes)

    @property
    def leading(self) -> str:
        """The share of the first answer, as in `4 of 6 votes`."""
        weight = f"{self.vote_state.share:.0%} of the weight"
        if not self.vote_state.samples:
            return weight
        votes, cast = self.vote_state.votes, self.vote_state.cast
        share = f"{votes[0].count if votes else 0} of {counted(cast, 'vote')}"
        return f"{share}, {weight}" if self.weighted else share

    @property
    def short(self) -> str:
        """`leading`, and whether there is a tie."""
        return f"{self.leading}, a tie" if self.tied else self.leading

    @property
    def rule(self) -> str:
        """What decided a tie; empty where there is none."""
        return (
            ("sampled first" if self.vote_state.samples else "listed first")
            if self.tied
            else ""
        )

    @property
    def tie(self) -> str:
        """Which answers tie, and why the first of them was chosen; empty where there is no tie."""
        if not self.tied:
            return ""
        names = [
            printable(text, limit=MAX_ANSWER_LENGTH) for text in self.tied[:MAX_TIED]
        ]
        more = (
            [f"{len(self.tied) - MAX_TIED} more"] if len(self.tied) > MAX_TIED else []
        )
        return f"tie of {' and '.join([*names, *more])}: {names[0]} was {self.rule}"

    @property
    def line(self) -> str:
        """The answers with their votes, the samples without an answer, and a tie."""
        votes = self.vote_state.votes
        answers = len(votes) + self.vote_state.tail.classes
        more = [f"{answers - MAX_ANSWERS:,} more"] if answers > MAX_ANSWERS else []
        line = " · ".join([*map(self._named, votes[:MAX_ANSWERS]), *more])
        if self.vote_state.samples:
            missing = self.vote_state.samples - self.vote_state.cast
            of_samples = f"{counted(self.vote_state.samples, 'sample')}, {missing} without an answer"
            line = f"{line} ({of_samples})" if votes else of_samples
        return f"{line}; {self.tie}" if self.tied else line

    def _named(self, vote: Vote) -> str:
        text = printable(vote.answer.text, limit=MAX_ANSWER_LENGTH)
        if not self.vote_state.samples:
            return f"{text} {vote.weight:.2f}"
        return f"{text} ×{vote.count}" + (
            f" (weight {vote.weight:.2f})" if self.weighted else ""
        )

    def document(self) -> dict[str, Any]:
        """The votes for JSON."""
        return {
            "votes": [
                {"answer": vote.answer.text, "weight": vote.weight, "count": vote.count}
                for vote in self.vote_state.votes
            ],
            "samples": self.vote_state.samples,
            "answered": self.vote_state.cast,
            "share": self.vote_state.share,
            "tied": bool(self.tied),
            "tie": {"answers": list(self.tied), "decided_by": self.rule}
            if self.tied
            else None,
        }
