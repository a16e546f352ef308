"""What is loaded by name in vLLM's worker process: repairs for the V1 model runner, facts of the KV cache.

If a request of a batch has `logprob_token_ids`, V1's sampler gathers only those ids for the whole batch, and all other
requests lose their best alternatives. Model Runner V2 (CUDA builds) separates the two.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from vllm.v1.kv_cache_interface import (
    ChunkedLocalAttentionSpec,
    MambaSpec,
    UniformTypeKVCacheSpecs,
    get_kv_cache_spec_sliding_window,
)
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.sample.sampler import Sampler

from reasoner.engines.vllm.adapters import repair_adapters
from reasoner.engines.vllm.thinking_budget import RepairedThinkingBudget


class RepairedSampler(Sampler):  # type: ignore[misc] # vLLM's types are not checked
    """V1's sampler with rows by request: its watched token ids, or its best alternatives."""

    max_logprobs: int | None = None
    """The largest number of alternatives that a request of the batch needs."""

    def forward(self, logits: Any, sampling_metadata: Any, *args: Any, **options: Any) -> Any:
        """Sample one token for each request."""
        self.max_logprobs = sampling_metadata.max_num_logprobs
        return super().forward(logits, sampling_metadata, *args, **options)

    def gather_specific_token_logprobs(
        self, logprobs: Any, logprob_token_ids: Mapping[int, Sequence[int]], sampled: Any
    ) -> Any:
        """[requests, 1 + columns] log-probabilities and ids: the sampled token's, then those of the request.

        The front end reads as many columns of a row as its request needs; the others are padding.
        """
        watched = super().gather_specific_token_logprobs(logprobs, logprob_token_ids, sampled)
        if not self.max_logprobs:
            return watched
        best = self.gather_logprobs(logprobs, self.max_logprobs, token_ids=sampled)
        width = max(watched.logprobs.shape[1], best.logprobs.shape[1])
        watches = torch.zeros(len(logprobs), 1, dtype=torch.bool, device=logprobs.device)
        watches[list(logprob_token_ids)] = True

        def joined(own: Any, others: Any, padding: float) -> Any:
            wide = (pad(table, (0, width - table.shape[1]), value=padding) for table in (own, others))
            return torch.where(watches, *wide)

        return LogprobsTensors(
            joined(watched.logprob_token_ids, best.logprob_token_ids, 0),
            joined(watched.logprobs, best.logprobs, float("-inf")),
            watched.selected_token_ranks,
        )


class RepairableWorker:
    """A base class that vLLM's worker gets by `worker_extension_cls`."""

    def repair(self) -> None:
        """Replace V1's own sampler, and its limit on thinking, by the repaired ones; on a CPU adapters as well."""
        runner: Any = self.model_runner  # type: ignore[attr-defined] # the worker's
        own = runner.sampler
        runner.sampler = RepairedSampler(logprobs_mode=own.logprobs_mode, use_fp64_gumbel=own.use_fp64_gumbel)
        if runner.device.type == "cpu" and runner.lora_config is not None:
            repair_adapters()
        batch = runner.input_batch
        if (holder := batch.thinking_budget_state_holder) is not None:
            batch.thinking_budget_state_holder = RepairedThinkingBudget(
                runner.vllm_config.reasoning_config, batch.max_num_reqs, holder.num_spec_tokens, holder.device, False
            )

    def caches(self) -> list[tuple[str, int, int]]:
        """The KV caches of this worker's layers: name, bytes per token, window; see `CachedLayers`."""
        worker: Any = self
        own = worker.get_kv_cache_spec()  # without the layers that read the cache of another one
        caches = []
        for group in worker.model_runner.kv_cache_config.kv_cache_groups:
            spec = group.kv_cache_spec
            by_name = spec.kv_cache_specs if isinstance(spec, UniformTypeKVCacheSpecs) else {}
            caches += [(name, *cache_of(by_name.get(name, spec))) for name in group.layer_names if name in own]
        return caches


def cache_of(spec: Any) -> tuple[int, int]:
    """Bytes per token and window of a layer's KV cache, by vLLM's `KVCacheSpec`."""
    if isinstance(spec, MambaSpec):
        return spec.real_page_size_bytes, 1
    size = getattr(spec, "real_page_size_bytes", spec.page_size_bytes) // spec.block_size
    if isinstance(spec, ChunkedLocalAttentionSpec):
        return size, spec.attention_chunk_size
    return size, get_kv_cache_spec_sliding_window(spec) or 0
