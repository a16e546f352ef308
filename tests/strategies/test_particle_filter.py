"""Particle filtering: what it draws is the model's chains, weighed by ratings."""

import random
import re
from typing import Any

import pytest

from reasoner import Budget, SamplingParams, Solution
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.types import Completion
from reasoner_strategies._search.resampling import logit, softmax
from reasoner_strategies._search.steps import Path
from reasoner_strategies.particle_filter import Particle, ParticleFilter, log_weights
from tests.helpers import PROMPT, jumbled, says
from tests.scripted import ScriptedEngine
from tests.stepping import SEPARATOR, StepJudge, noisy
from tests.strategies.searching import (
    Distinct,
    Rater,
    SearchTree,
    Uneven,
    accuracy,
    depth,
    many,
    mean_and_error,
    right_share,
    search,
)
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
        {"resampler": "multinomial"},
        {"weight_temperature": 2.0},
        {"annealing": True},
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


@pytest.mark.slow
@widths("questions", 10, 160)
def test_reference_weighting_sharpens(questions: int) -> None:
    reference = many(ParticleFilter(32), Distinct(0.4).engine(), StepJudge(noisy(0)), questions=questions)
    mean, error = mean_and_error([share_of_7(solution) for solution in reference])
    assert mean - error > tilted(0.4**3)


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
@pytest.mark.parametrize("resample_inactive", [True, False])
@widths("questions", 10, 160)
def test_twisted_particles_that_end_early_keep_their_part_of_the_weight(
    resample_inactive: bool, questions: int
) -> None:
    strategy = ParticleFilter(48, weighting="twisted", resample_inactive=resample_inactive)
    solutions = many(strategy, ScriptedEngine(fork), StepJudge(forked), questions=questions)
    mean, error = mean_and_error([share_of_7(solution) for solution in solutions])
    assert mean == pytest.approx(tilted(0.5 * 0.3 + 0.5 * 0.6), abs=error + 0.25 / 48)


@pytest.mark.slow
@widths("questions", 75, 1200)
def test_ratings_that_say_nothing_change_nothing(questions: int) -> None:
    solutions = many(ParticleFilter(8), Distinct().engine(), StepJudge(lambda _: 0.5), questions=questions)
    mean, error = mean_and_error([right_share(solution) for solution in solutions])
    assert mean == pytest.approx(0.5**3, abs=error)
    assert {solution.cost.samples for solution in solutions} == {8 * 3}


@pytest.mark.slow
@widths("questions", 37, 600)
def test_more_never_hurts(questions: int) -> None:
    rates = [accuracy(many(ParticleFilter(n), Distinct().engine(), questions=questions)) for n in (1, 2, 4, 8)]
    assert rates == sorted(rates)
    assert rates[-1] > 0.9


# Step by step


def test_one_particle_is_one_chain() -> None:
    run = search(ParticleFilter(1), Distinct().engine())
    assert (run.solution.cost.samples, run.judge.seen, run.notes) == (3, [], [])
    assert run.key in ("7", "8")


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


def test_copies_are_drawn_with_seeds_of_their_own() -> None:
    run = search(ParticleFilter(8), Distinct().engine(), Rater(noisy(0)))
    assert len(run.parents(1)) < 8
    assert len(set(run.seeds)) == len(run.seeds) == 24


def test_it_is_resampled_only_where_the_effective_sample_size_is_low() -> None:
    run = search(ParticleFilter(8, ess_trigger=0.01, weighting="twisted"), Distinct(depth=4).engine(), Rater(noisy(0)))
    assert [line.rpartition(", ")[2] for line in run.notes] == ["not resampled"] * 3
    assert list(run.parents(1).values()) == [1] * 8
    always = search(ParticleFilter(8, weighting="twisted"), Distinct(depth=4).engine(), Rater(noisy(0)))
    assert all("ancestors" in line for line in always.notes)


