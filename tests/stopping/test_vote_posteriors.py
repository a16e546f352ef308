"""Odds of a vote: published values, and everything else against sums over all that may come."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.stopping.vote_posteriors import (
    DRAWS,
    HORIZON,
    Gain,
    best_gain,
    beta_lead,
    certificate,
    dirichlet_lead,
    knowledge_gain,
    lock_in,
    stays,
)

# The closed form


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        (1, 0, 0.75),
        (2, 0, 0.875),
        (3, 0, 0.9375),
        (4, 0, 0.96875),
        (4, 1, 0.890625),
        (5, 1, 0.9375),
        (6, 1, 0.964844),
        (7, 2, 0.945312),
        (8, 2, 0.967285),
    ],
)
def test_the_published_values(a: int, b: int, value: float) -> None:
    assert round(beta_lead(a, b), 6) == value


COUNTS = st.integers(0, 300)


@given(COUNTS, COUNTS)
def test_more_votes_for_the_leader_make_it_surer(a: int, b: int) -> None:
    assert beta_lead(a, b) <= beta_lead(a + 1, b)
    assert beta_lead(a, b) >= beta_lead(a, b + 1)
    assert beta_lead(a, b) == pytest.approx(1 - beta_lead(b, a), abs=1e-15)
    assert beta_lead(a, a) == 0.5


def test_it_is_the_integral_it_claims_to_be() -> None:
    """Riemann sums over the posterior's density."""
    for a, b in ((4, 0), (5, 3), (12, 9), (2, 6)):
        norm = math.comb(a + b, a) * (a + b + 1)
        cells = 200_000
        upper = sum((x := 0.5 + (at + 0.5) / (2 * cells)) ** a * (1 - x) ** b for at in range(cells)) / (2 * cells)
        assert beta_lead(a, b) == pytest.approx(norm * upper, abs=1e-9)


@pytest.mark.parametrize("counts", [(-1, 2), (2, -1)])
def test_fewer_votes_than_none_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        beta_lead(*counts)
    with pytest.raises(ValueError, match="0 or more votes"):
        dirichlet_lead(counts)


# The Dirichlet


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
            * Fraction(math.factorial(first + degree), math.factorial(first) * (1 + power) ** (first + degree + 1))
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


@given(st.lists(st.integers(0, 40), min_size=2, max_size=6))
def test_the_chances_of_all_classes_are_one(counts: list[int]) -> None:
    each = [dirichlet_lead((votes, *counts[:at], *counts[at + 1 :])) for at, votes in enumerate(counts)]
    assert sum(each) == pytest.approx(1, abs=1e-9)


def test_a_mode_of_one_class_is_no_question() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        dirichlet_lead((3,))
    with pytest.raises(ValueError, match="at least two classes"):
        stays((3,), 5)


# The certificate


@pytest.mark.parametrize(("a", "b", "value"), [(7, 0, 0.0625), (8, 0, 0.03516), (10, 1, 0.06445), (11, 1, 0.03809)])
def test_the_published_certificates(a: int, b: int, value: float) -> None:
    assert round(certificate(a, b), 5) == value


@given(st.integers(0, 200), st.integers(0, 200))
def test_more_votes_for_the_second_are_never_a_better_certificate(a: int, b: int) -> None:
    """So to look at the second alone is enough for all."""
    a, b = max(a, b), min(a, b)
    assert certificate(a, b) == certificate(b, a)
    if b < a:
        assert certificate(a, b) <= certificate(a, b + 1)


# To be locked in


def outcomes(counts: Sequence[int], rest: int) -> Iterator[tuple[tuple[int, ...], Fraction]]:
    """All counts that `rest` more samples may come to, with their probability under Dirichlet(counts + 1)."""
    ways = math.comb(sum(counts) + len(counts) - 1 + rest, rest)
    for more in _splits(rest, len(counts)):
        product = math.prod(math.comb(count + x, x) for count, x in zip(counts, more, strict=True))
        yield tuple(count + x for count, x in zip(counts, more, strict=True)), Fraction(product, ways)


