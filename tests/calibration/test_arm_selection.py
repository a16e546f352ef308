"""Choosing an arm: on populations whose truth is known, at the edges of the evidence, and what shrinking does."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.calibration.arm_selection import LEVEL, LOSSES, PRIOR, Choice, choose, shrunk
from reasoner.calibration.profile import ArmRow, Bins, Family
from tests.calibration import profiles
from tests.calibration.profiles import plain_row

Outcomes = np.ndarray[Any, Any]
ONE, FULL = "self_consistency:n=1", "self_consistency:n=40"
FOUR = "self_consistency:n=4"
BOLD, LOCKED = f"{FULL},stop=lock_in(delta=0.1)", f"{FULL},stop=lock_in(delta=0.01)"
SAMPLES = {ONE: 1.0, BOLD: 3.0, FOUR: 4.0, LOCKED: 8.0, FULL: 40.0}


def measured(
    arms: dict[str, tuple[float, Outcomes]], place: int = 0, verifiers: dict[str, str] | None = None
) -> list[ArmRow]:
    """The rows of one bin: an arm's mean samples and its outcomes, question by question."""
    standard = arms[FULL][1]
    return [
        plain_row(
            strategy=spec,
            verifier=(verifiers or {}).get(spec, ""),
            bin=place,
            questions=len(outcomes),
            right=outcomes.sum(),
            squares=(outcomes**2).sum(),
            harmed=(standard * (1 - outcomes)).sum(),
            helped=((1 - standard) * outcomes).sum(),
            loss_squares=((standard - outcomes) ** 2).sum(),
            tokens=100 * samples,
            samples=samples,
        )
        for spec, (samples, outcomes) in arms.items()
    ]


def family(*rows: ArmRow, edges: tuple[float, ...] = ()) -> Family:
    safe = LOCKED if any(row.strategy == LOCKED for row in rows) else FULL
    bins = Bins(signal="split" if edges else "none", edges=edges)
    return profiles.family(*rows, bins=bins, baseline=FULL, safe=safe)


def outcomes_of(source: np.random.Generator, n: int, *, split: float, lost: float) -> dict[str, Outcomes]:
    """On `split` of questions a sample is right in 70 % and the vote always; on `lost` in 30 % and the vote never.

    On the other questions all samples are right. Outcomes of one sample are means over a pool of 40, those of the bold
    rule are wrong on a tenth of what is split, and right on a tenth of what is lost.
    """
    kind = source.random(n)
    chance = np.select([kind < split, kind < split + lost], [0.7, 0.3], 1.0)
    full = np.where(chance == 0.3, 0.0, 1.0)
    one = np.where(chance == 1.0, 1.0, source.binomial(40, chance) / 40)
    bold = np.where(chance == 1.0, 1.0, 0.1 + 0.8 * full)
    four = one**4 + 4 * one**3 * (1 - one) + 3 * one**2 * (1 - one) ** 2
    return {ONE: one, BOLD: bold, FOUR: four, LOCKED: full, FULL: full}


def true_loss(spec: str, split: float, lost: float) -> float:
    return {ONE: 0.3, BOLD: 0.1}.get(spec, 0.0) * (split - lost)


def voting(source: np.random.Generator, n: int, *, split: float, lost: float) -> Family:
    found = outcomes_of(source, n, split=split, lost=lost)
    return family(*measured({spec: (SAMPLES[spec], outcomes) for spec, outcomes in found.items()}))


def chosen(n: int, loss: float, *, split: float, lost: float, times: int = 200, level: float = LEVEL) -> Sequence[str]:
    source = np.random.default_rng(n)
    families = (voting(source, n, split=split, lost=lost) for _ in range(times))
    return [choose(each, 0, loss=loss, level=level).row.strategy for each in families]


# Populations


@pytest.mark.parametrize("effort", LOSSES)
def test_where_votes_gain_nothing_it_is_one_sample(effort: str) -> None:
    assert chosen(1000, LOSSES[effort], split=0.0, lost=0.0) == [ONE] * 200


# The boundaries, where the loss is just more than what is allowed, are the worst cases.
@pytest.mark.parametrize(("split", "lost"), [(0.08, 0.046), (0.2, 0.166), (0.3, 0.195), (0.12, 0.015)])
@pytest.mark.parametrize("n", [150, 600])
def test_more_than_what_is_allowed_is_lost_in_few_calibrations(n: int, split: float, lost: float) -> None:
    picked = chosen(n, 0.01, split=split, lost=lost, times=300)
    broken = np.mean([true_loss(spec, split, lost) > 0.01 for spec in picked])
    # Two arms are tried; three standard errors of 300 calibrations.
    assert broken <= 2 * (1 - LEVEL) + 3 * (0.3 * 0.7 / 300) ** 0.5
    assert np.mean([true_loss(spec, split, lost) for spec in picked]) <= 0.01


@given(st.floats(0, 0.05), st.floats(0, 0.05), st.integers(0, 20))
def test_who_allows_less_loss_never_gets_a_cheaper_arm(one: float, other: float, seed: int) -> None:
    strict, loose = sorted((one, other))
    whole = voting(np.random.default_rng(seed), 300, split=0.3, lost=0.03)
    assert choose(whole, 0, loss=loose).row.tokens <= choose(whole, 0, loss=strict).row.tokens


# The edges of the evidence


def coins(n: int, right: int, *wrong: int) -> Outcomes:
    """Right on the first so many of n questions, but for these."""
    outcomes = (np.arange(n) < right).astype(float)
    outcomes[list(wrong)] = 0
    return outcomes


