"""The expected results of k samples of a pool of N, over which k are drawn.

Estimators take a pool and sample counts `ks` and return one value per question and count, of shape [Q, K]; NaN if a
question has fewer than k usable samples. No result depends on the order of the samples.
"""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from reasoner_evals.stats import Floats, Ints

DRAWS = 200
"""Random subsets per question and count if there are too many to enumerate."""


def ranks(values: Floats) -> Floats:
    """The ranks of [n] values in ascending order, from 1; equal values share their mean rank.

    Like scipy.stats.rankdata, without its import of a second.
    """
    _, inverse, size = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(size) - (size - 1) / 2)[inverse]


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that `k` of `n` samples, `c` of them right, hold a right one (Chen 2021, 2107.03374); NaN if k > n."""
    return 1 - math.comb(n - c, k) / math.comb(n, k) if k <= n else math.nan


def coverage_at_k(right: Floats, ks: Sequence[int]) -> Floats:
    """pass@k of each question: the accuracy of a selection that is never wrong."""
    counts = np.stack(
        [(~np.isnan(right)).sum(axis=1), np.nansum(right, axis=1).astype(np.int64)],
        axis=1,
    )
    pairs, inverse = np.unique(counts, axis=0, return_inverse=True)
    table = np.array([[pass_at_k(int(n), int(c), k) for k in ks] for n, c in pairs])
    return table[inverse.ravel()]


def best_of_k(right: Floats, scores: Floats, ks: Sequence[int]) -> Floats:
    """How often the highest scored of k samples is right, exactly; ties average, samples without a score come last."""
    expected = np.full((len(right), len(ks)), np.nan)
    for row, (correct, score) in enumerate(zip(right, scores, strict=True)):
        usable = ~np.isnan(correct)
        if not usable.any():
            continue
        comparable = np.where(np.isnan(score), -np.inf, score)[usable]
        order = np.argsort(-comparable, kind="stable")
        ranked = comparable[order]
        starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
        edges = np.append(starts, len(ranked))
        means = np.add.reduceat(correct[usable][order], starts) / np.diff(edges)
        none_above = _none_of(len(ranked), tuple(ks))[:, edges]
        expected[row] = (none_above[:, :-1] - none_above[:, 1:]) @ means
    # Rounding must not make a share of more than 1.
    return np.clip(expected, 0.0, 1.0)


@lru_cache(maxsize=256)
def _none_of(n: int, ks: tuple[int, ...]) -> Floats:
    """The chance that k of n samples hold none of the first j, for j from 0 to n: [K, n + 1]."""
    return np.array(
        [
            [
                math.comb(n - j, k) / math.comb(n, k) if k <= n else np.nan
                for j in range(n + 1)
            ]
            for k in ks
        ]
    )


def votes_at_k(
    right: Floats, answers: Ints, ks: Sequence[int], scores: Floats | None = None
) -> Floats:
    """How often the vote of k samples is right, over all subsets or `DRAWS` random ones; ties average, no vote is 0.

    By number (self-consistency: Wang 2022, 2203.11171), or with scores by total score (Li 2022, 2206.02336). These are
    0 or more. Samples without one do not vote; if all scores are 0 or missing, the majority decides, as
    `best_of_n:selector=weighted` does.
    """
    lost = np.isnan(right)
    # Sorted first, so that random subsets do not depend on the order of the samples.
    order = np.lexsort(
        (right, right if scores is None else scores, answers, lost), axis=1
    )
    correct, classes = (
        np.take_along_axis(right, order, axis=1),
        np.take_along_axis(answers, order, axis=1),
    )
    ranked = None if scores is None else np.take_along_axis(scores, order, axis=1)
    usable = (~lost).sum(axis=1)
    value = np.full((len(right), len(ks)), np.nan)
    for n in np.unique(usable).tolist():
        alike, at_once = (
            np.flatnonzero(usable == n),
            # Samples of subsets that are counted at once, to bound memory
            max((1 << 18) // (DRAWS * max(n, 1)), 1),
        )
        for rows in np.split(alike, range(at_once, len(alike), at_once)):
            levels, marks = _levels(
                correct[rows, :n],
                classes[rows, :n],
                None if ranked is None else ranked[rows, :n],
            )
            keys = np.stack(
                [
                    # One seed for the random subsets, so that a report is the same each time
                    np.random.default_rng((0, row)).random((DRAWS, n))
                    for row in rows.tolist()
                ]
            )
            lowest = np.sort(keys, axis=-1)
            for column, k in enumerate(ks):
                if k <= n:
                    every = math.comb(n, k) <= max(DRAWS, n)
                    # The samples of the k lowest keys are a random subset.
                    subsets = (
                        _subsets(n, k)
                        if every
                        else (keys <= lowest[..., k - 1 : k]).astype(np.float64)
                    )
                    value[rows, column] = _outcome(subsets, levels, marks)
    return np.clip(value, 0.0, 1.0)


def _levels(
    right: Floats, classes: Ints, scores: Floats | None
) -> tuple[list[Floats], Floats]:
    """The weight of each sample for each class, [R, n, C] for each rule in turn, and the accuracy of each class."""
    # The sorted classes of a row are renumbered from 0; rows with fewer classes are padded with empty ones.
    numbers = np.cumsum(np.diff(classes, axis=1, prepend=classes[:, :1]) != 0, axis=1)
    voting = classes >= 0
    member = (
        (numbers[..., None] == np.arange(numbers.max(initial=0) + 1))
        & voting[..., None]
    ).astype(np.float64)
    marks = (member * right[..., None]).sum(axis=1) / np.maximum(member.sum(axis=1), 1)
    if scores is None:
        return [member], marks
    scored = ~np.isnan(scores)
    return [
        member * np.where(scored, scores, 0.0)[..., None],
        member * scored[..., None],
        member,
    ], marks


@lru_cache(maxsize=512)
def _subsets(n: int, k: int) -> Floats:
    """All subsets of k of n samples, as rows of 0 and 1."""
    chosen = np.array(list(itertools.combinations(range(n), k)))
    rows = np.zeros((len(chosen), n))
    np.put_along_axis(rows, chosen, 1.0, axis=1)
    return rows


def _outcome(subsets: Floats, levels: Sequence[Floats], marks: Floats) -> Floats:
    """[R]: the mean correctness of the winner over subsets, [S, n] or [R, S, n]."""
    totals = subsets @ levels[0]
    for level in levels[1:]:
        undecided = totals.max(axis=-1, keepdims=True) <= 0
        if undecided.any():
            totals = np.where(undecided, subsets @ level, totals)
    top = totals.max(axis=-1, keepdims=True)
    # Sums of weights are tied if they differ by less than this share: the order of addition makes such
    # differences
    first = ((totals >= top * (1 - 1e-9)) & (top > 0)).astype(np.float64)
    right = (first @ marks[..., None])[..., 0] / np.maximum(first.sum(axis=-1), 1)
    mean: Floats = right.mean(axis=-1)
    return mean


def auroc(scores: Floats, right: Floats) -> float:
    """The chance that a right one scores above a wrong one, ties counting half; NaN unless there are both."""
    good = right == 1
    positive, negative = int(good.sum()), int((~good).sum())
    if not positive or not negative:
        return math.nan
    above = float(ranks(scores)[good].sum()) - positive * (positive + 1) / 2
    return above / (positive * negative)


def auroc_within(right: Floats, scores: Floats) -> Floats:
    """AUROC of each question of a pool [Q, N] over its rated samples, which selection depends on; NaN without both."""
    rated = ~np.isnan(right) & ~np.isnan(scores)
    return np.array(
        [
            auroc(score[row], correct[row]) if row.any() else math.nan
            for correct, score, row in zip(right, scores, rated, strict=True)
        ]
    )
