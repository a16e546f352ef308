"""What the tests of the server's protocol share: bodies, an offer, and replies to them without a socket."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reasoner.engine import Engine
from reasoner.execution.session import Session
from reasoner.serving.choice import Offer, choose, default_aliases
from reasoner.serving.errors import ApiError
from reasoner.serving.replies import Result
from reasoner.serving.requests import ChatRequest, CompletionRequest, read_chat, read_completion
from reasoner.trace.events import Event
from tests.helpers import Judge

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "How many?"}], "seed": 1}


def offer(**changes: Any) -> Offer:
    made = Offer("m", aliases=default_aliases(), verifiers={"judge": Judge()}, engine="scripted")
    return replace(made, **changes)


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def chat(**fields: Any) -> ChatRequest:
    return read_chat(encoded({**BODY, **fields}))


def completion(**fields: Any) -> CompletionRequest:
    return read_completion(encoded({"model": "m", "prompt": "Once", "seed": 1, **fields}))


def refusal(call: Callable[[], object]) -> ApiError:
    """The error that a call raises: one line, which is valid in any JSON."""
    with pytest.raises(ApiError) as raised:
        call()
    error = raised.value
    assert "\n" not in error.message
    json.dumps(error.document(), ensure_ascii=False).encode()
    return error


async def answered(
    engine: Engine, request: ChatRequest | CompletionRequest, offered: Offer | None = None
) -> list[Result]:
    """The request's jobs with their solutions, as the server solves them."""
    offered = offered or offer()
    async with Session(engine, verifiers=[*offered.verifiers.values()], prices=offered.prices) as session:
        results = []
        for job in choose(request, offered):
            events: list[Event] = []
            solution = await session.solve(
                job.question,
                job.strategy,
                verifier=job.verifier,
                budget=job.budget,
                stop=job.stop,
                trace=events.append,
                seed=job.seed,
            )
            results.append((job, replace(solution, events=tuple(events))))
        return results