def test_equal_weights_lose_nobody_systematically_and_some_by_chance() -> None:
    level, chance = (
        search(ParticleFilter(8, resampler=resampler), Distinct().engine(), Rater(lambda _: 0.5))
        for resampler in ("systematic", "multinomial")
    )
    assert len(level.parents(1)) == 8
    assert len(chance.parents(1)) < 8


def test_annealing_keeps_more_ancestors_early_on() -> None:
    plain, annealed = (
        search(ParticleFilter(16, annealing=annealing), Distinct(0.3, depth=4).engine(), Rater(noisy(0.3)))
        for annealing in (False, True)
    )
    assert len(annealed.parents(1)) > len(plain.parents(1))


def test_a_high_temperature_keeps_more_ancestors() -> None:
    sharp, blunt = (
        search(ParticleFilter(8, temperature), Distinct().engine(), Rater(noisy(0))) for temperature in (0.01, 100)
    )
    assert all("wrong" not in chain for chain in sharp.parents(1))
    assert len(blunt.parents(1)) >= 7


# What has ended


@pytest.mark.parametrize("seed", range(6))
def test_particles_that_ended_stay_where_they_may_not_be_resampled(seed: int) -> None:
    run = search(ParticleFilter(6, resample_inactive=False), Uneven().engine(), Rater(noisy(0.2)), seed=seed)
    assert sum(vote.count for vote in run.solution.vote_state.votes) == run.solution.vote_state.samples == 6
    places = [sum(children.values()) for children in map(run.parents, run.levels)]
    assert places == sorted(places, reverse=True)


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
    alone = search(ParticleFilter(4, resample_inactive=False), ScriptedEngine(say), Rater(lambda _: 0.5))
    assert alone.levels == {0: 4, 1: 3, 2: 3}


def test_what_could_not_be_rated_is_dropped_and_without_any_rating_all_go_on() -> None:
    run = search(
        ParticleFilter(8), Distinct().engine(), Rater(lambda _: 0.0, fails=lambda one: "wrong" not in one.chain)
    )
    assert all("wrong" in chain for chain in run.parents(1))
    run = search(ParticleFilter(8), Distinct().engine(), Rater(fails=lambda _: True))
    assert (run.levels, run.notes) == ({0: 8, 1: 8, 2: 8}, [])
    assert sum(vote.count for vote in run.solution.vote_state.votes) == 8


@pytest.mark.parametrize("tokens", [700, 900, 1100])
def test_what_is_held_back_brings_the_best_path_to_its_end(tokens: int) -> None:
    def run(reserve: int) -> SearchTree:
        strategy = ParticleFilter(4, reserve=reserve, params=SamplingParams(max_tokens=200))
        return search(strategy, Distinct(depth=12, words=6).engine(), budget=Budget(tokens=tokens))

    kept, spent = run(100), run(0)
    assert (spent.solution.answer, spent.solution.ended_by) == (None, "budget")
    assert kept.solution.answer is not None
    assert kept.solution.cost.tokens <= tokens


@pytest.mark.parametrize("resampler", ["systematic", "multinomial"])
@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_completion_changes_nothing_and_the_seed_decides(resampler: Any, seed: int) -> None:
    def once(order: int, seed: int) -> SearchTree:
        engine = Uneven().engine(pause=jumbled(order))
        return search(ParticleFilter(6, resampler=resampler), engine, Rater(noisy(0.2)), seed=seed)

    first, other = once(0, seed), once(seed + 1, seed)
    assert (first.seeds, first.notes) == (other.seeds, other.notes)
    assert (first.solution.answer, first.solution.vote_state) == (other.solution.answer, other.solution.vote_state)
    assert once(0, seed + 100).notes != first.notes


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n": 0}, "n must be .*got 0"),
        ({"weight_temperature": 0.0}, "weight_temperature must be from 0.001 to 1,000 .got"),
        ({"weighting": "product"}, "weighting must be reference or twisted .got"),
        ({"resampler": "residual"}, "resampler must be systematic or multinomial .got"),
        ({"ess_trigger": 0.0}, "ess_trigger must be above 0 and at most 1"),
        ({"final": "best"}, "final must be vote or argmax .got"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        ParticleFilter(**options)
