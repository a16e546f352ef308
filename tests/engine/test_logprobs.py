"""Log-probabilities in vLLM's front-end: they change no text, and what was not measured is an error."""

import asyncio
import math
from dataclasses import replace

import pytest

from reasoner import Prompt, SamplingParams
from reasoner.engine import SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.stream import read_logprobs
from reasoner.errors import EngineError
from reasoner.types import NO_LOGPROB, Completion, Logprobs

PROMPTS = (
    Prompt.chat("What is 3 + 4?"),
    Prompt.chat("Repeat: 日本語のテキスト 🙂 naïve"),
    Prompt((), raw="The capital of France is"),
)


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ({7: -0.2, 0: -math.inf}, 2),
        ({7: -0.2}, 2),
        ({7: -math.inf, 1: -0.2}, 0),
        ({7: math.nan, 1: -0.2}, 2),
    ],
)
def test_an_alternative_that_vllm_did_not_measure_is_an_error(row: dict[int, float], kept: int) -> None:
    with pytest.raises(EngineError, match="vLLM reported no log-probability"):
        read_logprobs([([*row], [*row.values()])], kept, ())


def test_a_watched_token_may_be_impossible() -> None:
    assert read_logprobs([([7, 3], [-0.2, -math.inf])], None, (3, 7)) == Logprobs(
        (-0.2,), watched=((NO_LOGPROB, -0.2),)
    )


@pytest.mark.parametrize("stop", [(), ("\n",), ("is",)])
def test_the_text_and_its_end_are_the_same_with_and_without(engine: VllmEngine, stop: tuple[str, ...]) -> None:
    greedy = SamplingParams(temperature=0.0, max_tokens=24, stop=stop)

    async def draw(prompt: Prompt, params: SamplingParams) -> Completion:
        return await engine.sample(SampleRequest("q", prompt, await engine.render(prompt), params, 0, 0))

    for prompt in PROMPTS:
        plain = asyncio.run(draw(prompt, greedy))
        for kept in (0, 5):
            measured = asyncio.run(draw(prompt, replace(greedy, logprobs=kept)))
            assert replace(measured, logprobs=None, usage=plain.usage) == plain
            assert measured.logprobs is not None
            assert len(measured.logprobs.sampled) == len(plain.token_ids)
            for sampled, top in zip(measured.logprobs.sampled, measured.logprobs.top, strict=kept > 0):
                # Greedy: the sampled token is the best of its alternatives, which come best first.
                assert len(top) == kept
                assert list(top) == sorted(top, reverse=True)
                assert sampled == top[0]
