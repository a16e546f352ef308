"""Beam search over rated steps, in worlds with closed forms."""

import math
from typing import Any

import pytest

from reasoner import Budget, SamplingParams
from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.strategy import Finished, Handle, Next, Operation, Plan, Propose, Sample, Score, Start
from reasoner.types import Answer, Completion, Rating
from reasoner_strategies._search.step_search import parent_count, split_evenly
from reasoner_strategies.beam_search import BeamSearch
from reasoner_strategies.dvts import Dvts
from tests.helpers import completion, finish, jumbled, number_question
from tests.scripted import ScriptedEngine
from tests.stepping import SEPARATOR, StepJudge, StepWorld, noisy
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

QUESTION = number_question()


def chance_of(n: int, width: int, *, right: float = 0.5, levels: int = 3) -> float:
    """That a chain is right: the recursion over the number of right paths among the kept ones."""
    chances = {1: 1.0}
    for level in range(levels):
        after: dict[int, float] = {}
        for parents, chance in chances.items():
            children = n if level == 0 else min(parents, n // width) * width
            for good in range(children + 1):
                found = math.comb(children, good) * right**good * (1 - right) ** (children - good)
                after[good] = after.get(good, 0.0) + chance * found
        chances = after
    return 1 - chances[0]


def test_the_recursion_is_the_published_one() -> None:
    assert chance_of(8, 4) == pytest.approx(0.98428, abs=5e-6)
    assert chance_of(16, 4) == pytest.approx(0.99989, abs=5e-6)
    assert chance_of(4, 4) == pytest.approx(0.82397, abs=5e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "width"), [(8, 4), (16, 4), (4, 4), (4, 2), (3, 1)])
@widths("questions", 50, 800)
def test_success_rates_at_the_price_of_n_steps_a_level(n: int, width: int, questions: int) -> None:
    solutions = many(BeamSearch(n, width), Distinct().engine(), questions=questions)
    expected = chance_of(n, width)
    assert accuracy(solutions) == pytest.approx(expected, abs=sure(expected, questions))
    assert {solution.cost.samples for solution in solutions} == {n * 3}


@pytest.mark.slow
@widths("questions", 75, 1600)
def test_ratings_that_say_nothing_change_nothing(questions: int) -> None:
    solutions = many(BeamSearch(8, 4), Distinct().engine(), StepJudge(lambda _: 0.5), questions=questions)
    mean, error = mean_and_error([right_share(solution) for solution in solutions])
    assert mean == pytest.approx(0.5**3, abs=error)


@pytest.mark.slow
@widths("questions", 37, 600)
def test_more_never_hurts(questions: int) -> None:
    wider = [BeamSearch(n, width) for n, width in ((1, 1), (2, 2), (4, 4), (8, 4))]
    rates = [accuracy(many(strategy, Distinct().engine(), questions=questions)) for strategy in wider]
    assert rates == sorted(rates)


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
    assert (parent_count(16, 4), split_evenly(16, 4)) == (4, [4, 4, 4, 4])
    assert (parent_count(16, 3), split_evenly(16, 6)) == (6, [3, 3, 3, 3, 2, 2])
    assert (parent_count(2, 4), split_evenly(2, 1)) == (1, [2])
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
    tree = search(Dvts(4, 4, siblings=True), engine, Rater(judge), seed=seed)
    assert beam.seeds == tree.seeds
    assert (beam.solution.answer, beam.solution.vote_state) == (tree.solution.answer, tree.solution.vote_state)


def test_one_chain_needs_no_ratings() -> None:
    run = search(BeamSearch(1), Distinct().engine())
    assert (run.solution.cost.samples, run.judge.seen, run.solution.vote_state.samples) == (3, [], 1)
    # Where nothing is dropped, only what votes is rated.
    run = search(BeamSearch(4, 1), Distinct().engine())
    assert [chain.count(SEPARATOR) for chain in run.judge.seen] == [2] * 4


# Chains that ended


