"""The prefix caches of vLLM servers: emptying them, and how much of the prompts they served."""

import asyncio
import math
from collections import Counter
from typing import Final

from reasoner.engine import ReplicaUsage
from reasoner.engines.openai.http import Connection, Reply
from reasoner.engines.openai.retries import backoff
from reasoner.engines.openai.values import parsed
from reasoner.errors import EngineUnavailable

TRIES: Final = 6
"""How often a cache is emptied that is in use: an aborted sequence may hold it for a moment."""
_COUNTED: Final = {
    "vllm:request_success_total": "requests",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:prompt_tokens_cached_total": "cached_tokens",
    "vllm:generation_tokens_total": "generated_tokens",
}


async def reset(servers: Connection) -> None:
    """Empty the prefix cache of each server; notes say where that failed. A server that is down has nothing cached."""
    await asyncio.gather(*(_reset(servers, replica) for replica in range(len(servers.addresses))))


async def _reset(servers: Connection, replica: int) -> None:
    where = servers.addresses[replica].base_url
    for attempt in range(TRIES):
        try:
            reply = await servers.call("POST", "/reset_prefix_cache", only=replica, patience=0)
        except EngineUnavailable:
            return
        if not reply.ok:
            servers.notes.add(
                f"{where} does not empty its prefix cache ({reply.status}): start vLLM with VLLM_SERVER_DEV_MODE=1, or "
                "later work is charged less"
            )
            return
        if _succeeded(reply):
            return
        await servers.sleep(backoff(attempt, replica))
    servers.notes.add(f"{where} did not empty its prefix cache, as it is in use: later work is charged less")


def _succeeded(reply: Reply) -> bool:
    """Whether the cache is empty now; servers of before 2026 report nothing."""
    try:
        return parsed(reply.body).get("success") is not False
    except ValueError:
        return True


async def counters(servers: Connection) -> dict[str, ReplicaUsage]:
    """What each server has counted since it was started, for all its clients; without those that do not say."""
    every = await asyncio.gather(*(_counters(servers, replica) for replica in range(len(servers.addresses))))
    return {usage.name: usage for usage in every if usage}


async def _counters(servers: Connection, replica: int) -> ReplicaUsage | None:
    where = servers.addresses[replica].base_url
    try:
        reply = await servers.call("GET", "/metrics", only=replica, patience=0)
    except EngineUnavailable:
        return None
    if not reply.ok:
        return None
    counts = Counter[str]()
    for line in reply.body.decode("utf-8", "replace").splitlines():
        name, value = line.partition("{")[0].partition(" ")[0], line.rpartition(" ")[2]
        if name in _COUNTED:
            counts[_COUNTED[name]] += _whole(value)
    return ReplicaUsage(where, **counts)


def _whole(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        return 0
    return int(number) if math.isfinite(number) and number > 0 else 0
