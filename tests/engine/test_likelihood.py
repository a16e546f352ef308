"""Log-probabilities of real vLLM: they change no text, what was not measured is an error, and texts have their sums."""

import asyncio
import math
from dataclasses import replace

import pytest

from reasoner import Prompt, Question, solve_sync
from reasoner.answers.choices import ChoiceSpace
from reasoner.engine import SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.stream import read_logprobs
from reasoner.errors import EngineError
from reasoner.types import NO_LOGPROB, Completion, Logprobs, SamplingParams
from reasoner_strategies import BestOfN
from reasoner_verifiers import Likelihood

PROMPTS = (
    Prompt.chat("What is 3 + 4?"),
    Prompt.chat("Repeat: 日本語のテキスト 🙂 naïve"),
    Prompt((), raw="The capital of France is"),
)
GREEDY = SamplingParams(temperature=0.0, max_tokens=12, logprobs=0)


def test_an_option_weighs_what_the_engine_said_of_its_tokens(
    engine: VllmEngine,
) -> None:
    prompt = Prompt((), raw="The capital of France is")

    async def drawn() -> Completion:
        rendered = await engine.render(prompt)
        return await engine.sample(SampleRequest("q", prompt, rendered, GREEDY, 0, 0))

    whole = asyncio.run(drawn())
    text = whole.text.removeprefix(" ")
    assert asyncio.run(engine.encode(f" {text}")) == whole.continuation
    space = ChoiceSpace((text, "a cow"))
    question = replace(Question.of("Which?"), space=space, prompt=prompt)
    solution = solve_sync(
        question,
        BestOfN(candidates="options"),
        engine,
        verifier=Likelihood(of="text"),
    )
    assert solution.error is None
    weights = {vote.answer.key: vote.weight for vote in solution.vote_state.votes}
    assert whole.logprobs is not None
    own = whole.logprobs.sampled[: len(whole.continuation)]
    assert math.log(weights["A"]) == pytest.approx(math.fsum(own), abs=1e-3)
    assert solution.answer is not None
    assert solution.answer.key == "A"


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


@pytest.mark.parametrize("stop", [(), ("\n",), ("is",)])
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
