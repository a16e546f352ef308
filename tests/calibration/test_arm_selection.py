"""Choosing an arm: on populations whose truth is known, at the edges of the evidence, and what shrinking does."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.calibration.arm_selection import Choice, Estimate, choose, shrink, shrunk
from reasoner.calibration.profile import ArmRow, Bins, Family, Trust

Outcomes = np.ndarray[Any, Any]
SINGLE, FULL = "single", "self_consistency:n=40"
FOUR = "self_consistency:n=4"
LOCKED, LOSSLESS = "self_consistency:n=40,stop=lock_in", "self_consistency:n=40,stop=lossless"
SAMPLES = {SINGLE: 1.0, FOUR: 4.0, LOCKED: 8.0, LOSSLESS: 24.0, FULL: 40.0}


def measured(
    arms: dict[str, tuple[float, Outcomes]], place: int = 0, verifiers: dict[str, str] | None = None
) -> list[ArmRow]:
    """The rows of one bin: an arm's mean samples and its outcomes, question by question."""
    start, standard = min(arms.values(), key=lambda arm: arm[0])[1], arms[FULL][1]
    rows = []
    for spec, (samples, outcomes) in arms.items():
        gap = outcomes - start
        rows.append(
            ArmRow(
                strategy=spec,
                verifier=(verifiers or {}).get(spec, ""),
                bin=place,
                questions=len(outcomes),
                right=outcomes.sum(),
                squares=(outcomes**2).sum(),
                harmed=(standard * (1 - outcomes)).sum(),
                helped=((1 - standard) * outcomes).sum(),
                gap=gap.sum(),
                gap_squares=(gap**2).sum(),
                tokens=100 * samples,
                tokens_p95=100 * samples,
                samples=samples,
                share=0.8,
                share_sd=0.1,
            )
        )
    return rows


def family(*rows: ArmRow, edges: tuple[float, ...] = ()) -> Family:
    return Family(
        task="math",
        questions=100,
        bins=Bins(signal="split" if edges else "none", edges=edges),
        arms=rows,
        baseline=FULL,
        sample_tokens=100,
        trust=Trust(questions=100, shares=(0.5,), chances=(0.5,)),
        origin="test",
    )


def voting(source: np.random.Generator, n: int, *, solid: float, split: float, lost: float = 0.0) -> Family:
    """Votes are right on `solid` of questions always; on `split` where a sample is right in 70 %; on `lost` they never
    are, where a sample is right in 30 %."""
    kind = source.random(n)
    chance = np.select([kind < solid, kind < solid + split, kind < solid + split + lost], [1.0, 0.7, 0.3], 0.0)
    full = np.where(kind < solid + split, 1.0, 0.0)
    # Outcomes of one sample and of four are means over many draws from a pool of 40.
    one = source.binomial(40, chance) / 40
    four = one**4 + 4 * one**3 * (1 - one) + 3 * one**2 * (1 - one) ** 2
    return family(*measured({spec: (SAMPLES[spec], {SINGLE: one, FOUR: four}.get(spec, full)) for spec in SAMPLES}))


def chosen(choice: Choice) -> str | None:
    return choice.row.strategy if choice.row else None


def often(
    n: int, price: float, *, solid: float, split: float, lost: float = 0.0, times: int = 200
) -> Counter[str | None]:
    source = np.random.default_rng(n)
    return Counter(
        chosen(choose(voting(source, n, solid=solid, split=split, lost=lost), 0, price=price)) for _ in range(times)
    )


# Populations


@pytest.mark.parametrize("n", [60, 100, 300])
def test_where_votes_gain_nothing_it_is_one_sample(n: int) -> None:
    assert often(n, 0.002, solid=0.5, split=0.1, lost=0.1)[SINGLE] >= 180


@pytest.mark.parametrize("n", [100, 300])
def test_where_votes_gain_five_points_it_is_one_sample_rarely(n: int) -> None:
    assert often(n, 0.002, solid=0.6, split=0.2, lost=0.03)[SINGLE] <= 20


def test_where_votes_gain_two_points_it_is_one_sample_less_often_than_not() -> None:
    assert often(100, 0.0002, solid=0.6, split=0.1, lost=0.03)[SINGLE] <= 80


def test_a_gain_that_costs_more_than_its_price_is_not_bought() -> None:
    assert often(300, 0.02, solid=0.6, split=0.2, lost=0.03)[SINGLE] == 200


def test_the_cheapest_arm_that_is_known_to_lose_nothing_is_chosen() -> None:
    found = often(300, 0.002, solid=0.6, split=0.2, lost=0.03)
    assert found[LOCKED] >= 190
    assert not found[FULL] + found[LOSSLESS]


