"""What the tests of the server's protocol share: bodies, an offer, and replies to them without a socket."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from reasoner.engine import Engine, TextPiece
from reasoner.execution.session import Session
from reasoner.models.info import ModelInfo
from reasoner.registry import entries, load
from reasoner.serving.choose import Alias, Offer, choose, default_aliases
from reasoner.serving.errors import ApiError
from reasoner.serving.replies import Reply, Result
from reasoner.serving.requests import ChatRequest, read
from reasoner.testing.support import Judge
from reasoner.trace.events import Event

CLIENTS = [
    name
    for name in sorted(entries("strategy"))
    if not hasattr(load("strategy", name), "owners")
]
"""The strategies that a client may choose."""
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "How many?"}],
    "seed": 1,
}


def alias(strategy: str = "single", **specs: str) -> Alias:
    return Alias.model_validate({"strategy": strategy, **specs})


def offer(**changes: Any) -> Offer:
    made = Offer(
        alias(),
        aliases=default_aliases(),
        verifiers={name: Judge() for name in ("certainty", "judge")},
        model=ModelInfo("m"),
    )
    return replace(made, **changes)


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def chat(**fields: Any) -> ChatRequest:
    return read(encoded({**BODY, **fields}), ChatRequest)


def only(**fields: Any) -> Any:
    """The one job of a chat."""
    [job] = choose(chat(**fields), offer())
    return job


def refusal(call: Callable[[], object]) -> ApiError:
    """The error that a call raises: one line, which is valid in any JSON."""
    with pytest.raises(ApiError) as raised:
        call()
    error = raised.value
    assert "\n" not in error.message
    json.dumps(error.document(), ensure_ascii=False).encode()
    return error


async def answered(
    engine: Engine, request: ChatRequest, offered: Offer | None = None
) -> list[Result]:
    """The request's jobs with their solutions, as the server solves them."""
    offered = offered or offer()
    async with Session(
        engine, verifiers=[*offered.verifiers.values()], prices=offered.prices
    ) as session:
        return [
            Result(job, await job.solve(session)) for job in choose(request, offered)
        ]


def streamed(
    reply: Reply, results: Sequence[Result], *news: tuple[int, Event | TextPiece]
) -> list[dict[str, Any]]:
    """The chunks of a reply; its choices have these news."""
    chunks = [
        chunk
        for index, each in news
        for chunk in (
            reply.text(index, each)
            if isinstance(each, TextPiece)
            else reply.progress(index, each)
        )
    ]
    return [*chunks, *reply.end(results)]


def followed(results: Sequence[Result]) -> list[tuple[int, Event | TextPiece]]:
    """The events of the choices."""
    return [
        (index, event)
        for index, result in enumerate(results)
        for event in result.solution.events
    ]


def said(text: str, *, thinking: bool = False, index: int = 0) -> tuple[int, TextPiece]:
    """A text of a choice as it comes."""
    return index, TextPiece(text, thinking)


def read_as(cls: Any, document: dict[str, Any]) -> Any:
    """The reply in the type of OpenAI's client, which holds exactly what was sent.

    The client's models accept unknown fields; equality shows that every field has the type that the client expects.
    """
    read = cls.model_validate(document)
    assert read.model_dump(exclude_unset=True) == document
    return read
