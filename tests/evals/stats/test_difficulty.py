"""Bins of difficulty: halves that share no sample, and no trend where there is none."""

import math

import numpy as np
import pytest

from reasoner.errors import UsageError
from reasoner_evals.stats.estimators import difficulty


def test_questions_of_one_difficulty_show_no_trend() -> None:
    right = (np.random.default_rng(1).random((2000, 8)) < 0.5).astype(float)
    found = difficulty(right)
    measured = [float(np.nanmean(found.measured[found.bins == place])) for place in (0, 4)]
    assert measured == pytest.approx([0.5, 0.5], abs=0.05)
    # By the same samples the hardest would seem far harder than the easiest.
    assert found.estimate[found.bins == 4].mean() - found.estimate[found.bins == 0].mean() > 0.4


def test_harder_questions_are_in_lower_bins() -> None:
    chance = np.linspace(0, 1, 500)
    right = (np.random.default_rng(2).random((500, 40)) < chance[:, None]).astype(float)
    found = difficulty(right, bins=5)
    means = [float(np.nanmean(found.measured[found.bins == place])) for place in range(5)]
    assert means == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.06)
    assert np.bincount(found.bins).min() > 60


def test_half_of_the_usable_samples_decide_and_the_others_measure() -> None:
    nan = math.nan
    right = np.array([[1.0, 0.0, nan, 1.0, 1.0], [0.0, nan, nan, nan, nan], [nan] * 5])
    found = difficulty(right)
    assert (~np.isnan(found.measured)).sum(axis=1).tolist() == [2, 1, 0]
    assert found.bins.tolist()[1:] == [-1, -1]
    kept = found.measured[0][~np.isnan(found.measured[0])]
    assert kept.sum() + 2 * found.estimate[0] == 3
    assert np.isnan(right[0]).sum() == 1


def test_equal_estimates_share_a_bin() -> None:
    found = difficulty(np.vstack([np.ones((30, 4)), np.zeros((10, 4))]))
    assert len(set(found.bins[:30].tolist())) == 1
    assert found.bins[0] > found.bins[-1]


def test_no_bin_is_refused() -> None:
    with pytest.raises(UsageError, match="bins must be at least 1"):
        difficulty(np.ones((2, 2)), bins=0)
