"""Replays are what the core's own tally and rules give, vote by vote and in every order."""

import itertools
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.budget import Cost
from reasoner.registry import build
from reasoner.stopping.rules import Order
from reasoner.types import VoteState
from reasoner_evals.calibration.clock import SampleMatrix, StoppedVote
from reasoner_evals.calibration.outcomes import (
    ALL_ORDERS,
    MOST_ORDERS,
    ORDERS,
    REPLAYS,
    RULES,
    random_orders,
    stopped,
)
from tests.evals.calibration.pools import drawn, recorded_order, voted

CLASSES = st.integers(-1, 3)
POOLS = st.integers(1, 9).flatmap(
    lambda n: st.lists(
        st.lists(CLASSES, min_size=n, max_size=n), min_size=1, max_size=4
    )
)


class Seeing:
    """A rule that never stops, and the vote states that it was asked about."""

    def __init__(self) -> None:
        self.seen: list[VoteState] = []

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        self.seen.append(vote_state)
        return None


@given(POOLS)
def test_every_standing_is_that_of_the_tally(answers: list[list[int]]) -> None:
    pool = drawn(answers)
    for row, of in enumerate(answers):
        rule, every = (
            Seeing(),
            SampleMatrix(pool.right, pool.classes, pool.lengths, pool.own),
        )
        StoppedVote(rule, "launch", len(of), 1).follow(
            every.part(slice(row, row + 1), len(of))
        )
        for n, mine in enumerate(rule.seen, start=1):
            ended = voted([*of[:n]], [one == 0 for one in of[:n]])
            core = ended.vote_state
            assert (mine.samples, mine.streak, mine.tied, mine.max_samples) == (
                n,
                core.streak,
                core.tied,
                len(of),
            )
            assert sorted(vote.count for vote in mine.votes) == sorted(
                vote.count for vote in core.votes
            )
            assert [vote.count for vote in mine.votes[:1]] == [
                vote.count for vote in core.votes[:1]
            ]
            assert mine.share == core.share
            told = stopped(
                pool,
                recorded_order(pool)[..., :n],
                build("strategy", f"self_consistency:n={n}"),
            )
            assert told.right[row, 0] == ended.right
            leader = core.votes[0].count if core.votes else 0
            assert told.share[row, 0] == (leader + 1) / (n + 2)
            assert told.sequential[row, 0] == pool.lengths[row, :n].max()
            assert told.length[row, 0] == pytest.approx(pool.lengths[row, :n].mean())
            assert told.tokens[row, 0] == pytest.approx(
                40 + 8 * (n - 1) + pool.own[row, :n].sum()
            )


@pytest.mark.parametrize("spec", RULES)
def test_a_rule_ends_every_order_where_it_ends_the_vote_itself(spec: str) -> None:
    answers = [
        [0, 0, 0, 0, 0],
        [0, 1, 0, 1, -1],
        [1, 1, 1, 0, -1],
        [-1] * 5,
        [2, 0, 0, 1, 0],
    ]
    pool, rule = drawn(answers), build("rule", spec)
    orders = random_orders([str(n) for n in range(5)], 5)
    told = stopped(pool, orders, build("strategy", "self_consistency:n=5"), spec)
    for row, of in enumerate(answers):
        for place, order in enumerate(itertools.permutations(range(5))):
            assert tuple(orders[row, place]) == order
            ended = voted([of[at] for at in order], [of[at] == 0 for at in order], rule)
            assert (told.samples[row, place], told.right[row, place]) == (
                ended.looked,
                ended.right,
            )


@given(POOLS)
def test_what_lossless_stops_is_the_vote_of_all_in_either_order(
    answers: list[list[int]],
) -> None:
    """So both promise that nothing is lost, and by length it waits less."""
    pool, vote = (
        drawn(answers),
        build("strategy", f"self_consistency:n={len(answers[0])}"),
    )
    whole = stopped(pool, recorded_order(pool), vote)
    for order in get_args(Order):
        told = stopped(pool, recorded_order(pool), vote, "lossless", order)
        assert np.array_equal(told.right, whole.right)
        assert order == "launch" or (told.sequential <= whole.sequential).all()


def test_random_orders_go_by_the_question_alone() -> None:
    gather, alone = random_orders(["a", "b", "c"], 12), random_orders(["b"], 12)
    assert gather.shape == (3, MOST_ORDERS, 12)
    assert np.array_equal(gather[1], alone[0])
    many = random_orders(["b", *map(str, range(REPLAYS // 20))], 12)
    assert many.shape[1] == ORDERS
    assert np.array_equal(many[0], alone[0, :ORDERS])
    assert not np.array_equal(gather[0], gather[1])
    assert np.array_equal(np.sort(gather), np.broadcast_to(np.arange(12), gather.shape))
    assert random_orders(["a"], 5).shape[1] == ALL_ORDERS
