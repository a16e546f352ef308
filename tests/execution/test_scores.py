"""What a plan is sent when it scores candidates, and what a verifier may do wrong."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reasoner import Answer, Budget, Question, SamplingParams
from reasoner.engine import SampleRequest
from reasoner.errors import BudgetExhausted, LedgerViolation, PlanError, VerifierError
from reasoner.strategy import Next, Plan, Sample, Score, Start
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, says
from reasoner.trace.events import Scored
from reasoner.types import Completion, Rating
from tests.execution.one_question import PARAMS, PROMPT, REPLY, TOKENS, Run, Script


def scoring(*, n: int = 3, ratings: list[Rating] | None = None) -> Script:
    def plan(question: Question) -> Plan[Answer | None]:
        drawn = yield Sample((PROMPT,), n, SamplingParams(max_tokens=REPLY))
        found = yield Score(question, tuple(reversed(drawn)))
        if ratings is not None:
            ratings.extend(found)
        return None

    return plan


def judged(judge: Judge, **options: Any) -> tuple[Run, list[Rating]]:
    ratings: list[Rating] = []
    engine = ScriptedEngine(says("1", "2", "3"))
    return Run(
        scoring(ratings=ratings), engine, uses_verifier=True, verifier=judge, **options
    ), ratings


def test_ratings_come_in_the_order_of_the_candidates() -> None:
    run, ratings = judged(Judge(lambda one: one.index / 10))
    assert [rating.value for rating in ratings] == [0.2, 0.1, 0.0]
    assert [(event.index, event.value) for event in run.seen(Scored)] == [
        (2, 0.2),
        (1, 0.1),
        (0, 0.0),
    ]


def _raises(error: Exception) -> Callable[[Completion], float]:
    def verdict(candidate: Completion) -> float:
        raise error

    return verdict


@pytest.mark.parametrize(
    ("verdict", "error"),
    [
        (_raises(VerifierError("no verdict")), "VerifierError: no verdict"),
        (_raises(KeyError("x")), "KeyError: 'x'"),
        (_raises(TimeoutError("too slow")), "TimeoutError: too slow"),
        (
            _raises(BudgetExhausted("tokens", needed=1, free=0, limit=0)),
            "BudgetExhausted: budget tokens=0",
        ),
        (lambda _: 1.5, "ValueError: a rating is between 0 and 1, not 1.5"),
        (lambda _: float("nan"), "ValueError: a rating is between 0 and 1, not nan"),
        (lambda _: None, "ValueError: a rating has either a value or an error"),
    ],
)
def test_a_verifier_that_fails_gives_an_error_and_never_a_zero(
    verdict: Any, error: str
) -> None:
    run, ratings = judged(Judge(verdict), budget=Budget(tokens=500))
    assert run.error is None
    assert [rating.value for rating in ratings] == [None] * 3
    assert all(rating.error.startswith(error) for rating in ratings)
    # What it cost is not known, so all that was reserved for it is booked.
    assert run.solution.cost.verifier_tokens == 30
    assert [event.error for event in run.seen(Scored)] == [
        rating.error for rating in ratings
    ]


def test_ratings_that_the_budget_refuses_are_errors_while_others_are_not() -> None:
    spent = 3 * (TOKENS + REPLY)
    run, ratings = judged(Judge(lambda _: 0.5), budget=Budget(tokens=spent + 12))
    assert [rating.value is None for rating in ratings] == [False, True, True]
    assert ratings[1].error.startswith("not rated: budget tokens=54")
    assert len(run.seen(Scored)) == 3
    assert run.solution.cost.tokens <= spent + 12


def test_a_refusal_of_all_ratings_is_raised_into_the_plan() -> None:
    run, ratings = judged(Judge(), budget=Budget(tokens=3 * (TOKENS + REPLY) + 9))
    assert (ratings, run.solution.ended_by) == ([], "budget")
    assert run.solution.cost.verifier_tokens == 0


def test_a_verifier_that_costs_more_than_its_bound_breaks_the_run() -> None:
    run, _ = judged(Judge(bound_tokens=1), budget=Budget(tokens=500))
    assert isinstance(run.error, LedgerViolation)
    assert run.solution.cost.verifier_tokens > 0


def test_a_plan_that_scores_though_it_said_otherwise_is_at_fault() -> None:
    run = Run(scoring())
    assert isinstance(run.error, PlanError)
    assert "says that it uses no verifier" in str(run.error)


@pytest.mark.parametrize(
    ("asked", "needed", "kept"),
    [(None, 0, 0), (None, 5, 5), (2, 5, 5), (7, 5, 7), (3, None, 3)],
)
def test_samples_carry_the_log_probabilities_that_the_verifier_needs(
    asked: int | None, needed: int | None, kept: int
) -> None:
    seen: list[int | None] = []

    def script(request: SampleRequest) -> str:
        seen.append(request.params.logprobs)
        return "The answer is 7"

    def plan(question: Question) -> Plan[Answer | None]:
        params = replace(PARAMS, logprobs=asked)
        yield Sample((PROMPT,), 1, params)
        yield Start(Sample((PROMPT,), 1, params))
        yield Next()
        return None

    Run(
        plan,
        ScriptedEngine(script),
        uses_verifier=True,
        verifier=Judge(logprobs=needed),
    )
    assert seen == [kept, kept]