def test_too_few_questions_to_bound_harm_leave_it_to_the_default() -> None:
    choice = choose(voting(np.random.default_rng(1), 100, solid=0.5, split=0.4), 0, price=0.002)
    assert choice.row is None
    assert "voting pays" in choice.why
    assert "of 100 questions, at most 3 %, and 2 % are allowed" in choice.why


def test_fifteen_questions_choose_nothing() -> None:
    choice = choose(voting(np.random.default_rng(1), 15, solid=0.5, split=0.4), 0, price=0.002)
    assert choice == Choice(None, "only 15 questions were measured, at least 30 are needed")


@pytest.mark.parametrize(("n", "eligible"), [(29, False), (30, True)])
def test_thirty_questions_are_enough(n: int, eligible: bool) -> None:
    choice = choose(voting(np.random.default_rng(1), n, solid=1, split=0), 0, price=0.002)
    assert chosen(choice) == (SINGLE if eligible else None)


# Risk


def coins(n: int, right: int, *wrong: int) -> Outcomes:
    """Right on the first so many of n questions, but for these."""
    outcomes = (np.arange(n) < right).astype(float)
    outcomes[list(wrong)] = 0
    return outcomes


def test_an_arm_that_spoils_too_much_is_not_chosen_though_it_gains_most_for_its_cost() -> None:
    spoilt = coins(400, 300, *range(12))
    arms = {
        SINGLE: (1.0, coins(400, 200)),
        LOCKED: (5.0, spoilt),
        LOSSLESS: (24.0, coins(400, 300)),
        FULL: (40.0, coins(400, 300)),
    }
    choice = choose(family(*measured(arms)), 0, price=0.002)
    assert chosen(choice) == LOSSLESS
    assert "\n" not in choice.why
    assert "gains 25.0 points on single" in choice.why
    assert "is wrong where voting is right on 0 of 400 questions, at most 0.75 %" in choice.why
    assert chosen(choose(family(*measured(arms)), 0, price=0.002, epsilon=0.06)) == LOCKED


def test_a_fixed_number_of_samples_that_spoils_does_not_end_the_walk_to_rules() -> None:
    full = coins(400, 300)
    arms = {
        SINGLE: (1.0, coins(400, 200)),
        LOCKED: (6.0, full),
        "self_consistency:n=16": (16.0, coins(400, 300, *range(12))),
        FULL: (40.0, full),
    }
    assert chosen(choose(family(*measured(arms)), 0, price=0.002)) == LOCKED


def test_a_verifier_that_spoils_does_not_end_the_walk_either() -> None:
    full = coins(400, 300)
    arms = {
        SINGLE: (1.0, coins(400, 200)),
        LOCKED: (6.0, full),
        "best": (16.0, coins(400, 300, *range(12))),
        FULL: (40.0, full),
    }
    assert chosen(choose(family(*measured(arms, verifiers={"best": "prm"})), 0, price=0.002)) == LOCKED


@pytest.mark.parametrize(("right", "best"), [(300, LOCKED), (340, "best")])
def test_what_is_no_vote_must_be_right_more_often_than_the_baseline(right: int, best: str) -> None:
    full = coins(400, 300)
    arms = {SINGLE: (1.0, coins(400, 200)), LOCKED: (20.0, full), "best": (16.0, coins(400, right)), FULL: (40.0, full)}
    choice = choose(family(*measured(arms, verifiers={"best": "prm"})), 0, price=0.0002)
    assert chosen(choice) == best
    assert ("it is right more often than voting" in choice.why) == (best == "best")


def test_where_voting_does_not_pay_it_is_no_measure() -> None:
    flat, better = coins(400, 200), coins(400, 300, *range(20))
    arms = {SINGLE: (1.0, flat), "best": (16.0, better), FULL: (40.0, flat)}
    choice = choose(family(*measured(arms, verifiers={"best": "prm"})), 0, price=0.002)
    assert chosen(choice) == "best"
    assert "voting itself is not worth its cost" in choice.why


def test_a_bin_of_few_questions_borrows_what_its_arm_spoils_elsewhere() -> None:
    arms = {SINGLE: (1.0, coins(80, 40)), LOCKED: (6.0, coins(80, 60)), FULL: (40.0, coins(80, 60))}
    two = family(*measured(arms), *measured(arms, 1), edges=(0.5,))
    three = coins(80, 60, 0, 1, 2)
    spoilt = family(*measured(arms), *measured({**arms, LOCKED: (6.0, three)}, 1), edges=(0.5,))
    assert chosen(choose(two, 0, price=0.002)) == LOCKED
    assert chosen(choose(spoilt, 0, price=0.002)) == FULL
    assert chosen(choose(family(*measured(arms)), 0, price=0.002)) is None


