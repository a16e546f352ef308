"""Self-consistency, as a pure plan."""

import itertools

import pytest

from reasoner.errors import BudgetExhausted, UsageError
from reasoner.strategy import Finished, Handle, Next, Propose, Sample, Start
from reasoner.types import SamplingParams, VoteState
from reasoner_strategies import SelfConsistency
from tests.helpers import completion, finish, number_question

QUESTION = number_question()
PARAMS = SamplingParams(max_tokens=30)
REFUSED = BudgetExhausted("tokens", needed=9, free=0, limit=5)


def proposals(
    replies: list[tuple[int, str | None]], *, n: int, refused: bool = False
) -> tuple[list[VoteState], object]:
    """The vote_states that a plan of `n` proposes when samples (index, answer) arrive in this order, and its answer."""
    plan, vote_states = SelfConsistency(n, PARAMS).plan(QUESTION), []
    assert next(plan) == Start(Sample((QUESTION.prompt,), 1, PARAMS), n, cancellable=False)
    op = plan.send(Handle(0))
    for index, key in replies:
        assert op == Next()
        text = "no idea" if key is None else f"The answer is {key}"
        op = plan.send(Finished(Handle(index), (completion(text, index=index),)))
        assert isinstance(op, Propose)
        assert op.answer == op.vote_state.leader
        vote_states.append(op.vote_state)
        if len(vote_states) < n:
            op = plan.send(None)
    return vote_states, finish(plan, REFUSED if refused else None)


def test_it_starts_all_and_proposes_after_each() -> None:
    vote_states, answer = proposals([(0, "7"), (1, "8"), (2, "8")], n=3)
    assert [vote_state.leader and vote_state.leader.key for vote_state in vote_states] == ["7", "7", "8"]
    assert [vote_state.samples for vote_state in vote_states] == [1, 2, 3]
    assert [vote_state.tied for vote_state in vote_states] == [False, True, False]
    assert answer == vote_states[-1].leader


def test_the_order_of_arrival_does_not_change_the_outcome() -> None:
    replies = [(0, "7"), (1, "8"), (2, None), (3, "8"), (4, "7")]
    outcomes = {(proposals(list(order), n=5)[0][-1], proposals(list(order), n=5)[1]) for order in _orders(replies)}
    assert len(outcomes) == 1
    [(vote_state, answer)] = outcomes
    assert vote_state.tied
    assert answer is not None
    assert (vote_state.leader and vote_state.leader.key) == "7"


def _orders(replies: list[tuple[int, str | None]]) -> list[tuple[tuple[int, str | None], ...]]:
    return list(itertools.permutations(replies))


def test_one_sample_is_enough() -> None:
    vote_states, answer = proposals([(0, "7")], n=1)
    assert (len(vote_states), vote_states[0].leader) == (1, answer)


def test_without_any_answer_it_proposes_and_returns_none() -> None:
    vote_states, answer = proposals([(0, None), (1, None)], n=2)
    assert (vote_states, answer) == ([VoteState((), 1, max_samples=2), VoteState((), 2, max_samples=2)], None)


def test_cut_samples_count_and_never_vote() -> None:
    plan = SelfConsistency(1, PARAMS).plan(QUESTION)
    next(plan)
    plan.send(Handle(0))
    op = plan.send(Finished(Handle(0), (completion("The answer is 7", finish="length"),)))
    assert op == Propose(None, VoteState((), 1, max_samples=1))


@pytest.mark.parametrize("arrived", [0, 1, 2])
def test_when_the_budget_is_exhausted_it_returns_the_best_so_far(arrived: int) -> None:
    replies: list[tuple[int, str | None]] = [(0, "7"), (1, "7")]
    vote_states, answer = proposals(replies[:arrived], n=3, refused=True)
    assert len(vote_states) == arrived
    assert answer == (vote_states[-1].leader if vote_states else None)


def test_a_refusal_while_starting_is_no_crash() -> None:
    plan = SelfConsistency(3, PARAMS).plan(QUESTION)
    next(plan)
    with pytest.raises(BudgetExhausted):
        plan.throw(REFUSED)


@pytest.mark.parametrize("n", [0, -3])
def test_no_samples_are_refused(n: int) -> None:
    with pytest.raises(UsageError, match=f"n must be .*got {n}"):
        SelfConsistency(n)
