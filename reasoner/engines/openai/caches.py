"""Emptying the prefix cache of a vLLM server."""

from typing import Final

from reasoner.engines.openai.http import Connection, Reply
from reasoner.engines.openai.retries import backoff
from reasoner.engines.openai.values import parsed
from reasoner.errors import EngineUnavailable

TRIES: Final = 6
"""How often a cache is emptied that is in use: an aborted sequence may hold it for a moment."""


async def reset(server: Connection) -> None:
    """Empty the server's prefix cache; a note says where that failed. A server that is down has nothing cached."""
    for attempt in range(TRIES):
        try:
            reply = await server.call("POST", "/reset_prefix_cache", patience=0)
        except EngineUnavailable:
            return
        if not reply.ok:
            server.notes.add(
                f"{server.where} does not empty its prefix cache ({reply.status}): start vLLM with "
                "VLLM_SERVER_DEV_MODE=1, or later work is charged less"
            )
            return
        if _succeeded(reply):
            return
        await server.sleep(backoff(attempt, 0))
    server.notes.add(f"{server.where} did not empty its prefix cache, as it is in use: later work is charged less")


def _succeeded(reply: Reply) -> bool:
    """Whether the cache is empty now; servers of before 2026 report nothing."""
    try:
        return parsed(reply.body).get("success") is not False
    except ValueError:
        return True
