"""Choosing an arm: on populations whose truth is known, at the edges of the evidence, and what shrinking does."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.calibration.arm_selection import Choice, bolder, promised, worthwhile
from reasoner.calibration.profile import ArmRow, Bins, Family
from reasoner.calibration.promises import LEVEL
from reasoner.stopping.rules import RISKS
from tests.calibration import profiles
from tests.calibration.profiles import plain_row

Outcomes = np.ndarray[Any, Any]
ONE, FULL = "self_consistency:n=1", "self_consistency:n=40"
FOUR, THREE = "self_consistency:n=4", "self_consistency:n=3,stop=lossless,order=launch"
BOLD, LOCKED = (
    f"{FULL},stop=lock_in(delta=0.1),order=launch",
    f"{FULL},stop=lossless,order=launch",
)
OTHER = "best_of_n:n=1"
SAMPLES = {
    LOCKED: 24.0,
    BOLD: 3.0,
    THREE: 2.2,
    FOUR: 4.0,
    ONE: 1.0,
    FULL: 40.0,
    OTHER: 1.0,
}


def measured(
    arms: dict[str, tuple[float, Outcomes]],
    place: int = 0,
    verifiers: dict[str, str] | None = None,
) -> list[ArmRow]:
    """The rows of one bin: an arm's mean samples and its outcomes, question by question."""
    standard, rows = arms[FULL][1], []
    for spec, (samples, outcomes) in arms.items():
        values, counts = np.unique(standard - outcomes, return_counts=True)
        rows.append(
            plain_row(
                strategy=spec,
                verifier=(verifiers or {}).get(spec, ""),
                bin=place,
                questions=len(outcomes),
                right=outcomes.sum(),
                losses=tuple(zip(values.tolist(), counts.tolist(), strict=True)),
                most=float(spec not in (FULL, LOCKED)),
                tokens=100 * samples,
                samples=samples,
            )
        )
    return rows


def family(*rows: ArmRow, edges: tuple[float, ...] = ()) -> Family:
    safe = LOCKED if any(row.strategy == LOCKED for row in rows) else FULL
    bins = Bins(signal="split" if edges else "none", edges=edges)
    return profiles.family(*rows, bins=bins, baseline=FULL, safe=safe)


def voting(
    source: np.random.Generator, n: int, *, split: float, lost: float, other: float = 1
) -> Family:
    """On `split` of questions a sample is right in 70 % and the vote always; on `lost` in 30 % and the vote never.

    On the other questions all samples are right. The bold rule is wrong on a tenth of what is split, and right on a
    tenth of what is lost. Another strategy answers as the vote, but for a share of wrong answers, `other`.
    """
    kind = source.random(n)
    chance = np.select([kind < split, kind < split + lost], [0.7, 0.3], 1.0)
    full = np.where(chance == 0.3, 0.0, 1.0)
    one = np.where(chance == 1.0, 1.0, source.binomial(40, chance) / 40)
    bold = np.where(chance == 1.0, 1.0, 0.1 + 0.8 * full)
    three = one**3 + 3 * one**2 * (1 - one)
    found = {LOCKED: full, BOLD: bold, THREE: three, FOUR: three, ONE: one, FULL: full}
    found[OTHER] = np.where(source.random(n) < other, 0.0, full)
    return family(
        *measured({spec: (SAMPLES[spec], outcomes) for spec, outcomes in found.items()})
    )


def true_loss(strategy: str, *, split: float, lost: float, other: float = 1) -> float:
    """What a strategy loses against the vote on such questions, in expectation."""
    if strategy == OTHER:
        return other * (1 - lost)
    return {ONE: 0.3, THREE: 0.216, BOLD: 0.1}.get(strategy, 0) * (split - lost)


