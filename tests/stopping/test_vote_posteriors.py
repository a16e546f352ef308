"""Odds of a vote: published values, and everything else against sums over all that may come."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.stopping.vote_posteriors import (
    DRAWS,
    best_gain,
    beta_lead,
    certificate,
    dirichlet_lead,
    knowledge_gain,
    lock_in,
    most_lost,
    stays,
)


def rate(a: int, b: int, remaining: int) -> float:
    return best_gain(a, b, remaining).rate


@pytest.mark.parametrize(
    ("chance", "arguments", "value"),
    [
        (beta_lead, (1, 0), 0.75),
        (beta_lead, (3, 0), 0.9375),
        (beta_lead, (4, 0), 0.96875),
        (beta_lead, (5, 1), 0.9375),
        (beta_lead, (8, 2), 0.967285),
        (certificate, (7, 0), 0.0625),
        (certificate, (10, 1), 0.06445),
        (lock_in, (2, 0, 38), 0.89306),
        (lock_in, (4, 0, 36), 0.97931),
        (lock_in, (4, 1, 35), 0.91897),
        (lock_in, (7, 2, 31), 0.97309),
        (knowledge_gain, (1, 1, 1), 0.1875),
        (knowledge_gain, (1, 0, 1), 0.0),
        (knowledge_gain, (1, 0, 4), 0.09375),
        (knowledge_gain, (2, 0, 3), 0.015625),
        (knowledge_gain, (3, 3, 3), 0.19141),
        (knowledge_gain, (5, 4, 2), 0.05127),
        (rate, (1, 0, 39), 0.03125),
        (rate, (3, 1, 36), 0.0065104),
        (rate, (4, 0, 36), 0.00038),
    ],
)
def test_the_published_values(
    chance: Callable[..., float], arguments: tuple[int, ...], value: float
) -> None:
    assert round(chance(*arguments), max(5, len(f"{value}") - 2)) == value


COUNTS = st.integers(0, 300)


def exact_lead(counts: Sequence[int]) -> float:
    """The same integral in fractions: each gamma distribution function is a polynomial times a power of e^-x."""
    first, *others = counts
    terms = {(0, 0): Fraction(1)}
    for votes in others:
        product: dict[tuple[int, int], Fraction] = defaultdict(Fraction)
        for (power, degree), factor in terms.items():
            product[power, degree] += factor
            for k in range(votes + 1):
                product[power + 1, degree + k] -= factor / math.factorial(k)
        terms = product
    return float(
        sum(
            factor
            * Fraction(
                math.factorial(first + degree),
                math.factorial(first) * (1 + power) ** (first + degree + 1),
            )
            for (power, degree), factor in terms.items()
        )
    )


@given(COUNTS, COUNTS)
def test_of_two_classes_it_is_the_beta(a: int, b: int) -> None:
    assert dirichlet_lead((a, b)) == pytest.approx(beta_lead(a, b), abs=1e-9)


@pytest.mark.parametrize(
    "counts",
    [
        (3, 2, 1),
        (4, 0, 0),
        (0, 0, 0),
        (1,) * 40,
        (20, 10, 5, 5),
        (12, 11, 10, 9),
        (2, *(1,) * 20),
        (5, 6, 7),
        (60, 55, 50),
    ],
    ids=str,
)
def test_of_more_classes_it_is_the_exact_integral(counts: tuple[int, ...]) -> None:
    assert dirichlet_lead(counts) == pytest.approx(exact_lead(counts), abs=1e-9)
    assert dirichlet_lead(counts) == dirichlet_lead((counts[0], *reversed(counts[1:])))


def outcomes(
    counts: Sequence[int], rest: int
) -> Iterator[tuple[tuple[int, ...], Fraction]]:
    """All counts that `rest` more samples may come to, with their probability under Dirichlet(counts + 1)."""
    ways = math.comb(sum(counts) + len(counts) - 1 + rest, rest)
    for more in _splits(rest, len(counts)):
        product = math.prod(
            math.comb(count + x, x) for count, x in zip(counts, more, strict=True)
        )
        yield (
            tuple(count + x for count, x in zip(counts, more, strict=True)),
            Fraction(product, ways),
        )


def _splits(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        yield from ((first, *others) for others in _splits(total - first, parts - 1))


FEW = st.integers(0, 12)


@given(FEW, FEW, FEW)
def test_it_is_the_sum_over_all_that_may_come(a: int, b: int, rest: int) -> None:
    chances = list(outcomes((a, b), rest))
    assert sum(chance for _, chance in chances) == 1
    assert lock_in(a, b, rest) == float(
        sum(chance for (x, y), chance in chances if x >= y)
    )
    assert (lock_in(a, b, rest) == 1.0) == (rest <= a - b)


# The gain of more samples


@given(FEW, FEW, FEW)
def test_a_gain_is_the_mean_of_what_may_come_less_what_is(
    a: int, b: int, draws: int
) -> None:
    def sure(x: int, y: int) -> Fraction:
        tosses = x + y + 1
        share = Fraction(
            sum(math.comb(tosses, k) for k in range(min(x, y) + 1)), 2**tosses
        )
        return max(share, 1 - share)

    mean = sum(chance * sure(*after) for after, chance in outcomes((a, b), draws))
    assert knowledge_gain(a, b, draws) == float(mean - sure(a, b))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 64))
def test_the_best_gain_is_the_best_of_the_grid_and_of_all_that_are_left(
    a: int, b: int, rest: int
) -> None:
    rates = [knowledge_gain(a, b, h) / h for h in (*DRAWS, rest) if 0 < h <= rest]
    best = best_gain(a, b, rest)
    assert best.rate == max(rates, default=0.0)
    assert best == best_gain(b, a, rest)
    assert (best.rate > 0) == (rest > abs(a - b))
    if best.rate:
        assert best.rate == knowledge_gain(a, b, best.draws) / best.draws


SHAPES = [(3, 2, 2), (1, 1, 1, 0), (5, 1), (2, 2), (4, 3, 3, 1), (0, 2, 2), (1,) * 5]


@pytest.mark.parametrize("counts", SHAPES, ids=str)
@pytest.mark.parametrize("rest", [0, 1, 4, 9])
def test_whether_the_first_stays_is_the_sum_over_all_that_may_come(
    counts: tuple[int, ...], rest: int
) -> None:
    exact = sum(
        chance for after, chance in outcomes(counts, rest) if after[0] == max(after)
    )
    assert stays(counts, rest) == pytest.approx(float(exact), abs=1e-12)


def partitions(total: int, largest: int) -> Iterator[tuple[int, ...]]:
    if not total:
        yield ()
    for first in range(min(total, largest), 0, -1):
        yield from ((first, *rest) for rest in partitions(total - first, first))


def stopped_behind(counts: tuple[int, ...], theta: float) -> float:
    """The chance that a vote over these answers, in a random order, stops on one that does not lead at the end."""

    @cache
    def chance(drawn: tuple[int, ...]) -> float:
        leader, second = sorted(drawn, reverse=True)[:2]
        if sum(drawn) == sum(counts):
            return 0.0
        if leader and beta_lead(leader, second) >= theta:
            return float(counts[drawn.index(leader)] < max(counts))
        left = sum(counts) - sum(drawn)
        more = [
            (at, total - had)
            for at, (total, had) in enumerate(zip(counts, drawn, strict=True))
            if total > had
        ]
        return sum(
            n / left * chance((*drawn[:at], drawn[at] + 1, *drawn[at + 1 :]))
            for at, n in more
        )

    return chance((0,) * len(counts))


@pytest.mark.parametrize("theta", [0.7, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [5, 8, 9])
def test_no_question_loses_more_than_the_bound_of_its_rule(
    n: int, theta: float
) -> None:
    """Whatever the answers are; a bound that is small is not far from what happens."""
    votes = [counts for counts in partitions(n, n) if len(counts) > 1]
    bound = most_lost(theta, n)
    worst = max(stopped_behind(counts, theta) for counts in votes)
    assert worst <= bound + 1e-12
    assert bound <= 2 * worst or bound > 0.1


def test_the_bounds_of_forty_samples() -> None:
    assert [most_lost(theta, 40) for theta in (0.8, 0.95, 0.99)] == pytest.approx(
        [1, 0.1397, 0.0134], abs=1e-4
    )
    assert most_lost(0.99, 1000) == 1
