"""Resampling as pure functions: published values and the bounds that they keep."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_strategies._search.resampling import log_mean, logit, softmax, systematic

THETA = (0.5, 0.3, 0.15, 0.05)
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda weights: sum(weights) > 1e-3)
BELOW_1 = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(("temperature", "theta"), [(1, (0.9, 0.1)), (2, (0.75, 0.25))])
def test_weights_are_odds_to_the_power_of_the_inverse_temperature(temperature: float, theta: tuple[float]) -> None:
    assert softmax([logit(0.9) / temperature, logit(0.5) / temperature]) == pytest.approx(theta)


@pytest.mark.parametrize(("u", "indices"), [(0.5, (0, 0, 1, 2)), (0.9, (0, 0, 1, 3)), (0.1, (0, 0, 1, 1))])
def test_the_published_systematic_resamplings(u: float, indices: tuple[int, ...]) -> None:
    drawn = systematic(THETA, u)
    assert drawn.indices == indices
    assert drawn.ess == pytest.approx(2.7397, abs=5e-5)


@given(SHARES, BELOW_1)
def test_systematic_resampling_rounds_the_expected_number_of_copies(weights: list[float], u: float) -> None:
    whole = math.fsum(weights)
    theta = [weight / whole for weight in weights]
    drawn = systematic(theta, u)
    copies = Counter(drawn.indices)
    assert sum(copies.values()) == len(theta)
    assert 1 - 1e-9 <= drawn.ess <= len(theta) + 1e-9
    for place, share in enumerate(theta):
        expected = len(theta) * share
        assert math.floor(expected - 1e-9) <= copies[place] <= math.ceil(expected + 1e-9)
        assert share or not copies[place]


def test_it_is_unbiased() -> None:
    source, copies, rounds = random.Random(1), Counter[int](), 4000
    for _ in range(rounds):
        copies.update(systematic(THETA, source.random()).indices)
    for place, share in enumerate(THETA):
        error = 3 * math.sqrt(share * (1 - share) / (4 * rounds))
        assert copies[place] / (4 * rounds) == pytest.approx(share, abs=error)


def test_a_position_beyond_a_sum_that_falls_short_belongs_to_the_last_with_a_share() -> None:
    assert systematic((0.5, 0.5 - 1e-12, 0.0), 1 - 1e-13).indices == (0, 1, 1)


def test_logarithms_of_extreme_ratings_are_finite() -> None:
    assert logit(1.0) == pytest.approx(-logit(0.0))
    assert logit(1.0) == pytest.approx(13.8155, abs=1e-4)
    assert logit(0.5) == 0
    assert softmax([logit(1.0) / 1e-3, None, logit(0.0) / 1e-3]) == [1, 0, 0]
    assert softmax([None, None]) == [0, 0]
    assert log_mean([math.log(1), math.log(3)]) == pytest.approx(math.log(2))
    assert log_mean([5000.0, 5000.0]) == 5000
