"""What draws sequences: vLLM in this process, a server, a script, a simulation, a recording."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

from reasoner.engine import SampleRequest
from reasoner.errors import UnknownName
from reasoner.models.families import AUTO, OFF, parsers, profile_for_parser
from reasoner.models.thinking import ThinkingProfile
from reasoner.types import TokenIds, Usage

T = TypeVar("T")
HEADS_CACHED: Final = 10_000
"""Rendered prompt heads that are remembered."""

PACE: Final = frozenset({
    "address", "base_url", "core", "cpus", "data_parallel_size", "deadline", "device_ids", "enforce_eager",
    "gpu_memory_utilization", "gpus", "kv_cache_memory_bytes", "kv_gib", "max_concurrency", "max_num_batched_tokens",
    "max_num_seqs", "patience", "pipeline_parallel_size", "replicas", "tensor_parallel_size", "timeout",
})  # fmt: skip
"""Options of engines that decide where and how fast a model runs, not what it is asked."""


def say_nothing(line: str) -> None:
    """Ignore a progress message."""


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


def named_profile(parser: str) -> ThinkingProfile | None:
    """How models think that have this reasoning parser of vLLM; None for "none".

    Raises:
        UnknownName: no family of models has it.
    """
    if parser in OFF:
        return None
    profile = profile_for_parser(parser)
    if profile is None:
        raise UnknownName("reasoning parser", parser, (AUTO, "none", *parsers()))
    return profile


class SharedHeads(Generic[T]):
    """Prompt heads that are rendered elsewhere, each once: who needs one meanwhile waits for the same rendering."""

    def __init__(self) -> None:
        self._kept: dict[str, T] = {}
        self._pending: dict[str, asyncio.Future[T]] = {}

    async def get(self, key: str, render: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The head of a key; raises what its rendering raises, and the next call renders it again."""
        if key in self._kept:
            return self._kept[key]
        pending = self._pending.get(key)
        if pending is None or pending.get_loop() is not asyncio.get_running_loop():
            pending = self._pending[key] = asyncio.ensure_future(render())
            pending.add_done_callback(partial(self._keep, key))
        return await asyncio.shield(pending)

    def _keep(self, key: str, rendered: "asyncio.Future[T]") -> None:
        if self._pending.get(key) is rendered:
            del self._pending[key]
        if not rendered.cancelled() and rendered.exception() is None:
            if len(self._kept) >= HEADS_CACHED:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = rendered.result()


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

    async def end_in_turn(self, request: SampleRequest, usage: Usage) -> None:
        """Wait until a sequence with this usage may end; if it is cancelled, the meter says how far it was."""
        progress, meter = request.progress, request.meter
        try:
            if progress:
                await progress.until(usage.generated_tokens)
            meter.usage = usage
        except BaseException:
            tokens = progress.tokens if progress else 0
            meter.usage = replace(usage, generated_tokens=tokens, thinking_tokens=min(tokens, usage.thinking_tokens))
            raise
