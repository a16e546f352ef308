"""What strategies do with a pool of finished sequences: rate it, vote over it."""

from collections.abc import Sequence
from typing import Literal

from reasoner.errors import BudgetExhausted
from reasoner.plan import Plan, count, score
from reasoner.types import Completion, Question, Standing
from reasoner.votes import Tally


def vote(
    question: Question,
    pool: Sequence[Completion | None],
    weights: Sequence[float | None] | None = None,
    *,
    by: Literal["sum", "max"] = "sum",
) -> Plan[Standing]:
    """The standing of a pool in launch order; without `weights` every answer counts once, a weight of None not at all.

    A sequence without an answer, or without a weight, abstains, as None does. Weights are 0 or more.
    """
    tally = Tally(question.space, by=by)
    for place, completion in enumerate(pool):
        weight = 1.0 if weights is None else weights[place]
        answer = None if weight is None or completion is None else question.read(completion)
        tally.add(answer, index=place, weight=0.0 if weight is None else weight)
    return (yield from count(tally))


def ratings_of(question: Question, pool: Sequence[Completion | None]) -> Plan[tuple[float | None, ...]]:
    """What the verifier says of each sequence that holds an answer; None for the others, and where it could not say.

    With fewer than two answers nothing is asked: there is nothing to choose. Refused, all stay unrated.
    """
    answered = {place: one for place, one in enumerate(pool) if one and question.read(one)}
    values: list[float | None] = [None] * len(pool)
    if len(answered) < 2:
        return tuple(values)
    try:
        ratings = yield from score(question, tuple(answered.values()))
    except BudgetExhausted:
        return tuple(values)
    for place, rating in zip(answered, ratings, strict=True):
        values[place] = rating.value
    return tuple(values)


def rated_vote(
    question: Question,
    pool: Sequence[Completion | None],
    ratings: Sequence[float | None],
    *,
    by: Literal["sum", "max"] = "sum",
) -> Plan[Standing]:
    """The vote weighted by ratings, by "max" the best rated; the plain majority where nothing that votes was rated."""
    standing = yield from vote(question, pool, ratings, by=by)
    if standing.leader is None:
        standing = yield from vote(question, pool)
    return standing
