"""Log-probabilities of real vLLM: they change no text, what was not measured is an error, and texts have their sums."""

import asyncio
import math
from dataclasses import replace

import pytest

from reasoner import Answer, Prompt, Question, solve_sync
from reasoner.engine import SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.stream import read_logprobs
from reasoner.errors import EngineError
from reasoner.strategy import Plan, TextLikelihood, loglikelihood, prefill, sample
from reasoner.testing.support import Planned, traced_cost
from reasoner.trace.events import Event
from reasoner.types import NO_LOGPROB, Completion, Logprobs, SamplingParams

PROMPTS = (
    Prompt.chat("What is 3 + 4?"),
    Prompt.chat("Repeat: 日本語のテキスト 🙂 naïve"),
    Prompt((), raw="The capital of France is"),
)
GREEDY = SamplingParams(temperature=0.0, max_tokens=12, logprobs=0)
QUESTION = Question.of("Which of these is a fish?\n\nA) cow\nB) trout\nC) bee\nD) oak")


@pytest.mark.parametrize("text", ["Tell me about the sea."])
def test_a_drawn_sequence_weighs_what_the_engine_said_of_its_tokens(
    engine: VllmEngine, text: str
) -> None:
    kept: list[tuple[Completion, tuple[TextLikelihood | None, ...]]] = []

    def plan(question: Question) -> Plan[Answer | None]:
        prompt = yield from prefill(Prompt.chat(text), "Well,")
        [drawn] = yield from sample(prompt, params=GREEDY)
        kept.append((drawn, (yield from loglikelihood(prompt, [drawn.text]))))
        return None

    events: list[Event] = []
    solution = solve_sync(QUESTION, Planned(plan), engine, trace=events.append)
    assert solution.error is None
    assert traced_cost(events).taking(0) == solution.cost.taking(0)
    [(drawn, [found])] = kept
    assert drawn.logprobs is not None
    assert found is not None
    assert asyncio.run(engine.encode(drawn.text)) == drawn.continuation
    own = drawn.logprobs.sampled[: len(drawn.continuation)]
    assert found == TextLikelihood(pytest.approx(math.fsum(own), abs=1e-3), len(own))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ((-0.2, -0.2, -math.inf), 2),
        ((-0.2,), 2),
        ((-math.inf, -0.2), 0),
        ((math.nan, -0.1, -0.2), 2),
    ],
)
def test_an_alternative_that_vllm_did_not_measure_is_an_error(
    row: tuple[float, ...], kept: int
) -> None:
    with pytest.raises(EngineError, match="vLLM reported no log-probability"):
        read_logprobs([row], kept, ())


def test_a_watched_token_may_be_impossible() -> None:
    assert read_logprobs([(-0.2, -math.inf, -0.2)], None, (3, 7)) == Logprobs(
        (-0.2,), watched=((NO_LOGPROB, -0.2),)
    )


@pytest.mark.parametrize("stop", [("\n",), ("is",)])
def test_the_text_and_its_end_are_the_same_with_and_without(
    engine: VllmEngine, stop: tuple[str, ...]
) -> None:
    greedy = SamplingParams(temperature=0.0, max_tokens=24, stop=stop)

    async def draw(prompt: Prompt, params: SamplingParams) -> Completion:
        return await engine.sample(
            SampleRequest("q", prompt, await engine.render(prompt), params, 0, 0)
        )

    for prompt in PROMPTS:
        plain = asyncio.run(draw(prompt, greedy))
        for kept in (0, 5):
            measured = asyncio.run(draw(prompt, replace(greedy, logprobs=kept)))
            assert replace(measured, logprobs=None, usage=plain.usage) == plain
            assert measured.logprobs is not None
            assert len(measured.logprobs.sampled) == len(plain.token_ids)
            for sampled, top in zip(
                measured.logprobs.sampled, measured.logprobs.top, strict=kept > 0
            ):
                # Greedy: the sampled token is the best of its alternatives, which come best first.
                assert len(top) == kept
                assert list(top) == sorted(top, reverse=True)
                assert sampled == top[0]
