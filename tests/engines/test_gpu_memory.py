"""How a policy and the models of a verifier divide one GPU, computed without one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from reasoner.engines.vllm import VllmEngine, served
from reasoner.engines.vllm.build import Build
from reasoner.engines.vllm.pooling import PoolingEngine
from reasoner.engines.vllm.served import (
    ALONE,
    MIN_SHARE,
    TOGETHER,
    GpuMemory,
    MemoryClaim,
    devices_of,
    split_gpu,
)
from reasoner.errors import UsageError
from reasoner.models.resolve import ResolvedModel
from reasoner.verifier import claim_memory
from reasoner_verifiers import Orm, Prm
from reasoner_verifiers.reward import model as reward
from tests.models.test_geometry import write_safetensors
from tests.verifiers.rewards import model_folder

GPU = Build("vllm", "0.32.0", cpu=False)
GB = 10**9


def shares(*claims: tuple[int, float]) -> list[float]:
    """Shares by (weights, share asked for)."""
    found = split_gpu(
        [
            MemoryClaim(f"model {place}", share, weights)
            for place, (weights, share) in enumerate(claims)
        ]
    )
    assert sum(found) <= 1
    return [round(one, 3) for one in found]


def test_several_divide_the_gpu_by_their_weights() -> None:
    policy, judge = shares((16 * GB, 0), (14 * GB, 0))
    assert policy + judge == pytest.approx(TOGETHER, abs=0.002)
    assert policy > judge > 0.4
    small, large = shares((GB // 4, 0), (14 * GB, 0))
    assert small > MIN_SHARE
    assert large > 0.8
    assert shares((16 * GB, 0), (0, 0)) == [TOGETHER / 2] * 2


def test_a_share_that_was_asked_for_stands_and_the_others_divide_the_rest() -> None:
    assert shares((16 * GB, 0.6), (14 * GB, 0)) == [0.6, 0.35]
    assert shares((16 * GB, 0), (14 * GB, 0.2)) == [0.75, 0.2]
    assert shares((16 * GB, 0.9), (14 * GB, 0)) == [0.9, 0.05]
    assert shares((16 * GB, 0.8), (14 * GB, 0.2)) == [0.8, 0.2]


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (
            (0.9, 0.2),
            "model 0 gpu_memory_utilization=0.9, model 1 gpu_memory_utilization=0.2 is more than one GPU: lower one of them",
        ),
        (
            (0.93, 0),
            "model 0 gpu_memory_utilization=0.93 leaves too little for model 1: lower one of them",
        ),
    ],
)
def test_shares_that_do_not_fit_are_refused(
    asked: tuple[float, float], complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        shares(*((GB, share) for share in asked))
    assert str(caught.value) == complaint


def test_a_share_is_fixed_by_the_start_and_free_again_after_the_end() -> None:
    memory, policy = GpuMemory(), MemoryClaim("the policy's", weights=16 * GB)
    assert memory.take(policy) == ALONE
    late = MemoryClaim("the reward model's", weights=GB)
    assert memory.take(late) == pytest.approx(TOGETHER - ALONE)
    assert memory.take(policy) == ALONE
    memory.leave(late)
    memory.leave(late)
    assert memory.claims == [policy]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A reward model of 2 MB, on a machine with a GPU."""
    for module in (served, reward):
        monkeypatch.setattr(module, "installed_build", lambda: GPU)
    # vLLM reads a folder without the type of a model again after two seconds.
    path = model_folder(
        tmp_path / "m",
        reasoner_head=True,
        model_type="llama",
        architectures=["LlamaForCausalLM"],
    )
    write_safetensors(Path(path) / "model.safetensors", {"weight": [1 << 20]})
    with (Path(path) / "model.safetensors").open("ab") as file:
        file.truncate(2 << 20)
    return path


def utilization(policy: VllmEngine, folder: str) -> float:
    """What vLLM gets from a policy with its weights in `folder` too."""
    pytest.importorskip("vllm")
    arguments = policy._arguments(GPU, ResolvedModel("m", folder, Path(folder)))
    share: float = arguments.gpu_memory_utilization
    return share


@pytest.mark.parametrize("kind", [Orm, Prm])
def test_a_default_reward_model_and_a_default_policy_fit_one_gpu(
    kind: Any, folder: str
) -> None:
    policy, verifier = VllmEngine(folder), kind(model=folder)
    asyncio.run(claim_memory(policy, verifier))
    own = verifier.running.engine
    assert isinstance(own, PoolingEngine)
    taken = (
        utilization(policy, folder),
        own._gpu_share(ResolvedModel("m", folder, None)),
    )
    assert taken == pytest.approx((TOGETHER / 2, TOGETHER / 2))
    assert (
        own._arguments(
            GPU, ResolvedModel("m", folder, Path(folder))
        ).gpu_memory_utilization
        == taken[1]
    )
    asyncio.run(verifier.close())
    assert len(policy.gpu.claims) == 1


def test_models_on_other_gpus_divide_nothing() -> None:
    memory = GpuMemory()
    on = {"first": "0", "both": "01", "second": "1", "third": "2"}
    claims = {
        name: MemoryClaim(name, weights=GB, devices=frozenset(gpus))
        for name, gpus in on.items()
    }
    memory.claims += claims.values()
    assert memory.take(claims["third"]) == ALONE
    assert memory.take(claims["first"]) == pytest.approx(TOGETHER / 2)
    assert memory.take(claims["both"]) == pytest.approx((TOGETHER - TOGETHER / 2) / 2)
    for gpu in "012":
        assert (
            sum(memory.take(claim) for claim in claims.values() if gpu in claim.devices)
            <= TOGETHER + 1e-9
        )


@pytest.mark.parametrize(
    ("args", "gpus"),
    [
        ({}, "0"),
        ({"tensor_parallel_size": "2", "pipeline_parallel_size": 2}, "0123"),
        ({"device_ids": ["1"]}, "1"),
        ({"device_ids": [3, 1], "tensor_parallel_size": 2}, "13"),
        ({"device_ids": "2"}, "2"),
    ],
)
def test_the_gpus_of_a_model_follow_from_its_arguments(
    args: dict[str, Any], gpus: str
) -> None:
    assert devices_of(args) == frozenset(gpus)
