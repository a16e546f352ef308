"""How a CPU draws tokens: one random number for each, and tables that stay in the processor's cache."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor
from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler, apply_top_k_top_p

CACHED: Final = 1 << 19
"""Numbers of a part of a table: 2 MB."""
BLOCK: Final = 512
"""Tokens whose probabilities are first added up."""


def parts_of(*tables: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The rows of tables in parts; a part of the first table fits the cache."""
    rows = max(1, CACHED // tables[0].shape[1])
    yield from zip(*(table.split(rows) for table in tables), strict=True)


def log_probabilities(logits: Tensor) -> Tensor:
    """[rows, tokens] in float32. Converting a whole table of bfloat16 first takes as long again."""
    table = torch.empty_like(logits, dtype=torch.float32)
    for part, given in parts_of(table, logits):
        torch.log_softmax(given, -1, dtype=torch.float32, out=part)
    return table


def drawn(weights: Tensor, uniform: Tensor) -> Tensor:
    """[rows, 1] token ids: where the running sum of `weights` passes the share `uniform` of their total.

    `weights` are [rows, tokens] in float32, `uniform` [rows, 1] in [0, 1) in float64. A token without weight is never
    drawn. Sums are in float64, of blocks first: a running sum over all tokens would take most of the time.
    """
    tokens = weights.shape[1]
    whole = tokens // BLOCK * BLOCK
    blocks = (
        weights[:, :whole]
        .unflatten(1, (whole // BLOCK, BLOCK))
        .sum(2, dtype=torch.float64)
    )
    rest = weights[:, whole:].sum(1, dtype=torch.float64, keepdim=True)
    ends = torch.cat((blocks, rest), 1).cumsum(1)
    block, into = _passed(ends, uniform * ends[:, -1:])

    ids = block * BLOCK + torch.arange(BLOCK)
    within = weights.gather(1, ids.clamp(max=tokens - 1)).double()
    within = within.masked_fill(ids >= tokens, 0).cumsum(1)
    return (block * BLOCK + _passed(within, into)[0]).clamp(max=tokens - 1)


def _passed(ends: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The first index of each row at which the end is above the target, and how far the target lies in it."""
    below_all = torch.nextafter(ends[:, -1:], torch.zeros(()).double())
    target = torch.minimum(target, below_all)
    index = torch.searchsorted(ends, target, right=True).clamp(max=ends.shape[1] - 1)
    begin = ends.gather(1, (index - 1).clamp(min=0)).masked_fill(index == 0, 0)
    return index, target - begin


class UniformSampler(TopKTopPSampler):  # type: ignore[misc] # vLLM's types are not checked
    """vLLM's sampler with one random number for each row, of the row's own generator where it has one.

    vLLM's own adds Gumbel noise to each logit, two logarithms each: a fifth of a step of 250 sequences.
    """

    def forward_cpu(
        self,
        logits: Tensor,
        generators: Mapping[int, torch.Generator],
        k: Tensor | None,
        p: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """[rows] token ids. The logits are overwritten."""
        if self.logprobs_mode.startswith("processed"):
            result: tuple[Any, Any] = super().forward_cpu(logits, generators, k, p)
            return result
        weights = apply_top_k_top_p(logits, k, p)
        uniform = torch.rand(len(weights), 1, dtype=torch.float64)
        for row, generator in generators.items():
            uniform[row].uniform_(generator=generator)
        tokens = torch.empty(len(weights), 1, dtype=torch.int64)
        for part, shares, chosen in parts_of(weights, uniform, tokens):
            chosen.copy_(drawn(part.sub_(part.amax(1, keepdim=True)).exp_(), shares))
        return tokens[:, 0], None
