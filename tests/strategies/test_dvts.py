"""Diverse verifier tree search: subtrees that never compete."""

import asyncio

import pytest

from reasoner import Budget, SamplingParams
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner_strategies.dvts import Dvts
from tests.helpers import jumbled
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
    sure,
)
from tests.sweeps import widths


def chance_of(n: int, width: int, *, right: float = 0.5, levels: int = 3) -> float:
    """That one of the subtrees is right."""
    subtree = (1 - (1 - right) ** width) ** levels
    return float(1 - (1 - subtree) ** (n // width))


def test_the_formula_is_the_published_one() -> None:
    assert chance_of(4, 4) == pytest.approx(0.82397, abs=5e-6)
    assert chance_of(8, 4) == pytest.approx(0.96902, abs=5e-6)
    assert chance_of(16, 4) == pytest.approx(0.99904, abs=5e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "width"), [(4, 4), (8, 4), (16, 4), (4, 1)])
@widths("questions", 50, 800)
def test_success_rates_at_the_price_of_n_steps_a_level(n: int, width: int, questions: int) -> None:
    solutions = many(Dvts(n, width), Distinct().engine(), questions=questions)
    expected = chance_of(n, width)
    assert accuracy(solutions) == pytest.approx(expected, abs=sure(expected, questions))
    assert {solution.cost.samples for solution in solutions} == {n * 3}


@pytest.mark.slow
@widths("questions", 75, 1200)
def test_ratings_that_say_nothing_change_nothing(questions: int) -> None:
    solutions = many(Dvts(8, 4), Distinct().engine(), StepJudge(lambda _: 0.5), questions=questions)
    mean, error = mean_and_error([right_share(solution) for solution in solutions])
    assert mean == pytest.approx(0.5**3, abs=error)


def test_each_subtree_goes_on_from_its_own_best() -> None:
    run = search(Dvts(8, 4), Distinct(depth=5).engine(), Rater(noisy(0.1)))
    assert run.levels == dict.fromkeys(range(5), 8)
    first, rated = [chain for chain in run.judge.seen if SEPARATOR not in chain], run.judge.rated
    kept = {max(first[:4], key=rated.__getitem__) + SEPARATOR, max(first[4:], key=rated.__getitem__) + SEPARATOR}
    for level in range(1, 5):
        # The two kept ones stem from different parents, also where one parent has the two best children.
        assert {SEPARATOR.join(chain.split(SEPARATOR)[: level - 1]) for chain in run.parents(level)} == (
            {chain.removesuffix(SEPARATOR) for chain in run.parents(level - 1)} if level > 1 else {""}
        )
        assert list(run.parents(level).values()) == [4, 4]
    assert set(run.parents(1)) == kept


def test_children_are_dealt_out_evenly() -> None:
    run = search(Dvts(5, 2), Distinct().engine())
    assert sorted(run.parents(1).values()) == [1, 2, 2]
    assert run.levels == {0: 5, 1: 5, 2: 5}


def drawn(run: SearchTree) -> set[tuple[str, int]]:
    return {(request.prompt.text, request.seed) for request in run.requests}


def test_without_one_subtree_the_others_do_the_same() -> None:
    judge = noisy(0.2)
    whole, fewer = (search(Dvts(n, 4), Distinct(depth=4).engine(), Rater(judge)) for n in (12, 8))
    assert drawn(fewer) < drawn(whole)
    assert len(drawn(whole)) - len(drawn(fewer)) == 4 * 4


def test_a_slow_subtree_holds_up_no_other() -> None:
    times: list[tuple[int, int]] = []

    async def pause(request: SampleRequest) -> None:
        # The first child of all takes longer than the whole of the other subtrees.
        for _ in range(200 if depth(request) == 0 and request.index == 0 else 1):
            await asyncio.sleep(0)
        times.append((depth(request), request.index))

    run = search(Dvts(6, 2), Distinct().engine(pause=pause), Rater(noisy(0.2)))
    late = times.index((0, 0))
    assert sum(level == 2 for level, _ in times[:late]) == 4
    assert run.solution.vote_state.samples == 6


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_completion_changes_nothing_where_no_two_prefixes_are_equal(seed: int) -> None:
    def once(order: int) -> SearchTree:
        return search(Dvts(6, 2), Uneven().engine(pause=jumbled(order)), Rater(noisy(0.2)), seed=seed)

    first, other = once(0), once(seed + 1)
    assert first.seeds == other.seeds
    assert (first.solution.answer, first.solution.vote_state) == (other.solution.answer, other.solution.vote_state)


def test_one_path_of_one_child_is_one_chain_without_ratings() -> None:
    run = search(Dvts(1, 1), Distinct().engine())
    assert (run.solution.cost.samples, run.judge.seen) == (3, [])
    run = search(Dvts(3, 1), Distinct().engine())
    assert [chain.count(SEPARATOR) for chain in run.judge.seen] == [2] * 3


# What votes


@pytest.mark.parametrize("seed", range(8))
def test_a_subtree_votes_with_its_best_and_its_siblings_where_they_may(seed: int) -> None:
    alone, all_of_them = (
        search(Dvts(6, 2, siblings=siblings), Uneven().engine(), Rater(noisy(0.3)), seed=seed)
        for siblings in (False, True)
    )
    assert alone.seeds == all_of_them.seeds
    assert alone.solution.vote_state.samples == all_of_them.solution.vote_state.samples
    assert sum(vote.count for vote in alone.solution.vote_state.votes) == 3
    finished = [value for chain, value in alone.judge.rated.items() if "answer" in chain]
    assert sum(vote.count for vote in all_of_them.solution.vote_state.votes) == len(finished)
    assert len(alone.judge.seen) == len(set(alone.judge.seen))


def test_until_a_subtree_has_ended_a_sibling_counts() -> None:
    def say(request: SampleRequest) -> str:
        return "The answer is 3" if request.index == 0 and depth(request) == 0 else Distinct.say(Distinct(), request)

    engine = Distinct().engine()
    engine.script = say
    run = search(Dvts(2, 2), engine, Rater(lambda one: 0.1 if "3" in one.text[-1] else 0.9))
    keys = [proposal.answer.key for proposal in run.solution.proposals if proposal.answer]
    assert keys[0] == "3"
    assert keys[-1] == run.key != "3"


def test_without_ratings_the_first_go_on_and_the_majority_decides() -> None:
    run = search(Dvts(4, 2), Distinct().engine(), Rater(fails=lambda _: True))
    assert run.parents(1) == {chain + SEPARATOR: 2 for chain in (run.judge.seen[0], run.judge.seen[2])}
    assert run.key in ("7", "8")


def test_what_could_not_be_rated_comes_last_and_is_no_zero() -> None:
    judge = Rater(lambda _: 0.0, fails=lambda one: "wrong" in one.chain)
    run = search(Dvts(4, 4), Distinct().engine(), judge)
    rated = [chain for chain in judge.rated if SEPARATOR not in chain]
    assert list(run.parents(1)) == [rated[0] + SEPARATOR]


@pytest.mark.parametrize("tokens", [700, 900, 1100])
def test_what_is_held_back_brings_the_best_path_to_its_end(tokens: int) -> None:
    def run(reserve: int) -> SearchTree:
        strategy = Dvts(4, 2, reserve=reserve, params=SamplingParams(max_tokens=200))
        return search(strategy, Distinct(depth=12, words=6).engine(), budget=Budget(tokens=tokens))

    kept, spent = run(100), run(0)
    assert (spent.solution.answer, spent.solution.ended_by) == (None, "budget")
    assert kept.solution.answer is not None
    assert kept.solution.cost.tokens <= tokens


@pytest.mark.parametrize("option", ["n", "width"])
def test_options_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} must be .*got 0"):
        Dvts(**{option: 0})  # type: ignore[arg-type]
