"""Resampling as pure functions: published values and the bounds that they keep."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner_strategies._search.resampling import (
    annealing,
    effective,
    log_mean,
    logit,
    multinomial,
    softmax,
    systematic,
)

THETA = (0.5, 0.3, 0.15, 0.05)
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda weights: sum(weights) > 1e-3)
BELOW_1 = st.floats(0, 1, exclude_max=True)


def normal(weights: list[float]) -> list[float]:
    whole = math.fsum(weights)
    return [weight / whole for weight in weights]


@pytest.mark.parametrize(("temperature", "theta"), [(1, (0.9, 0.1)), (2, (0.75, 0.25))])
def test_weights_are_odds_to_the_power_of_the_inverse_temperature(temperature: float, theta: tuple[float]) -> None:
    assert softmax([logit(0.9) / temperature, logit(0.5) / temperature]) == pytest.approx(theta)


@pytest.mark.parametrize(("u", "indices"), [(0.5, (0, 0, 1, 2)), (0.9, (0, 0, 1, 3)), (0.1, (0, 0, 1, 1))])
def test_the_published_systematic_resamplings(u: float, indices: tuple[int, ...]) -> None:
    drawn = systematic(THETA, u)
    assert (drawn.indices, drawn.ancestors) == (indices, len(set(indices)))
    assert drawn.ess == pytest.approx(2.7397, abs=5e-5)


def test_the_published_annealing() -> None:
    assert annealing(0.25, 0.2) == pytest.approx(3.2)
    assert annealing(0.49, 0.499) == pytest.approx(1.0225, abs=1e-4)
    assert (annealing(0.5, 0.2), annealing(0.25, 0.5)) == (1, 1)


@given(SHARES, BELOW_1)
def test_systematic_resampling_rounds_the_expected_number_of_copies(weights: list[float], u: float) -> None:
    theta = normal(weights)
    drawn = systematic(theta, u)
    copies = Counter(drawn.indices)
    assert sum(copies.values()) == len(theta)
    for place, share in enumerate(theta):
        expected = len(theta) * share
        assert math.floor(expected - 1e-9) <= copies[place] <= math.ceil(expected + 1e-9)
        assert share or not copies[place]


@given(SHARES, st.lists(BELOW_1, min_size=1, max_size=30))
def test_multinomial_resampling_draws_only_what_has_a_share(weights: list[float], us: list[float]) -> None:
    theta = normal(weights)
    drawn = multinomial(theta, us)
    assert len(drawn.indices) == len(us)
    assert all(theta[place] for place in drawn.indices)


@pytest.mark.parametrize("resampler", ["systematic", "multinomial"])
def test_both_are_unbiased(resampler: str) -> None:
    source, copies, rounds = random.Random(1), Counter[int](), 4000
    for _ in range(rounds):
        drawn = (
            systematic(THETA, source.random())
            if resampler == "systematic"
            else multinomial(THETA, [source.random() for _ in THETA])
        )
        copies.update(drawn.indices)
    for place, share in enumerate(THETA):
        error = 3 * math.sqrt(share * (1 - share) / (4 * rounds))
        assert copies[place] / (4 * rounds) == pytest.approx(share, abs=error)


def test_what_lies_beyond_a_sum_that_falls_short_belongs_to_the_last_with_a_share() -> None:
    short = (0.5, 0.5 - 1e-12, 0.0)
    assert multinomial(short, [1 - 1e-13]).indices == (1,)


@given(SHARES)
def test_the_effective_sample_size_is_between_one_and_all(weights: list[float]) -> None:
    theta = normal(weights)
    assert 1 - 1e-9 <= effective(theta) <= len(theta) + 1e-9


def test_the_effective_sample_size_of_equal_ones_is_their_number() -> None:
    assert effective([0.25] * 4) == 4
    assert effective([1.0, 0.0]) == 1


def test_logarithms_of_extreme_ratings_are_finite() -> None:
    assert logit(1.0) == pytest.approx(-logit(0.0))
    assert logit(1.0) == pytest.approx(13.8155, abs=1e-4)
    assert logit(0.5) == 0
    assert softmax([logit(1.0) / 1e-3, None, logit(0.0) / 1e-3]) == [1, 0, 0]
    assert softmax([None, None]) == [0, 0]
    assert log_mean([math.log(1), math.log(3)]) == pytest.approx(math.log(2))
    assert log_mean([5000.0, 5000.0]) == 5000
