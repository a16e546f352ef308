"""Models beside the embedded one: layers with windows, and those of verifiers, a sequence classifier and a judge."""

import asyncio
import math
import shutil
from pathlib import Path

import psutil
import pytest

from reasoner import Cost, Question
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.kv_caches import with_caches
from reasoner.models.geometry import read_model_info
from reasoner.models.info import CachedLayers
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter
from reasoner_verifiers import Judge, Orm
from tests.engine.rewarding import tiny_classifier, tiny_classifier_logit

QUESTION = Question.of("What is 3 + 4?")


async def candidate(engine: VllmEngine, text: str) -> Completion:
    ids = await engine.encode(text) or ()
    return Completion(QUESTION.prompt, text, (*ids, 2), "stop")


def test_a_sequence_classifier_agrees_with_transformers(
    engine: VllmEngine, embedded_model: Path, tmp_path: Path
) -> None:
    folder = tiny_classifier(tmp_path / "tiny", embedded_model)
    orm = Orm(model=str(folder), dtype="float32", max_model_len=1024, kv_gib=0.1)

    async def go() -> list[tuple[Rating, tuple[int, ...], Cost]]:
        found = []
        for text in ("The answer is 7", "It is 8, as 3 + 5 = 8", "The answer is 7"):
            one = await candidate(engine, text)
            bound = await orm.bound(QUESTION, one, engine)
            laid = await orm.running.started.lay(QUESTION, one, engine)
            found.append((await orm.score(QUESTION, one, engine, CostMeter()), laid.ids, bound))
        await orm.close()
        return found

    rated = asyncio.run(go())
    for rating, ids, bound in rated:
        assert rating.value == pytest.approx(1 / (1 + math.exp(-tiny_classifier_logit(folder, ids))), abs=1e-4)
        assert rating.cost.verifier_tokens <= bound.verifier_tokens == len(ids)
    assert rated[0][0].value != pytest.approx(rated[1][0].value, abs=1e-3)
    assert (rated[2][0].cost.verifier_tokens, rated[2][0].cost.requests) == (0, 0)


def test_a_judge_of_its_own_says_what_the_same_model_says_as_the_policy(
    engine: VllmEngine, embedded_model: Path
) -> None:
    resident: list[int] = []

    async def judged(judge: Judge) -> tuple[Rating, CostMeter]:
        resident.append(psutil.Process().memory_info().rss)
        await judge.start(engine)
        try:
            cost_meter = CostMeter()
            rating = await judge.score(QUESTION, await candidate(engine, "The answer is 7"), engine, cost_meter)
            resident.append(psutil.Process().memory_info().rss)
            return rating, cost_meter
        finally:
            await judge.close()

    core = engine._core
    # 4 GiB of a cache, which takes memory only as it is filled.
    own_model = Judge(model=str(embedded_model), min_mass=0.0, args={"kv_cache_memory_bytes": 4 << 30})
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


def tiny_gemma(folder: Path, tokenizer: Path) -> Path:
    """Six layers with random weights, the first five with a window of 64 tokens."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    shape = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Gemma3TextConfig(vocab_size=49152, num_hidden_layers=6, head_dim=32, sliding_window=64, **shape)
    Gemma3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer / name, folder / name)
    return folder


def test_vllm_knows_which_layers_have_a_window(embedded_model: Path, tmp_path: Path) -> None:
    folder = tiny_gemma(tmp_path / "tiny", embedded_model)
    engine = VllmEngine(str(folder), max_model_len=512, kv_gib=0.1, dtype="float32")
    asyncio.run(engine.start())
    core = engine._core
    assert core is not None
    # Of each layer, one key and one value of 32 numbers of 4 bytes.
    caches = (CachedLayers(1, 256), CachedLayers(5, 256, 64))
    assert core.started.result().caches == engine.model.caches == caches
    # The same as vLLM says of the config alone.
    info = read_model_info(folder, name="m", kv_bytes_per_element=4)
    assert with_caches(info, folder, lambda _: None, dtype="float32").caches == caches
    asyncio.run(engine.close())
