"""vLLM's worker on a CPU, loaded by name in the worker's process, with a KV cache that takes memory as it is filled."""

from contextlib import AbstractContextManager
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from vllm.v1.worker.cpu_worker import CPUWorker


class UnwrittenZeros(TorchFunctionMode):  # type: ignore[misc] # no types
    """Bytes that the system clears when they are first used: writing the zeros of a cache takes a fifth of a start."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not torch.zeros or kwargs.get("dtype") is not torch.int8:
            return function(*args, **kwargs)
        [size] = args
        return torch.frombuffer(
            mmap(-1, size, MAP_PRIVATE | MAP_ANONYMOUS), dtype=torch.int8
        )


class LazyWorker(CPUWorker):  # type: ignore[misc] # vLLM's types are not checked
    """A worker that writes no zeros into its KV cache."""

    def _maybe_get_memory_pool_context(
        self, tag: str
    ) -> AbstractContextManager[object]:
        if tag == "kv_cache":
            return UnwrittenZeros()
        return super()._maybe_get_memory_pool_context(tag)  # type: ignore[no-any-return]
