"""Promises hold at their rate, on any data; their p-values in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.calibration.promises import (
    LEVEL,
    SHARES,
    STAKES,
    fewest,
    least_share,
    needed,
    p_value,
)


def counted(
    losses: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> list[tuple[float, int]]:
    values, counts = np.unique(losses, return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize(
    ("n", "risk", "most"),
    [(1, 0.05, 1.0), (100, 0.01, 1.0), (40, 0.02, 0.14), (2000, 0.01, 0.5)],
)
def test_nothing_lost_is_the_chance_that_it_would_be_but_for_the_other_bets(
    n: int, risk: float, most: float
) -> None:
    wealth = [
        share * (1 + stake * risk / (most - risk)) ** n
        for stake, share in zip(STAKES, SHARES, strict=True)
    ]
    assert p_value([(0.0, n)], risk, most) == pytest.approx(
        min(1.0, 1 / sum(wealth)), rel=1e-3
    )
    assert (
        p_value([(0.0, n)], risk, most)
        <= min(1.0, (1 - risk / most) ** n / SHARES[0]) * 1.001
    )


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.integers(1, 50)), min_size=1, max_size=8),
    st.floats(0.001, 0.5),
)
def test_a_larger_risk_is_never_harder_to_promise_nor_a_loss_more_a_help(
    losses: list[tuple[float, int]], risk: float
) -> None:
    p = p_value(losses, risk)
    assert 0 <= p_value(losses, min(1.0, 2 * risk)) <= p <= 1
    assert p_value([*losses, (1.0, 1)], risk) >= p
    assert p_value(losses, 1.0) == p_value(losses, risk, risk) == 0


@pytest.mark.parametrize("most", [1.0, 0.2])
@pytest.mark.parametrize("size", [15, 30, 100, 300])
def test_what_loses_as_much_as_is_allowed_is_promised_at_most_as_often_as_stated(
    size: int, most: float
) -> None:
    """Laws at the boundary: rare large losses, losses and gains, a small loss everywhere."""
    source, risk, times = np.random.default_rng(size), 0.05 * most, 400
    rare = np.array([(most, 0.05), (0.0, 0.95)])
    mixed = np.array([(most, 0.15), (-most, 0.10), (0.0, 0.75)])
    constant = np.array([(risk, 1.0)])
    for values, chances in (law.T for law in (rare, mixed, constant)):
        drawn = source.choice(values, p=chances, size=(times, size))
        broken = np.mean(
            [p_value(counted(row), risk, most) <= 1 - LEVEL for row in drawn]
        )
        assert broken <= 1 - LEVEL + 3 * (0.05 * 0.95 / times) ** 0.5


@pytest.mark.parametrize(
    ("losses", "risk"), [([(0.0, 30)], 0.01), ([(0.0, 95), (0.2, 4), (-0.3, 1)], 0.03)]
)
def test_so_many_questions_are_enough_and_a_few_less_are_not(
    losses: list[tuple[float, int]], risk: float
) -> None:
    count = needed(losses, risk)
    assert count is not None
    size = sum(n for _, n in losses)
    more = [(loss, n * -(-count // size)) for loss, n in losses]
    fewer = [(loss, max(1, n * count // size // 2)) for loss, n in losses]
    assert p_value(more, risk) <= 1 - LEVEL < p_value(fewer, risk)
    assert needed([(0.5, 10)], risk) is None


def test_abstaining_keeps_its_promise_where_every_answer_is_as_wrong_as_allowed() -> (
    None
):
    """The share tells nothing: whichever is found breaks the promise, barely; so one is rarely found."""
    source, times, risk = np.random.default_rng(0), 1000, 0.05
    shares, answered = (0.3, 0.5, 0.7, 0.9), (50, 50, 50, 50)
    drawn = source.binomial(50, 1 - risk - 1e-9, size=(times, 4)).tolist()
    found = np.mean(
        [least_share(shares, answered, right, risk) is not None for right in drawn]
    )
    assert found <= 0.05 + 3 * (0.05 * 0.95 / times) ** 0.5


def test_abstaining_answers_down_to_where_answers_go_wrong() -> None:
    assert fewest(0.05) == 59
    assert least_share((0.3, 0.6, 0.9), (50, 30, 40), (20, 30, 40), 0.05) == 0.6
    assert least_share((0.9,), (58,), (58,), 0.05) is None
    assert least_share((0.9,), (59,), (59,), 0.05) == 0.9
    assert least_share((0.9,), (59,), (59,), 0.05, promises=2) is None


@pytest.mark.parametrize(("wrong", "answers"), enumerate([59, 93, 124, 153, 181, 208]))
def test_so_many_answers_of_which_some_are_wrong_promise_one_in_twenty(
    wrong: int, answers: int
) -> None:
    """Wilks 1941: the sample sizes of an upper tolerance limit, 95 % of the population at 95 % confidence."""
    promised = [
        least_share((0.9,), (count,), (count - wrong,), 0.05)
        for count in (answers - 1, answers)
    ]
    assert promised == [None, 0.9]
