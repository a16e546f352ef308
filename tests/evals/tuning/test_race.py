"""The race keeps what it should keep, drops what is shown to be worse, and chooses as it says."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.calibration.promises import p_value
from reasoner_evals.stats import Floats
from reasoner_evals.tuning.race import NEAR, Race, better_by, next_share, rounds


def race(right: Floats, cost: list[float], goal: float = 1000.0) -> Race:
    tokens = np.where(np.isnan(right), np.nan, np.array(cost)[:, None])
    return Race(right, tokens, tokens, goal)


def test_of_two_candidates_one_that_is_never_right_goes_out_as_soon_as_the_bets_say_so() -> (
    None
):
    left_at = next(
        n
        for n in range(1, 50)
        if race(np.array([[1.0] * n, [0.0] * n]), [10, 10]).look()
    )
    # Each question doubles the largest bet, which holds two fifths of the wealth; the error is 5 %.
    assert left_at == math.ceil(math.log2(1 / 0.05 / 0.4))
    run = race(np.array([[1.0] * left_at, [0.0] * left_at]), [10, 10])
    [out] = run.look()
    assert (out.who, out.why, out.against, out.questions) == (1, "worse", 0, left_at)
    assert run.choice() == 0


def test_equally_accurate_candidates_are_told_apart_by_their_cost_alone() -> None:
    run = race(np.ones((3, 3000)), [30, 20, 10])
    assert {(each.who, each.why) for each in run.look()} == {
        (0, "dearer"),
        (1, "dearer"),
    }
    assert run.choice() == 2


def test_over_the_budget_without_a_result_and_never_the_last_one() -> None:
    run = race(np.ones((3, 20)), [50, 200, 20], goal=100)
    run.failed = np.array([True, False, False])
    assert [(each.who, each.why) for each in run.look()] == [(0, "failed"), (1, "over")]
    assert run.inside == [2]
    alone = race(np.ones((1, 20)), [500], goal=100)
    assert not alone.look()
    assert alone.choice() == 0


def test_of_nearly_equal_ones_the_cheaper_one_is_chosen() -> None:
    right = np.ones((2, 400))
    right[0, : int(400 * NEAR)] = 0
    assert race(right, [10, 90]).choice() == 0
    right[0, : int(400 * NEAR) + 1] = 0
    assert race(right, [10, 90]).choice() == 1


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40),
    st.sampled_from((0.0, 0.01)),
)
def test_the_p_value_is_that_of_a_bet_and_missing_values_are_no_questions(
    outcomes: list[tuple[bool, bool]], margin: float
) -> None:
    ours, theirs = (
        np.array(column, dtype=float) for column in zip(*outcomes, strict=True)
    )
    expected = p_value([(ahead, 1) for ahead in (ours - theirs).tolist()], margin)

    def found(ours: Floats, theirs: Floats, groups: list[str] | None = None) -> float:
        return float(better_by(ours, theirs[None], np.array([margin]), groups)[0])

    assert found(ours, theirs) == pytest.approx(expected)
    assert found(np.append(ours, np.nan), np.append(theirs, 1.0)) == pytest.approx(
        expected
    )
    each_its_own = [str(number) for number in range(len(ours))]
    assert found(ours, theirs, each_its_own) == pytest.approx(expected)
    # A group of copies is one unit.
    doubled = [name for name in each_its_own for _ in range(2)]
    assert found(ours.repeat(2), theirs.repeat(2), doubled) == pytest.approx(expected)


@pytest.mark.slow
def test_looking_after_each_round_drops_the_best_one_as_rarely_as_it_says() -> None:
    source, lost = np.random.default_rng(0), 0
    for _ in range(200):
        # All are equally accurate and cost the same: whoever goes out is a false exit.
        right = (source.random((12, 160)) < 0.5).astype(float)
        run = race(right[:, :0], [10.0] * 12)
        for block in rounds(160):
            run.right = right[:, : block.stop]
            run.tokens = np.full(run.right.shape, 10.0)
            run.look()
        lost += any(each.who == 0 for each in run.exits)
    assert lost <= 0.05 * 200


@given(st.integers(1, 3000))
def test_rounds_cover_each_question_once(questions: int) -> None:
    assert [at for block in rounds(questions) for at in block] == list(range(questions))
    assert len(rounds(questions)) <= max(8, 1)


@given(
    st.lists(st.integers(1, 100), min_size=2, max_size=12, unique=True),
    st.integers(1, 8),
    st.floats(0.01, 2.0),
)
def test_the_tokens_last_for_all_rounds_and_the_best_ones_are_kept(
    costs: list[int], rounds_left: int, part: float
) -> None:
    right = np.tril(np.ones((len(costs), len(costs))))
    run = race(right, [float(cost) for cost in costs], goal=1.0)
    before = run.inside

    def price(inside: Sequence[int]) -> float:
        return float(sum(costs[who] for who in inside))

    tokens = part * price(before) * rounds_left
    out = run.thin_out(price, rounds_left, tokens)
    assert [each.who for each in out] == list(reversed(before))[: len(out)]
    if part >= 1:
        assert not out
    else:
        share = next_share(price(before), rounds_left, tokens)
        assert (
            price(before[:1]) > price(before) * share
            or price(run.inside) <= price(before) * share
        )
        assert price(before) * sum(
            share**each for each in range(1, rounds_left + 1)
        ) <= tokens * (1 + 1e-9)
    # What shares its samples with one that stays saves nothing, and stays too.
    same = race(right, [float(cost) for cost in costs], goal=1.0)
    assert not same.thin_out(lambda _: 7.0, rounds_left, 0.0)
