"""Votes over recorded samples that a rule stops, followed on the virtual clock, many at once."""

from dataclasses import dataclass, field, fields
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reasoner import Answer, Cost, Vote, VoteState
from reasoner.stopping.rules import (
    MAX_WINDOW,
    STRAGGLER_LENGTH,
    Order,
    StopRule,
    smoothed_share,
    width,
)
from reasoner_evals.runs.reading import SILENT
from reasoner_evals.stats import Bools, Floats, Ints

_ROWS: Final = 10_000
"""Votes that are followed at once, to bound memory."""


@dataclass(frozen=True, slots=True)
class SampleMatrix:
    """V votes over N samples each, in launch order: each array is [V, N]."""

    right: Bools
    classes: Ints
    """Equal within a vote for equivalent answers; `SILENT` without an answer."""
    lengths: Floats
    """Generated tokens of each sample."""
    own: Floats
    """All tokens of each sample that is not cancelled, without its prompt."""

    def part(self, rows: slice, n: int) -> "SampleMatrix":
        """Some votes, over the first `n` samples."""
        return SampleMatrix(
            self.right[rows, :n],
            self.classes[rows, :n],
            self.lengths[rows, :n],
            self.own[rows, :n],
        )


class VoteOutcomes(NamedTuple):
    """How V votes ended: each array is [V]."""

    samples: Ints
    """How many samples were counted."""
    launched: Ints
    right: Bools
    """Whether the leader is right; False without a vote."""
    tokens: Floats
    """Of all samples that were launched, without their prompts; a cancelled one has those until the stop."""
    sequential: Floats
    share: Floats
    """The leader's smoothed share of the vote."""
    length: Floats
    """The mean generated tokens of the samples counted."""


@dataclass(frozen=True, slots=True)
class StoppedVote:
    """A vote of up to `n` samples with a rule or without one, as `reasoner_strategies` has it.

    The rule is asked once about each vote state, so it may depend on nothing else: costs are not available.
    """

    rule: StopRule | None
    order: Order
    n: int
    window: int
    _known: dict[bytes, tuple[bool, int]] = field(default_factory=dict, compare=False)

    def follow(self, drawn: SampleMatrix) -> VoteOutcomes:
        """How it ends on these samples; it draws the first `n`."""
        parts = [
            drawn.part(slice(at, at + _ROWS), self.n)
            for at in range(0, len(drawn.right), _ROWS)
        ]
        return VoteOutcomes(
            *(
                np.concatenate(column)
                for column in zip(*map(self._follow, parts), strict=True)
            )
        )

    def _follow(self, drawn: SampleMatrix) -> VoteOutcomes:
        votes, room = (
            _Votes.of(drawn),
            np.full(
                len(drawn.right), self._verdict(np.zeros(3, np.int16).tobytes())[1]
            ),
        )
        ended = VoteOutcomes(
            *(np.zeros(len(room), kind) for kind in (int, int, bool, *[float] * 4))
        )
        for count in range(1, self.n + 1):
            due = None if self.order == "length" else count - 1
            votes.launch(count - 1 + room, due)
            votes.take(due)
            stops = np.full(len(room), count == self.n)
            if self.rule and count < self.n:
                stops, room = self._verdicts(votes.keys(stragglers=due is None))
            over = votes.at(stops)
            for kept, values in zip(ended, over.results(drawn), strict=True):
                kept[over.row] = values
            votes, room = votes.at(~stops), room[~stops]
        return ended

    def _verdicts(self, keys: NDArray[np.int16]) -> tuple[Bools, Ints]:
        """[V] each: whether the rule stops, and how many samples may run, by the keys of vote states."""
        firsts, inverse = _distinct(keys)
        # Without trailing zeros a key does not depend on the other votes.
        known = [
            self._verdict(key[: 3 + np.count_nonzero(key[3:])].tobytes())
            for key in keys[firsts]
        ]
        verdicts = np.array(known, dtype=np.int64).reshape(-1, 2)[inverse]
        return verdicts[:, 0] == 1, verdicts[:, 1]

    def _verdict(self, key: bytes) -> tuple[bool, int]:
        if key not in self._known:
            vote_state = state_of(key, self.n)
            stops = bool(
                self.rule and vote_state.samples and self.rule.stop(vote_state, Cost())
            )
            self._known[key] = (
                stops,
                0 if stops else width(self.rule, vote_state, self.window, self.order),
            )
        return self._known[key]


