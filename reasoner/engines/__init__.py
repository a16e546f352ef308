"""What draws sequences: vLLM in this process, a server, a script, a simulation, a recording."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

from reasoner.errors import UnknownName
from reasoner.models.families import AUTO, OFF, parsers, profile_for_parser
from reasoner.models.thinking import ThinkingProfile
from reasoner.types import TokenIds

T = TypeVar("T")
HEADS_CACHED: Final = 10_000
"""Rendered prompt heads that are remembered."""

PACE: Final = frozenset(
    {
        "address",
        "base_url",
        "core",
        "cpus",
        "data_parallel_size",
        "deadline",
        "device_ids",
        "enforce_eager",
        "gpu_memory_utilization",
        "gpus",
        "kv_cache_memory_bytes",
        "kv_gib",
        "max_concurrency",
        "max_num_batched_tokens",
        "max_num_seqs",
        "patience",
        "pipeline_parallel_size",
        "replicas",
        "tensor_parallel_size",
        "timeout",
    }
)
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
        self._rendering: dict[str, tuple[asyncio.Task[T], asyncio.Event]] = {}

    async def get(self, key: str, render: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The head of a key; raises what its rendering raises, and the next call renders it again."""
        if key in self._kept:
            return self._kept[key]
        loop = asyncio.get_running_loop()
        if key not in self._rendering or self._rendering[key][0].get_loop() is not loop:
            task, ended = loop.create_task(render()), asyncio.Event()
            self._rendering[key] = task, ended
            task.add_done_callback(partial(self._keep, key, ended))
        task, ended = self._rendering[key]
        # Not `shield`, which makes two futures for each that waits.
        await ended.wait()
        return task.result()

    def _keep(
        self, key: str, ended: asyncio.Event, rendered: "asyncio.Task[T]"
    ) -> None:
        ended.set()
        # A call from another event loop replaces a rendering with its own.
        if key in self._rendering and self._rendering[key][0] is rendered:
            del self._rendering[key]
        if not rendered.cancelled() and rendered.exception() is None:
            if len(self._kept) >= HEADS_CACHED:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = rendered.result()
