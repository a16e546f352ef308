"""What every registered verifier promises: one suite, run over the catalog."""

import asyncio
import dataclasses
import typing

import pytest

from reasoner import Budget, solve_sync
from reasoner.catalog import build, entries, load, spec_of
from reasoner.engines.scripted import ScriptedEngine
from reasoner.errors import ReasonerError, UnknownName
from reasoner.plan import Plan, Propose, Sample, Score
from reasoner.protocols import Verifier
from reasoner.types import Answer, Completion, Logprobs, Question, Rating, SamplingParams, Standing
from tests.helpers import Planned, books, completion, meter_of, number_question, says

NAMES = sorted(entries("verifier"))
QUESTION = number_question()

pytestmark = pytest.mark.parametrize("name", NAMES)


def made(name: str) -> Verifier:
    verifier: Verifier = build("verifier", name)
    return verifier


def candidates(verifier: Verifier) -> list[Completion]:
    """Sequences that carry what the verifier asks for."""
    kept = verifier.logprobs
    found = []
    for index, sure in enumerate((-0.1, -0.7, -2.0)):
        top = ((sure, *[-3.0] * (kept - 1)),) * 3 if kept else ()
        logprobs = None if kept is None else Logprobs((sure,) * 3, top)
        found.append(completion(f"The answer is {index}", index=index, logprobs=logprobs))
    return found


def rated(verifier: Verifier, candidate: Completion) -> Rating:
    async def go() -> Rating:
        policy = ScriptedEngine(says("7"))
        bound = await verifier.bound(QUESTION, candidate, policy)
        rating = await verifier.score(QUESTION, candidate, policy)
        for field in dataclasses.fields(bound):
            if field.name not in ("seconds", "cached_tokens"):
                assert getattr(rating.cost, field.name) <= getattr(bound, field.name), field.name
        return rating

    return asyncio.run(go())


def test_a_rating_is_in_range_costs_no_more_than_its_bound_and_is_the_same_again(name: str) -> None:
    for candidate in candidates(made(name)):
        first, second = rated(made(name), candidate), rated(made(name), candidate)
        assert first.value is not None
        assert 0 <= first.value <= 1
        assert first.value == second.value


def test_what_it_cannot_rate_is_an_error_and_never_a_value(name: str) -> None:
    verifier = made(name)
    if verifier.logprobs is None:
        pytest.skip("it needs nothing of a sequence but its text")
    with pytest.raises(ReasonerError, match="log-probabilities"):
        rated(verifier, completion("The answer is 7"))


def judged(question: Question) -> Plan[Answer | None]:
    drawn = yield Sample((question.prompt,), 3, SamplingParams(max_tokens=20))
    ratings = yield Score(question, drawn)
    best = max(zip((rating.value or 0 for rating in ratings), range(3), strict=True))[1]
    answer = question.read(drawn[best])
    yield Propose(answer, Standing())
    assert all(rating.error == "" for rating in ratings)
    return answer


def test_the_runner_gets_it_what_it_needs_and_books_what_it_costs(name: str) -> None:
    engine = ScriptedEngine(says("7", "8", "9"), certainty=lambda request: 0.5 + request.index / 10)
    verifier = made(name)
    solution = solve_sync(
        QUESTION, Planned(judged, uses_verifier=True), engine, verifier=verifier, budget=Budget(tokens=10_000)
    )
    assert solution.error is None
    prompt, cached, generated = meter_of(engine)
    assert books(solution.cost)[0] + solution.cost.verifier_tokens + books(solution.cost)[2] == prompt + generated
    assert solution.cost.cached_tokens == cached


def test_its_options_are_taken_kept_and_written_again(name: str) -> None:
    plain, cls = made(name), load("verifier", name)
    assert build("verifier", spec_of(plain)) == plain
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        with pytest.raises(UnknownName, match=f"did you mean '{field.name}'"):
            build("verifier", f"{name}:{field.name}x=1")
        values = typing.get_args(hints[field.name]) or (2, 3)
        for value in values:
            changed = build("verifier", f"{name}:{field.name}={value}")
            assert (changed != plain) == (value != field.default)
            assert build("verifier", spec_of(changed)) == changed