@dataclass(slots=True)
class _Votes:
    """V votes that are followed, each with the same number of samples taken: arrays are [V, N], [V, C] or [V]."""

    row: Ints
    classes: Ints
    lengths: Floats
    starts: Floats
    ends: Floats
    """Infinite where a sample is not launched."""
    taken: Bools
    counts: NDArray[np.int16]
    firsts: Ints
    """The launch index of the first taken sample of each class."""
    now: Floats
    launched: Ints
    streak: Ints
    latest: Ints

    @classmethod
    def of(cls, drawn: SampleMatrix) -> "_Votes":
        """The votes before any sample is launched."""
        total, n = drawn.classes.shape
        counts = np.zeros(
            (total, max(int(drawn.classes.max(initial=0)), 0) + 1), np.int16
        )
        none, never = np.zeros(total, np.int64), np.full((total, n), np.inf)
        return cls(
            np.arange(total),
            drawn.classes,
            drawn.lengths,
            np.zeros((total, n)),
            never,
            np.zeros((total, n), bool),
            counts,
            np.full(counts.shape, n),
            np.zeros(total),
            none,
            none,
            np.full(total, SILENT),
        )

    def at(self, rows: Bools) -> "_Votes":
        """Some of them."""
        return _Votes(*(getattr(self, column.name)[rows] for column in fields(self)))

    def launch(self, until: Ints, due: int | None) -> None:
        """Launch samples up to these numbers, except where the one that is `due` has ended; by length none has."""
        column = np.arange(self.lengths.shape[1])
        if due is not None:
            until = np.where(self.ends[:, due] <= self.now, self.launched, until)
        until = np.clip(until, self.launched, len(column))
        new = (column >= self.launched[:, None]) & (column < until[:, None])
        self.starts = np.where(new, self.now[:, None], self.starts)
        self.ends = np.where(new, self.now[:, None] + self.lengths, self.ends)
        self.launched = until

    def take(self, due: int | None) -> None:
        """Count the sample of each that is `due`, by its launch index, or without one that which ends first."""
        rows = np.arange(len(self.row))
        chosen = (
            np.where(self.taken, np.inf, self.ends).argmin(axis=1)
            if due is None
            else np.full(len(rows), due)
        )
        self.taken[rows, chosen] = True
        self.now = np.maximum(self.now, self.ends[rows, chosen])
        own = self.classes[rows, chosen]
        rows, voted = rows[own != SILENT], own[own != SILENT]
        self.counts[rows, voted] += 1
        self.firsts[rows, voted] = np.minimum(
            self.firsts[rows, voted], chosen[own != SILENT]
        )
        again = np.where(own == self.latest, self.streak + 1, 1)
        self.streak, self.latest = (
            np.where(own == SILENT, 0, np.minimum(again, MAX_WINDOW)),
            own,
        )

    def keys(self, *, stragglers: bool) -> NDArray[np.int16]:
        """[V, 3 + C]: their vote states, as `state_of` reads them."""
        taken = self.taken.sum(axis=1)
        limit = STRAGGLER_LENGTH * self._length()
        running = ~self.taken & (self.ends < np.inf)
        stragglers_seen = (
            running & (self.now[:, None] - self.starts > limit[:, None])
        ).sum(axis=1) * stragglers
        heads = np.stack([taken, self.streak, stragglers_seen], axis=1)
        keys: NDArray[np.int16] = np.concatenate(
            [heads, -np.sort(-self.counts, axis=1)], axis=1
        ).astype(np.int16)
        return keys

    def _length(self) -> Floats:
        """[V]: the mean length of the samples taken, one or more."""
        return np.asarray(
            np.where(self.taken, self.lengths, 0).sum(axis=1) / self.taken.sum(axis=1)
        )

    def results(self, drawn: SampleMatrix) -> VoteOutcomes:
        """How they end if all of them stop now."""
        samples, top = self.taken.sum(axis=1), self.counts.max(axis=1)
        # Ties go to the class of the member that was launched first; it represents the class.
        leader = np.where(
            self.counts == top[:, None], self.firsts, self.lengths.shape[1]
        ).min(axis=1)
        right = drawn.right[self.row, np.minimum(leader, self.lengths.shape[1] - 1)] & (
            top > 0
        )
        until_now = np.where(self.ends < np.inf, self.now[:, None] - self.starts, 0)
        paid = np.where(
            self.ends <= self.now[:, None], drawn.own[self.row], until_now
        ).sum(axis=1)
        share = smoothed_share(top, samples)
        return VoteOutcomes(
            samples, self.launched, right, paid, self.now, share, self._length()
        )


def state_of(key: bytes, max_samples: int) -> VoteState:
    """The vote state of 16-bit numbers: samples, streak, stragglers, then the counts of the votes, descending.

    Its answers are placeholders.
    """
    samples, streak, stragglers, *counts = np.frombuffer(key, dtype=np.int16).tolist()
    votes = tuple(
        Vote(Answer(str(rank), str(rank)), float(count), count)
        for rank, count in enumerate(counts)
    )
    tied = len(counts) > 1 and counts[0] == counts[1]
    return VoteState(votes, samples, tied, streak, max_samples, stragglers=stragglers)


def _distinct(rows: NDArray[np.int16]) -> tuple[Ints, Ints]:
    """The indices of distinct rows, and for each row which of them it equals.

    As `np.unique` by rows, but several times as fast: it sorts integers, four columns at a time.
    """
    words = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).view(np.int64)
    firsts, same = np.arange(len(rows[:1])), np.zeros(len(rows), dtype=np.int64)
    for word in words.T:
        _, numbers = np.unique(word, return_inverse=True)
        _, firsts, same = np.unique(
            same * (numbers.max(initial=0) + 1) + numbers,
            return_index=True,
            return_inverse=True,
        )
    return firsts, same