@pytest.mark.parametrize("seed", range(8))
def test_with_refill_levels_stay_full_until_n_chains_have_ended(seed: int) -> None:
    run = search(BeamSearch(6, 2), Uneven().engine(), Rater(noisy(0.2)), seed=seed)
    assert set(run.levels.values()) == {6}
    ended = [proposal.vote_state.samples for proposal in run.solution.proposals]
    assert all(samples < 6 for samples in ended[:-1])
    assert 6 <= ended[-1] < 12


@pytest.mark.parametrize("seed", range(8))
def test_without_refill_what_ended_takes_its_place_along(seed: int) -> None:
    run = search(BeamSearch(6, 2, refill=False), Uneven().engine(), Rater(noisy(0.2)), seed=seed)
    places, ended = 6, 0
    for level, children in run.levels.items():
        assert children == places
        ended += sum("answer" in chain for chain in run.judge.seen if chain.count(SEPARATOR) == level)
        places = 6 - ended
    assert (places, run.solution.vote_state.samples) == (0, 6)


@pytest.mark.parametrize("refill", [True, False])
def test_a_finished_chain_is_rated_once_and_votes_with_that(refill: bool) -> None:
    run = search(BeamSearch(6, 2, refill=refill), Uneven().engine(), Rater(noisy(0.2)))
    assert len(run.judge.seen) == len(set(run.judge.seen)) == run.solution.cost.samples
    rated = [value for chain, value in run.judge.rated.items() if "answer" in chain]
    assert sum(vote.weight for vote in run.solution.vote_state.votes) == pytest.approx(sum(rated))


def test_what_holds_no_answer_is_not_rated_and_counts() -> None:
    def mute(request: Any) -> str:
        return "no idea" if request.index % 2 else Distinct.say(Distinct(), request)

    engine = Distinct().engine()
    engine.script = mute
    run = search(BeamSearch(4, 2, refill=False), engine)
    assert not any("no idea" in chain for chain in run.judge.seen)
    assert run.solution.vote_state.samples == 4


def test_the_last_step_runs_to_the_end_of_the_chain() -> None:
    run = search(BeamSearch(4, 2, max_steps=2), Distinct(depth=6).engine())
    assert run.levels == {0: 4, 1: 4}
    assert [SEPARATOR in request.params.stop for request in run.requests] == [True] * 4 + [False] * 4
    assert run.key in ("7", "8")


def test_a_step_is_what_ends_it() -> None:
    steps = ["one", "two", "The answer is 7"]
    engine = ScriptedEngine(lambda request: "; ".join(steps[request.prompt.text.count("; ") :]))
    run = search(BeamSearch(4, 2, step="; "), engine)
    assert {(request.prompt.text, request.params.stop) for request in run.requests} == {
        ("", ("; ",)),
        ("one; ", ("; ",)),
        ("one; two; ", ("; ",)),
    }
    assert run.key == "7"
    run = search(BeamSearch(4, 2, step="", step_tokens=3, max_steps=5), StepWorld().engine())
    assert [request.params.max_tokens for request in run.requests[:16]] == [3] * 16
    assert max(request.params.limit for request in run.requests[16:]) > 3
    assert run.key in ("7", "8")


# Where ratings or the budget fail


def test_without_ratings_the_first_go_on_and_the_majority_decides() -> None:
    run = search(BeamSearch(6, 2), Distinct().engine(), Rater(fails=lambda _: True))
    first = [request for request in run.requests if depth(request) == 0][:3]
    drawn = {request.prompt.digest: request for request in first}
    assert len(drawn) == 1
    assert sorted(run.parents(1).values()) == [2, 2, 2]
    assert run.parents(1) == dict.fromkeys([chain + SEPARATOR for chain in run.judge.seen[:3]], 2)
    assert [vote.weight for vote in run.solution.vote_state.votes] == [
        vote.count for vote in run.solution.vote_state.votes
    ]


def test_what_could_not_be_rated_comes_last_and_is_no_zero() -> None:
    run = search(
        BeamSearch(4, 4), Distinct().engine(), Rater(lambda _: 0.0, fails=lambda one: "wrong" not in one.chain)
    )
    rated = [chain for chain in run.judge.seen if chain in run.judge.rated and SEPARATOR not in chain]
    assert set(run.parents(1)) == {rated[0] + SEPARATOR}


