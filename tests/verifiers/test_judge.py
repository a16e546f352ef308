"""The judge on an engine with probabilities that the test sets: closed forms, and what it costs."""

import asyncio
from collections.abc import Callable

import pytest

from reasoner import Cost, Question
from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import VerifierError
from reasoner.types import Rating
from reasoner.verifier import CostMeter
from reasoner_verifiers import Judge
from reasoner_verifiers.judge import Ask
from tests.helpers import completion, number_question
from tests.scripted import ScriptedEngine

QUESTION = number_question()
SPELLINGS = 6


def judging(word: str | Callable[[SampleRequest], str], sure: float) -> ScriptedEngine:
    """An engine that answers every prompt with a word, of which it is so sure; the rest is spread over other words."""
    return ScriptedEngine(word if callable(word) else lambda _: word, certainty=lambda _: sure)


def rated(judge: Judge, engine: ScriptedEngine, text: str = "It is 7", *, question: Question = QUESTION) -> Rating:
    async def go() -> Rating:
        meter = CostMeter()
        await judge.start(engine)
        bound = await judge.bound(question, completion(text), engine)
        rating = await judge.score(question, completion(text), engine, meter)
        assert rating.cost == bound == meter.cost
        return rating

    return asyncio.run(go())


@pytest.mark.parametrize(("ask", "right", "wrong"), [("yes", "Yes", "No"), ("true", "True", "False")])
@pytest.mark.parametrize("sure", [0.6, 0.999])
def test_the_value_is_the_share_of_yes_over_all_spellings(ask: Ask, right: str, wrong: str, sure: float) -> None:
    other = (1 - sure) / (2 * SPELLINGS - 1)
    assert rated(Judge(ask), judging(right, sure)).value == pytest.approx(sure + (SPELLINGS - 1) * other, abs=1e-6)
    assert rated(Judge(ask), judging(wrong, sure)).value == pytest.approx(SPELLINGS * other, abs=1e-6)


def test_a_rubric_gives_the_expected_grade() -> None:
    # A digit has one spelling twice over, with a blank and without: ten tokens, of which one is nearly sure.
    for place, grade in enumerate("12345"):
        rating = rated(Judge("rubric", rubric="is it polite"), judging(grade, 1 - 1e-9))
        assert rating.value == pytest.approx(place / 4, abs=1e-6)


def test_the_question_comes_first_and_as_the_policy_was_asked_so_that_its_prefix_is_shared() -> None:
    question = Question.of("What is 3 + 4?", context="A long document.")
    seen: list[str] = []

    def script(request: SampleRequest) -> str:
        seen.append(request.prompt.messages[-1].content)
        return "Yes"

    rated(Judge(), judging(script, 0.9), question=question)
    [prompt] = seen
    assert prompt.startswith(question.prompt.messages[-1].content)
    assert prompt.index("It is 7") < prompt.index("Yes or No")


def test_a_model_that_answers_something_else_is_an_error_with_its_mass_and_its_cost() -> None:
    engine, cost_meter = judging("Perhaps", 0.99), CostMeter()

    async def go(judge: Judge) -> Rating:
        await judge.start(engine)
        return await judge.score(QUESTION, completion("7"), engine, cost_meter)

    # No watched word was drawn: each of the twelve is given an eleventh of the rest.
    mass = 0.01 * 12 / 11
    with pytest.raises(VerifierError, match=f"Yes, No together have probability {mass:.3f}, below min_mass=0.5"):
        asyncio.run(go(Judge()))
    assert cost_meter.cost is not None
    assert cost_meter.cost.verifier_tokens > 1
    cost_meter.cost = None
    assert list(asyncio.run(go(Judge(min_mass=0.0))).parts) == pytest.approx([mass], abs=1e-6)


def test_a_judge_that_is_cut_off_is_booked_at_what_it_had_computed() -> None:
    async def go() -> Cost | None:
        waiting = asyncio.Event()

        async def never(request: SampleRequest) -> None:
            if request.watch:
                waiting.set()
                await asyncio.get_running_loop().create_future()

        engine = ScriptedEngine(lambda _: "Yes", pause=never)
        judge, cost_meter = Judge(), CostMeter()
        await judge.start(engine)
        task = asyncio.ensure_future(judge.score(QUESTION, completion("7"), engine, cost_meter))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        [usage] = engine.usage
        assert cost_meter.cost is not None
        assert cost_meter.cost.verifier_tokens == usage.prompt_tokens
        return cost_meter.cost

    assert asyncio.run(go())


def test_an_engine_without_a_tokenizer_or_a_judge_that_was_not_started_says_so() -> None:
    with pytest.raises(VerifierError, match="simulated gives no access to its tokenizer"):
        asyncio.run(Judge().start(SimulatedEngine()))
    engine = judging("Yes", 0.9)
    with pytest.raises(VerifierError, match=r"was not started with this engine"):
        asyncio.run(Judge().score(QUESTION, completion("7"), engine, CostMeter()))


def test_a_candidate_too_long_for_the_judge_is_an_error() -> None:
    engine = judging("Yes", 0.9)
    long = " word" * (engine.model.context + 1)
    with pytest.raises(VerifierError, match=r"the judge's prompt is 1,\d{3},\d{3} tokens and its context window"):
        rated(Judge(), engine, long)