@pytest.mark.slow
def test_what_is_chosen_spoils_too_much_in_alpha_of_calibrations_at_most() -> None:
    source, missed, other = np.random.default_rng(3), 0, 0
    rules = [f"{FULL},stop={name}" for name in "abcd"]
    for _ in range(400):
        luck, right = source.random(300), source.random(300) < 0.85
        # The bolder two spoil 2.1 and 3 % of questions.
        arms = {
            spec: (samples, right * (luck >= risk))
            for spec, samples, risk in zip(rules, (20.0, 12.0, 6.0, 5.0), (0.0, 0.001, 0.0247, 0.0353), strict=True)
        }
        start = right * (source.random(300) < 0.5)
        choice = choose(
            family(*measured({SINGLE: (1.0, start * 1.0), FULL: (40.0, right * 1.0), **arms})), 0, price=0.002
        )
        missed += chosen(choice) in rules[2:]
        other += chosen(choice) == rules[1]
    assert missed / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    assert other > 300


# The whole of it


def test_a_family_of_one_arm_chooses_it() -> None:
    choice = choose(family(*measured({FULL: (40.0, coins(100, 50))})), 0, price=0.002)
    assert (chosen(choice), choice.why) == (FULL, "it is the only arm measured on enough questions")


def test_arms_measured_on_few_questions_are_no_candidates() -> None:
    arms = {SINGLE: (1.0, coins(200, 100)), FULL: (40.0, coins(200, 102))}
    few = measured({SINGLE: (1.0, coins(29, 0)), "miracle": (2.0, coins(29, 29)), FULL: (40.0, coins(29, 0))})[1]
    assert chosen(choose(family(*measured(arms), few), 0, price=0.002)) == SINGLE


@given(st.floats(0, 0.05), st.floats(0, 0.05), st.integers(0, 20))
def test_a_higher_price_never_buys_more(one: float, other: float, seed: int) -> None:
    low, high = sorted((one, other))
    whole = voting(np.random.default_rng(seed), 300, solid=0.5, split=0.3, lost=0.03)
    cheap, dear = choose(whole, 0, price=high).row, choose(whole, 0, price=low).row
    assert cheap is not None
    assert dear is not None
    assert cheap.tokens <= dear.tokens


def test_the_order_of_rows_does_not_matter() -> None:
    rows = voting(np.random.default_rng(5), 300, solid=0.5, split=0.3).arms
    assert len({choose(family(*order), 0, price=0.002) for order in itertools.permutations(rows)}) == 1


# Shrinking


estimates = st.lists(st.builds(Estimate, st.floats(-1, 1), st.floats(1e-6, 0.1)), min_size=1, max_size=5)


@given(estimates)
def test_shrinking_stays_between_the_estimates_and_is_no_less_sure(raw: list[Estimate]) -> None:
    low, high = min(one.mean for one in raw), max(one.mean for one in raw)
    for before, after in zip(raw, shrink(raw), strict=True):
        assert low - 1e-9 <= after.mean <= high + 1e-9
        assert after.variance <= before.variance * (1 + 1e-9)


def test_one_bin_is_not_shrunk() -> None:
    assert shrink([Estimate(0.3, 0.01)]) == [Estimate(0.3, 0.01)]


def test_equal_bins_are_pooled() -> None:
    for pooled in shrink([Estimate(0.5, 0.02)] * 4):
        assert pooled.mean == pytest.approx(0.5)
        assert pooled.variance == pytest.approx(0.005)


def test_bins_that_differ_by_far_more_than_noise_are_left_alone() -> None:
    easy, hard = shrink([Estimate(0.9, 1e-6), Estimate(0.3, 1e-6)])
    assert easy.mean == pytest.approx(0.9, abs=1e-4)
    assert hard.mean == pytest.approx(0.3, abs=1e-4)


def test_shrinking_is_nearer_to_the_truth() -> None:
    source, raw_error, error = np.random.default_rng(0), 0.0, 0.0
    for _ in range(500):
        truth = source.normal(0.6, 0.03, 4)
        raw = [Estimate(float(mean), 0.05**2) for mean in source.normal(truth, 0.05)]
        raw_error += sum((one.mean - true) ** 2 for one, true in zip(raw, truth, strict=True))
        error += sum((one.mean - true) ** 2 for one, true in zip(shrink(raw), truth, strict=True))
    assert error < 0.75 * raw_error


def test_accuracies_are_shrunk_over_the_bins_of_an_arm() -> None:
    arms = {SINGLE: (1.0, coins(100, 50)), FULL: (40.0, coins(100, 70))}
    near = {SINGLE: (1.0, coins(100, 52)), FULL: (40.0, coins(100, 10))}
    found = shrunk(family(*measured(arms), *measured(near, 1), edges=(0.5,)))
    assert found[(SINGLE, "", ""), 0].mean == pytest.approx(0.51, abs=1e-3)
    assert found[(FULL, "", ""), 0].mean == pytest.approx(0.7, abs=0.01)
    assert found[(FULL, "", ""), 1].mean == pytest.approx(0.1, abs=0.01)
