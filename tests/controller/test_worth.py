"""What more samples are worth: prices, shares, and giving up."""

import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Cost
from reasoner.controller.odds import best_gain, beta_lead, decided
from reasoner.controller.rule import StopRule
from reasoner.controller.stopping import BetaRule, Lossless, Ppr
from reasoner.controller.worth import EFFORTS, Confidence, FirstOf, Futility, Price, counts, smoothed
from reasoner.errors import UsageError
from reasoner.types import Standing, Vote
from tests.helpers import answer


def standing(*counts: int, silent: int = 0, most: int = 0, weights: Sequence[float] = ()) -> Standing:
    """One of these many votes each, and `silent` samples without an answer."""
    votes = tuple(
        Vote(answer(str(place)), weights[place] if weights else count, count) for place, count in enumerate(counts)
    )
    return Standing(votes, sum(counts) + silent, most=most)


# What a standing comes to


def test_the_two_counts_are_the_greater_and_the_smaller_whoever_leads() -> None:
    assert counts(Standing((), 3)) == (0, 0)
    assert counts(standing(4)) == (4, 0)
    assert counts(standing(4, 1, 3)) == (4, 3)
    assert counts(standing(2, 9, weights=(5.0, 1.0))) == (9, 2)


def test_the_smoothed_share_rises_with_agreement_and_with_evidence() -> None:
    assert smoothed(Standing()) == 0.5
    assert smoothed(standing(1)) == smoothed(standing(3, 1)) == pytest.approx(2 / 3)
    assert smoothed(standing(1)) < smoothed(standing(2)) < smoothed(standing(40)) < 1
    assert smoothed(standing(3, silent=1)) == smoothed(standing(3, 1))
    assert 0 < smoothed(Standing((), 50)) < smoothed(standing(1, *(1,) * 49))


# Price


def test_more_effort_is_a_lower_price() -> None:
    assert EFFORTS == {"low": 0.01, "medium": 0.002, "high": 0.0002}
    assert Price().price == EFFORTS["medium"]


@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 20), st.integers(0, 40), st.sampled_from([1e-4, 0.01]))
def test_it_stops_where_no_number_of_samples_is_worth_the_price(
    a: int, b: int, silent: int, left: int, price: float
) -> None:
    a, b = max(a, b), min(a, b)
    here = standing(*((a, b) if b else (a,)), silent=silent, most=a + b + silent + left)
    worth = best_gain(a, b, left).rate * (a + b + 1) / (a + b + silent + 1)
    assert bool(Price(price).stop(here, Cost())) == (worth < price)


def test_one_sample_cannot_change_a_leader_and_several_can() -> None:
    """A rule that looked one sample ahead would stop here."""
    assert Price(0.03).stop(standing(1, most=3), Cost()) is None
    assert Price(0.03).stop(standing(1, most=2), Cost())


def test_where_the_end_is_not_known_it_looks_twelve_samples_ahead() -> None:
    assert Price(1e-9).stop(standing(11), Cost()) is None
    assert Price(1e-9).stop(standing(12), Cost())
    assert best_gain(12, 0, 13).rate > 1e-9


def test_a_question_that_often_gets_no_answer_is_worth_less() -> None:
    assert Price(0.01).stop(standing(2, 1, most=40), Cost()) is None
    assert Price(0.01).stop(standing(2, 1, silent=9, most=40), Cost())


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 30))
def test_at_no_price_only_what_is_lossless_stops(a: int, b: int, left: int) -> None:
    here = standing(*sorted((a, b), reverse=True)) if b else standing(a)
    here = Standing(here.votes, here.samples, most=here.samples + left)
    assert bool(Price(0).stop(here, Cost())) == bool(Lossless().stop(here, Cost()))


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 60))
def test_what_a_higher_price_goes_on_with_a_lower_one_does_too(a: int, b: int, left: int) -> None:
    here = standing(*sorted((a, b), reverse=True), most=a + b + left)
    stopped = [bool(Price(price).stop(here, Cost())) for price in (0.0, *sorted(EFFORTS.values()), 1.0)]
    assert stopped == sorted(stopped)


def test_a_question_without_an_answer_is_never_stopped() -> None:
    assert Price(1.0).stop(Standing((), 30, most=40), Cost()) is None


# Confidence


