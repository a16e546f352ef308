"""Monte-Carlo tree search: priors, ratings, budgets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from reasoner import Question, solve_many_sync, solve_sync
from reasoner.strategy import Finished, Handle, Next, Plan, Propose, Score, Start
from reasoner.types import Answer, Completion, Logprobs, VoteState
from reasoner_strategies._voting.pool import RunningVote
from reasoner_strategies.mcts import Mcts, prior
from tests.helpers import completion
from tests.stepping import StepJudge, StepWorld
from tests.strategies.test_mcts import QUESTION, Place, World, drive, place_of, rating
from tests.sweeps import widths

# Priors, siblings, ratings


def steps(*logprobs: Sequence[float] | None) -> list[Completion]:
    return [completion(logprobs=None if each is None else Logprobs(tuple(each))) for each in logprobs]


def test_the_prior_is_the_softmax_of_mean_logprobs_so_that_length_does_not_count() -> None:
    assert prior(steps([-1.0] * 5, [-1.0] * 50)) == pytest.approx([0.5, 0.5])
    odds = math.exp(-0.5), math.exp(-1.5)
    assert prior(steps([-0.5], [-1.0, -2.0])) == pytest.approx([odd / sum(odds) for odd in odds])
    assert prior(steps([-900.0], [-901.0]))[0] == pytest.approx(1 / (1 + math.exp(-1)))
    for silent in (None, [], [-math.inf]):
        assert prior(steps([-0.5], silent)) == [0.5, 0.5]
    assert prior([]) == []


def begun(strategy: Mcts, drawn: Sequence[Completion]) -> tuple[Plan[Answer | None], Any]:
    """A plan whose first expansion drew these, and what it does next."""
    plan = strategy.plan(QUESTION)
    assert isinstance(next(plan), Start)
    assert isinstance(plan.send(Handle(1)), Next)
    return plan, plan.send(Finished(Handle(1), completions=tuple(drawn)))


def open_step(text: str, index: int, *ids: int) -> Completion:
    return completion(text, index=index, stop="\n\n", token_ids=ids)


def test_equal_siblings_are_one_step_and_dead_ends_are_not_rated() -> None:
    drawn = [
        open_step("a", 0, 1, 2),
        open_step("a", 1, 1, 2),
        completion("no idea", index=2, token_ids=(3, -1)),
        completion("The answer is 9", index=3, token_ids=(4,) * 600, finish="length"),
        completion("The answer is 7", index=4, token_ids=(5, -1)),
        completion("The answer is 7", index=5, token_ids=(5, -1)),
    ]
    plan, op = begun(Mcts(k=6), drawn)
    assert isinstance(op, Start)
    assert isinstance(op.op, Score)
    assert [one.index for one in op.op.candidates] == [0, 4]
    proposal = plan.send(Handle(2))
    assert isinstance(proposal, Propose)
    assert (proposal.vote_state.samples, proposal.vote_state.votes[0].count) == (3, 1)


def test_answers_are_proposed_before_they_are_rated_and_again_after() -> None:
    answers = [completion(f"The answer is {key}", token_ids=(int(key), at, -1)) for at, key in enumerate("788")]
    plan, op = begun(Mcts(k=3), answers)
    assert isinstance(op, Start)
    plurality = plan.send(Handle(2))
    assert isinstance(plurality, Propose)
    assert plurality.answer is not None
    assert plurality.answer.key == "8"
    assert isinstance(plan.send(None), Next)
    rated = plan.send(Finished(Handle(2), ratings=tuple(map(rating, (0.9, 0.1, None)))))
    assert isinstance(rated, Propose)
    assert [(vote.answer.key, vote.weight) for vote in rated.vote_state.votes] == [("7", 0.9), ("8", 0.1)]
    assert rated.vote_state.samples == 3


def test_a_step_that_could_not_be_rated_counts_as_its_parent() -> None:
    world = World(k=3, ends=0.0, depth=9)
    options = Mcts(simulations=20, k=3, concurrency=1, c_init=0)
    same = drive(options, world, rate=lambda _: 0.6)
    some = drive(options, world, rate=lambda place: 0.6 if len(place) < 3 else None)
    assert some.expanded == same.expanded


def test_a_verifier_that_always_fails_leaves_launch_order_and_the_majority() -> None:
    """All steps count the same; the first was visited when it was drawn, so it is the others' turn before it."""

    @dataclass(frozen=True, slots=True)
    class Flat(World):
        def logprob(self, place: Place) -> float:
            return -1.0

    world = Flat(k=3, ends=0.0, depth=2)
    course = drive(Mcts(simulations=4, k=3, concurrency=1), world, rate=lambda _: None)
    assert course.expanded == [(), (1,), (2,), (0,)]
    counts = {vote.answer.key: vote.weight for vote in course.vote_state.votes}
    assert sum(counts.values()) == 9
    assert course.answer is not None
    assert counts[course.answer.key] == max(counts.values())


