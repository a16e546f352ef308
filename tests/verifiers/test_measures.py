"""The AUROC of a verifier against plain enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_verifiers.fitting import auroc, pooled_auroc, within_auroc


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.9]), st.booleans()), max_size=12))
def test_auroc_is_the_share_of_pairs_in_order_ties_half(rated: list[tuple[float, bool]]) -> None:
    right, wrong = ([value for value, label in rated if label is kind] for kind in (True, False))
    pairs = [(r > w) + (r == w) / 2 for r, w in itertools.product(right, wrong)]
    assert auroc(rated) == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_a_verifier_that_knows_only_which_questions_are_hard_discriminates_over_all_and_not_within() -> None:
    easy, hard = [(0.9, True)] * 9 + [(0.9, False)], [(0.1, True)] + [(0.1, False)] * 9
    pooled, within = pooled_auroc([easy, hard]), within_auroc([easy, hard])
    assert pooled is not None
    assert within is not None
    assert pooled.value == pytest.approx(0.9)
    assert (within.value, within.low, within.high) == (0.5, 0.5, 0.5)
    assert pooled.low <= 0.9 <= pooled.high
    assert (pooled_auroc([[(0.5, True)]]), within_auroc([[(0.5, True)]])) == (None, None)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    source, held = np.random.default_rng(0), 0
    for seed in range(100):
        questions = [[(1.0, True), (float(2 * (source.random() < 0.5)), False)] for _ in range(60)]
        interval = within_auroc(questions, seed=seed)
        assert interval is not None
        held += interval.low <= 0.5 <= interval.high
    assert 88 <= held <= 100
