"""Weighing texts on real vLLM: the model's own log-probabilities, a prompt computed once, the engine's own books."""

import asyncio
import math

import pytest

from reasoner import Answer, Prompt, Question, Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.strategy import Plan, TextLikelihood, loglikelihood, prefill, sample
from reasoner.trace.events import Event
from reasoner.types import Completion, SamplingParams
from tests.helpers import Planned, told

GREEDY = SamplingParams(temperature=0.0, max_tokens=12, logprobs=0)
QUESTION = Question.of("Which of these is a fish?\n\nA) cow\nB) trout\nC) bee\nD) oak")


def weighed(engine: VllmEngine, prompt: Prompt, *texts: str) -> tuple[tuple[TextLikelihood | None, ...], Solution]:
    kept: list[tuple[TextLikelihood | None, ...]] = []

    def plan(question: Question) -> Plan[Answer | None]:
        kept.append((yield from loglikelihood(prompt, texts)))
        return None

    events: list[Event] = []
    solution = solve_sync(QUESTION, Planned(plan), engine, trace=events.append)
    assert solution.error is None
    assert told(events).taking(0) == solution.cost.taking(0)
    return kept[0], solution


@pytest.mark.parametrize("text", ["Tell me about the sea.", "What is 12 * 12?", "Name a colour."])
def test_a_drawn_sequence_weighs_what_the_engine_said_of_its_tokens(engine: VllmEngine, text: str) -> None:
    kept: list[tuple[Completion, tuple[TextLikelihood | None, ...]]] = []

    def plan(question: Question) -> Plan[Answer | None]:
        prompt = yield from prefill(Prompt.chat(text), "Well,")
        [drawn] = yield from sample(prompt, params=GREEDY)
        kept.append((drawn, (yield from loglikelihood(prompt, [drawn.text]))))
        return None

    assert solve_sync(QUESTION, Planned(plan), engine).error is None
    [(drawn, [found])] = kept
    assert drawn.logprobs is not None
    assert found is not None
    assert asyncio.run(engine.encode(drawn.text)) == drawn.continuation
    own = drawn.logprobs.sampled[: len(drawn.continuation)]
    assert found == TextLikelihood(pytest.approx(math.fsum(own), abs=1e-3), len(own))  # type: ignore[arg-type]


async def chance(engine: VllmEngine, prompt: Prompt, watch: tuple[int, ...]) -> float:
    """The probability that one of these tokens comes next."""
    one = SamplingParams(temperature=0.0, max_tokens=1)
    drawn = await engine.sample(SampleRequest("q", prompt, await engine.render(prompt), one, 0, 0, watch=watch))
    assert drawn.logprobs is not None
    return math.fsum(map(math.exp, drawn.logprobs.watched[0]))


def test_all_that_may_come_first_has_probability_one(engine: VllmEngine) -> None:
    """Texts of one token, and by their ids the tokens that no text is spelled by, as they are special or half a sign."""
    tokenizer, prompt = engine._prompts.tokenizer, Prompt.chat("What is 3 + 4?")

    async def texts() -> dict[int, str]:
        decoded = {one: tokenizer.decode([one]) for one in range(len(tokenizer))}
        return {one: text for one, text in decoded.items() if text and await engine.encode(text) == (one,)}

    async def rest(ids: list[int]) -> float:
        parts = [tuple(ids[at : at + 128]) for at in range(0, len(ids), 128)]
        return math.fsum(await asyncio.gather(*(chance(engine, prompt, part) for part in parts)))

    spelled = asyncio.run(texts())
    assert len(spelled) > 0.9 * len(tokenizer)
    found, solution = weighed(engine, prompt, *spelled.values())
    assert solution.cost.requests == -(-len(spelled) // 128)
    mass = math.fsum(math.exp(one.logprob) for one in found if one)
    assert mass > 0.9
    left = asyncio.run(rest([one for one in range(len(tokenizer)) if one not in spelled]))
    assert mass + left == pytest.approx(1, abs=1e-3)
