"""Stop rules: the published tables, what is sure to be lossless, and how often they really stop on the wrong answer."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Cost
from reasoner.answers.numbers import NumberSpace
from reasoner.stopping.rules import (
    BetaRule,
    DirichletRule,
    EntropyRule,
    Esc,
    FirstOf,
    LockIn,
    Lossless,
    MajorityRule,
    NoMajority,
    Ppr,
    Price,
    StopRule,
    smoothed,
)
from reasoner.stopping.vote_posteriors import best_gain
from reasoner.types import Vote, VoteState
from reasoner.voting import Tally
from tests.helpers import answer


def vote_state(
    *counts: int,
    silent: int = 0,
    max_samples: int = 0,
    weights: Sequence[float] = (),
    streak: int = 0,
) -> VoteState:
    """One answer with each of these numbers of votes above 0, and `silent` samples without an answer."""
    votes = tuple(
        Vote(answer(str(place)), weights[place] if weights else count, count)
        for place, count in enumerate(counts)
        if count
    )
    return VoteState(
        votes, sum(counts) + silent, streak=streak, max_samples=max_samples
    )


# The least lead that stops


def least_leads(rule: StopRule, seconds: int, max_samples: int = 0) -> list[int]:
    """The fewest votes for the leader that stop against 0, 1, ... votes."""

    def stops(a: int, b: int) -> bool:
        return rule.stop(vote_state(a, b, max_samples=max_samples), Cost()) is not None

    found = [next(a for a in range(1, 99) if stops(a, b)) for b in range(seconds)]
    # A greater lead stops as well.
    assert all(stops(a + more, b) for b, a in enumerate(found) for more in range(9))
    return found


@pytest.mark.parametrize(
    ("rule", "max_samples", "minimum"),
    [
        (BetaRule(0.90), 0, [3, 5, 6, 8, 9, 11, 12, 13]),
        (BetaRule(0.95), 0, [4, 6, 8, 9, 11, 12, 14, 15]),
        (BetaRule(0.99), 0, [6, 9, 11, 13, 14, 16, 18, 19]),
        (Ppr(0.05), 0, [8, 11, 14, 16, 18, 20]),
        (Ppr(0.05, classes=3), 0, [9, 12, 15, 17, 20, 22]),
        (LockIn(0.05), 40, [3, 5, 7, 8, 9, 10, 11]),
        (LockIn(0.01), 40, [5, 7, 9, 10, 11, 12, 13]),
        (LockIn(0.05), 8, [2, 3, 4, 4, 4]),
        (Lossless(), 40, [21, 21, 21]),
        (MajorityRule(0.8), 0, [2, 4, 8, 12, 16, 20]),
    ],
    ids=repr,
)
def test_the_published_least_leads(
    rule: StopRule, max_samples: int, minimum: list[int]
) -> None:
    assert least_leads(rule, len(minimum), max_samples) == minimum


@pytest.mark.parametrize(
    ("counts", "majority", "entropy"),
    [
        # What the published criteria say of these votes, at their defaults.
        ((1,), False, False),
        ((2,), True, False),
        ((4,), True, True),
        ((4, 1), True, True),
        ((8, 2), True, True),
        ((8, 1, 1), True, True),
        ((5, 5), False, False),
    ],
)
def test_the_published_criteria_of_majority_and_entropy(
    counts: tuple[int, ...], majority: bool, entropy: bool
) -> None:
    rules: tuple[StopRule, StopRule] = MajorityRule(), EntropyRule()
    assert [rule.stop(vote_state(*counts), Cost()) is not None for rule in rules] == [
        majority,
        entropy,
    ]
    # A sample without an answer is one more answer.
    for rule in rules:
        silent = rule.stop(vote_state(*counts, silent=1), Cost())
        assert bool(silent) == bool(
            rule.stop(vote_state(*sorted((*counts, 1), reverse=True)), Cost())
        )


# The rules


@pytest.mark.parametrize(
    ("stragglers", "same"),
    [(1, (9, 3)), (2, (9, 4)), (6, (9, 5)), (22, (9, 9)), (64, (9, 9))],
)
@pytest.mark.parametrize(
    "rule",
    [BetaRule(0.55), DirichletRule(0.55), LockIn(0.4), Ppr(0.9), Price(0.01)],
    ids=repr,
)
def test_every_fourth_straggler_votes_for_the_runner_up_up_to_a_tie(
    rule: StopRule, stragglers: int, same: tuple[int, int]
) -> None:
    running = replace(vote_state(9, 3, silent=8, max_samples=40), stragglers=stragglers)
    counted = replace(vote_state(*same, max_samples=40), samples=20)
    assert (rule.stop(running, Cost()) is None) == (rule.stop(counted, Cost()) is None)
    lead = replace(running, max_samples=26)
    assert Lossless().stop(lead, Cost()) is None
    assert Lossless().stop(replace(lead, max_samples=25), Cost())


@pytest.mark.parametrize(
    ("leader", "others", "stragglers", "stops"),
    [
        (2, 10, 0, False),
        (2, 11, 0, True),
        (1, 9, 0, True),
        (1, 8, 0, False),
        (2, 11, 1, False),
        (0, 60, 0, False),
    ],
)
def test_it_gives_up_where_a_majority_is_unlikely(
    leader: int, others: int, stragglers: int, stops: bool
) -> None:
    """P(share > 1/2) is that of at most `leader` heads in all tosses and one: 1.12 and 0.65 % for 2 of 12 and 13."""
    here = replace(vote_state(leader, silent=others), stragglers=stragglers)
    tosses, heads = leader + stragglers + others + 1, leader + stragglers
    chance = sum(math.comb(tosses, k) for k in range(heads + 1)) / 2**tosses
    assert (
        (NoMajority().stop(here, Cost()) is not None)
        == stops
        == (chance < 0.01 and leader > 0)
    )


# What is locked in


@pytest.mark.parametrize("rule", [LockIn(), Lossless()])
def test_without_an_end_nothing_is_locked_in(rule: StopRule) -> None:
    assert rule.stop(vote_state(50), Cost()) is None
    assert rule.stop(vote_state(50, max_samples=60), Cost())


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=5),
    st.integers(0, 30),
    st.sampled_from([1e-9, 0.05, 0.3]),
)
def test_what_is_lossless_is_locked_in(
    counts: list[int], more: int, delta: float
) -> None:
    here = vote_state(*sorted(counts, reverse=True), max_samples=sum(counts) + more)
    if here.samples >= 2 and Lossless().stop(here, Cost()):
        assert LockIn(delta).stop(here, Cost())


def course(
    answers: Iterable[str | None], max_samples: int, rule: StopRule
) -> VoteState:
    """Where the vote stands at the rule's stop, or after all, looked at after each sample in launch order."""
    tally = Tally(NumberSpace(), max_samples=max_samples)
    for index, one in enumerate(answers):
        tally.add(None if one is None else answer(one), index=index)
        if rule.stop(tally.vote_state(), Cost()):
            break
    return tally.vote_state()