def long(reserve: int, tokens: int) -> SearchTree:
    """A search in chains of twelve steps whose budget ends half-way."""
    strategy = BeamSearch(4, 2, reserve=reserve, params=SamplingParams(max_tokens=200))
    return search(strategy, Distinct(depth=12, words=6).engine(), budget=Budget(tokens=tokens))


@pytest.mark.parametrize("tokens", [700, 900, 1100])
def test_what_is_held_back_brings_the_best_path_to_its_end(tokens: int) -> None:
    kept, spent = long(100, tokens), long(0, tokens)
    assert (spent.solution.answer, spent.solution.ended_by) == (None, "budget")
    assert kept.solution.answer is not None
    assert kept.solution.cost.tokens <= tokens
    assert kept.solution.vote_state.samples == 1
    assert SEPARATOR not in kept.requests[-1].params.stop


@pytest.mark.parametrize("arrived", [False, True])
def test_the_best_open_path_is_the_one_that_is_brought_to_its_end(arrived: bool) -> None:
    plan = BeamSearch(2, 2, max_steps=9).plan(QUESTION)
    started = next(plan)
    assert isinstance(started, Start)
    assert started.times == 2
    plan.send(Handle(1))
    first, second = (
        completion(text, stop=SEPARATOR, index=at, prompt=QUESTION.prompt) for at, text in enumerate(("good", "better"))
    )
    rated(plan, Handle(2), second, 0.9)
    op = rated(plan, Handle(1), first, 0.4)
    assert isinstance(op, Start)
    assert op.op == Sample((second.prompt.then(second),), params=op.op.params, reserve=128)  # type: ignore[union-attr]
    assert op.times == 2
    op = plan.send(Handle(5))
    assert op == Next()
    if arrived:
        # One child of the next level has come, worse than its parent, but further on.
        last = completion("worst", stop=SEPARATOR, prompt=second.prompt.then(second))
        assert rated(plan, Handle(5), last, 0.1) == Next()
    op = plan.throw(BudgetExhausted("tokens", needed=9, free=0, limit=5))
    assert isinstance(op, Sample)
    assert [prompt.text for prompt in op.prompts] == [f"better{SEPARATOR}" + f"worst{SEPARATOR}" * arrived]
    op = plan.send((completion("The answer is 7", prompt=op.prompts[0]),))
    assert isinstance(op, Propose)
    assert (op.answer and op.answer.key) == "7"
    assert finish(plan) == op.answer


def rated(plan: Plan[Answer | None], handle: Handle, step: Completion, value: float) -> Operation:
    """What the plan asks for after a step has come and was rated at once."""
    op = plan.send(Finished(handle, (step,)))
    assert op == Start(Score(QUESTION, (step,), reserve=128))
    assert plan.send(Handle(handle + 100)) == Next()
    return plan.send(Finished(Handle(handle + 100), ratings=(Rating(value, Cost()),)))


def test_a_budget_too_small_for_any_step_and_what_is_held_back_is_one_chain() -> None:
    run = search(BeamSearch(4, 2, reserve=500), Distinct().engine(), budget=Budget(tokens=120))
    assert (run.solution.cost.samples, run.solution.vote_state.samples) == (1, 1)
    assert run.key in ("7", "8")


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_completion_changes_nothing(seed: int) -> None:
    def once(order: int) -> SearchTree:
        engine = Uneven().engine(pause=jumbled(order))
        return search(BeamSearch(6, 2), engine, Rater(noisy(0.2)), seed=seed)

    first, other = once(0), once(seed + 1)
    assert first.seeds == other.seeds
    assert [(p.answer, p.vote_state) for p in first.solution.proposals] == [
        (p.answer, p.vote_state) for p in other.solution.proposals
    ]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n": 0}, "n must be .*got 0"),
        ({"width": 0}, "width must be .*got 0"),
        ({"reserve": -1}, "reserve must be .*got -1"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"step": "", "step_tokens": 0}, "a step must end"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        BeamSearch(**options)
