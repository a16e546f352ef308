"""The expected length of a sequence while others still run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_evals.stats.lengths import expected_length

LENGTHS = st.lists(st.integers(1, 40_000), min_size=1, max_size=60)


@given(LENGTHS)
def test_when_all_have_ended_it_is_the_mean(ended: list[int]) -> None:
    assert expected_length(ended, []) == pytest.approx(np.mean(ended))


@given(LENGTHS, LENGTHS)
def test_what_still_runs_makes_it_longer(ended: list[int], running: list[int]) -> None:
    both = expected_length(ended, running)
    assert both >= np.mean(ended + running) * (1 - 1e-9)
    assert both <= expected_length(ended, [2 * length for length in running]) + 1e-6


def test_half_of_those_in_flight_tell_the_length_of_all() -> None:
    lengths = np.random.default_rng(0).gamma(4, 2000, 2000)
    cut = float(np.median(lengths))
    ended = [round(length) for length in lengths if length <= cut]
    running = [round(cut)] * (len(lengths) - len(ended))
    assert np.mean(ended) < 0.7 * 8000
    assert expected_length(ended, running) == pytest.approx(8000, rel=0.15)