class _Never:
    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        return None


LOSSLESS = [Lossless(), Price(0)]


@pytest.mark.parametrize("rule", LOSSLESS, ids=repr)
@pytest.mark.parametrize(
    "pool",
    [
        *("1111111", "1122", "111222", "11122-", "112--", "1-----", "-----", "111122-"),
        *(
            pytest.param(pool, marks=pytest.mark.slow)
            for pool in ("1112233", "1234567", "11-2233")
        ),
    ],
)
def test_the_answer_of_what_is_lossless_is_that_of_all_samples_in_every_order(
    rule: StopRule, pool: str
) -> None:
    saved = 0
    for order in set(itertools.permutations(pool)):
        answers = [None if one == "-" else one for one in order]
        stopped, full = (course(answers, len(pool), one) for one in (rule, _Never()))
        assert stopped.leader == full.leader
        saved += full.samples - stopped.samples
    assert bool(saved) == (pool in {"1111111", "11122-", "112--", "111122-"})


# A certificate, and a window


@pytest.mark.parametrize(
    ("law", "samples"),
    [((1.0,), 5), ((0.9, 0.1), 8.4607), ((0.8, 0.2), 14.6100), ((0.5, 0.5), 32.2624)],
)
def test_the_published_mean_samples_of_windows(
    law: tuple[float, ...], samples: float
) -> None:
    rule, mean = Esc(5), 0.0
    # The probability of each streak: which answer came last, and how many times on end.
    left = {(-1, 0): 1.0}
    for drawn in range(1, 41):
        after: dict[tuple[int, int], float] = defaultdict(float)
        for (last, streak), chance in left.items():
            for one, probability in enumerate(law):
                after[one, streak + 1 if one == last else 1] += chance * probability
        ended = {
            at
            for at in after
            if drawn == 40 or rule.stop(vote_state(drawn, streak=at[1]), Cost())
        }
        mean += drawn * sum(after[at] for at in ended)
        left = {at: chance for at, chance in after.items() if at not in ended}
    assert round(mean, 4) == samples


