"""Our scheduler over vLLM's asynchronous one, which only GPUs use: the next step is computed while a step is read."""

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np


def row(name: str, position: int) -> list[float]:
    """The log-probabilities at a position of a sequence; two columns more than it asked for."""
    return [-100.0 * int(name) - position, -position, -2.0 * position, -1e9, -1e9]


def test_each_token_keeps_its_log_probabilities_when_sequences_are_preempted_or_fall_below_a_floor(
    embedded_model: Path,
) -> None:
    import torch
    from vllm.config import CacheConfig, ModelConfig, SchedulerConfig, VllmConfig
    from vllm.sampling_params import RequestOutputKind, SamplingParams
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.kv_cache_interface import (
        FullAttentionSpec,
        KVCacheConfig,
        KVCacheGroupSpec,
    )
    from vllm.v1.outputs import LogprobsLists, ModelRunnerOutput
    from vllm.v1.request import Request
    from vllm.v1.structured_output import StructuredOutputManager

    from reasoner.engines.vllm.scheduler import new_scheduler

    config = VllmConfig(
        model_config=ModelConfig(model=str(embedded_model), max_model_len=256),
        scheduler_config=SchedulerConfig(
            256, is_encoder_decoder=False, max_num_seqs=8, policy="priority"
        ),
        cache_config=CacheConfig(block_size=32, enable_prefix_caching=False),
    )
    config.scheduler_config.async_scheduling = (
        True  # vLLM's CPU build has just switched it off
    )
    config.cache_config.num_gpu_blocks = 11
    group = KVCacheGroupSpec(
        ["layer"],
        FullAttentionSpec(32, num_kv_heads=1, head_size=1, dtype=torch.float32),
    )
    scheduler = new_scheduler(
        config,
        kv_cache_config=KVCacheConfig(11, [], [group]),
        block_size=32,
        hash_block_size=32,
        structured_output_manager=StructuredOutputManager(config),
    )
    assert isinstance(scheduler, AsyncScheduler)
    for number in range(8):
        kind = RequestOutputKind.DELTA if number % 2 else RequestOutputKind.FINAL_ONLY
        floor = (
            {"floor": [4, 3.8, 2]} if number < 2 else None
        )  # the mean of row 4 and those before it is 3.75
        params = SamplingParams(
            max_tokens=60,
            logprobs=2,
            ignore_eos=True,
            output_kind=kind,
            extra_args=floor,
        )
        scheduler.add_request(
            Request(f"{number}", [number] * 40, params, None, priority=number)
        )
    computed: dict[str, int] = dict.fromkeys(scheduler.requests, 0)
    read: dict[str, list[Any]] = {name: [] for name in computed}
    steps: deque[tuple[Any, Any]] = deque()
    preempted = 0
    while scheduler.has_unfinished_requests():
        step = scheduler.schedule()
        preempted += len(step.preempted_req_ids or ())
        names, tokens = list(step.num_scheduled_tokens), list[list[int]]()
        for name in names:
            whole = not scheduler.requests[name].is_prefill_chunk
            computed[name] += whole
            tokens.append([computed[name]] * whole)
        rows = np.array(
            [row(name, computed[name]) for name in names], np.float32
        ).reshape(-1, 5)
        table = LogprobsLists(
            np.zeros(rows.shape, np.int32), rows, np.zeros(len(rows), np.int32)
        )
        index = {name: at for at, name in enumerate(names)}
        steps.append((step, ModelRunnerOutput(names, index, tokens, table, {})))
        if len(steps) > 1:
            for sent in scheduler.update_from_output(*steps.popleft()).values():
                for output in sent.outputs:
                    read[output.request_id].append(output)
    assert preempted
    for name, outputs in read.items():
        tables = [
            output.new_logprobs.logprobs[:, :3]
            for output in outputs
            if output.new_logprobs
        ]
        ids = [token for output in outputs for token in output.new_token_ids]
        assert len(ids) == (4 if int(name) < 2 else 60)
        assert np.concatenate(tables).tolist() == [
            row(name, token)[:3] for token in ids
        ]
        assert len(tables) == (len(ids) if int(name) % 2 else 1)
        assert [
            str(output.finish_reason)
            for output in outputs
            if output.finish_reason is not None
        ] == ["abort" if int(name) < 2 else "length"]
    assert scheduler.kv_cache_manager.block_pool.get_num_free_blocks() == 10