# The boundaries, where the loss is just more than what is allowed, are the worst cases.
@pytest.mark.parametrize(
    ("split", "lost"), [(0.08, 0.046), (0.2, 0.166), (0.3, 0.195), (0.12, 0.015)]
)
@pytest.mark.parametrize("n", [15, 150, 600])
def test_promises_are_broken_at_most_as_often_as_stated(
    n: int, split: float, lost: float
) -> None:
    source, times = np.random.default_rng(n), 100
    families = [voting(source, n, split=split, lost=lost) for _ in range(times)]
    for choose in (promised, worthwhile):
        choices = [choose(each, 0, 0.01) for each in families]
        broken = [
            c.promised and true_loss(c.row.strategy, split=split, lost=lost) > 0.01
            for c in choices
        ]
        assert np.mean(broken) <= 1 - LEVEL + 3 * (0.05 * 0.95 / times) ** 0.5


@given(st.floats(0.001, 0.2), st.floats(0.001, 0.2), st.integers(0, 20))
def test_who_allows_more_never_gets_a_dearer_promise(
    one: float, other: float, seed: int
) -> None:
    strict, loose = sorted((one, other))
    whole = voting(np.random.default_rng(seed), 300, split=0.3, lost=0.03)
    assert promised(whole, 0, loose).row.tokens <= promised(whole, 0, strict).row.tokens


@pytest.mark.parametrize("effort", RISKS)
@pytest.mark.parametrize(
    "kind",
    [
        {"split": 0.12, "lost": 0.015},
        {"split": 0.3, "lost": 0.195},
        {"split": 0.5, "lost": 0.0},
        {"split": 0.12, "lost": 0.015, "other": 0.03},
    ],
)
def test_more_questions_never_make_an_effort_less_accurate(
    effort: str, kind: dict[str, float]
) -> None:
    """On average over 100 calibrations, up to their noise; and it loses about what the effort is for, or less."""
    source, risk = np.random.default_rng(1), RISKS[effort]
    least = 1.2 * risk
    for n in (10, 29, 31, 40, 200):
        families = [voting(source, n, **kind) for _ in range(100)]
        chosen = [worthwhile(each, 0, risk).row.strategy for each in families]
        loss = float(np.mean([true_loss(each, **kind) for each in chosen]))
        assert loss <= least
        least = min(least, loss + 0.3 * risk)


@pytest.mark.parametrize(
    ("effort", "samples"), [("low", 1.3), ("medium", 2.1), ("high", 4.5)]
)
def test_where_votes_gain_nothing_few_samples_are_drawn(
    effort: str, samples: float
) -> None:
    """Of 100 calibrations on data where split votes are right as often behind as in front."""
    source = np.random.default_rng(1)
    families = [voting(source, 100, split=0.15, lost=0.15) for _ in range(100)]
    assert (
        np.mean([worthwhile(each, 0, RISKS[effort]).row.samples for each in families])
        <= samples
    )


def test_where_votes_gain_they_are_drawn() -> None:
    whole = voting(np.random.default_rng(1), 100, split=0.5, lost=0.0)
    assert worthwhile(whole, 0, RISKS["low"]).row.strategy == BOLD
    assert worthwhile(whole, 0, 0.001).row.strategy == LOCKED


# The edges of the evidence


def coins(n: int, right: int, *wrong: int) -> Outcomes:
    """Right on the first this many of n questions, but for these."""
    outcomes = (np.arange(n) < right).astype(float)
    outcomes[list(wrong)] = 0
    return outcomes


