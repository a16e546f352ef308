"""Fits of accuracy against samples: known curves are found again, and what determines no curve is told."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from reasoner.errors import UsageError
from reasoner_evals.stats.arrays import Floats
from reasoner_evals.stats.estimators import coverage_at_k
from reasoner_evals.stats.scaling import (
    Band,
    CoverageFit,
    HeldOut,
    PowerFit,
    Unfitted,
    coverage_band,
    diminishing,
    fit_coverage,
    fit_power,
    held_out_coverage,
    held_out_power,
    power_band,
)

KS = [1, 2, 4, 8, 16, 32]


def pool(questions: int, samples: int, a: float = 0.5, b: float = 1.5) -> Floats:
    source = np.random.default_rng(1)
    return (source.random((questions, samples)) < source.beta(a, b, questions)[:, None]).astype(float)


def curves(questions: int) -> Floats:
    """Accuracies per question around 0.8 - 0.3 * k^-0.6."""
    source = np.random.default_rng(2)
    return np.clip(0.8 - 0.3 * np.array(KS, dtype=float) ** -0.6 + source.normal(0, 0.05, (questions, 1)), 0, 1)


@pytest.mark.parametrize(("a", "b"), [(0.5, 1.5), (2.0, 2.0), (0.2, 3.0)])
def test_a_known_beta_is_found_again(a: float, b: float) -> None:
    right = pool(4000, 32, a, b)
    found = fit_coverage(np.full(4000, 32), right.sum(axis=1).astype(int))
    assert isinstance(found, CoverageFit)
    assert (found.a, found.b) == pytest.approx((a, b), rel=0.1)
    assert found.at(KS) == pytest.approx(coverage_at_k(right, KS).mean(axis=0), abs=0.01)


def test_questions_of_one_difficulty_are_fitted_as_such() -> None:
    counts = np.random.default_rng(3).binomial(16, 0.3, 500)
    found = fit_coverage(np.full(500, 16), counts)
    assert isinstance(found, CoverageFit)
    assert found.at([1, 4]) == pytest.approx([0.3, 1 - 0.7**4], abs=0.02)


def test_a_known_power_law_is_found_again() -> None:
    found = fit_power(KS, 0.8 - 0.3 * np.array(KS, dtype=float) ** -0.6)
    assert isinstance(found, PowerFit)
    assert (found.ceiling, found.start, found.exponent) == pytest.approx((0.8, 0.5, 0.6), abs=1e-3)
    assert found.at([64]) == pytest.approx(0.8 - 0.3 * 64**-0.6, abs=1e-3)


def test_accuracy_that_falls_with_samples_is_fitted_as_falling() -> None:
    found = fit_power(KS, 0.3 + 0.2 * np.array(KS, dtype=float) ** -0.5)
    assert isinstance(found, PowerFit)
    assert (found.ceiling, found.start) == pytest.approx((0.3, 0.5), abs=0.01)
    assert diminishing(found, 0.01) == 1


@pytest.mark.slow
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
@settings(deadline=None, max_examples=30)
def test_no_power_law_that_scipy_finds_is_nearer(accuracy: list[float]) -> None:
    sizes, seen = np.array(KS, dtype=float), np.array(accuracy)

    def distance(law: Floats) -> Floats:
        return np.asarray(law[0] - (law[0] - law[1]) * sizes ** -law[2] - seen)

    found = fit_power(KS, seen)
    if isinstance(found, PowerFit):
        mine = float(np.sum((found.at(KS) - seen) ** 2))
        for exponent in (0.1, 0.5, 2.0):
            other = optimize.least_squares(distance, (0.5, 0.4, exponent), bounds=((0, 0, 0.01), (1, 1, 5)))
            assert mine <= 2 * other.cost + 1e-7


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 12), st.floats(0, 1)), min_size=10, max_size=40))
@settings(deadline=None, max_examples=30)
def test_no_other_beta_is_likelier(rows: list[tuple[int, float]]) -> None:
    drawn = np.array([n for n, _ in rows])
    right = np.array([round(n * share) for n, share in rows])

    def likelihood(a: Floats, b: Floats) -> Floats:
        terms = special.betaln(right[:, None] + a, (drawn - right)[:, None] + b) - special.betaln(a, b)
        return np.asarray(terms.sum(axis=0))

    found = fit_coverage(drawn, right)
    if isinstance(found, CoverageFit):
        means, totals = (grid.ravel() for grid in np.meshgrid(np.linspace(0.02, 0.98, 49), np.geomspace(1e-2, 1e4, 60)))
        chance = np.exp(special.betaln(right + found.a, drawn - right + found.b) - special.betaln(found.a, found.b)) * (
            1 - found.never - found.always
        )
        mine = float(np.log(chance + found.never * (right == 0) + found.always * (right == drawn)).sum())
        assert mine >= likelihood(means * totals, (1 - means) * totals).max() - 1e-3


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
@settings(deadline=None, max_examples=30)
def test_any_curve_is_fitted_within_0_and_1_or_told_to_be_flat(accuracy: list[float]) -> None:
    found = fit_power(KS, np.array(accuracy))
    assert isinstance(found, Unfitted) == (np.ptp(accuracy) < 1e-9)
    if isinstance(found, PowerFit):
        assert np.all((found.at([1, 64]) >= 0) & (found.at([1, 64]) <= 1))


@given(
    st.lists(st.integers(0, 16).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=40)
)
@settings(deadline=None)
def test_any_counts_have_a_rising_coverage_or_a_reason_why_not(rows: list[tuple[int, int]]) -> None:
    drawn, right = (np.array(column) for column in zip(*rows, strict=True))
    found = fit_coverage(drawn, right)
    if isinstance(found, CoverageFit):
        curve = found.at(range(1, 2 * int(drawn.max()) + 1))
        assert np.all(np.diff(np.concatenate([[0], curve, [1]])) >= -1e-12)


def kinds(source: np.random.Generator, questions: int, never: float, always: float) -> Floats:
    """The chances of questions of which some are never or always answered."""
    kind = source.choice(3, questions, p=(1 - never - always, never, always))
    return np.choose(kind, (source.beta(2, 2, questions), np.zeros(questions), np.ones(questions)))


def test_questions_that_are_always_or_never_answered_are_found() -> None:
    chances = kinds(np.random.default_rng(7), 4000, 0.2, 0.5)
    found = fit_coverage(np.full(4000, 16), np.random.default_rng(8).binomial(16, chances))
    assert isinstance(found, CoverageFit)
    assert (found.never, found.always) == pytest.approx((0.2, 0.5), abs=0.03)
    assert (found.a, found.b) == pytest.approx((2, 2), abs=0.5)
    assert found.at([1, 32]) == pytest.approx([0.65, 0.8 - 0.3 * 6 / (34 * 35) * 1], abs=0.01)
    plain = fit_coverage(np.full(4000, 16), np.random.default_rng(8).binomial(16, chances[chances % 1 > 0][0], 4000))
    assert isinstance(plain, CoverageFit)
    assert (plain.never, plain.always) == (0, 0)


def test_coverage_that_levels_off_below_1_passes_its_held_out_check() -> None:
    source = np.random.default_rng(9)
    passed = 0
    for seed in range(10):
        right = (source.random((400, 16)) < kinds(source, 400, 0.15, 0.4)[:, None]).astype(float)
        check = held_out_coverage(right, seed=seed)
        assert isinstance(check, HeldOut)
        passed += check.inside
    assert passed >= 9


def test_no_fit_speaks_beyond_twice_what_was_measured() -> None:
    fit = CoverageFit(0.5, 1.5, 32)
    assert fit.at([64]).shape == (1,)
    with pytest.raises(UsageError, match="65 samples are beyond"):
        fit.at([65])
    with pytest.raises(UsageError, match="beyond"):
        coverage_band(np.full(50, 4), np.arange(50) % 5, [9])


def test_bands_hold_the_curve_that_the_data_come_from() -> None:
    right = pool(300, 16)
    band = coverage_band(np.full(300, 16), right.sum(axis=1).astype(int), [1, 8, 32], draws=80)
    assert isinstance(band, Band)
    truth = CoverageFit(0.5, 1.5, 16).at([1, 8, 32])
    assert np.all((band.low < truth) & (truth < band.high))
    assert np.all((band.low < band.value) & (band.value < band.high))
    power = power_band(curves(100), KS, [4, 64], draws=80)
    assert isinstance(power, Band)
    assert power.low[1] < 0.8 - 0.3 * 64**-0.6 < power.high[1]


def test_the_held_out_half_of_the_samples_is_foretold() -> None:
    found = held_out_coverage(pool(400, 32), draws=80)
    assert isinstance(found, HeldOut)
    assert found.fitted_to == 16
    assert found.predicted.ks == (20, 24, 28, 32)
    assert np.abs(found.predicted.value - found.measured).max() < 0.03
    assert found.inside


def test_coverage_that_no_beta_describes_fails_the_held_out_check() -> None:
    # Half the questions are solved at once, half by one lucky sample in forty: no Beta turns up after 16 samples so.
    chance = np.repeat([0.5, 0.025], 1000)
    right = (np.random.default_rng(4).random((2000, 64)) < chance[:, None]).astype(float)
    found = held_out_coverage(right, draws=80)
    assert isinstance(found, HeldOut)
    assert not found.inside


def test_the_held_out_sample_counts_of_a_power_law_are_foretold() -> None:
    found = held_out_power(curves(100), KS, draws=80)
    assert isinstance(found, HeldOut)
    assert (found.fitted_to, found.predicted.ks) == (16, (32,))
    assert np.abs(found.predicted.value - found.measured).max() < 0.01
    kinked = curves(100)
    kinked[:, -1] -= 0.3
    broken = held_out_power(kinked, KS, draws=80)
    assert isinstance(broken, HeldOut)
    assert not broken.inside
    assert np.abs(broken.predicted.value - broken.measured).max() > 0.25


def test_doubling_stops_paying_where_the_curve_says_so() -> None:
    fit = PowerFit(0.8, 0.5, 1.0, 32)
    # From k to 2k buys 0.3 / (2k): 0.01 at k = 15.
    assert diminishing(fit, 0.0101) == 15
    assert diminishing(fit, 0.2) == 1
    assert diminishing(fit, 0.001) is None
    # Coverage of hard questions first grows faster with each doubling.
    assert diminishing(CoverageFit(1.0, 30.0, 8), 0.05) is None
    with pytest.raises(UsageError, match="above 0"):
        diminishing(fit, 0.0)


FEW = np.full(3, 4)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (fit_coverage(np.full(20, 4), np.full(20, 4)), "every sample is right"),
        (fit_coverage(np.full(20, 4), np.zeros(20, dtype=int)), "every sample is wrong"),
        (fit_coverage(np.array([8]), np.array([3])), "there is 1 question"),
        (fit_coverage(FEW, FEW - 1), "there are 3 questions"),
        (fit_coverage(np.ones(20, dtype=int), np.arange(20) % 2), "one sample"),
        (fit_power([1, 2], np.array([0.2, 0.3])), "2 sample counts"),
        (fit_power(KS, np.ones(6)), "1 at every"),
        (power_band(np.full((50, 6), math.nan), KS, [1]), "there are 0 questions"),
        (power_band(np.zeros((50, 6)), KS, [1]), "0 at every"),
        (coverage_band(np.full(20, 4), np.zeros(20, dtype=int), [1]), "wrong"),
        (held_out_coverage(np.ones((20, 8))), "right"),
        (held_out_coverage(np.ones((20, 2))), "of 4"),
        (held_out_power(curves(20)[:, :2], [1, 2]), "1 sample counts"),
        (held_out_power(curves(20)[:, :2], [3, 4]), "at most half"),
        (held_out_power(curves(20)[:, :2], [1, 4]), "nothing was measured"),
    ],
)
def test_what_determines_no_curve_is_told(found: object, told: str) -> None:
    assert isinstance(found, Unfitted)
    assert str(found).startswith("cannot be fitted, because ")
    assert told in found.reason


def test_what_is_no_data_is_refused() -> None:
    with pytest.raises(UsageError, match="right <= drawn"):
        fit_coverage(FEW, FEW + 1)
    with pytest.raises(UsageError, match="one accuracy"):
        fit_power(KS, np.array([0.2]))
    with pytest.raises(UsageError, match="6 sample counts"):
        power_band(np.ones((20, 3)), KS, [1])
