"""Prompts that together are longer than one step of vLLM."""

import asyncio
from pathlib import Path

from reasoner import Prompt, SamplingParams
from reasoner.engines.vllm import VllmEngine
from reasoner.types import Completion
from tests.engine.test_vllm import draw
from tests.engine.tiny_model import tiny_llama
from tests.sweeps import widths


@widths(("count", "steps"), (18, 1), (64, 3))
def test_seeded_requests_survive_prefills_that_fill_the_step(
    embedded_model: Path, tmp_path: Path, count: int, steps: int
) -> None:
    """A split prefill of a seeded request kills vLLM's CPU core, so the engine must never let one be split."""
    folder = tiny_llama(tmp_path / "tiny", embedded_model)
    engine = VllmEngine(str(folder), max_model_len=2048, kv_gib=0.1, dtype="float32")
    prompts = [Prompt.chat(f"Note {n}. " + f"The item number {n} lies on shelf {n * 7}. " * 40) for n in range(count)]
    params = SamplingParams(max_tokens=4)

    async def all_at_once() -> list[Completion]:
        await engine.start()
        drawn = await asyncio.gather(*(draw(engine, prompt, params, [n]) for n, prompt in enumerate(prompts)))
        await engine.close()
        return [one for [one] in drawn]

    drawn = asyncio.run(all_at_once())
    assert sum(one.usage.prompt_tokens for one in drawn) > steps * 8192
    assert all(one.usage.generated_tokens >= 1 for one in drawn)
    assert engine.restarts == 0
