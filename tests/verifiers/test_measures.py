"""Measures of a verifier against closed forms and plain enumeration."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_verifiers.fitting.measures import Rated, auroc, estimate, pooled_auroc, selection, within_auroc
from tests.helpers import answer


def one(key: str | None, *, right: bool = False, value: float | None = 0.5) -> Rated:
    return Rated(None if key is None else answer(key), right, None if key is None else value)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.9]), st.booleans()), max_size=12))
def test_auroc_is_the_share_of_pairs_in_order_ties_half(rows: list[tuple[float, bool]]) -> None:
    right, wrong = ([value for value, label in rows if label is kind] for kind in (True, False))
    pairs = [(r > w) + (r == w) / 2 for r, w in itertools.product(right, wrong)]
    found = auroc([value for value, _ in rows], [label for _, label in rows])
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_a_verifier_that_knows_only_which_questions_are_hard_discriminates_over_all_and_not_within() -> None:
    easy = [one("7", right=True, value=0.9)] * 9 + [one("8", value=0.9)]
    hard = [one("7", right=True, value=0.1)] + [one("8", value=0.1)] * 9
    pooled, within = pooled_auroc([easy, hard]), within_auroc([easy, hard])
    assert pooled is not None
    assert within is not None
    assert pooled.value == pytest.approx(0.9)
    assert within.value == 0.5


def test_where_all_answers_are_alike_there_is_nothing_to_tell() -> None:
    group = [one("7", right=True), one(None)]
    assert (pooled_auroc([group]), within_auroc([group])) == (None, None)


def test_selection_against_cases_done_by_hand() -> None:
    voted = [one("7", right=True, value=0.2), one("7", right=True, value=0.2), one("8", value=0.9)]
    rescued = [one("7", right=True, value=0.9), one("8", value=0.2), one("8", value=0.2)]
    silent = [one(None), one(None), one("8", value=0.4)]
    found = selection([voted, rescued, silent], 3)
    assert found.random.value == pytest.approx((2 / 3 + 1 / 3) / 3)
    assert found.majority.value == pytest.approx(1 / 3)
    assert found.argmax.value == pytest.approx(1 / 3)
    assert found.weighted.value == pytest.approx(1 / 3)
    assert found.coverage.value == pytest.approx(2 / 3)
    assert found.argmax_gain.value == found.weighted_gain.value == pytest.approx(0)


def test_one_sample_is_chance_whatever_selects() -> None:
    source = random.Random(0)
    groups = [[one("7", right=r < 4, value=source.random()) if r < 8 else one(None) for r in range(10)]] * 30
    found = selection(groups, 1)
    assert found.random.value == pytest.approx(0.4, abs=0.03)
    for other in (found.majority, found.argmax, found.weighted, found.coverage):
        assert other.value == pytest.approx(found.random.value)


def test_a_perfect_verifier_reaches_coverage() -> None:
    groups = [
        [one(str(k), right=k == 0, value=float(k == 0)) for k in random.Random(s).choices(range(4), k=6)]
        for s in range(40)
    ]
    found = selection(groups, 6)
    assert found.argmax.value == found.weighted.value == found.coverage.value
    assert found.argmax_gain.low > 0


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    source = np.random.default_rng(0)
    held = 0
    for round_ in range(200):
        low, high = estimate(source.random(60).tolist(), seed=round_)[1:]
        held += low <= 0.5 <= high
    assert 180 <= held <= 199
