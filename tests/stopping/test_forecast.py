"""The forecast of a vote: its closed form, where it is certain, and what trial answers do to it."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reasoner import Cost
from reasoner.stopping.forecast import Predict, forecast, predicting
from reasoner.stopping.rules import BetaRule, FirstOf, Lossless
from reasoner.types import Tail, VoteState
from tests.stopping.test_stopping import vote_state


def state(
    counts: Sequence[int],
    trials: Sequence[int] = (),
    *,
    old: int = 0,
    n: int = 64,
    silent: int = 0,
) -> VoteState:
    here = vote_state(*counts, silent=silent, max_samples=n)
    return replace(here, stragglers=max(old, sum(trials)), trials=tuple(trials))


def reason(
    counts: Sequence[int], trials: Sequence[int] = (), *, old: int = 0
) -> str | None:
    return Predict().stop(state(counts, trials, old=old), Cost())


def test_it_is_the_stated_sum_of_votes_and_variances() -> None:
    # Two ended for the first answer; of three stragglers two say so, and one says something else.
    lead, (final, other) = forecast(state((2,), (2, 1), n=10))
    p, q = (2 + 8) / 18, 8 / 18
    a, b = 2 + 2 * p, q
    first, second = a / (a + b + 1), (b + 0.5) / (a + b + 1)
    gap, free, rest = first - second, 3 - 2 * p - q, 5
    each = first + second - gap**2
    variance = (
        2 * p * (1 - p)
        + q * (1 - q)
        + free / 4
        + rest * each
        + rest**2 * each / (a + b + 2)
    )
    assert lead == pytest.approx((a - b + rest * gap, math.sqrt(variance)))
    later, each = rest + free, first * (1 - first)
    variance = 2 * p * (1 - p) + later * each + later**2 * each / (a + b + 2)
    assert final == pytest.approx((a + later * first, math.sqrt(variance)))
    share = b / (a + b + 1)
    each = share * (1 - share)
    variance = q * (1 - q) + later * each + later**2 * each / (a + b + 2)
    assert other == pytest.approx((b + later * share, math.sqrt(variance)))


def test_votes_of_answers_that_are_not_listed_count_as_votes() -> None:
    whole = state((9, 1, 1, 1))
    listed = replace(whole, votes=whole.votes[:2], tail=Tail(2, 2.0, 2))
    lead, finals = forecast(whole)
    assert forecast(listed) == (lead, finals[:2])


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=6),
    st.integers(0, 9),
    st.integers(0, 40),
)
def test_where_all_samples_have_ended_it_is_lossless(
    counts: list[int], silent: int, stragglers: int
) -> None:
    counts.sort(reverse=True)
    here = state(counts, n=sum(counts) + silent, silent=silent, old=stragglers)
    verdicts = [
        rule.stop(here, Cost()) for rule in (Predict(hopeless=1e-99), Lossless())
    ]
    assert verdicts[0] == verdicts[1]


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.lists(st.integers(0, 5), min_size=5, max_size=5),
    st.integers(0, 8),
    st.integers(8, 64),
)
def test_a_trial_answer_for_the_leader_instead_of_another_never_undoes_a_stop(
    counts: list[int], trials: list[int], unread: int, more: int
) -> None:
    counts.sort(reverse=True)
    other = next((at for at, said in enumerate(trials) if at and said), 0)
    assume(other)
    old, n = sum(trials) + unread, sum(counts) + sum(trials) + unread + more
    rule = Predict(hopeless=1e-99)
    if rule.stop(state(counts, trials, old=old, n=n), Cost()):
        trials[0] += 1
        trials[other] -= 1
        assert rule.stop(state(counts, trials, old=old, n=n), Cost())


@pytest.mark.parametrize(
    ("counts", "trials", "stops"),
    [
        # What has ended agrees: long samples that say the same end the vote, and those that say otherwise do not.
        ((1,), (13,), True),
        ((1,), (3,), False),
        ((2,), (8,), True),
        ((2,), (0, 8), False),
        ((2,), (6, 6), False),
        # Another answer of theirs may even lead.
        ((2, 1), (0, 12), False),
        ((1,), (), False),
        ((6,), (), True),
    ],
)
def test_long_samples_confirm_the_leader_or_not(
    counts: tuple[int, ...], trials: tuple[int, ...], stops: bool
) -> None:
    assert bool(reason(counts, trials)) == stops


@pytest.mark.parametrize(
    ("counts", "trials", "old", "gives_up"),
    [
        ((1,) * 4, (), 0, True),
        ((1,) * 3, (), 0, False),
        ((4, *[1] * 4), (), 0, False),
        ((1,) * 8, (), 50, False),
        # Stragglers that differ confirm it; where they agree, their answer may yet have a majority, though few ended
        # with it, or none.
        ((1,) * 4, (1,) * 12, 0, True),
        ((1,) * 4, (0, 0, 0, 12), 0, False),
        ((1,) * 4, (0, 0, 0, 0, 20), 0, False),
    ],
)
def test_it_gives_up_where_no_answer_will_have_a_majority(
    counts: tuple[int, ...], trials: tuple[int, ...], old: int, gives_up: bool
) -> None:
    said = reason(counts, trials, old=old)
    assert ("hopeless" in (said or "")) == gives_up
    assert not Predict(hopeless=1e-99).stop(state(counts, trials, old=old), Cost())


def test_its_reason_has_the_numbers() -> None:
    assert (
        reason((3,), (9,))
        == "3 of 3 samples agree, 9 trial answers: the leader will lead by 51.7 ± 9, z is 2.5"
    )
    given_up = "1 of 8 samples agree: no answer will have more than 7.22 ± 6 of 64 votes, hopeless is 0.05"
    assert reason((1,) * 8) == given_up


def test_it_is_found_among_other_rules() -> None:
    rule = Predict(every=50)
    assert predicting(FirstOf((BetaRule(), FirstOf((Lossless(), rule))))) is rule
    assert predicting(FirstOf((BetaRule(),))) is predicting(None) is None
