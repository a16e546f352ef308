"""Particle filtering: what it draws is the model's chains, weighed by ratings."""

import math
import random
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Solution
from reasoner.engine import SampleRequest
from reasoner.types import Completion
from reasoner_strategies._search.resampling import log_mean, logit, softmax, systematic
from reasoner_strategies._search.steps import Path
from reasoner_strategies.particle_filter import Particle, ParticleFilter, log_weights
from tests.helpers import PROMPT, says
from tests.scripted import ScriptedEngine
from tests.stepping import SEPARATOR, StepJudge, noisy
from tests.strategies.searching import Distinct, Rater, Uneven, depth, many, mean_and_error, search
from tests.sweeps import widths


def weighed(value: float, told: float = 0.0) -> Particle:
    return Particle(Path(PROMPT, value=value), told)


def test_the_published_weights_of_two_histories() -> None:
    """A was rated 0.9 and then 0.6, B 0.5 and then 0.7; all were resampled at the first rating."""
    reference = softmax(log_weights([weighed(0.6), weighed(0.7)], 1.0))
    assert reference == pytest.approx([0.391, 0.609], abs=5e-4)
    twisted = softmax(log_weights([weighed(0.6, logit(0.9)), weighed(0.7, logit(0.5))], 1.0))
    assert twisted == pytest.approx([0.067, 0.933], abs=5e-4)


# In distribution


def share_of_7(solution: Solution) -> float:
    weights = {vote.answer.key: vote.weight for vote in solution.vote_state.votes}
    return weights.get("7", 0.0) / sum(weights.values())


def tilted(chance: float, *, temperature: float = 1.0) -> float:
    """The chance of a right chain where right ones have odds 3 and wrong ones 1/3."""
    up, down = (odds ** (1 / temperature) for odds in (3, 1 / 3))
    return chance * up / (chance * up + (1 - chance) * down)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ess_trigger": 0.5},
        {"ess_trigger": 0.01},
        {"weight_temperature": 2.0},
    ],
    ids=str,
)
@widths("questions", 10, 160)
def test_twisted_particles_have_the_law_of_chains_weighed_by_final_odds(
    options: dict[str, Any], questions: int
) -> None:
    strategy = ParticleFilter(48, weighting="twisted", max_steps=12, **options)
    solutions = many(strategy, Distinct(0.4).engine(), StepJudge(noisy(0)), questions=questions)
    mean, error = mean_and_error([share_of_7(solution) for solution in solutions])
    expected = tilted(0.4**3, temperature=options.get("weight_temperature", 1.0))
    # The ratio of two estimates is off by the order of 1 / n.
    assert mean == pytest.approx(expected, abs=error + 0.5 / 48)


def fork(request: SampleRequest) -> str:
    """Half of the chains end at once, right in 3 of 10; the others take a step more and are right in 6 of 10."""
    source = random.Random(request.seed)
    if not request.prompt.text and source.random() < 0.5:
        return f"At once: The answer is {7 if source.random() < 0.3 else 8}"
    later = f"The answer is {7 if source.random() < 0.6 else 8}"
    return later if request.prompt.text else f"Let us see{SEPARATOR}{later}"


def forked(candidate: Completion) -> float:
    if "answer" not in candidate.chain:
        return 0.8
    return 0.75 if candidate.chain.endswith("7") else 0.25


@pytest.mark.slow
@widths("questions", 10, 160)
def test_twisted_particles_that_end_early_keep_their_part_of_the_weight(questions: int) -> None:
    strategy = ParticleFilter(48, weighting="twisted")
    solutions = many(strategy, ScriptedEngine(fork), StepJudge(forked), questions=questions)
    mean, error = mean_and_error([share_of_7(solution) for solution in solutions])
    assert mean == pytest.approx(tilted(0.5 * 0.3 + 0.5 * 0.6), abs=error + 0.25 / 48)


# Step by step


def test_the_effective_sample_size_and_the_ancestors_of_each_step_are_noted() -> None:
    run = search(ParticleFilter(8), Distinct(depth=4).engine(), Rater(noisy(0.1)))
    assert len(run.notes) == 3
    for step, line in enumerate(run.notes, start=1):
        found = re.fullmatch(rf"step {step}: ESS (\S+) of 8, (\d) ancestors", line)
        assert found
        if step == 1:
            theta = softmax([logit(value) for chain, value in run.judge.rated.items() if SEPARATOR not in chain])
            assert float(found[1]) == pytest.approx(1 / sum(share * share for share in theta), abs=0.005)
        assert int(found[2]) == len(run.parents(step))
        assert sum(run.parents(step).values()) == 8


