"""What draws sequences: vLLM in this process, a server, a script, a simulation, a recording."""

from typing import Final, NamedTuple

from reasoner.types import TokenIds

PACE: Final = frozenset({
    "address", "base_url", "core", "cpus", "data_parallel_size", "deadline", "device_ids", "enforce_eager",
    "gpu_memory_utilization", "gpus", "kv_cache_memory_bytes", "kv_gib", "max_concurrency", "max_num_batched_tokens",
    "max_num_seqs", "patience", "pipeline_parallel_size", "replicas", "tensor_parallel_size", "timeout",
})  # fmt: skip
"""Options of engines that decide where and how fast a model runs, not what it is asked."""


class RenderedHead(NamedTuple):
    """The token ids of a prompt without what was generated, and whether they opened thinking."""

    token_ids: TokenIds
    opened: bool = False


class ReplyParts(NamedTuple):
    """A reply in its parts, without markers.

    The first `tokens` of its tokens are thinking, markers included; None where nobody counted them. `unclosed` says
    that the reply ended before its thinking did.
    """

    thinking: str
    final: str
    unclosed: bool = False
    tokens: int | None = None


class FreeEngine:
    """Base of an engine without a model: nothing to start or to close, and texts have no token ids."""

    __slots__ = ()

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def encode(self, text: str) -> TokenIds | None:
        """None: there are no ids."""
        return None
