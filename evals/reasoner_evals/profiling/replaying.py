"""Pools looked at again, sample by sample and in many orders: what a vote that stops would have come to."""

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from reasoner.budget import Cost
from reasoner.controller.stopping import smoothed_share
from reasoner.protocols import StopRule
from reasoner.types import Answer, Standing, Vote
from reasoner.votes import LONGEST_STREAK
from reasoner_evals.runs.arrays import SILENT, Bools, Floats, Ints

T = TypeVar("T", bound=np.generic)

ORDERS: Final = 20
"""Random orders of each pool, or all of them where there are no more than `ALL_ORDERS`."""
ALL_ORDERS: Final = 120
_BLOCK: Final = 64
"""Questions that are replayed at once: what is held in memory."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The samples of Q questions, N each, in the order in which they were launched."""

    right: Bools
    """[Q, N]."""
    classes: Ints
    """[Q, N]: equal within a question where answers are one; `SILENT` where there is none."""
    own: Floats
    """[Q, N]: the tokens of each sample, those of its prompt left out."""
    once: Floats
    """[Q]: prompt tokens that the first sample computes."""
    again: Floats
    """[Q]: prompt tokens that every further one does."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Q pools in R orders, after 1 to N samples: arrays are [Q, R, N]."""

    right: Bools
    """Whether the leader is right; False where nothing voted."""
    tokens: Floats
    """What launching so many cost."""
    share: Floats
    """The leader's smoothed share: its votes and one more, of the samples and two more."""
    places: Ints
    """Which of `standings` it is."""
    standings: tuple[Standing, ...]
    """All that occur, each once; their answers are stand-ins."""


def recorded_order(drawn: Drawn) -> Ints:
    """[Q, 1, N]: the order of launch alone."""
    questions, n = drawn.classes.shape
    return np.broadcast_to(np.arange(n), (questions, 1, n))


def random_orders(ids: Sequence[str], n: int) -> Ints:
    """[Q, R, n]: all orders of few samples, else `ORDERS` of them that depend on nothing but the question's id."""
    if math.factorial(min(n, 20)) <= ALL_ORDERS:
        every = np.array(list(itertools.permutations(range(n))))
        return np.broadcast_to(every, (len(ids), *every.shape))
    rows = np.tile(np.arange(n), (ORDERS, 1))
    return np.stack([np.random.default_rng(_seed(one)).permuted(rows, axis=1) for one in ids])


def _seed(question_id: str) -> int:
    text = question_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def replay(drawn: Drawn, orders: Ints) -> Replay:
    """Look at pools in these orders, [Q, R, N]."""
    known: dict[bytes, int] = {}
    blocks = [_block(drawn, orders, slice(at, at + _BLOCK), known) for at in range(0, len(orders), _BLOCK)]
    right, tokens, share, places = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    n = orders.shape[-1]
    return Replay(right, tokens, share, places, tuple(_standing(key, n) for key in known))


def _block(drawn: Drawn, orders: Ints, rows: slice, known: dict[bytes, int]) -> tuple[Bools, Floats, Floats, Ints]:
    order = orders[rows]
    classes, right = _ordered(drawn.classes[rows], order), _ordered(drawn.right[rows], order)
    own = _ordered(drawn.own[rows], order)
    n = order.shape[-1]
    member = classes[..., None] == np.arange(max(int(classes.max()), 0) + 1)
    counts = member.cumsum(axis=2, dtype=np.int16)
    first = member.argmax(axis=2)
    # Ties go to the class whose first member was launched first, and that member speaks for it.
    leader = (counts.astype(np.int64) * (n + 1) - first[:, :, None, :]).argmax(axis=-1)
    top = counts.max(axis=-1)
    speaker = np.take_along_axis(first, leader, axis=-1)
    samples = np.arange(1, n + 1)
    tokens = own.cumsum(axis=-1) + drawn.once[rows, None, None] + drawn.again[rows, None, None] * (samples - 1)
    keys = np.concatenate(
        [np.broadcast_to(samples, top.shape)[..., None], _streaks(classes)[..., None], -np.sort(-counts, axis=-1)],
        axis=-1,
    ).astype(np.int16)
    found, place = np.unique(keys.reshape(-1, keys.shape[-1]), axis=0, return_inverse=True)
    # Without the zeros at its end a key is the same whatever else its block holds.
    numbers = [known.setdefault(_trimmed(key), len(known)) for key in found]
    places = np.array(numbers)[place.ravel()].reshape(top.shape)
    return np.take_along_axis(right, speaker, axis=-1) & (top > 0), tokens, smoothed_share(top, samples), places


def _ordered(values: NDArray[T], order: Ints) -> NDArray[T]:
    """[q, R, N]: the values [q, N] of each question in each of its orders."""
    return np.take_along_axis(np.broadcast_to(values[:, None], order.shape), order, axis=-1)


def _streaks(classes: Ints) -> Ints:
    """How many of the latest samples agree, after each one; 0 where the latest has no answer."""
    streak = np.zeros_like(classes)
    streak[..., 0] = classes[..., 0] != SILENT
    for at in range(1, classes.shape[-1]):
        same = classes[..., at] == classes[..., at - 1]
        streak[..., at] = np.where(classes[..., at] == SILENT, 0, np.where(same, streak[..., at - 1] + 1, 1))
    return np.minimum(streak, LONGEST_STREAK)


def _trimmed(key: Ints) -> bytes:
    return key[: 2 + np.count_nonzero(key[2:])].tobytes()


def _standing(key: bytes, most: int) -> Standing:
    samples, streak, *counts = np.frombuffer(key, dtype=np.int16).tolist()
    votes = tuple(Vote(Answer(str(rank), str(rank)), float(count), count) for rank, count in enumerate(counts))
    return Standing(votes, samples, len(counts) > 1 and counts[0] == counts[1], streak, most)


def stops(replayed: Replay, rule: StopRule) -> Ints:
    """[Q, R]: how many samples had been looked at when the rule ended it, all of them where it did not.

    A rule is asked once about each standing: it has to go by that alone, as what a sample costs is not told.
    """
    questions, orders, n = replayed.places.shape
    places, verdicts = replayed.places.reshape(-1, n), np.full(len(replayed.standings), -1, dtype=np.int8)
    looked, open_rows = np.full(len(places), n), np.arange(len(places))
    for at in range(n):
        here = places[open_rows, at]
        for one in np.unique(here[verdicts[here] < 0]).tolist():
            verdicts[one] = rule.stop(replayed.standings[one], Cost()) is not None
        ended = verdicts[here] == 1
        looked[open_rows[ended]] = at + 1
        open_rows = open_rows[~ended]
    return looked.reshape(questions, orders)


def taken(values: Floats | Bools, after: Ints) -> Floats:
    """[Q, R]: of values [Q, R, N], those after so many samples."""
    return np.take_along_axis(values, after[..., None] - 1, axis=-1)[..., 0].astype(np.float64)


def sizes_of(pool: int) -> Iterator[int]:
    """The numbers of samples that a pool gives rows for: 1, 3, powers of two from 4, and all of it."""
    yield from (size for size in (1, 3, *(1 << power for power in range(2, pool.bit_length()))) if size < pool)
    yield pool
