"""Votes over a pool of finished sequences: with or without weights, by a verifier's ratings, proposed or not."""

from collections.abc import Callable, Sequence
from typing import Literal

from reasoner.errors import BudgetExhausted
from reasoner.strategy import Plan, count_votes, propose, score
from reasoner.types import Answer, Completion, Question, VoteState
from reasoner.voting import Tally

Weights = Sequence[float | None]


def vote(
    question: Question,
    pool: Sequence[Completion | None],
    weights: Weights | None = None,
    *,
    by: Literal["sum", "max"] = "sum",
) -> Plan[VoteState]:
    """The vote state of a pool in launch order; without `weights` each answer counts once, one of weight None never.

    A sequence without an answer, or without a weight, abstains, as None does. Weights are 0 or more.
    """
    tally = Tally(question.space, by=by)
    for index, completion in enumerate(pool):
        weight = 1.0 if weights is None else weights[index]
        answer = None if weight is None or completion is None else question.read(completion)
        tally.add(answer, index=index, weight=0.0 if weight is None else weight)
    return (yield from count_votes(tally))


def proposed(counted: Plan[VoteState]) -> Plan[VoteState]:
    """The vote state that is counted, after its leader was proposed."""
    vote_state = yield from counted
    yield from propose(vote_state.leader, vote_state)
    return vote_state


def ratings_of(question: Question, pool: Sequence[Completion | None]) -> Plan[tuple[float | None, ...]]:
    """The verifier's rating of each sequence with an answer; None for the others, and for those it could not rate.

    With fewer than two answers nothing is rated. If the budget refuses, all stay unrated.
    """
    answered = {index: completion for index, completion in enumerate(pool) if completion and question.read(completion)}
    values: list[float | None] = [None] * len(pool)
    if len(answered) < 2:
        return tuple(values)
    try:
        ratings = yield from score(question, tuple(answered.values()))
    except BudgetExhausted:
        return tuple(values)
    for index, rating in zip(answered, ratings, strict=True):
        values[index] = rating.value
    return tuple(values)


def rated_vote(
    question: Question, pool: Sequence[Completion | None], ratings: Weights, *, by: Literal["sum", "max"] = "sum"
) -> Plan[VoteState]:
    """The vote weighted by ratings, with "max" the best rated; the plain majority if nothing that votes was rated."""
    vote_state = yield from vote(question, pool, ratings, by=by)
    if vote_state.leader is None:
        vote_state = yield from vote(question, pool)
    return vote_state


def rated_choice(
    question: Question,
    pool: Sequence[Completion | None],
    majority: VoteState,
    *,
    weights_of: Callable[[Weights], Weights] = lambda ratings: ratings,
    by: Literal["sum", "max"] = "sum",
) -> Plan[Answer | None]:
    """The answer of a pool by weights made of its ratings, proposed; that of the `majority` if nothing was rated."""
    ratings = yield from ratings_of(question, pool)
    if all(rating is None for rating in ratings):
        return majority.leader
    vote_state = yield from proposed(rated_vote(question, pool, weights_of(ratings), by=by))
    return vote_state.leader
