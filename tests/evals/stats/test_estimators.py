"""The estimators against going through all subsets, closed forms, and what must not matter."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner_evals.stats import Floats, Ints, estimators
from reasoner_evals.stats.estimators import (
    auroc,
    auroc_within,
    best_of_k,
    coverage_at_k,
    pass_at_k,
    votes_at_k,
)

NAN = math.nan
Sample = tuple[float, int, float]
"""Right, class, score."""


@st.composite
def pools(draw: st.DrawFn, *, missing: bool = True) -> list[Sample]:
    """One question's samples: classes are right or wrong as a whole, scores tie often and may be missing."""
    marks = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3))
    classes = draw(
        st.lists(st.integers(-1 if missing else 0, 2), min_size=1, max_size=7)
    )
    scores = (
        st.sampled_from([NAN, 0.0, 0.5, 1.0])
        if missing
        else st.sampled_from([0.0, 0.5, 1.0])
    )
    return [(0.0 if c < 0 else marks[c], c, draw(scores)) for c in classes]


def arrays(pool: list[Sample]) -> tuple[Floats, Ints, Floats]:
    right, classes, scores = zip(*pool, strict=True)
    return (
        np.array([right], dtype=float),
        np.array([classes], dtype=np.int64),
        np.array([scores], dtype=float),
    )


def over_subsets(
    pool: list[Sample], k: int, outcome: Callable[[tuple[Sample, ...]], float]
) -> float:
    return float(
        np.mean([outcome(subset) for subset in itertools.combinations(pool, k)])
    )


def selected(subset: tuple[Sample, ...]) -> float:
    ranks = [-math.inf if math.isnan(score) else score for _, _, score in subset]
    return float(
        np.mean(
            [
                right
                for (right, _, _), rank in zip(subset, ranks, strict=True)
                if rank == max(ranks)
            ]
        )
    )


def winners(subset: tuple[Sample, ...], *, weighted: bool) -> list[float]:
    """The correctness of every class in first place."""
    voters = [sample for sample in subset if sample[1] >= 0]
    rated = [sample for sample in voters if not math.isnan(sample[2])]
    if weighted and any(score > 0 for _, _, score in rated):
        ballots = [(right, name, score) for right, name, score in rated]
    else:
        ballots = [
            (right, name, 1.0)
            for right, name, _ in (rated if weighted and rated else voters)
        ]
    totals: dict[int, float] = defaultdict(float)
    for _, name, weight in ballots:
        totals[name] += weight
    marks = {name: right for right, name, _ in ballots}
    return [
        marks[name] for name, total in totals.items() if total == max(totals.values())
    ]


def elected(subset: tuple[Sample, ...], *, weighted: bool) -> float:
    first = winners(subset, weighted=weighted)
    return float(np.mean(first)) if first else 0.0


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.integers(1, 9))
@settings(deadline=None)
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(
    samples: list[bool], k: int
) -> None:
    found = pass_at_k(len(samples), sum(samples), k)
    if k > len(samples):
        assert math.isnan(found)
    else:
        assert found == pytest.approx(
            np.mean([any(subset) for subset in itertools.combinations(samples, k)])
        )


@given(pools())
@settings(deadline=None)
def test_best_of_k_is_the_mean_over_all_subsets_with_ties_averaged(
    pool: list[Sample],
) -> None:
    right, _, scores = arrays(pool)
    ks = range(1, len(pool) + 1)
    assert best_of_k(right, scores, ks)[0] == pytest.approx(
        [over_subsets(pool, k, selected) for k in ks]
    )


@given(pools(), st.booleans())
@settings(deadline=None)
def test_votes_are_the_mean_over_all_subsets_where_these_are_few(
    pool: list[Sample], weighted: bool
) -> None:
    right, answers, scores = arrays(pool)
    ks = range(1, len(pool) + 1)
    votes = votes_at_k(right, answers, ks, scores if weighted else None)
    value = [over_subsets(pool, k, lambda s: elected(s, weighted=weighted)) for k in ks]
    assert votes[0] == pytest.approx(value)


