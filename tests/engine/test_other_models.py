"""Models of verifiers beside the embedded one: a sequence classifier, and a judge."""

import asyncio
import math
from pathlib import Path

import psutil
import pytest

from reasoner import Cost, Question
from reasoner.engines.vllm import VllmEngine
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
