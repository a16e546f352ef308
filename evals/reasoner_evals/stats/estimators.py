"""What k samples of a pool of N would have given, in expectation over which k were drawn; never the first k.

Each function takes a pool and sample counts `ks` and returns one value per question and count, of shape [Q, K]; NaN
where a question has fewer than k usable samples. No result depends on the order of the samples.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from reasoner.errors import UsageError, require
from reasoner_evals.stats.arrays import Floats, Ints, check_pool, check_sizes, counts

DRAWS = 200
"""Random subsets per question and count where there are too many to go through all."""
NEAR = 1e-9
"""Sums of weights that differ by this share of the larger are a tie: they depend on the order of addition."""
_CELLS = 1 << 18
"""Samples of subsets that votes are counted over at once."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that `k` of `n` samples, `c` of them right, hold a right one (Chen 2021, 2107.03374); NaN if k > n."""
    if not 0 <= c <= n or k < 1:
        raise UsageError(f"pass@k needs 0 <= c <= n and k >= 1, not n={n}, c={c}, k={k}")
    return 1 - math.comb(n - c, k) / math.comb(n, k) if k <= n else math.nan


def coverage_at_k(right: Floats, ks: Sequence[int]) -> Floats:
    """pass@k of each question: what a selection that is never wrong would get."""
    check_pool(right)
    check_sizes(ks)
    pairs, place = np.unique(np.stack(counts(right), axis=1), axis=0, return_inverse=True)
    table = np.array([[pass_at_k(int(n), int(c), k) for k in ks] for n, c in pairs])
    return table[place.ravel()]


def best_of_k(right: Floats, scores: Floats, ks: Sequence[int]) -> Floats:
    """How often the highest scored of k samples is right, exactly; ties average, samples without a score come last."""
    check_pool(right, scores)
    # Rounding must not make a share of more than 1.
    return np.clip(_highest_of_k(right, scores, ks), 0.0, 1.0)


def largest_of_k(amounts: Floats, ks: Sequence[int]) -> Floats:
    """The expected largest of k of the pool's amounts [Q, N] (NaN not usable): seconds of k samples side by side."""
    return _highest_of_k(amounts, amounts, ks)


def mean_of_k(amounts: Floats, ks: Sequence[int], *, once: Floats | float = 0.0) -> Floats:
    """The expected total of k of the pool's amounts [Q, N] (NaN not usable), and `once` per question: the prompt."""
    check_sizes(ks)
    usable = (~np.isnan(amounts)).sum(axis=1)
    mean = np.nansum(amounts, axis=1) / np.maximum(usable, 1)
    sizes = np.asarray(ks)
    total = np.broadcast_to(once, mean.shape)[:, None] + mean[:, None] * sizes
    return np.where(usable[:, None] >= sizes, total, np.nan)


def _highest_of_k(values: Floats, scores: Floats, ks: Sequence[int]) -> Floats:
    check_sizes(ks)
    found = np.full((len(values), len(ks)), np.nan)
    for row, (value, score) in enumerate(zip(values, scores, strict=True)):
        usable = ~np.isnan(value)
        if not usable.any():
            continue
        rank = np.where(np.isnan(score), -np.inf, score)[usable]
        order = np.argsort(-rank, kind="stable")
        rank = rank[order]
        starts = np.flatnonzero(np.append(True, rank[1:] != rank[:-1]))
        edges = np.append(starts, len(rank))
        means = np.add.reduceat(value[usable][order], starts) / np.diff(edges)
        none_above = _none_of(len(rank), tuple(ks))[:, edges]
        found[row] = (none_above[:, :-1] - none_above[:, 1:]) @ means
    return found


@lru_cache(maxsize=256)
def _none_of(n: int, ks: tuple[int, ...]) -> Floats:
    """The chance that k of n samples hold none of the first j, for j from 0 to n: [K, n + 1]."""
    return np.array([[math.comb(n - j, k) / math.comb(n, k) if k <= n else np.nan for j in range(n + 1)] for k in ks])


@dataclass(frozen=True, slots=True)
class Votes:
    """What votes of k samples give: both arrays are [Q, K]."""

    right: Floats
    """How often the winning class is right; a tie counts as the mean of the tied classes, no vote at all as 0."""
    tied: Floats
    """How often classes tie for the first place."""


def majority_at_k(right: Floats, answers: Ints, ks: Sequence[int], *, seed: int = 0, draws: int = DRAWS) -> Votes:
    """The vote of k samples (self-consistency: Wang 2022, 2203.11171) over all subsets, or `draws` random ones."""
    check_pool(right, answers)
    return _votes(right, answers, None, ks, seed=seed, draws=draws)


