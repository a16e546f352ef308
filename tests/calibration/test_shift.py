"""Less agreement than in calibration: the chance is that of all divisions, and false alarms are as rare as stated."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.calibration.shift import DRAWS, chance_of_less, less_agreement, power

SHARES = st.lists(st.sampled_from([0, 40, 50, 90, 100]), min_size=1, max_size=5)


@given(SHARES, SHARES)
@settings(deadline=None, max_examples=40)
def test_the_chance_is_the_share_of_all_divisions_that_agree_as_little(
    measured: list[int], seen: list[int]
) -> None:
    divisions = [
        sum(part) <= sum(seen)
        for part in itertools.combinations([*measured, *seen], len(seen))
    ]
    exact = sum(divisions) / len(divisions)
    noise = 5 * math.sqrt(exact * (1 - exact) / 500)
    assert chance_of_less(Counter(measured), Counter(seen)) == pytest.approx(
        exact, abs=noise + 2 / 500
    )


def shares(
    source: np.random.Generator, questions: int, mean: float = 0.86
) -> Counter[int]:
    return Counter(
        (100 * source.beta(4 * mean, 4 * (1 - mean), questions))
        .round(-1)
        .astype(int)
        .tolist()
    )


@pytest.mark.slow
@pytest.mark.parametrize("asked", [30, 100])
def test_questions_of_one_kind_raise_an_alarm_at_its_level_and_harder_ones_with_its_power(
    asked: int,
) -> None:
    source, runs, level = np.random.default_rng(asked), 400, 0.05
    false = true = 0
    for _ in range(runs):
        calibrated = shares(source, 150)
        false += less_agreement(calibrated, shares(source, asked), level) is not None
        true += (
            less_agreement(calibrated, shares(source, asked, 0.8), level) is not None
        )
    assert false / runs <= level + 3 * math.sqrt(level / runs)
    spreads = [math.sqrt(mean * (1 - mean) / 5) for mean in (0.86, 0.8)]
    assert true / runs == pytest.approx(
        power(0.06, (spreads[0], spreads[1]), 150, asked, level), abs=0.08
    )


def test_the_alarm_says_what_was_seen() -> None:
    line = less_agreement({100: 150, 50: 50}, {100: 20, 50: 20})
    assert line
    assert (
        "the leader has 75.0 % of the vote on 40 questions, and 87.5 % on 200 in calibration"
        in line
    )
    assert less_agreement({100: 150, 50: 50}, {100: 40}) is None


def test_without_questions_or_differences_there_is_none() -> None:
    assert (
        chance_of_less({}, {100: 5})
        == chance_of_less({100: 5}, {})
        == chance_of_less({100: 9}, {100: 5})
        == 1
    )
    assert chance_of_less({100: 10_000}, {0: 100}) == 1 / (1 + DRAWS)
