"""Bins of difficulty: how they are asked for, where their edges lie, and that none is too small."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.calibration.profile import Bins
from reasoner.errors import UsageError
from reasoner_evals.calibration.profiles import Binning


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "none, prompt, split"),
        ("none:2", "none makes one bin and takes no number"),
        ("prompt:", "must have 2 to 20 bins, as in prompt:3"),
        ("split:21", "must have 2 to 20 bins"),
        ("split:²", "must have 2 to 20 bins"),
    ],
)
def test_what_cannot_be_asked_for(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Binning.parse(text)


def test_splits_have_edges_of_their_own_where_the_data_allow() -> None:
    values = np.repeat([0.25, 0.5, 0.75, 1.0], 30)
    assert Binning("split").bins(values) == Bins(signal="split", edges=(0.5, 0.75, 1.0))
    assert Binning("split").bins(values[30:]) == Bins(signal="split", edges=(0.75, 1.0))
    assert Binning("split").bins(np.ones(50)) == Bins()


def test_the_smallest_bin_goes_with_its_smaller_neighbour() -> None:
    values = np.repeat([0.25, 0.5, 0.75, 1.0], [40, 10, 50, 90])
    assert Binning("split").bins(values).edges == (0.75, 1.0)
    values = np.repeat([0.25, 0.5, 0.75, 1.0], [90, 10, 50, 90])
    assert Binning("split").bins(values).edges == (0.5, 1.0)
    values = np.repeat([0.25, 0.5, 0.75, 1.0], [90, 90, 50, 10])
    assert Binning("split").bins(values).edges == (0.5, 0.75)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=200), st.integers(2, 20))
def test_no_bin_is_too_small_but_the_only_one(values: list[float], parts: int) -> None:
    bins = Binning("prompt", parts).bins(np.array(values))
    sizes = np.bincount([bins.index(value) for value in values], minlength=bins.count)
    assert len(sizes) == bins.count <= parts
    assert bins.count == 1 or sizes.min() >= 30