def equal(n: int) -> Family:
    """All arms are right on the same questions."""
    return family(
        *measured(
            {spec: (samples, coins(n, n // 2)) for spec, samples in SAMPLES.items()}
        )
    )


@pytest.mark.parametrize("effort", RISKS)
def test_fifteen_questions_promise_what_a_rule_keeps(effort: str) -> None:
    whole = equal(15)
    why = "it gives the answer of the vote of all samples (15 questions)"
    assert promised(whole, 0, RISKS[effort]) == Choice(
        whole.safest(0), why, promised=True
    )


@pytest.mark.parametrize(
    ("effort", "chosen"), [("low", THREE), ("medium", BOLD), ("high", LOCKED)]
)
def test_before_anything_is_measured_cheap_votes_are_expected_to_lose(
    effort: str, chosen: str
) -> None:
    assert worthwhile(equal(1), 0, RISKS[effort]).row.strategy == chosen


@pytest.mark.parametrize(("risk", "enough"), [(0.05, 75), (0.01, 380)])
def test_arms_that_never_differed_are_equal_only_as_far_as_so_many_questions_show(
    risk: float, enough: int
) -> None:
    """Somewhat more than log(20) / log(1 / (1 - risk)), as half of the wealth is on the largest bet."""
    assert promised(equal(enough), 0, risk).row.strategy == ONE
    assert promised(equal(enough - 1), 0, risk).row.strategy == LOCKED
    row, count = bolder(equal(enough // 2), 0, risk) or (None, 0)
    assert row is not None
    assert row.strategy == BOLD
    assert count == pytest.approx(enough, rel=0.03)


@pytest.mark.parametrize("samples", [2, 4])
def test_a_smaller_number_of_samples_for_every_question_is_not_chosen(
    samples: int,
) -> None:
    fixed = (float(samples), coins(400, 300))
    arms = {
        f"self_consistency:n={samples}": fixed,
        ONE: (1.0, coins(400, 0)),
        FULL: (40.0, coins(400, 300)),
    }
    assert worthwhile(family(*measured(arms)), 0, 0.01).row.strategy == FULL


@pytest.mark.parametrize(("right", "best"), [(300, LOCKED), (340, "best")])
def test_another_strategy_is_chosen_where_it_is_right_so_much_more_often(
    right: int, best: str
) -> None:
    full = coins(400, 300)
    arms = {
        LOCKED: (20.0, full),
        ONE: (1.0, coins(400, 200)),
        "best": (46.0, coins(400, right)),
        FULL: (40.0, full),
    }
    choice = worthwhile(family(*measured(arms, verifiers={"best": "prm"})), 0, 0.01)
    assert (choice.row.strategy, choice.promised) == (best, best == LOCKED)


def test_a_rule_of_its_own_is_promised_like_any_other() -> None:
    """However much a single sample loses, and whatever its place among the arms."""
    full, one, settled = coins(600, 400), coins(600, 300), f"{FULL},stop=no_majority"
    arms = {
        ONE: (1.0, one),
        settled: (5.0, full),
        LOCKED: (24.0, full),
        FULL: (40.0, full),
    }
    for each in (arms, dict(reversed(arms.items()))):
        choice = promised(family(*measured(each)), 0, 0.01)
        assert (choice.row.strategy, choice.promised) == (settled, True)
    unlike = arms | {settled: (5.0, coins(600, 400, *range(12)))}
    assert promised(family(*measured(unlike)), 0, 0.01).row.strategy == LOCKED


def test_bins_share_the_chance_that_a_promise_is_broken() -> None:
    alike = [
        measured(
            {spec: (samples, coins(75, 40)) for spec, samples in SAMPLES.items()}, at
        )
        for at in range(2)
    ]
    assert promised(family(*alike[0]), 0, 0.05).row.strategy == ONE
    assert (
        promised(family(*alike[0], *alike[1], edges=(0.5,)), 0, 0.05).row.strategy
        == LOCKED
    )


# Latency


def test_for_latency_it_is_the_arm_with_the_fewest_sequential_tokens_that_loses_little() -> (
    None
):
    """A rule in launch order takes the fewest tokens, by length the fewest sequential ones, and one sample fewer yet."""
    full = np.repeat([1.0, 0.0], 500)
    by_length = f"{FULL},stop=lossless"
    arms = {
        LOCKED: (8.0, full),
        by_length: (16.0, full),
        ONE: (1.0, full * 0.7),
        FULL: (40.0, full),
    }
    waited = {ONE: 100.0, LOCKED: 800.0, by_length: 150.0, FULL: 300.0}
    rows = [
        row.model_copy(update={"sequential_tokens": waited[row.strategy]})
        for row in measured(arms)
    ]
    for choose in (promised, worthwhile):
        assert choose(family(*rows), 0, 0.01).row.strategy == LOCKED
        assert choose(family(*rows), 0, 0.01, "latency").row.strategy == by_length
    unknown = [
        row.model_copy(update={"sequential_tokens": None})
        if row.strategy == by_length
        else row
        for row in rows
    ]
    assert promised(family(*unknown), 0, 0.01, "latency").row.strategy == FULL
