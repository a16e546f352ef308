"""What vLLM's worker process loads by name: repairs of the V1 model runner (CPU builds)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.sample.sampler import Sampler


class RepairedSampler(Sampler):  # type: ignore[misc] # vLLM's types are not checked
    """V1's sampler with rows by request: its watched token ids, or its best alternatives.

    If a request of a batch has `logprob_token_ids`, V1 gathers only those ids for the whole batch, and all other
    requests lose their best alternatives. Model Runner V2 (CUDA builds) separates the two.
    """

    max_logprobs: int | None = None
    """The largest number of alternatives that a request of the batch needs."""

    def forward(
        self, logits: Any, sampling_metadata: Any, *args: Any, **options: Any
    ) -> Any:
        """Sample one token for each request."""
        self.max_logprobs = sampling_metadata.max_num_logprobs
        return super().forward(logits, sampling_metadata, *args, **options)

    def gather_specific_token_logprobs(
        self,
        logprobs: Any,
        logprob_token_ids: Mapping[int, Sequence[int]],
        sampled: Any,
    ) -> Any:
        """[requests, 1 + columns] log-probabilities and ids: the sampled token's, then those of the request.

        The front end reads as many columns of a row as its request needs; the others are padding.
        """
        watched = super().gather_specific_token_logprobs(
            logprobs, logprob_token_ids, sampled
        )
        if not self.max_logprobs:
            return watched
        best = self.gather_logprobs(logprobs, self.max_logprobs, token_ids=sampled)
        width = max(watched.logprobs.shape[1], best.logprobs.shape[1])
        watches = torch.zeros(
            len(logprobs), 1, dtype=torch.bool, device=logprobs.device
        )
        watches[list(logprob_token_ids)] = True

        def joined(own: Any, others: Any, padding: float) -> Any:
            wide = (
                pad(table, (0, width - table.shape[1]), value=padding)
                for table in (own, others)
            )
            return torch.where(watches, *wide)

        return LogprobsTensors(
            joined(watched.logprob_token_ids, best.logprob_token_ids, 0),
            joined(watched.logprobs, best.logprobs, float("-inf")),
            watched.selected_token_ranks,
        )


class RepairableWorker:
    """A base class that vLLM's worker gets by `worker_extension_cls`."""

    def repair(self) -> None:
        """Replace V1's own sampler by the repaired one."""
        runner: Any = self.model_runner  # type: ignore[attr-defined] # the worker's
        own = runner.sampler
        runner.sampler = RepairedSampler(
            logprobs_mode=own.logprobs_mode, use_fp64_gumbel=own.use_fp64_gumbel
        )
