"""What every verifier promises of a rating: its range, its bound, its error and its cost."""

import asyncio
import dataclasses
from collections.abc import Callable

from reasoner.answers.questions import Question
from reasoner.budget import Budget
from reasoner.engine import SampleRequest
from reasoner.errors import ReasonerError
from reasoner.execution.runner import solve_sync
from reasoner.strategy import Plan, Propose, sample, score
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import QUESTION, Planned, books, completion, meter_of
from reasoner.types import (
    Answer,
    Completion,
    Logprobs,
    Rating,
    SamplingParams,
    VoteState,
)
from reasoner.verifier import CostMeter, Verifier

VerifierLaw = Callable[[Verifier], None]
"""A law of verifiers: raises an AssertionError where the verifier breaks it."""


def check_verifier(verifier: Verifier) -> None:
    """Hold a verifier to all of `VERIFIER_LAWS`, on replies that say "The answer is 7".

    Raises:
        AssertionError: it breaks a law.
    """
    for law in VERIFIER_LAWS:
        law(verifier)


def _script(request: SampleRequest) -> str:
    """A policy that is asked to solve and to judge."""
    return "Yes" if request.watch else f"The answer is {7 + request.index}"


def _candidate(index: int, sure: float, kept: int | None) -> Completion:
    top = ((sure, *[-3.0] * (kept - 1)),) * 3 if kept else ()
    logprobs = None if kept is None else Logprobs((sure,) * 3, top)
    return completion(f"The answer is {index}", index=index, logprobs=logprobs)


def _rated(verifier: Verifier, candidate: Completion) -> Rating:
    async def rate() -> Rating:
        policy = ScriptedEngine(_script)
        await verifier.start(policy)
        try:
            bound = await verifier.bound(QUESTION, candidate, policy)
            rating = await verifier.score(QUESTION, candidate, policy, CostMeter())
        finally:
            await verifier.close()
        for field in dataclasses.fields(bound):
            if field.name not in {"seconds", "cached_tokens"}:
                most, cost = (
                    getattr(bound, field.name),
                    getattr(rating.cost, field.name),
                )
                assert cost <= most, (
                    f"the bound of a rating has {field.name}={most}, and it cost {cost}"
                )
        return rating

    return asyncio.run(rate())


def a_rating_is_in_range_and_the_same_again(verifier: Verifier) -> None:
    """And costs at most its bound."""
    for index, sure in enumerate((-0.1, -0.7, -2.0)):
        candidate = _candidate(index, sure, verifier.logprobs)
        value, again = (
            _rated(verifier, candidate).value,
            _rated(verifier, candidate).value,
        )
        assert value is not None, "a rating without an error has no value"
        assert 0 <= value <= 1, f"a rating is from 0 to 1: {value}"
        assert value == again, f"the same reply was rated {value} and {again}"


def what_it_cannot_rate_is_an_error(verifier: Verifier) -> None:
    """And never a value; for one that needs log-probabilities."""
    if verifier.logprobs is None:
        return
    try:
        rating = _rated(verifier, completion("The answer is 7"))
    except ReasonerError as error:
        assert "log-probabilities" in str(error), (
            f"the error does not say what is missing: {error}"
        )
    else:
        raise AssertionError(
            f"a reply without the log-probabilities that it needs was rated {rating.value}"
        )


def _best_of_three(question: Question) -> Plan[Answer | None]:
    drawn = yield from sample(
        question.prompt, n=3, params=SamplingParams(max_tokens=20)
    )
    ratings = yield from score(question, drawn)
    errors = [rating.error for rating in ratings if rating.error]
    assert not errors, f"a rating failed in a run: {errors}"
    best = max(range(3), key=lambda index: (ratings[index].value or 0, index))
    answer = question.read(drawn[best])
    yield Propose(answer, VoteState())
    return answer


def a_run_books_what_it_costs(verifier: Verifier) -> None:
    """And draws what it needs."""
    engine = ScriptedEngine(_script, certainty=lambda request: 0.5 + request.index / 10)
    plan = Planned(_best_of_three, uses_verifier=True)
    solution = solve_sync(
        QUESTION, plan, engine, verifier=verifier, budget=Budget(tokens=10_000)
    )
    assert solution.error is None, f"the run ended with an error: {solution.error!r}"
    (prompt, cached, generated), (drawn, _, made) = (
        meter_of(engine),
        books(solution.cost),
    )
    booked, counted = drawn + solution.cost.verifier_tokens + made, prompt + generated
    assert booked == counted, (
        f"{booked} tokens were booked, and the engine counted {counted}"
    )
    assert solution.cost.cached_tokens == cached, (
        f"{solution.cost} is not what the engine counted: {cached} cached"
    )


VERIFIER_LAWS: tuple[VerifierLaw, ...] = (
    a_rating_is_in_range_and_the_same_again,
    what_it_cannot_rate_is_an_error,
    a_run_books_what_it_costs,
)
"""The laws of verifiers that run on the policy or without a model."""
