"""What more samples are worth: prices, shares, and giving up."""

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Cost
from reasoner.errors import UsageError
from reasoner.stopping.rules import EFFORTS, BetaRule, Confidence, FirstOf, Lossless, Ppr, Price, StopRule, smoothed
from reasoner.stopping.vote_posteriors import best_gain
from reasoner.types import Vote, VoteState
from tests.helpers import answer


def vote_state(*counts: int, silent: int = 0, max_samples: int = 0, weights: Sequence[float] = ()) -> VoteState:
    """One of these many votes each, and `silent` samples without an answer."""
    votes = tuple(
        Vote(answer(str(place)), weights[place] if weights else count, count) for place, count in enumerate(counts)
    )
    return VoteState(votes, sum(counts) + silent, max_samples=max_samples)


# What a vote state comes to


def test_the_smoothed_share_rises_with_agreement_and_with_evidence() -> None:
    assert smoothed(VoteState()) == 0.5
    assert smoothed(vote_state(1)) == smoothed(vote_state(3, 1)) == pytest.approx(2 / 3)
    assert smoothed(vote_state(1)) < smoothed(vote_state(2)) < smoothed(vote_state(40)) < 1
    assert smoothed(vote_state(3, silent=1)) == smoothed(vote_state(3, 1))
    assert 0 < smoothed(VoteState((), 50)) < smoothed(vote_state(1, *(1,) * 49))


# Price


def test_more_effort_is_a_lower_price() -> None:
    assert EFFORTS == {"low": 0.01, "medium": 0.002, "high": 0.0002}
    assert Price().price == EFFORTS["medium"]


@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 20), st.integers(0, 40), st.sampled_from([1e-4, 0.01]))
def test_it_stops_where_no_number_of_samples_is_worth_the_price(
    a: int, b: int, silent: int, left: int, price: float
) -> None:
    a, b = max(a, b), min(a, b)
    here = vote_state(*((a, b) if b else (a,)), silent=silent, max_samples=a + b + silent + left)
    worth = best_gain(a, b, left).rate * (a + b + 1) / (a + b + silent + 1)
    assert bool(Price(price).stop(here, Cost())) == (worth < price)


def test_one_sample_cannot_change_a_leader_and_several_can() -> None:
    """A rule that looked one sample ahead would stop here."""
    assert Price(0.03).stop(vote_state(1, max_samples=3), Cost()) is None
    assert Price(0.03).stop(vote_state(1, max_samples=2), Cost())


def test_where_the_end_is_not_known_it_looks_twelve_samples_ahead() -> None:
    assert Price(1e-9).stop(vote_state(11), Cost()) is None
    assert Price(1e-9).stop(vote_state(12), Cost())
    assert best_gain(12, 0, 13).rate > 1e-9


def test_a_question_that_often_gets_no_answer_is_worth_less() -> None:
    assert Price(0.01).stop(vote_state(2, 1, max_samples=40), Cost()) is None
    assert Price(0.01).stop(vote_state(2, 1, silent=9, max_samples=40), Cost())


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 30))
def test_at_no_price_only_what_is_lossless_stops(a: int, b: int, left: int) -> None:
    here = vote_state(*sorted((a, b), reverse=True)) if b else vote_state(a)
    here = VoteState(here.votes, here.samples, max_samples=here.samples + left)
    assert bool(Price(0).stop(here, Cost())) == bool(Lossless().stop(here, Cost()))


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 60))
def test_what_a_higher_price_goes_on_with_a_lower_one_does_too(a: int, b: int, left: int) -> None:
    here = vote_state(*sorted((a, b), reverse=True), max_samples=a + b + left)
    stopped = [bool(Price(price).stop(here, Cost())) for price in (0.0, *sorted(EFFORTS.values()), 1.0)]
    assert stopped == sorted(stopped)


def test_a_question_without_an_answer_is_never_stopped() -> None:
    assert Price(1.0).stop(VoteState((), 30, max_samples=40), Cost()) is None


# Confidence


def test_it_stops_at_a_share_of_the_weight_after_enough_samples() -> None:
    assert Confidence().stop(vote_state(3), Cost()) is None
    assert Confidence().stop(vote_state(3, silent=1), Cost())
    assert Confidence(0.6).stop(vote_state(2, 2, weights=(3.0, 2.0)), Cost())
    assert Confidence(0.61).stop(vote_state(2, 2, weights=(3.0, 2.0)), Cost()) is None
    assert Confidence(1.0, min_samples=1).stop(vote_state(1), Cost())


# The first of several


def test_the_first_that_stops_says_so_by_name() -> None:
    both = FirstOf((Ppr(), BetaRule()))
    assert both.stop(vote_state(3), Cost()) is None
    assert (both.stop(vote_state(4), Cost()) or "").startswith("BetaRule: 4 to 0 votes")
    assert (both.stop(vote_state(8), Cost()) or "").startswith("Ppr: 8 to 0 votes")
    assert FirstOf((FirstOf((Confidence(),)), both)).stop(vote_state(4), Cost()) == f"Confidence: {CONFIDENT}"


CONFIDENT = Confidence().stop(vote_state(4), Cost())


# Ranges


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Price(-0.1), "price must be from 0 to 1 .got -0.1"),
        (lambda: Price(math.nan), "price must be from 0 to 1 .got nan"),
        (lambda: Confidence(0), "threshold must be above 0 and at most 1 .got 0"),
        (lambda: Confidence(min_samples=0), "min_samples must be at least 1 .got 0"),
        (lambda: FirstOf(()), r"rules must not be empty: give at least one rule, as in first_of:\[lossless,price\]"),
    ],
)
def test_options_out_of_range_are_refused(make: Callable[[], StopRule], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()
