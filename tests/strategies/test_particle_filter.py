"""Particle filtering: chains are resampled by the odds of their ratings."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Budget
from reasoner.engine import SampleRequest
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import says
from reasoner_strategies._voting.pool import softmax
from reasoner_strategies.particle_filter import ParticleFilter, logit, systematic
from tests.stepping import SEPARATOR, noisy
from tests.strategies.searching import Distinct, Rater, Uneven, depth, search


def test_the_effective_sample_size_and_the_ancestors_of_each_step_are_noted() -> None:
    run = search(ParticleFilter(8), Distinct(depth=4).engine(), Rater(noisy(0.1)))
    assert len(run.notes) == 3
    for step, line in enumerate(run.notes, start=1):
        found = re.fullmatch(rf"step {step}: ESS (\S+) of 8, (\d) ancestors", line)
        assert found
        if step == 1:
            theta = softmax(
                [
                    logit(value)
                    for chain, value in run.judge.rated.items()
                    if SEPARATOR not in chain
                ]
            )
            assert float(found[1]) == pytest.approx(
                1 / sum(share * share for share in theta), abs=0.005
            )
        assert int(found[2]) == len(run.parents(step))
        assert sum(run.parents(step).values()) == 8


def test_particles_that_ended_are_dropped_and_copied_where_they_may() -> None:
    runs = [
        search(ParticleFilter(6), Uneven().engine(), Rater(noisy(0.3)), seed=seed)
        for seed in range(12)
    ]
    votes = [sum(vote.count for vote in run.solution.vote_state.votes) for run in runs]
    ended = [run.solution.vote_state.samples for run in runs]
    assert all(
        1 <= voting <= all_of_them
        for voting, all_of_them in zip(votes, ended, strict=True)
    )
    # Dropped ones still count as samples. Copies vote as one chain, and places may pass to chains that end later.
    assert any(
        voting < all_of_them for voting, all_of_them in zip(votes, ended, strict=True)
    )
    assert min(votes) < 6 < max(ended)
    for run in runs:
        assert sum(
            vote.weight for vote in run.solution.vote_state.votes
        ) == pytest.approx(1)
        assert len(run.judge.seen) == len(set(run.judge.seen))


def test_the_vote_is_by_weight_and_argmax_by_rating() -> None:
    def key(**options: Any) -> str | None:
        judge = Rater(lambda candidate: 0.7 if "7" in candidate.text else 0.6)
        return search(
            ParticleFilter(3, **options), ScriptedEngine(says("7", "8", "8")), judge
        ).key

    # Odds of 2.33 against two of 1.5.
    assert key() == "8"
    assert key(selector="argmax") == "7"
    assert key(weight_temperature=0.1) == "7"


def test_what_leads_nowhere_gives_its_place_to_others() -> None:
    def say(request: SampleRequest) -> str:
        return (
            "no idea"
            if depth(request) == 0 and request.index == 0
            else Distinct.say(Distinct(), request)
        )

    run = search(ParticleFilter(4), ScriptedEngine(say), Rater(lambda _: 0.5))
    assert run.levels == {0: 4, 1: 4, 2: 4}
    assert run.solution.vote_state.samples == 5
    assert not any("no idea" in chain for chain in run.judge.seen)


def test_particle_gibbs_retains_a_particle_and_draws_the_others_anew_beside_it() -> (
    None
):
    run = search(
        ParticleFilter(4, iterations=3), Distinct(depth=4).engine(), Rater(noisy(0.1))
    )
    # Four chains of four steps, then three beside the reference, twice.
    assert run.levels == dict.fromkeys(range(4), 4 + 3 + 3)
    assert [line.partition(",")[0] for line in run.notes] == [
        f"iteration {at}" for at in (1, 1, 1, 2, 2, 2, 3, 3, 3)
    ]
    assert all("of 4" in line for line in run.notes)
    # A copy of the reference continues from its own step.
    assert run.solution.vote_state.samples == 10
    assert 1 <= run.solution.vote_state.cast <= 4
    assert run.solution.proposals[0].vote_state.samples == 4


@pytest.mark.parametrize("more", [20, 100])
def test_an_iteration_that_the_budget_ends_changes_nothing(more: int) -> None:
    engine, judge = Distinct(depth=3).engine(), Rater(noisy(0.2))
    whole = search(ParticleFilter(3, reserve=0), engine, judge)
    budget = Budget(generated=whole.solution.cost.generated_tokens + more)
    cut = search(
        ParticleFilter(3, iterations=2, reserve=0), engine, judge, budget=budget
    )
    assert (
        cut.solution.ended_by == "strategy"
        or cut.solution.vote_state.votes == whole.solution.vote_state.votes
    )


THETA = (0.5, 0.3, 0.15, 0.05)
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(
    lambda weights: sum(weights) > 1e-3
)
BELOW_1 = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("ratings", "temperature", "theta"),
    [
        ((0.9, 0.5), 1, (0.9, 0.1)),
        ((0.9, 0.5), 2, (0.75, 0.25)),
        ((0.6, 0.7), 1, (0.391, 0.609)),
        ((1.0, None, 0.0), 1e-3, (1, 0, 0)),
        ((None, None), 1, (0, 0)),
    ],
)
def test_weights_are_odds_to_the_power_of_the_inverse_temperature(
    ratings: Sequence[float | None], temperature: float, theta: Sequence[float]
) -> None:
    logits = [None if rating is None else logit(rating) for rating in ratings]
    assert softmax(logits, temperature) == pytest.approx(theta, abs=5e-4)


@pytest.mark.parametrize(
    ("u", "indices"), [(0.5, (0, 0, 1, 2)), (0.9, (0, 0, 1, 3)), (0.1, (0, 0, 1, 1))]
)
def test_the_published_systematic_resamplings(
    u: float, indices: tuple[int, ...]
) -> None:
    assert systematic(THETA, u, 4) == list(indices)


@given(SHARES, BELOW_1)
def test_systematic_resampling_rounds_the_expected_number_of_copies(
    weights: list[float], u: float
) -> None:
    whole = math.fsum(weights)
    theta = [weight / whole for weight in weights]
    copies = Counter(systematic(theta, u, len(theta)))
    assert sum(copies.values()) == len(theta)
    for place, share in enumerate(theta):
        expected = len(theta) * share
        assert (
            math.floor(expected - 1e-9) <= copies[place] <= math.ceil(expected + 1e-9)
        )
        assert share or not copies[place]


def test_a_position_beyond_a_sum_that_falls_short_belongs_to_the_last_with_a_share() -> (
    None
):
    assert systematic((0.5, 0.5 - 1e-12, 0.0), 1 - 1e-13, 3) == [0, 1, 1]
