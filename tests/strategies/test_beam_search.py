"""Searches that keep the best steps: beam search, and diverse subtrees that never compete."""

import asyncio

import pytest

from reasoner.engine import SampleRequest
from reasoner_strategies import BeamSearch, Dvts
from reasoner_strategies._search.step_search import split_evenly
from tests.stepping import SEPARATOR, StepWorld, noisy
from tests.strategies.searching import (
    Distinct,
    Rater,
    SearchTree,
    Uneven,
    depth,
    search,
)


def best(run: SearchTree, level: int, kept: int) -> set[str]:
    """The best rated chains of this many steps."""
    rated = {
        chain: value
        for chain, value in run.judge.rated.items()
        if chain.count(SEPARATOR) == level - 1
    }
    return {
        chain + SEPARATOR
        for chain in sorted(rated, key=lambda chain: -rated[chain])[:kept]
    }


def test_each_level_has_n_children_of_the_best_paths() -> None:
    run = search(BeamSearch(8, 2), Distinct(depth=5).engine(), Rater(noisy(0.1)))
    assert run.levels == dict.fromkeys(range(5), 8)
    for level in range(1, 5):
        assert run.parents(level) == dict.fromkeys(best(run, level, 4), 2)


def test_a_width_that_does_not_divide_is_dealt_out_evenly_and_the_best_have_more() -> (
    None
):
    assert [split_evenly(16, 4), split_evenly(16, 6), split_evenly(2, 1)] == [
        [4] * 4,
        [3, 3, 3, 3, 2, 2],
        [2],
    ]
    run = search(BeamSearch(5, 2), Distinct().engine(), Rater(noisy(0.1)))
    assert sorted(run.parents(1).values()) == [1, 2, 2]
    assert set(run.parents(1)) == best(run, 1, 3)
    assert {chain for chain, count in run.parents(1).items() if count == 2} == best(
        run, 1, 2
    )


def test_identical_prefixes_are_kept_once() -> None:
    # All right steps read the same here, and all wrong ones: eight children are two prefixes.
    run = search(BeamSearch(8, 2), StepWorld().engine(), Rater(noisy(0.01)))
    assert sorted(run.parents(1).values()) == [4, 4]
    # With one child per path none is chosen, so only chains that ended are rated.
    run = search(BeamSearch(4, 1), Distinct().engine())
    assert [chain.count(SEPARATOR) for chain in run.judge.seen] == [2] * 4


# Chains that ended


@pytest.mark.parametrize("seed", range(8))
def test_levels_stay_full_until_n_chains_have_ended(seed: int) -> None:
    run = search(BeamSearch(6, 2), Uneven().engine(), Rater(noisy(0.2)), seed=seed)
    assert set(run.levels.values()) == {6}
    ended = [proposal.vote_state.samples for proposal in run.solution.proposals]
    assert all(samples < 6 for samples in ended[:-1])
    assert 6 <= ended[-1] < 12


# Diverse verifier tree search


def test_each_subtree_continues_from_its_own_best() -> None:
    run = search(Dvts(8, 4), Distinct(depth=5).engine(), Rater(noisy(0.1)))
    assert run.levels == dict.fromkeys(range(5), 8)
    first, rated = (
        [chain for chain in run.judge.seen if SEPARATOR not in chain],
        run.judge.rated,
    )
    kept = {
        max(first[:4], key=rated.__getitem__) + SEPARATOR,
        max(first[4:], key=rated.__getitem__) + SEPARATOR,
    }
    for level in range(1, 5):
        # The two kept ones stem from different parents, also where one parent has the two best children.
        assert {
            SEPARATOR.join(chain.split(SEPARATOR)[: level - 1])
            for chain in run.parents(level)
        } == (
            {chain.removesuffix(SEPARATOR) for chain in run.parents(level - 1)}
            if level > 1
            else {""}
        )
        assert list(run.parents(level).values()) == [4, 4]
    assert set(run.parents(1)) == kept


def drawn(run: SearchTree) -> set[tuple[str, int]]:
    return {(request.prompt.text, request.seed) for request in run.requests}


def test_without_one_subtree_the_others_do_the_same() -> None:
    judge = noisy(0.2)
    whole, fewer = (
        search(Dvts(n, 4), Distinct(depth=4).engine(), Rater(judge)) for n in (12, 8)
    )
    assert drawn(fewer) < drawn(whole)
    assert len(drawn(whole)) - len(drawn(fewer)) == 4 * 4


def test_a_slow_subtree_holds_up_no_other() -> None:
    times: list[tuple[int, int]] = []

    async def pause(request: SampleRequest) -> None:
        # The first child of all is longer than the whole of the other subtrees.
        for tokens in range(200 if depth(request) == 0 and request.index == 0 else 1):
            if request.progress:
                request.progress.reached(tokens)
            await asyncio.sleep(0)
        times.append((depth(request), request.index))

    run = search(Dvts(6, 2), Distinct().engine(pause=pause), Rater(noisy(0.2)))
    late = times.index((0, 0))
    assert sum(level == 2 for level, _ in times[:late]) == 4
    assert run.solution.vote_state.samples == 6


def test_until_a_subtree_has_ended_a_sibling_counts() -> None:
    def say(request: SampleRequest) -> str:
        return (
            "The answer is 3"
            if request.index == 0 and depth(request) == 0
            else Distinct.say(Distinct(), request)
        )

    engine = Distinct().engine()
    engine.script = say
    run = search(
        Dvts(2, 2), engine, Rater(lambda one: 0.1 if "3" in one.text[-1] else 0.9)
    )
    keys = [
        proposal.answer.key for proposal in run.solution.proposals if proposal.answer
    ]
    assert keys[0] == "3"
    assert keys[-1] == run.key != "3"