def test_it_is_resampled_only_where_the_effective_sample_size_is_low() -> None:
    run = search(ParticleFilter(8, ess_trigger=0.01, weighting="twisted"), Distinct(depth=4).engine(), Rater(noisy(0)))
    assert [line.rpartition(", ")[2] for line in run.notes] == ["not resampled"] * 3
    assert list(run.parents(1).values()) == [1] * 8
    always = search(ParticleFilter(8, weighting="twisted"), Distinct(depth=4).engine(), Rater(noisy(0)))
    assert all("ancestors" in line for line in always.notes)


# What has ended


def test_particles_that_ended_are_dropped_and_copied_where_they_may() -> None:
    runs = [search(ParticleFilter(6), Uneven().engine(), Rater(noisy(0.3)), seed=seed) for seed in range(12)]
    votes = [sum(vote.count for vote in run.solution.vote_state.votes) for run in runs]
    ended = [run.solution.vote_state.samples for run in runs]
    assert all(1 <= voting <= all_of_them for voting, all_of_them in zip(votes, ended, strict=True))
    # Dropped ones still count as samples. Copies vote as one chain, and places may pass to chains that end later.
    assert any(voting < all_of_them for voting, all_of_them in zip(votes, ended, strict=True))
    assert min(votes) < 6 < max(ended)
    for run in runs:
        assert sum(vote.weight for vote in run.solution.vote_state.votes) == pytest.approx(1)
        assert len(run.judge.seen) == len(set(run.judge.seen))


def test_the_vote_is_by_weight_and_argmax_by_rating() -> None:
    def key(**options: Any) -> str | None:
        judge = Rater(lambda candidate: 0.7 if "7" in candidate.text else 0.6)
        return search(ParticleFilter(3, **options), ScriptedEngine(says("7", "8", "8")), judge).key

    # Odds of 2.33 against two of 1.5.
    assert key() == "8"
    assert key(final="argmax") == "7"
    assert key(weight_temperature=0.1) == "7"


def test_what_leads_nowhere_gives_its_place_to_others() -> None:
    def say(request: SampleRequest) -> str:
        return "no idea" if depth(request) == 0 and request.index == 0 else Distinct.say(Distinct(), request)

    run = search(ParticleFilter(4), ScriptedEngine(say), Rater(lambda _: 0.5))
    assert run.levels == {0: 4, 1: 4, 2: 4}
    assert run.solution.vote_state.samples == 5
    assert not any("no idea" in chain for chain in run.judge.seen)


THETA = (0.5, 0.3, 0.15, 0.05)
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda weights: sum(weights) > 1e-3)
BELOW_1 = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(("temperature", "theta"), [(1, (0.9, 0.1)), (2, (0.75, 0.25))])
def test_weights_are_odds_to_the_power_of_the_inverse_temperature(temperature: float, theta: tuple[float]) -> None:
    assert softmax([logit(0.9) / temperature, logit(0.5) / temperature]) == pytest.approx(theta)


@pytest.mark.parametrize(("u", "indices"), [(0.5, (0, 0, 1, 2)), (0.9, (0, 0, 1, 3)), (0.1, (0, 0, 1, 1))])
def test_the_published_systematic_resamplings(u: float, indices: tuple[int, ...]) -> None:
    drawn = systematic(THETA, u)
    assert drawn.indices == indices
    assert drawn.ess == pytest.approx(2.7397, abs=5e-5)


@given(SHARES, BELOW_1)
def test_systematic_resampling_rounds_the_expected_number_of_copies(weights: list[float], u: float) -> None:
    whole = math.fsum(weights)
    theta = [weight / whole for weight in weights]
    drawn = systematic(theta, u)
    copies = Counter(drawn.indices)
    assert sum(copies.values()) == len(theta)
    assert 1 - 1e-9 <= drawn.ess <= len(theta) + 1e-9
    for place, share in enumerate(theta):
        expected = len(theta) * share
        assert math.floor(expected - 1e-9) <= copies[place] <= math.ceil(expected + 1e-9)
        assert share or not copies[place]


def test_a_position_beyond_a_sum_that_falls_short_belongs_to_the_last_with_a_share() -> None:
    assert systematic((0.5, 0.5 - 1e-12, 0.0), 1 - 1e-13).indices == (0, 1, 1)


def test_logarithms_of_extreme_ratings_are_finite() -> None:
    assert logit(1.0) == pytest.approx(-logit(0.0))
    assert logit(1.0) == pytest.approx(13.8155, abs=1e-4)
    assert logit(0.5) == 0
    assert softmax([logit(1.0) / 1e-3, None, logit(0.0) / 1e-3]) == [1, 0, 0]
    assert softmax([None, None]) == [0, 0]
    assert log_mean([math.log(1), math.log(3)]) == pytest.approx(math.log(2))
    assert log_mean([5000.0, 5000.0]) == 5000