def _splits(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        yield from ((first, *others) for others in _splits(total - first, parts - 1))


@pytest.mark.parametrize(
    ("a", "b", "maximum", "value"),
    [
        (2, 0, 40, 0.89306),
        (3, 0, 40, 0.95216),
        (4, 0, 40, 0.97931),
        (5, 0, 40, 0.99138),
        (4, 1, 40, 0.91897),
        (5, 1, 40, 0.96035),
        (7, 2, 40, 0.97309),
        (3, 0, 16, 0.97059),
        (4, 1, 16, 0.95701),
    ],
)
def test_the_published_chances_to_stay(a: int, b: int, maximum: int, value: float) -> None:
    assert round(lock_in(a, b, maximum - a - b), 5) == value


FEW = st.integers(0, 12)


@given(FEW, FEW, FEW)
def test_it_is_the_sum_over_all_that_may_come(a: int, b: int, rest: int) -> None:
    chances = list(outcomes((a, b), rest))
    assert sum(chance for _, chance in chances) == 1
    assert lock_in(a, b, rest) == float(sum(chance for (x, y), chance in chances if x >= y))
    assert (lock_in(a, b, rest) == 1.0) == (rest <= a - b)


def test_of_many_samples_to_come_it_is_whose_probability_is_greater() -> None:
    for a, b in ((3, 1), (2, 2), (6, 5)):
        assert lock_in(a, b, 5_001) == pytest.approx(beta_lead(a, b), abs=1e-3)


# The gain of more samples


@pytest.mark.parametrize(
    ("a", "b", "draws", "value"),
    [
        (1, 1, 1, 0.1875),
        (1, 0, 1, 0.0),
        (1, 0, 2, 0.0625),
        (1, 0, 4, 0.09375),
        (2, 0, 2, 0.0),
        (2, 0, 3, 0.015625),
        (2, 1, 2, 0.0625),
        (3, 3, 1, 0.13672),
        (3, 3, 3, 0.19141),
        (5, 4, 2, 0.05127),
    ],
)
def test_the_published_gains(a: int, b: int, draws: int, value: float) -> None:
    assert round(knowledge_gain(a, b, draws), 6 if value == 0.015625 else 5) == value


@given(FEW, FEW, FEW)
def test_a_gain_is_the_mean_of_what_may_come_less_what_is(a: int, b: int, draws: int) -> None:
    def sure(x: int, y: int) -> Fraction:
        tosses = x + y + 1
        share = Fraction(sum(math.comb(tosses, k) for k in range(min(x, y) + 1)), 2**tosses)
        return max(share, 1 - share)

    mean = sum(chance * sure(*after) for after, chance in outcomes((a, b), draws))
    assert knowledge_gain(a, b, draws) == float(mean - sure(a, b))


@given(st.integers(0, 80), st.integers(0, 80), st.integers(0, 200))
def test_samples_that_cannot_change_the_leader_gain_nothing_at_all(a: int, b: int, draws: int) -> None:
    assert (knowledge_gain(a, b, draws) == 0.0) == (draws <= abs(a - b))
    assert 0.0 <= knowledge_gain(a, b, draws) <= 0.5
    assert knowledge_gain(a, b, draws) == knowledge_gain(b, a, draws)


@pytest.mark.parametrize(
    ("a", "b", "rate", "draws"), [(1, 0, 0.03125, 2), (3, 1, 0.0065104, 3), (4, 0, 0.00038, 12), (1, 1, 0.1875, 1)]
)
def test_the_published_best_gains(a: int, b: int, rate: float, draws: int) -> None:
    best = best_gain(a, b, 40 - a - b)
    assert (round(best.rate, len(f"{rate}") - 2), best.draws) == (rate, draws)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 64))
def test_the_best_gain_is_the_best_of_the_grid_and_of_all_that_are_left(a: int, b: int, rest: int) -> None:
    rates = [knowledge_gain(a, b, h) / h for h in (*DRAWS, rest) if 0 < h <= rest]
    best = best_gain(a, b, rest)
    assert best.rate == max(rates, default=0.0)
    assert best == best_gain(b, a, rest)
    assert (best.rate > 0) == (rest > abs(a - b))
    if best.rate:
        assert best.rate == knowledge_gain(a, b, best.draws) / best.draws


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 5000))
def test_it_is_above_nothing_wherever_the_leader_may_change_however_far(a: int, b: int, rest: int) -> None:
    best = best_gain(a, b, rest)
    assert (best.rate > 0) == (rest > abs(a - b))
    assert best.draws <= rest


def test_where_nothing_is_left_nothing_is_gained() -> None:
    assert best_gain(3, 3, 0) == Gain(0.0, 0)


# More answers than two


SHAPES = [(3, 2, 2), (1, 1, 1, 0), (5, 1), (2, 2), (4, 3, 3, 1), (0, 2, 2), (1,) * 5]


@pytest.mark.parametrize("counts", SHAPES, ids=str)
@pytest.mark.parametrize("rest", [0, 1, 4, 9])
def test_whether_the_first_stays_is_the_sum_over_all_that_may_come(counts: tuple[int, ...], rest: int) -> None:
    exact = sum(chance for after, chance in outcomes(counts, rest) if after[0] == max(after))
    assert stays(counts, rest) == pytest.approx(float(exact), abs=1e-12)


@given(FEW, FEW, st.integers(0, HORIZON))
def test_of_two_answers_to_stay_is_to_be_locked_in(a: int, b: int, rest: int) -> None:
    assert stays((a, b), rest) == pytest.approx(lock_in(a, b, rest), abs=1e-11)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=6))
def test_many_samples_on_it_is_the_likeliest_that_stays(counts: list[int]) -> None:
    counts.sort(reverse=True)
    assert stays(counts, HORIZON + 1) == dirichlet_lead(counts)
    assert dirichlet_lead(counts) - 1e-9 <= stays(counts, HORIZON) <= 1


def test_large_counts_neither_overflow_nor_vanish() -> None:
    assert 0.5 < stays((5_000, 4_990, 4_990), 100) < 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: certificate(-1, 0),
        lambda: lock_in(1, -1, 2),
        lambda: lock_in(1, 1, -2),
        lambda: knowledge_gain(1, 1, -1),
        lambda: best_gain(1, 2, -1),
        lambda: stays((1, -1), 2),
    ],
)
def test_numbers_below_nothing_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="0 "):
        call()
