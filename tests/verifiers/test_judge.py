"""The judge on an engine with probabilities that the test sets: closed forms, and what it costs."""

import asyncio
from collections.abc import Callable

import pytest

from reasoner import Cost, Question
from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import UsageError, VerifierError
from reasoner.models.info import ModelInfo
from reasoner.registry import build
from reasoner.testing.scripted import MODEL, THINKER, ScriptedEngine
from reasoner.testing.support import completion, number_question
from reasoner.types import Prompt, Rating
from reasoner.verifier import CostMeter
from reasoner_verifiers import Judge
from reasoner_verifiers.judge import Ask

QUESTION = number_question()
SPELLINGS = 6


def judging(word: str | Callable[[SampleRequest], str], sure: float) -> ScriptedEngine:
    """An engine that answers every prompt with a word, of which it is so sure; the rest is spread over other words."""
    return ScriptedEngine(
        word if callable(word) else lambda _: word, certainty=lambda _: sure
    )


def rated(
    judge: Judge,
    engine: ScriptedEngine,
    text: str = "It is 7",
    *,
    question: Question = QUESTION,
) -> Rating:
    async def go() -> Rating:
        meter = CostMeter()
        await judge.start(engine)
        bound = await judge.bound(question, completion(text), engine)
        rating = await judge.score(question, completion(text), engine, meter)
        assert rating.cost == bound == meter.cost
        return rating

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("ask", "right", "wrong"), [("yes", "Yes", "No"), ("true", "True", "False")]
)
@pytest.mark.parametrize("sure", [0.6, 0.999])
def test_the_value_is_the_share_of_yes_over_all_spellings(
    ask: Ask, right: str, wrong: str, sure: float
) -> None:
    other = (1 - sure) / (2 * SPELLINGS - 1)
    assert rated(Judge(ask), judging(right, sure)).value == pytest.approx(
        sure + (SPELLINGS - 1) * other, abs=1e-6
    )
    assert rated(Judge(ask), judging(wrong, sure)).value == pytest.approx(
        SPELLINGS * other, abs=1e-6
    )


def test_a_rubric_gives_the_expected_grade() -> None:
    # A digit has one spelling twice over, with a blank and without: ten tokens, of which one is nearly sure.
    for place, grade in enumerate("12345"):
        rating = rated(
            Judge("rubric", criteria=("is it polite",)), judging(grade, 1 - 1e-9)
        )
        assert rating.value == pytest.approx(place / 4, abs=1e-6)


def test_a_scale_of_letters_gives_the_expected_one() -> None:
    # llm-verifier 0.3.0, extract_score: "A" is 1, "T" 0, and (15 - 1) / 19 for "F".
    for letter, value in (("A", 1.0), ("F", 14 / 19), ("t", 0.0)):
        assert rated(Judge("scale"), judging(letter, 1 - 1e-9)).value == pytest.approx(
            value, abs=1e-6
        )
    # 80 spellings: of C, 0.6 and three parts of the rest; of each other letter four parts.
    part = 0.4 / 79
    expected = (17 / 19) * (0.6 + 3 * part) + 4 * part * sum(
        (19 - index) / 19 for index in range(20) if index != 2
    )
    assert rated(Judge("scale"), judging("C", 0.6)).value == pytest.approx(
        expected, abs=1e-6
    )


def test_each_criterion_is_asked_about_apart_and_the_mean_is_the_rating() -> None:
    asked: list[str] = []

    def script(request: SampleRequest) -> str:
        asked.append(request.prompt.messages[-1].content)
        return "Yes" if "sound" in asked[-1] else "No"

    rating = rated(
        Judge(criteria=("is it sound", "is it short")), judging(script, 1 - 1e-9)
    )
    assert rating.value == pytest.approx(0.5, abs=1e-6)
    assert len(rating.parts) == len(asked) == 2
    assert asked[0].index("It is 7") < asked[0].index("is it sound")


