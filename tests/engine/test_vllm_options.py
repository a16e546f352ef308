"""Arguments of vLLM reach a running engine, whose small KV cache preempts; a start that fails tells its root cause."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reasoner import Prompt, Question, SamplingParams, solve_sync
from reasoner.engine import SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.errors import EngineUnavailable
from reasoner.registry import build, spec_of
from reasoner_strategies import SelfConsistency
from tests.engine.tiny_model import BYTES_PER_TOKEN, tiny_llama

ESSAY = "Write a long story about a ship and a storm."
LONG = SamplingParams(temperature=1.0, max_tokens=300)
SEQUENCES = 6
ROOM = 1024 * BYTES_PER_TOKEN
"""Of the KV cache: 1,024 tokens."""
OPTIONS = (
    'max_num_seqs=7,max_num_batched_tokens=2k,seed=11,block_size=64,override_generation_config={"top_k": 5},'
    f"enable_prefix_caching=false,max_logprobs=7,kv_cache_memory_bytes={ROOM},dtype=float32"
)


@pytest.fixture(scope="module")
def started(
    embedded_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[VllmEngine, list[str]]]:
    """A tiny model with options that differ from all defaults, and the stages of its start."""
    stages: list[str] = []
    folder = tiny_llama(tmp_path_factory.mktemp("tiny") / "model", embedded_model)
    engine: VllmEngine = build(
        "engine", f"vllm:model_id={folder},max_model_len=512,{OPTIONS}"
    )
    engine.stage = stages.append
    asyncio.run(engine.start())
    yield engine, stages
    asyncio.run(engine.close())


def test_every_option_is_in_the_config_of_vllm(
    started: tuple[VllmEngine, list[str]],
) -> None:
    core: Any = started[0]._core
    config = core._engine.vllm_config
    scheduler, cache, model = (
        config.scheduler_config,
        config.cache_config,
        config.model_config,
    )
    assert (
        scheduler.max_num_seqs,
        scheduler.max_num_batched_tokens,
        scheduler.policy,
    ) == (7, 2000, "priority")
    assert (
        cache.block_size,
        cache.enable_prefix_caching,
        cache.kv_cache_memory_bytes,
    ) == (64, False, ROOM)
    assert (model.seed, model.max_model_len, model.max_logprobs) == (11, 512, 7)
    assert model.override_generation_config == {"top_k": 5}
    assert config.parallel_config.worker_extension_cls.endswith("RepairableWorker")


def test_its_spec_has_every_option(started: tuple[VllmEngine, list[str]]) -> None:
    written = spec_of(started[0])
    assert all(option.partition("=")[0] in written for option in OPTIONS.split(","))
    assert spec_of(build("engine", written)) == written


def test_each_stage_is_reported_when_it_begins(
    started: tuple[VllmEngine, list[str]],
) -> None:
    assert [stage.partition(" ")[0] for stage in started[1]] == ["importing", "loading"]


def test_preempted_sequences_are_counted_and_noted(
    started: tuple[VllmEngine, list[str]],
) -> None:
    small, _ = started

    async def at_once() -> list[SampleRequest]:
        await small.start()
        prompt = Prompt.chat(ESSAY)
        rendered = await small.render(prompt)
        requests = [
            SampleRequest("q", prompt, rendered, LONG, index, index)
            for index in range(SEQUENCES)
        ]
        completions = await asyncio.gather(
            *(small.sample(request) for request in requests)
        )
        assert (
            sum(completion.usage.generated_tokens for completion in completions)
            > 1.2 * small.capacity
        )
        return requests

    meters = [request.meter for request in asyncio.run(at_once())]
    assert any(meter.preemptions for meter in meters)
    assert not meters[0].preemptions, (
        "the first of the highest priority is preempted last"
    )
    for meter in meters:
        assert meter.usage is not None
        assert meter.usage.generated_tokens <= LONG.limit

    solution = solve_sync(
        Question.of(ESSAY, space="free"), SelfConsistency(SEQUENCES, LONG), small
    )
    assert [note.split(":")[0] for note in solution.notes] == ["preempted"]


@pytest.fixture(scope="module")
def damaged(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model, of whose weights the second half is missing."""
    folder = tmp_path_factory.mktemp("damaged") / "model"
    shutil.copytree(embedded_model, folder)
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)
    return folder


SMALL = r"0\.01 GiB\).*; change the engine's options kv_gib or max_model_len$"
DAMAGED = r"header.*; the file of the weights is damaged: fetch it again$"


@pytest.mark.parametrize(
    ("core", "options", "cause"),
    [
        ("in_process", "kv_gib=0.01", SMALL),
        ("async", "model_id=DAMAGED", DAMAGED),
    ],
)
def test_a_failure_names_its_root_cause(
    core: str, options: str, cause: str, damaged: Path, embedded_model: Path
) -> None:
    given = options.replace("DAMAGED", str(damaged))
    engine = build("engine", f"vllm:core={core},{given}", model_id=str(embedded_model))
    with pytest.raises(EngineUnavailable, match=cause) as caught:
        asyncio.run(engine.start())
    assert "\n" not in str(caught.value)
    assert "root cause" not in str(caught.value)
