"""A KV cache that is too small for what is in flight: vLLM preempts, and says so."""

import asyncio
from pathlib import Path

import pytest

from reasoner import Prompt, Question, SamplingParams, solve_sync
from reasoner.engine import SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner_strategies import SelfConsistency
from tests.engine.tiny_model import BYTES_PER_TOKEN, tiny_llama

ESSAY = "Write a long story about a ship and a storm."
LONG = SamplingParams(temperature=1.0, max_tokens=300)
SEQUENCES = 6


@pytest.fixture
def small(embedded_model: Path, tmp_path: Path) -> VllmEngine:
    """A tiny model with room for 1,024 tokens."""
    folder = tiny_llama(tmp_path / "tiny", embedded_model)
    return VllmEngine(str(folder), max_model_len=512, kv_gib=1024 * BYTES_PER_TOKEN / 2**30, dtype="float32")


def test_preempted_sequences_are_counted_and_the_limiter_avoids_them(small: VllmEngine) -> None:
    async def at_once() -> list[SampleRequest]:
        await small.start()
        prompt = Prompt.chat(ESSAY)
        rendered = await small.render(prompt)
        requests = [SampleRequest("q", prompt, rendered, LONG, index, index) for index in range(SEQUENCES)]
        completions = await asyncio.gather(*(small.sample(request) for request in requests))
        assert sum(completion.usage.generated_tokens for completion in completions) > 1.2 * small.capacity
        return requests

    meters = [request.meter for request in asyncio.run(at_once())]
    assert any(meter.preemptions for meter in meters)
    assert not meters[0].preemptions, "the first of the highest priority is preempted last"
    for meter in meters:
        assert meter.usage is not None
        assert meter.usage.generated_tokens <= LONG.limit

    solution = solve_sync(Question.of(ESSAY, space="text"), SelfConsistency(SEQUENCES, LONG), small)
    assert [note.split(":")[0] for note in solution.notes] == ["narrowed"]
    asyncio.run(small.close())