# Budgets and the reserve


def test_every_step_holds_the_reserve_back_and_the_closing_spends_it() -> None:
    world = World(k=3, ends=0.0, depth=9)
    course = drive(Mcts(simulations=9, k=3, reserve=50, concurrency=2), world, refuse_after=5)
    *searched, last = course.samples
    assert {one.reserve for one in searched} == {50}
    assert (last.n, last.reserve, last.params.stop) == (1, 0, ())
    opened = {place for place in course.expanded[:5] for place in [(*place, 0), (*place, 1), (*place, 2)]}
    best = max(opened - set(course.expanded[:5]), key=world.value)
    assert place_of(last.prompts[0].text) == best


def test_the_end_of_the_simulations_brings_the_best_open_chain_to_its_end() -> None:
    solution = solve_sync(QUESTION, Mcts(simulations=2), StepWorld(depth=5).engine(), verifier=StepJudge())
    assert solution.answer is not None
    assert (solution.cost.samples, solution.vote_state.samples) == (9, 1)


# The step world


@pytest.mark.slow
@pytest.mark.parametrize(
    ("simulations", "rate"), [(40, (1 - 0.5**4) ** 3), (3, (1 - 0.5**4) ** 3), (2, (1 - 0.5**4) ** 2 * 0.5)]
)
@widths("count", 75, 1200)
def test_success_in_the_step_world(simulations: int, rate: float, count: int) -> None:
    """With equal steps being one, a right chain is found where each of its steps was drawn; more never hurts.

    With two expansions the last step is the closing's single draw.
    """
    questions = [Question.of("How many?", space="number", id=str(at)) for at in range(count)]
    strategy = Mcts(simulations=simulations, concurrency=1)
    solutions = solve_many_sync(questions, strategy, StepWorld().engine(), verifier=StepJudge())
    right = sum(one.answer is not None and one.answer.key == "7" for one in solutions) / count
    assert right == pytest.approx(rate, abs=3 * math.sqrt(rate * (1 - rate) / count))


# Votes that are counted as they come


def test_proposals_are_few_where_chains_are_many_and_the_last_tells_all() -> None:
    votes = RunningVote(QUESTION.space)
    told: list[VoteState] = []

    def run(plan: Plan[Any]) -> None:
        told.extend(op.vote_state for op in plan if isinstance(op, Propose))

    for at in range(5000):
        answer = Answer(str(at % 3), str(at % 3))
        votes.count(answer, order=at)
        votes.rate(answer, 0.5, order=at)
        run(votes.publish_sometimes())
    run(votes.publish())
    assert 20 < len(told) < 200
    assert [one.samples for one in told[:9]] == list(range(1, 10))
    assert all(a.samples < b.samples <= a.samples + 2 + a.samples // 8 for a, b in pairwise(told))
    assert (told[-1].samples, sum(vote.count for vote in told[-1].votes)) == (5000, 5000)
    run(votes.publish())
    assert told[-1].samples == 5000
