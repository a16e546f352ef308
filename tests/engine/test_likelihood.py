"""Log-likelihoods of texts on real vLLM: they are the sums of the model's own log-probabilities."""

import asyncio
import math

import pytest

from reasoner import Answer, Prompt, Question, solve_sync
from reasoner.engines.vllm import VllmEngine
from reasoner.strategy import Plan, TextLikelihood, loglikelihood, prefill, sample
from reasoner.trace.events import Event
from reasoner.types import Completion, SamplingParams
from tests.helpers import Planned, told

GREEDY = SamplingParams(temperature=0.0, max_tokens=12, logprobs=0)
QUESTION = Question.of("Which of these is a fish?\n\nA) cow\nB) trout\nC) bee\nD) oak")


@pytest.mark.parametrize("text", ["Tell me about the sea.", "What is 12 * 12?", "Name a colour."])
def test_a_drawn_sequence_weighs_what_the_engine_said_of_its_tokens(engine: VllmEngine, text: str) -> None:
    kept: list[tuple[Completion, tuple[TextLikelihood | None, ...]]] = []

    def plan(question: Question) -> Plan[Answer | None]:
        prompt = yield from prefill(Prompt.chat(text), "Well,")
        [drawn] = yield from sample(prompt, params=GREEDY)
        kept.append((drawn, (yield from loglikelihood(prompt, [drawn.text]))))
        return None

    events: list[Event] = []
    solution = solve_sync(QUESTION, Planned(plan), engine, trace=events.append)
    assert solution.error is None
    assert told(events).taking(0) == solution.cost.taking(0)
    [(drawn, [found])] = kept
    assert drawn.logprobs is not None
    assert found is not None
    assert asyncio.run(engine.encode(drawn.text)) == drawn.continuation
    own = drawn.logprobs.sampled[: len(drawn.continuation)]
    assert found == TextLikelihood(pytest.approx(math.fsum(own), abs=1e-3), len(own))  # type: ignore[arg-type]
