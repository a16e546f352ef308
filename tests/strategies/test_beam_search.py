"""Beam search over rated steps, in worlds with closed forms."""

import pytest

from reasoner_strategies._search.step_search import split_evenly
from reasoner_strategies.beam_search import BeamSearch
from reasoner_strategies.dvts import Dvts
from tests.helpers import number_question
from tests.stepping import SEPARATOR, StepWorld, noisy
from tests.strategies.searching import Distinct, Rater, SearchTree, Uneven, search

QUESTION = number_question()


def best(run: SearchTree, level: int, kept: int) -> set[str]:
    """The best rated chains of so many steps."""
    rated = {chain: value for chain, value in run.judge.rated.items() if chain.count(SEPARATOR) == level - 1}
    return {chain + SEPARATOR for chain in sorted(rated, key=lambda chain: -rated[chain])[:kept]}


def test_each_level_has_n_children_of_the_best_paths() -> None:
    run = search(BeamSearch(8, 2), Distinct(depth=5).engine(), Rater(noisy(0.1)))
    assert run.levels == dict.fromkeys(range(5), 8)
    for level in range(1, 5):
        assert run.parents(level) == dict.fromkeys(best(run, level, 4), 2)


def test_a_width_that_does_not_divide_is_dealt_out_evenly_and_the_best_have_more() -> None:
    assert [split_evenly(16, 4), split_evenly(16, 6), split_evenly(2, 1)] == [[4] * 4, [3, 3, 3, 3, 2, 2], [2]]
    run = search(BeamSearch(5, 2), Distinct().engine(), Rater(noisy(0.1)))
    assert sorted(run.parents(1).values()) == [1, 2, 2]
    assert set(run.parents(1)) == best(run, 1, 3)
    assert {chain for chain, count in run.parents(1).items() if count == 2} == best(run, 1, 2)


def test_identical_prefixes_are_kept_once() -> None:
    # All right steps read the same here, and all wrong ones: eight children are two prefixes.
    run = search(BeamSearch(8, 2), StepWorld().engine(), Rater(noisy(0.01)))
    assert sorted(run.parents(1).values()) == [4, 4]


@pytest.mark.parametrize("seed", range(6))
def test_one_kept_path_is_one_subtree(seed: int) -> None:
    engine, judge = Distinct(depth=4).engine(), noisy(0.2)
    beam = search(BeamSearch(4, 4), engine, Rater(judge), seed=seed)
    tree = search(Dvts(4, 4), engine, Rater(judge), seed=seed)
    assert beam.seeds == tree.seeds


# Chains that ended


@pytest.mark.parametrize("seed", range(8))
def test_levels_stay_full_until_n_chains_have_ended(seed: int) -> None:
    run = search(BeamSearch(6, 2), Uneven().engine(), Rater(noisy(0.2)), seed=seed)
    assert set(run.levels.values()) == {6}
    ended = [proposal.vote_state.samples for proposal in run.solution.proposals]
    assert all(samples < 6 for samples in ended[:-1])
    assert 6 <= ended[-1] < 12


# Where ratings or the budget fail