# How often they are wrong

Stops = Callable[[tuple[int, ...]], bool]
States = dict[tuple[tuple[int, ...], tuple[int, ...]], float]


def stops(rule: StopRule) -> Stops:
    return cache(lambda counts: rule.stop(vote_state(*counts), Cost()) is not None)


class SearchTree:
    """What one-by-one draws from a law come to, exactly: the probability of each state, draw by draw.

    A state is the counts of the classes and the order in which they came, which decides ties. The first is right.
    """

    def __init__(self, law: tuple[float, ...], cap: int, stops: Stops) -> None:
        self.stopped_wrong = 0.0
        states: States = {((0,) * len(law), ()): 1.0}
        for drawn in range(1, cap + 1):
            states = self._look(drawn, cap, stops, _drawn(states, law))

    def _look(self, drawn: int, cap: int, stops: Stops, states: States) -> States:
        left = {}
        for (counts, order), chance in states.items():
            stop = stops(
                tuple(sorted((count for count in counts if count), reverse=True))
            )
            if not stop and drawn < cap:
                left[counts, order] = chance
                continue
            leader = max(order, key=lambda one: (counts[one], -order.index(one)))
            self.stopped_wrong += chance * (stop and leader != 0)
        return left


def _drawn(states: States, law: tuple[float, ...]) -> States:
    after: States = defaultdict(float)
    for (counts, order), chance in states.items():
        for one, probability in enumerate(law):
            more = (*counts[:one], counts[one] + 1, *counts[one + 1 :])
            after[more, order if one in order else (*order, one)] += (
                chance * probability
            )
    return after


@pytest.mark.parametrize(
    ("law", "cap", "wrong"),
    [
        ((0.55, 0.45), 200, 0.122),
        ((0.6, 0.4), 40, 0.054),
        ((0.6, 0.4), 200, 0.055),
        ((0.4, 0.35, 0.25), 40, 0.084),
    ],
)
def test_the_published_shares_of_wrong_stops(
    law: tuple[float, ...], cap: int, wrong: float
) -> None:
    assert round(SearchTree(law, cap, stops(BetaRule())).stopped_wrong, 3) == wrong


@pytest.mark.parametrize(
    ("law", "wrong"), [((0.55, 0.45), 0.0036), ((0.6, 0.4), 0.0010)]
)
def test_the_published_shares_of_wrong_certificates(
    law: tuple[float, ...], wrong: float
) -> None:
    assert round(SearchTree(law, 200, stops(Ppr())).stopped_wrong, 4) == wrong


# What a vote state comes to


def test_the_smoothed_share_rises_with_agreement_and_with_evidence() -> None:
    assert smoothed(VoteState()) == 0.5
    assert smoothed(vote_state(1)) == smoothed(vote_state(3, 1)) == pytest.approx(2 / 3)
    assert (
        smoothed(vote_state(1)) < smoothed(vote_state(2)) < smoothed(vote_state(40)) < 1
    )
    assert smoothed(vote_state(3, silent=1)) == smoothed(vote_state(3, 1))
    assert 0 < smoothed(VoteState((), 50)) < smoothed(vote_state(1, *(1,) * 49))


# Price


@given(
    st.integers(1, 12),
    st.integers(0, 12),
    st.integers(0, 20),
    st.integers(0, 40),
    st.sampled_from([1e-4, 0.01]),
)
def test_it_stops_where_no_number_of_samples_is_worth_the_price(
    a: int, b: int, silent: int, left: int, price: float
) -> None:
    a, b = max(a, b), min(a, b)
    here = vote_state(a, b, silent=silent, max_samples=a + b + silent + left)
    worth = best_gain(a, b, left).rate * (a + b + 1) / (a + b + silent + 1)
    assert bool(Price(price).stop(here, Cost())) == (worth < price)


# The first of several


def test_the_first_that_stops_says_so_by_name() -> None:
    both = FirstOf((Ppr(), BetaRule()))
    assert both.stop(vote_state(3), Cost()) is None
    assert (both.stop(vote_state(4), Cost()) or "").startswith("BetaRule: 4 to 0 votes")
    assert (both.stop(vote_state(8), Cost()) or "").startswith("Ppr: 8 to 0 votes")
    assert (FirstOf((FirstOf((both,)),)).stop(vote_state(4), Cost()) or "").startswith(
        "BetaRule: 4 to 0 votes"
    )
