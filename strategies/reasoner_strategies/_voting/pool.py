"""Votes over finished sequences: a pool of them, or as they arrive; with or without weights, proposed or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reasoner.answers.questions import Question
from reasoner.errors import BudgetExhausted
from reasoner.strategy import Plan, count_votes, propose, score
from reasoner.types import Answer, AnswerSpace, Completion, VoteState
from reasoner.voting import Tally

Pool = Sequence[Completion | None]
Weights = Sequence[float | None]
By = Literal["sum", "max"]


def vote(question: Question, pool: Pool, weights: Weights | None = None, *, by: By = "sum") -> Plan[VoteState]:
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


def ratings_of(question: Question, pool: Pool) -> Plan[tuple[float | None, ...]]:
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


def rated_vote(question: Question, pool: Pool, ratings: Weights, *, by: By = "sum") -> Plan[VoteState]:
    """The vote weighted by ratings, with "max" the best rated; the plain majority if nothing that votes was rated."""
    vote_state = yield from vote(question, pool, ratings, by=by)
    if vote_state.leader is None:
        vote_state = yield from vote(question, pool)
    return vote_state


def rated_choice(
    question: Question,
    pool: Pool,
    majority: VoteState,
    *,
    weights_of: Callable[[Weights], Weights] = lambda ratings: ratings,
    by: By = "sum",
) -> Plan[Answer | None]:
    """The answer of a pool by weights made of its ratings, proposed; that of the `majority` if nothing was rated."""
    ratings = yield from ratings_of(question, pool)
    if all(rating is None for rating in ratings):
        return majority.leader
    vote_state = yield from proposed(rated_vote(question, pool, weights_of(ratings), by=by))
    return vote_state.leader


@dataclass(slots=True)
class RunningVote:
    """The vote of one question, weighted by ratings as `rated_vote` is; without any rating, the plain majority."""

    space: AnswerSpace
    by: By = "sum"
    seen: int = 0
    """How many chains were counted, those without an answer included."""
    answered: bool = False
    _rated: Tally | None = None
    _plain: Tally | None = None
    _published: VoteState | None = None
    _changes: int = 0
    _publish_at: int = 1

    def count(self, answer: Answer | None, *, order: int) -> None:
        """Count a chain that ended, before it is rated; `order` is its position in launch order."""
        self.seen += 1
        self._changes += 1
        if answer is None:
            return
        self.answered = True
        if self._rated is None:
            self._plain = self._plain or Tally(self.space)
            self._plain.add(answer, index=order)

    def rate(self, answer: Answer, value: float | None, *, order: int) -> None:
        """Let a counted chain vote with its rating; without one it votes only if no chain has one."""
        if value is None:
            return
        self._changes += 1
        if self._rated is None:
            self._rated, self._plain = Tally(self.space, by=self.by), None
        self._rated.add(answer, index=order, weight=value)

    def restart(self) -> None:
        """Forget all chains, but not what was published."""
        self.seen, self.answered, self._rated, self._plain = 0, False, None, None

    def vote_state(self) -> Plan[VoteState]:
        """The vote state of the votes."""
        counted = yield from count_votes(self._rated or self._plain or Tally(self.space))
        return replace(counted, samples=self.seen)

    def publish_sometimes(self) -> Plan[None]:
        """Publish after each further sixteenth of changes: a few hundred times for many thousand chains."""
        if self.answered and self._changes >= self._publish_at:
            self._publish_at = self._changes + 1 + self._changes // 16
            yield from self.publish()

    def publish(self) -> Plan[VoteState]:
        """Propose the leader, unless this vote state was already proposed."""
        vote_state = yield from self.vote_state()
        if vote_state != self._published:
            yield from propose(vote_state.leader, vote_state)
        self._published = vote_state
        return vote_state
