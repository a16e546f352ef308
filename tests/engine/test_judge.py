"""The judge on real vLLM: exact probabilities of chosen tokens, by the policy or by a model of its own."""

import asyncio
from pathlib import Path

import psutil
import pytest

from reasoner import Prompt, Question, SamplingParams
from reasoner.engine import SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.testing.support import completion
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter
from reasoner_verifiers import Judge

QUESTION = Question.of("What is 3 + 4?")


async def watched(
    engine: VllmEngine, prompt: Prompt, watch: tuple[int, ...], tokens: int = 1
) -> Completion:
    await engine.start()
    rendered = await engine.render(prompt)
    params = SamplingParams(temperature=0.0, max_tokens=tokens)
    return await engine.sample(
        SampleRequest("q", prompt, rendered, params, 0, 0, watch=watch)
    )


def test_watched_log_probabilities_are_those_of_the_model(
    engine: VllmEngine, embedded_model: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    prompt = Prompt.chat("Is 3 + 4 = 7? Reply with Yes or No.")
    watch = (1, 17, 2683, 40000, 49151)
    found = asyncio.run(watched(engine, prompt, watch, tokens=3))
    ids = asyncio.run(engine.render(prompt)).token_ids
    assert ids is not None
    assert found.logprobs is not None
    assert found.logprobs.top == ()
    model = AutoModelForCausalLM.from_pretrained(
        embedded_model, dtype=torch.float32
    ).eval()
    with torch.inference_mode():
        logits = model(torch.tensor([[*ids, *found.token_ids]])).logits[0]
    for place, row in enumerate(found.logprobs.watched):
        expected = torch.log_softmax(logits[len(ids) - 1 + place], dim=-1)[list(watch)]
        assert row == pytest.approx(expected.tolist(), abs=1e-3)
    own = [
        float(torch.log_softmax(logits[len(ids) - 1 + k], -1)[t])
        for k, t in enumerate(found.token_ids)
    ]
    assert found.logprobs.sampled == pytest.approx(own, abs=1e-3)


def test_a_judge_of_its_own_says_what_the_same_model_says_as_the_policy(
    engine: VllmEngine, embedded_model: Path
) -> None:
    resident: list[int] = []

    async def judged(judge: Judge) -> tuple[Rating, CostMeter]:
        resident.append(psutil.Process().memory_info().rss)
        await judge.start(engine)
        try:
            cost_meter = CostMeter()
            rating = await judge.score(
                QUESTION, completion("The answer is 7"), engine, cost_meter
            )
            resident.append(psutil.Process().memory_info().rss)
            return rating, cost_meter
        finally:
            await judge.close()

    core = engine._core
    # 4 GiB of a cache, which takes memory only as it is filled.
    own_model = Judge(
        model=str(embedded_model), min_mass=0.0, args={"kv_cache_memory_bytes": 4 << 30}
    )
    own, cost_meter = asyncio.run(judged(own_model))
    assert resident[1] - resident[0] < 2 << 30
    # The judge's model is closed, and the policy in the same process still answers.
    assert engine._core is core
    policy, _ = asyncio.run(judged(Judge(min_mass=0.0)))
    # The judge may run in 16 bits, by the processor; the policy of these tests runs in 32.
    assert own.value == pytest.approx(policy.value, abs=0.05)
    assert own.parts[0] == pytest.approx(policy.parts[0], abs=0.05)
    assert cost_meter.cost == own.cost
    assert own.cost.requests == 1
