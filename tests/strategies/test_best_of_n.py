"""Best-of-N, as a pure plan."""

from dataclasses import replace
from typing import Literal

import pytest

from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.strategy import Operation, Plan, Propose, Sample, Score
from reasoner.types import FALLBACK, Answer, Completion, Rating, VoteState
from reasoner_strategies import BestOfN
from tests.helpers import as_run, completion, finish, number_question

QUESTION = number_question()
REFUSED = BudgetExhausted("tokens", needed=9, free=0, limit=5)
Selector = Literal["argmax", "weighted"]


def drawn(*keys: str | None) -> tuple[Completion, ...]:
    return tuple(
        completion("no idea" if key is None else f"The answer is {key}", index=index) for index, key in enumerate(keys)
    )


def ratings(*values: float | None) -> tuple[Rating, ...]:
    return tuple(Rating(value, Cost(), error="" if value is not None else "broken") for value in values)


def begun(samples: tuple[Completion, ...], selector: Selector = "argmax") -> tuple[Plan[Answer | None], Propose]:
    """A plan that has its samples, and the majority it proposed."""
    plan = as_run(BestOfN(len(samples), selector)).plan(QUESTION)
    assert next(plan) == Sample((QUESTION.prompt,), len(samples), replace(FALLBACK, temperature=0.8))
    majority = plan.send(samples)
    assert isinstance(majority, Propose)
    return plan, majority


def asked(plan: Plan[Answer | None]) -> tuple[Completion, ...]:
    op: Operation = plan.send(None)
    assert isinstance(op, Score)
    assert op.question is QUESTION
    return op.candidates


def selected(keys: tuple[str | None, ...], values: tuple[float | None, ...], selector: Selector) -> VoteState:
    plan, _ = begun(drawn(*keys), selector)
    asked(plan)
    chosen = plan.send(ratings(*values))
    assert isinstance(chosen, Propose)
    assert finish(plan) == chosen.answer == chosen.vote_state.leader
    return chosen.vote_state


def key(vote_state: VoteState) -> str | None:
    return vote_state.leader.key if vote_state.leader else None


PUBLISHED = (("1", "2", "2", "3"), (0.9, 0.6, 0.5, 0.2))


def test_the_published_pool_by_each_selector() -> None:
    _, majority = begun(drawn(*PUBLISHED[0]))
    assert (key(majority.vote_state), majority.answer) == ("2", majority.vote_state.leader)
    best, weighted = selected(*PUBLISHED, "argmax"), selected(*PUBLISHED, "weighted")
    assert (key(best), best.votes[0].weight) == ("1", 0.9)
    assert key(weighted) == "2"
    assert weighted.votes[0].weight == pytest.approx(1.1)
    assert best.samples == weighted.samples == 4


def test_the_earliest_of_the_best_rated_wins() -> None:
    vote_state = selected(("1", "2", "1"), (0.2, 0.9, 0.9), "argmax")
    assert (key(vote_state), vote_state.tied) == ("2", True)


def test_constant_ratings_are_the_majority() -> None:
    assert key(selected(("1", "2", "2"), (0.3, 0.3, 0.3), "weighted")) == "2"
    assert key(selected(("1", "2", "2"), (0.0, 0.0, 0.0), "weighted")) == "2"


def test_only_samples_that_hold_an_answer_are_rated_and_all_are_counted() -> None:
    samples = (*drawn("1", None, "2"), completion("The answer is 3", index=3, finish="length"))
    plan, _ = begun(samples)
    assert [one.index for one in asked(plan)] == [0, 2]
    chosen = plan.send(ratings(0.1, 0.2))
    assert isinstance(chosen, Propose)
    assert (key(chosen.vote_state), chosen.vote_state.samples) == ("2", 4)


@pytest.mark.parametrize("selector", ["argmax", "weighted"])
def test_what_could_not_be_rated_drops_out_and_is_never_a_zero(selector: Selector) -> None:
    assert key(selected(("1", "2", "2"), (0.1, None, None), selector)) == "1"
    plan, majority = begun(drawn("1", "2", "2"), selector)
    asked(plan)
    assert finish(plan, ratings(None, None, None)) == majority.answer


@pytest.mark.parametrize("samples", [drawn("7"), drawn("7", None), drawn(None, "7", None)])
def test_a_single_answer_needs_no_verifier(samples: tuple[Completion, ...]) -> None:
    plan, majority = begun(samples)
    assert key(majority.vote_state) == "7"
    assert finish(plan) == majority.answer


def test_without_any_answer_it_proposes_and_returns_none() -> None:
    cut = tuple(completion("The answer is 7", index=index, finish="length") for index in range(2))
    for samples in (drawn(None, None), cut):
        plan, majority = begun(samples)
        assert (majority.answer, majority.vote_state) == (None, VoteState((), 2))
        assert finish(plan) is None


def test_with_fewer_samples_than_asked_for_it_selects_among_those() -> None:
    plan = BestOfN(5).plan(QUESTION)
    next(plan)
    plan.send(drawn("1", "2"))
    assert len(asked(plan)) == 2


def test_a_refused_sample_passes_through() -> None:
    plan = BestOfN(3).plan(QUESTION)
    next(plan)
    with pytest.raises(BudgetExhausted):
        plan.throw(REFUSED)


def test_a_refused_rating_leaves_the_majority() -> None:
    plan, majority = begun(drawn("1", "2", "2"))
    asked(plan)
    assert finish(plan, REFUSED) == majority.answer


@pytest.mark.parametrize("rated", [False, True])
def test_a_refusal_at_a_proposal_is_no_crash(rated: bool) -> None:
    plan, _ = begun(drawn("1", "2", "2"))
    if rated:
        asked(plan)
        plan.send(ratings(0.1, 0.2, 0.3))
    with pytest.raises(BudgetExhausted):
        plan.throw(REFUSED)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"n": 0}, "n must be .*got 0"), ({"selector": "best"}, "must be argmax or weighted .got")],
)
def test_options_out_of_range_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        BestOfN(**options)  # type: ignore[arg-type]