@given(st.lists(pools(), min_size=1, max_size=5), st.booleans())
@settings(deadline=None)
def test_the_vote_on_a_question_is_its_own_whatever_is_beside_it(
    rows: list[list[Sample]], weighted: bool
) -> None:
    width = max(map(len, rows))
    lost: Sample = (NAN, 1, 0.5)
    gather = [arrays([*row, *[lost] * (width - len(row))]) for row in rows]
    right, answers, scores = (
        np.concatenate(column) for column in zip(*gather, strict=True)
    )
    ks = range(1, width + 1)
    votes = votes_at_k(right, answers, ks, scores if weighted else None)
    for place, row in enumerate(rows):
        own_right, own_answers, own_scores = arrays(row)
        single = votes_at_k(
            own_right, own_answers, ks, own_scores if weighted else None
        )
        assert votes[place] == pytest.approx(single[0], nan_ok=True)
        assert np.isnan(votes[place]).tolist() == [k > len(row) for k in ks]


def large_pool(
    seed: int, questions: int = 30, samples: int = 24
) -> tuple[Floats, Ints, Floats]:
    source = np.random.default_rng(seed)
    answers = np.minimum(
        source.integers(-1, 6, (questions, samples)),
        source.integers(0, 6, (questions, samples)),
    )
    right = (answers == 0).astype(float)
    return (
        right,
        answers,
        np.round(source.random((questions, samples)) / 2 + right / 4, 2),
    )


def test_random_subsets_are_near_the_mean_over_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right, answers, scores = large_pool(1, samples=14)
    few = [votes_at_k(right, answers, [3, 5], rated) for rated in (scores, None)]
    monkeypatch.setattr(estimators, "DRAWS", math.comb(14, 5))
    exact = [votes_at_k(right, answers, [3, 5], rated) for rated in (scores, None)]
    for near, true in zip(few, exact, strict=True):
        assert np.abs(near - true).max() < 5 * 0.5 / math.sqrt(200)
        assert np.abs((near - true).mean(axis=0)).max() < 5 * 0.5 / math.sqrt(200 * 30)


def test_the_order_of_the_samples_changes_nothing() -> None:
    right, answers, scores = large_pool(2)
    order = np.random.default_rng(3).permuted(np.tile(np.arange(24), (30, 1)), axis=1)
    other_right, other_scores = (
        np.take_along_axis(right, order, axis=1),
        np.take_along_axis(scores, order, axis=1),
    )
    other_answers = np.take_along_axis(answers, order, axis=1)
    ks = [1, 2, 5, 12, 23, 24]
    assert np.array_equal(coverage_at_k(right, ks), coverage_at_k(other_right, ks))
    assert np.array_equal(
        best_of_k(right, scores, ks), best_of_k(other_right, other_scores, ks)
    )
    for ours, theirs in ((None, None), (scores, other_scores)):
        assert np.array_equal(
            votes_at_k(right, answers, ks, ours),
            votes_at_k(other_right, other_answers, ks, theirs),
        )


def test_sums_that_differ_by_rounding_are_tied() -> None:
    right, answers, scores = arrays([(1.0, 0, 0.1), (1.0, 0, 0.2), (0.0, 1, 0.3)])
    assert votes_at_k(right, answers, [3], scores)[0, 0] == 0.5


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 1.0])),
        min_size=1,
    )
)
@settings(deadline=None)
def test_auroc_is_the_share_of_pairs_in_order_with_ties_half(
    rows: list[tuple[float, float]],
) -> None:
    pairs = [
        (a > b) + (a == b) / 2
        for (a, x), (b, y) in itertools.product(rows, rows)
        if x > y
    ]
    scores, right = np.array(rows).T
    found = auroc(scores, right)
    assert found == pytest.approx(np.mean(pairs)) if pairs else math.isnan(found)


def test_discrimination_within_a_question_is_blind_to_how_hard_questions_are() -> None:
    right = np.array(
        [[1.0, 0.0, 1.0], [0.0, 1.0, NAN], [1.0, 1.0, 1.0], [NAN, NAN, NAN]]
    )
    scores = np.array(
        [[0.3, 0.1, NAN], [0.9, 0.8, 0.1], [0.5, 0.2, 0.1], [0.1, 0.2, 0.3]]
    )
    assert np.array_equal(
        auroc_within(right, scores), [1.0, 0.0, NAN, NAN], equal_nan=True
    )