def equal(n: int) -> Family:
    """All arms are right on the same questions."""
    return family(*measured({spec: (samples, coins(n, n // 2)) for spec, samples in SAMPLES.items()}))


def test_fifteen_questions_choose_the_safe_arm() -> None:
    choice = choose(equal(15), 0, loss=0.01)
    why = "only 15 questions were measured, and a choice needs 30 or more"
    assert choice == Choice(equal(15).safest(0), why)


@pytest.mark.parametrize(("loss", "enough"), [(0.01, 33), (0.005, 66), (0.002, 164)])
def test_arms_that_never_differed_are_equal_only_as_far_as_so_many_questions_show(loss: float, enough: int) -> None:
    """The bound is z sqrt(2 PRIOR) / n: the quantile of 0.85 is 1.0364."""
    assert 1.0364 * (2 * PRIOR) ** 0.5 / enough <= loss < 1.0364 * (2 * PRIOR) ** 0.5 / (enough - 1)
    assert choose(equal(enough), 0, loss=loss).row.strategy == ONE
    assert choose(equal(enough - 1), 0, loss=loss).row.strategy == LOCKED


def test_an_arm_that_loses_too_much_is_not_chosen_and_the_reason_has_the_numbers() -> None:
    arms = {
        ONE: (1.0, coins(400, 300, *range(12))),
        BOLD: (3.0, coins(400, 300, 0)),
        LOCKED: (8.0, coins(400, 300)),
        FULL: (40.0, coins(400, 300)),
    }
    choice = choose(family(*measured(arms)), 0, loss=0.01)
    assert choice.row.strategy == BOLD
    assert choice.why == (
        "it loses 0.25 points against the vote of all samples, at most 0.52 with 85 % confidence, and 1 are allowed "
        "(400 questions)"
    )
    strict = choose(family(*measured(arms)), 0, loss=0.002)
    assert strict.row.strategy == LOCKED
    assert strict.why.startswith("nothing cheaper is known to lose at most 0.2 points against the vote of all samples")


@pytest.mark.parametrize("samples", [2, 4])
def test_a_smaller_number_of_samples_for_every_question_is_not_chosen(samples: int) -> None:
    fixed = (float(samples), coins(400, 300))
    arms = {ONE: (1.0, coins(400, 0)), f"self_consistency:n={samples}": fixed, FULL: (40.0, coins(400, 300))}
    assert choose(family(*measured(arms)), 0, loss=0.01).row.strategy == FULL


@pytest.mark.parametrize(("right", "best"), [(300, LOCKED), (340, "best")])
def test_another_strategy_that_is_right_more_often_is_the_measure(right: int, best: str) -> None:
    full = coins(400, 300)
    arms = {ONE: (1.0, coins(400, 200)), LOCKED: (20.0, full), "best": (46.0, coins(400, right)), FULL: (40.0, full)}
    choice = choose(family(*measured(arms, verifiers={"best": "prm"})), 0, loss=0.01)
    assert choice.row.strategy == best
    assert ("against best, which is right more often" in choice.why) == (best == "best")


def test_equal_bins_add_up_and_unequal_ones_do_not() -> None:
    """80 questions alone show too little; 240 more like them show enough."""
    alike = [measured({spec: (samples, coins(80, 40)) for spec, samples in SAMPLES.items()}, at) for at in range(4)]
    edges = (0.25, 0.5, 0.75)
    assert choose(family(*alike[0]), 0, loss=0.0035).row.strategy == LOCKED
    assert choose(family(*itertools.chain(*alike), edges=edges), 0, loss=0.0035).row.strategy == ONE
    spoilt = measured({spec: (s, coins(80, 20 if spec == ONE else 40)) for spec, s in SAMPLES.items()})
    unlike = family(*spoilt, *itertools.chain(*alike[1:]), edges=edges)
    assert choose(unlike, 0, loss=0.0035).row.strategy == BOLD


# Shrinking


def test_accuracies_are_shrunk_over_the_bins_of_an_arm() -> None:
    arms = {ONE: (1.0, coins(100, 50)), FULL: (40.0, coins(100, 70))}
    near = {ONE: (1.0, coins(100, 52)), FULL: (40.0, coins(100, 10))}
    found = shrunk(family(*measured(arms), *measured(near, 1), edges=(0.5,)))
    assert found[(ONE, "", ""), 0].mean == pytest.approx(0.51, abs=1e-3)
    assert found[(FULL, "", ""), 0].mean == pytest.approx(0.7, abs=0.01)
    assert found[(FULL, "", ""), 1].mean == pytest.approx(0.1, abs=0.01)


# Latency


def test_for_latency_it_is_the_arm_with_the_fewest_sequential_tokens_that_loses_little() -> None:
    """A rule in launch order takes the fewest tokens, by length the fewest sequential ones, and one sample fewer yet."""
    full = np.repeat([1.0, 0.0], 500)
    by_length = f"{LOCKED},order=length"
    arms = {ONE: (1.0, full * 0.7), LOCKED: (8.0, full), by_length: (16.0, full), FULL: (40.0, full)}
    waited = {ONE: 100.0, LOCKED: 800.0, by_length: 150.0, FULL: 300.0}
    rows = [row.model_copy(update={"sequential_tokens": waited[row.strategy]}) for row in measured(arms)]
    assert choose(family(*rows), 0, loss=0.01).row.strategy == LOCKED
    assert choose(family(*rows), 0, loss=0.01, prefer="latency").row.strategy == by_length
    unknown = [row.model_copy(update={"sequential_tokens": None}) if row.strategy == by_length else row for row in rows]
    assert choose(family(*unknown), 0, loss=0.01, prefer="latency").row.strategy == FULL