def weighted_at_k(
    right: Floats, answers: Ints, scores: Floats, ks: Sequence[int], *, seed: int = 0, draws: int = DRAWS
) -> Votes:
    """The vote of k samples by total score (Li 2022, 2206.02336) over all subsets, or `draws` random ones.

    Scores are 0 or more. Samples without one do not vote; where all scores are 0, or there is none, the majority
    decides, as `best_of_n:selector=weighted` does.
    """
    check_pool(right, answers, scores)
    if np.any(scores < 0) or np.any(np.isinf(scores)):
        raise UsageError("a vote weighs 0 or more and is finite: the scores hold other values")
    return _votes(right, answers, scores, ks, seed=seed, draws=draws)


def _votes(right: Floats, answers: Ints, scores: Floats | None, ks: Sequence[int], *, seed: int, draws: int) -> Votes:
    check_sizes(ks)
    require(draws, "draws", at_least=DRAWS)
    lost = np.isnan(right)
    # Brought into one order first, so that random subsets do not depend on the order of arrival.
    order = np.lexsort((right, right if scores is None else scores, answers, lost), axis=1)
    correct, classes = np.take_along_axis(right, order, axis=1), np.take_along_axis(answers, order, axis=1)
    ranked = None if scores is None else np.take_along_axis(scores, order, axis=1)
    usable = (~lost).sum(axis=1)
    value, tied = np.full((2, len(right), len(ks)), np.nan)
    for n in np.unique(usable).tolist():
        alike, at_once = np.flatnonzero(usable == n), max(_CELLS // (draws * max(n, 1)), 1)
        for rows in np.split(alike, range(at_once, len(alike), at_once)):
            levels, marks = _levels(correct[rows, :n], classes[rows, :n], None if ranked is None else ranked[rows, :n])
            keys = np.stack([np.random.default_rng((seed, row)).random((draws, n)) for row in rows.tolist()])
            lowest = np.sort(keys, axis=-1)
            for column, k in enumerate(ks):
                if k <= n:
                    every = math.comb(n, k) <= max(draws, n)
                    # The samples of the k lowest keys are a random subset.
                    subsets = _subsets(n, k) if every else (keys <= lowest[..., k - 1 : k]).astype(np.float64)
                    value[rows, column], tied[rows, column] = _outcome(subsets, levels, marks)
    return Votes(np.clip(value, 0.0, 1.0), tied)


def _levels(right: Floats, classes: Ints, scores: Floats | None) -> tuple[list[Floats], Floats]:
    """What each sample adds to each class, as [R, n, C] in the order in which they decide, and how right each class is.

    Classes, which ascend within a row, are numbered anew; a row that has fewer than others has empty ones.
    """
    names = np.cumsum(np.diff(classes, axis=1, prepend=classes[:, :1]) != 0, axis=1)
    voting = classes >= 0
    member = ((names[..., None] == np.arange(names.max(initial=0) + 1)) & voting[..., None]).astype(np.float64)
    marks = (member * right[..., None]).sum(axis=1) / np.maximum(member.sum(axis=1), 1)
    if scores is None:
        return [member], marks
    given = ~np.isnan(scores)
    return [member * np.where(given, scores, 0.0)[..., None], member * given[..., None], member], marks


@lru_cache(maxsize=512)
def _subsets(n: int, k: int) -> Floats:
    """All subsets of k of n samples, as rows of 0 and 1."""
    chosen = np.array(list(itertools.combinations(range(n), k)))
    rows = np.zeros((len(chosen), n))
    np.put_along_axis(rows, chosen, 1.0, axis=1)
    return rows


def _outcome(subsets: Floats, levels: Sequence[Floats], marks: Floats) -> tuple[Floats, Floats]:
    """The mean correctness of the winner over subsets, [S, n] or [R, S, n], and the share of them with a tie: [R]."""
    totals = subsets @ levels[0]
    for level in levels[1:]:
        undecided = totals.max(axis=-1, keepdims=True) <= 0
        if undecided.any():
            totals = np.where(undecided, subsets @ level, totals)
    top = totals.max(axis=-1, keepdims=True)
    first = ((totals >= top * (1 - NEAR)) & (top > 0)).astype(np.float64)
    winners = first.sum(axis=-1)
    right = (first @ marks[..., None])[..., 0] / np.maximum(winners, 1)
    return right.mean(axis=-1), (winners > 1).mean(axis=-1)