def test_it_stops_at_a_share_of_the_weight_after_enough_samples() -> None:
    assert Confidence().stop(standing(3), Cost()) is None
    assert Confidence().stop(standing(3, silent=1), Cost())
    assert Confidence(0.6).stop(standing(2, 2, weights=(3.0, 2.0)), Cost())
    assert Confidence(0.61).stop(standing(2, 2, weights=(3.0, 2.0)), Cost()) is None
    assert Confidence(1.0, least=1).stop(standing(1), Cost())


# Futility


def test_it_gives_up_where_a_clear_leader_has_hardly_a_chance() -> None:
    flat = standing(3, 3, 3, 2, 2, 2, 2, 1, 1, 1, most=40)
    chance = decided([vote.count for vote in flat.votes], 20)
    assert 0 < chance < 0.05
    reason = Futility(chance + 1e-6).stop(flat, Cost())
    assert reason is not None
    assert "given up" in reason
    assert Futility(chance - 1e-6).stop(flat, Cost()) is None


def test_its_chance_is_how_often_urns_are_decided() -> None:
    """Drawn one by one: an answer as often as it was seen, and once more; one unseen, and none given, as well."""
    seen, silent, left, runs = (4, 2, 1), 2, 20, 4_000
    source, hits = random.Random(7), 0
    for _ in range(runs):
        urn = [count + 1 for count in (*seen, 0, silent)]
        for _ in range(left):
            urn[source.choices(range(len(urn)), urn)[0]] += 1
        leader, second = sorted((count - 1 for count in urn[:-1]), reverse=True)[:2]
        hits += beta_lead(leader, second) >= 0.95
    exact = decided(seen, left, silent=silent)
    assert abs(hits / runs - exact) < 4 * math.sqrt(exact * (1 - exact) / runs)
    here = standing(*seen, silent=silent, most=9 + left)
    assert Futility(exact + 1e-9).stop(here, Cost())
    assert Futility(exact - 1e-9).stop(here, Cost()) is None


@pytest.mark.parametrize(
    "here",
    [
        standing(1, 1, 1, 1, 1, 1, 1, most=8),
        standing(1, 1, 1, 1, 1, 1, 1, 1),
        standing(*(1,) * 20, most=149),
        Standing((), 39, most=40),
    ],
    ids=["too early", "no end", "too far from the end", "no answer"],
)
def test_it_never_gives_up(here: Standing) -> None:
    assert Futility(0.999).stop(here, Cost()) is None


def test_it_may_give_up_one_sample_later_or_nearer() -> None:
    assert Futility(0.999).stop(standing(*(1,) * 8, most=9), Cost())
    assert Futility(0.999).stop(standing(*(1,) * 20, most=148), Cost())


def test_a_clear_leader_is_never_given_up() -> None:
    for a, b in ((4, 0), (6, 1), (8, 2), (20, 10)):
        for left in (0, 5, 30):
            here = standing(*((a, b, 1) if b else (a,)), silent=9, most=a + b + bool(b) + 9 + left)
            assert Futility().stop(here, Cost()) is None


# The first of several


def test_the_first_that_stops_says_so_by_name() -> None:
    both = FirstOf((Ppr(), BetaRule()))
    assert both.stop(standing(3), Cost()) is None
    assert (both.stop(standing(4), Cost()) or "").startswith("BetaRule: 4 to 0 votes")
    assert (both.stop(standing(8), Cost()) or "").startswith("Ppr: 8 to 0 votes")
    assert FirstOf((FirstOf((Confidence(),)), both)).stop(standing(4), Cost()) == f"Confidence: {CONFIDENT}"


CONFIDENT = Confidence().stop(standing(4), Cost())


# Ranges


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Price(-0.1), "price must be .*got -0.1"),
        (lambda: Price(math.nan), "price must be .*got nan"),
        (lambda: Confidence(0), "threshold must be .*got 0"),
        (lambda: Confidence(least=0), "least must be .*got 0"),
        (lambda: Futility(1.0), "chance must be .*got 1.0"),
        (lambda: Futility(least=0), "least must be .*got 0"),
        (lambda: FirstOf(()), r"rules must not be empty: give at least one rule, as in first_of:\[lossless,price\]"),
    ],
)
def test_options_out_of_range_are_refused(make: Callable[[], StopRule], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()
