"""Votes over finished sequences: a pool of them, or as they arrive; with or without ratings."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from reasoner import Answer, Completion, Question, Rating, VoteState
from reasoner.answers.code import CodeSpace
from reasoner.strategy import BudgetExhausted, Plan, Tally, count_votes, propose, score
from reasoner.types import AnswerSpace

Pool = Sequence[Completion | None]
Weights = Sequence[float | None]
By = Literal["sum", "max"]
Selector = Literal["argmax", "weighted", "majority", "last"]
"""Which of several candidates gives the answer: the best rated one, the class of answers with the highest total rating,
the class with the most candidates, or the last candidate in launch order."""
PoolSelector = Literal[
    "argmax", "weighted", "majority", "last", "consensus", "softmax", "borda"
]
"""As `Selector`; or the first of the class of candidates with equal `parts` of their ratings, such as programs that
pass the same tests, with the highest total rating; or a vote weighted by a softmax of ratings, or by their ranks."""


def selects_by_rating(selector: PoolSelector) -> bool:
    """Whether it needs ratings."""
    return selector not in ("majority", "last")


def combined(selector: PoolSelector) -> By:
    """How the weights of a class become its own."""
    return "max" if selector in ("argmax", "last") else "sum"


def weight_of(selector: PoolSelector, rating: float, order: int) -> float:
    """The weight of a rated candidate at a position in launch order."""
    return (
        1.0 if selector == "majority" else 1.0 + order if selector == "last" else rating
    )


def vote(
    question: Question, pool: Pool, weights: Weights | None = None, *, by: By = "sum"
) -> Plan[VoteState]:
    """The vote state of a pool in launch order; without `weights` each answer counts once.

    What has no answer or no weight abstains. Weights are 0 or more.
    """
    tally = Tally(question.space, by=by)
    for index, completion in enumerate(pool):
        weight = 1.0 if weights is None else weights[index]
        answer = (
            None if weight is None or completion is None else question.read(completion)
        )
        tally.add(answer, index=index, weight=0.0 if weight is None else weight)
    return (yield from count_votes(tally))


def proposed(counted: Plan[VoteState]) -> Plan[VoteState]:
    """The vote state that is counted, after its leader was proposed."""
    vote_state = yield from counted
    yield from propose(vote_state.leader, vote_state)
    return vote_state


@dataclass(slots=True)
class LaunchOrder:
    """A vote that is counted and proposed in launch order, from the index `next` on, whatever arrives first."""

    tally: Tally
    next: int = 0
    vote_state: VoteState = field(default_factory=VoteState)
    early: dict[int, tuple[Answer | None, int]] = field(default_factory=dict)
    """What arrived before one that was launched earlier."""

    def add(self, answer: Answer | None, *, index: int, tokens: int = 0) -> Plan[None]:
        """Add an answer with the length of its reply, and count those for which all earlier ones are there."""
        self.early[index] = answer, tokens
        while self.next in self.early:
            yield from self._count(self.next)

    def close(self) -> Plan[VoteState]:
        """Count what is left; none of those between will come."""
        for index in sorted(self.early):
            yield from self._count(index)
        return self.vote_state

    def _count(self, index: int) -> Plan[None]:
        answer, tokens = self.early.pop(index)
        self.tally.add(answer, index=index, tokens=tokens)
        self.vote_state = yield from proposed(count_votes(self.tally))
        self.next = index + 1


def propose_answer(question: Question, answer: Answer | None) -> Plan[Answer | None]:
    """Propose the answer of one chain, and return it."""
    tally = Tally(question.space)
    tally.add(answer, index=0)
    vote_state = yield from count_votes(tally)
    yield from propose(answer, vote_state)
    return answer


def rated_vote(
    question: Question,
    pool: Pool,
    ratings: Weights,
    *,
    selector: PoolSelector = "weighted",
) -> Plan[VoteState]:
    """The vote of what was rated, by the selector; the plain majority if nothing that votes was rated."""
    weights = [
        None if rating is None else weight_of(selector, rating, at)
        for at, rating in enumerate(ratings)
    ]
    vote_state = yield from vote(question, pool, weights, by=combined(selector))
    if vote_state.leader is None:
        vote_state = yield from vote(question, pool)
    return vote_state


def rated_choice(
    question: Question,
    pool: Pool,
    majority: VoteState,
    *,
    selector: PoolSelector = "weighted",
    weights_of: Callable[[Weights], Weights] = lambda ratings: ratings,
) -> Plan[Answer | None]:
    """Rate the sequences with an answer, and propose the vote by weights made of these ratings; returns its leader.

    With fewer than two answers, or without any rating, the `majority` decides. Nothing is rated for a selector that
    needs no ratings.
    """
    if selector == "last":
        return (
            yield from proposed(
                rated_vote(question, pool, [0.0] * len(pool), selector=selector)
            )
        ).leader
    answered = {
        index: completion
        for index, completion in enumerate(pool)
        if completion and question.read(completion)
    }
    if len(answered) < 2 or selector == "majority":
        return majority.leader
    try:
        rated = yield from score(question, tuple(answered.values()))
    except BudgetExhausted:
        return majority.leader
    values = dict(zip(answered, (rating.value for rating in rated), strict=True))
    ratings = [values.get(index) for index in range(len(pool))]
    if all(rating is None for rating in ratings):
        return majority.leader
    if selector == "consensus":
        return (
            yield from proposed(
                _consensus(question, dict(zip(answered, rated, strict=True)), pool)
            )
        ).leader
    return (
        yield from proposed(
            rated_vote(question, pool, weights_of(ratings), selector=selector)
        )
    ).leader


def _consensus(
    question: Question, rated: Mapping[int, Rating], pool: Pool
) -> Plan[VoteState]:
    """The vote of the rated candidates, in which those whose ratings have equal parts are one class.

    For programs and tests it is the dual execution agreement of CodeT (Chen 2022, 2207.10397): a class has the weight
    of its programs times the share of tests that they pass.
    """
    # In this kind, answers are equal exactly if their keys are.
    tally, answers = Tally(CodeSpace()), dict[Answer, Answer]()
    for index, completion in enumerate(pool):
        rating = rated.get(index)
        answer = (
            question.read(completion)
            if completion and rating and rating.value is not None
            else None
        )
        if answer and rating and rating.value is not None:
            grouped = replace(
                answer, key=repr(rating.parts) if rating.parts else answer.key
            )
            answers[grouped] = answer
            tally.add(grouped, index=index, weight=rating.value)
        else:
            tally.add(None, index=index)
    vote_state = yield from count_votes(tally)
    return replace(
        vote_state,
        votes=tuple(
            replace(each, answer=answers[each.answer]) for each in vote_state.votes
        ),
    )


def softmax(values: Sequence[float | None], temperature: float = 1.0) -> list[float]:
    """Shares proportional to exp(value / temperature) that sum to 1; 0 for None."""
    highest = max((value for value in values if value is not None), default=0.0)
    weights = [
        0.0 if value is None else math.exp((value - highest) / temperature)
        for value in values
    ]
    total = math.fsum(weights)
    return [weight / total for weight in weights] if total else weights


@dataclass(slots=True)
class RunningVote:
    """The vote of one question, by a selector as `rated_vote` is; without any rating, the plain majority."""

    space: AnswerSpace
    selector: Selector = "weighted"
    seen: int = 0
    """How many chains were counted, those without an answer included."""
    answered: bool = False
    _plain: Tally = field(init=False)
    _rated: Tally | None = None
    """The votes of the rated answers, once there is one."""
    _published: VoteState | None = None

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Drop all chains, but not what was published."""
        self.seen, self.answered, self._plain, self._rated = (
            0,
            False,
            Tally(self.space),
            None,
        )

    def count(self, answer: Answer | None, *, order: int) -> None:
        """Count a chain that ended, before it is rated; `order` is its position in launch order."""
        self.seen += 1
        if answer is not None:
            self.answered = True
            if self._rated is None:
                self._plain.add(answer, index=order)

    def rate(self, answer: Answer, value: float | None, *, order: int) -> None:
        """Let a counted chain vote with its rating; without one it votes only if no chain has one."""
        if value is None:
            return
        self._rated = self._rated or Tally(self.space, by=combined(self.selector))
        self._rated.add(
            answer, index=order, weight=weight_of(self.selector, value, order)
        )

    def vote_state(self) -> Plan[VoteState]:
        """The vote state so far."""
        counted = yield from count_votes(self._rated or self._plain)
        return replace(counted, samples=self.seen)

    def publish_sometimes(self) -> Plan[None]:
        """Publish once there is an answer, then after each further sixteenth of chains."""
        last = self._published.samples if self._published else 0
        if self.answered and self.seen >= last + last // 16:
            yield from self.publish()

    def publish(self) -> Plan[VoteState]:
        """Propose the leader, unless this vote state was already proposed."""
        vote_state = yield from self.vote_state()
        if vote_state != self._published:
            yield from propose(vote_state.leader, vote_state)
        self._published = vote_state
        return vote_state