@pytest.mark.parametrize("model", [MODEL, THINKER])
@pytest.mark.parametrize(
    ("reasoning", "forced"), [("It holds.", True), ("It holds. Verdict: No", False)]
)
def test_it_reasons_before_the_probabilities_of_its_verdict_are_read(
    model: ModelInfo, reasoning: str, forced: bool
) -> None:
    prompts: list[str] = []

    def script(request: SampleRequest) -> str:
        prompts.append(request.prompt.text)
        return "Yes" if request.watch else reasoning

    engine = ScriptedEngine(script, certainty=lambda _: 1 - 1e-9, model=model)
    judge, meter = Judge(think=40, repeats=2), CostMeter()

    async def go() -> Rating:
        await judge.start(engine)
        bound = await judge.bound(QUESTION, completion("7"), engine)
        rating = await judge.score(QUESTION, completion("7"), engine, meter)
        assert rating.cost == meter.cost
        assert rating.cost.verifier_tokens < bound.verifier_tokens
        assert rating.cost.verifier_tokens == sum(
            each.prompt_tokens + each.generated_tokens for each in engine.usage
        )
        return rating

    assert asyncio.run(go()).value == pytest.approx(1.0, abs=1e-6)
    assert prompts == ["", f"It holds.{chr(10) * 2 if forced else ' '}Verdict:"] * 2


def test_a_judge_whose_thinking_is_cut_closes_it_before_its_verdict() -> None:
    seen: list[Prompt] = []

    def script(request: SampleRequest) -> str:
        seen.append(request.prompt)
        return "Yes"

    thoughts = " ".join(["hm"] * 60)
    engine = ScriptedEngine(
        script, certainty=lambda _: 1 - 1e-9, model=THINKER, thoughts=lambda _: thoughts
    )

    async def go() -> Rating:
        judge = Judge(think=20)
        await judge.start(engine)
        return await judge.score(QUESTION, completion("7"), engine, CostMeter())

    assert asyncio.run(go()).value == pytest.approx(1.0, abs=1e-6)
    assert THINKER.thinking is not None
    assert set(THINKER.thinking.end) <= set(seen[-1].token_ids)


def test_repeats_need_thinking() -> None:
    with pytest.raises(
        UsageError, match="repeats=2 would read the same probabilities again"
    ):
        Judge(repeats=2)


def test_a_model_that_answers_something_else_is_an_error_with_its_mass_and_its_cost() -> (
    None
):
    engine, cost_meter = judging("Perhaps", 0.99), CostMeter()

    async def go(judge: Judge) -> Rating:
        await judge.start(engine)
        return await judge.score(QUESTION, completion("7"), engine, cost_meter)

    # No watched word was drawn: each of the twelve is given an eleventh of the rest.
    mass = 0.01 * 12 / 11
    with pytest.raises(
        VerifierError,
        match=f"Yes, No together have probability {mass:.3f}, below min_mass=0.5",
    ):
        asyncio.run(go(Judge()))
    assert cost_meter.cost is not None
    assert cost_meter.cost.verifier_tokens > 1
    cost_meter.cost = None
    assert list(asyncio.run(go(Judge(min_mass=0.0))).parts) == pytest.approx(
        [mass], abs=1e-6
    )


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
        task = asyncio.ensure_future(
            judge.score(QUESTION, completion("7"), engine, cost_meter)
        )
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        [usage] = engine.usage
        assert cost_meter.cost is not None
        assert cost_meter.cost.verifier_tokens == usage.prompt_tokens
        return cost_meter.cost

    assert asyncio.run(go())


def test_an_engine_without_a_tokenizer_or_a_judge_that_was_not_started_says_so() -> (
    None
):
    with pytest.raises(
        VerifierError, match="simulated gives no access to its tokenizer"
    ):
        asyncio.run(Judge().start(SimulatedEngine()))
    engine = judging("Yes", 0.9)
    with pytest.raises(VerifierError, match=r"was not started with this engine"):
        asyncio.run(Judge().score(QUESTION, completion("7"), engine, CostMeter()))


def test_a_candidate_too_long_for_the_judge_is_an_error() -> None:
    engine = judging("Yes", 0.9)
    long = " word" * (engine.model.context + 1)
    with pytest.raises(
        VerifierError,
        match=r"the verifier's prompt is 1,\d{3},\d{3} tokens, its reply up to 1, and the context window",
    ):
        rated(Judge(), engine, long)


def test_a_judge_with_a_model_takes_the_options_of_its_engine() -> None:
    judge = build("verifier", "judge:model=embedded,kv_gib=1,device_ids=[0]")
    assert judge.args == {"kv_gib": "1", "device_ids": ["0"]}
    with pytest.raises(UsageError, match="core of vLLM cannot be set"):
        build("verifier", "judge:model=embedded,core=async")
    with pytest.raises(UsageError, match="kv_gib has no effect"):
        build("verifier", "judge:kv_gib=1")
