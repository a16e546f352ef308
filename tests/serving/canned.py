"""A server of the page whose replies a test writes: what a broken or hostile server sends."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from reasoner.answers.kinds import space_for
from reasoner.serving.errors import ApiError
from reasoner.serving.page import page_routes, trace_routes
from reasoner.serving.traces import RecentTraces

KEY = "secret-key-of-the-test"
MODELS = ["m", "m@vote8", "m@vote16"]


def chunk(content: str = "", *, finish: str | None = None, **more: Any) -> str:
    """One event of a stream; `more` are keys beside `choices`, such as `reasoner`."""
    delta = {"content": content} if content else {}
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}], **more})}\n\n"


class Canned:
    """The app, and the requests that it got. `streams` are the replies by model, `keys` whether it asks for `KEY`."""

    def __init__(self, *, keys: bool = False) -> None:
        self.streams: dict[str, Sequence[str]] = {}
        self.failure: Response | None = None
        self.asked: list[dict[str, Any]] = []
        self.traces = RecentTraces()
        self.app = FastAPI()
        self._keys = keys
        self.app.include_router(page_routes())
        self.app.include_router(trace_routes(self.traces, self._owner, seconds=30))
        self.app.get("/v1/models", response_model=None)(self._models)
        self.app.post("/v1/chat/completions", response_model=None)(self._chat)
        self.app.post("/v1/reasoner/compare", response_model=None)(self._compare)
        self.app.exception_handler(ApiError)(self._refuse)

    def _owner(self, authorization: str | None) -> str:
        if self._keys and authorization != f"Bearer {KEY}":
            raise ApiError(401, "no API key is given", code="invalid_api_key")
        return "owner" if self._keys else ""

    async def _refuse(self, request: Request, error: ApiError) -> Response:
        return JSONResponse(error.document(), error.status)

    async def _models(self, authorization: str | None = Header(None)) -> dict[str, Any]:
        self._owner(authorization)
        return {"object": "list", "data": [{"id": name, "description": f"about {name}"} for name in MODELS]}

    async def _chat(self, request: Request, authorization: str | None = Header(None)) -> Response:
        self._owner(authorization)
        body = await request.json()
        self.asked.append(body)
        return self.failure or StreamingResponse(self._stream(body["model"]), media_type="text/event-stream")

    async def _compare(self, request: Request) -> dict[str, Any]:
        body = await request.json()
        space = space_for(body.get("answer", "auto"), body["question"])
        first, second = map(space.read, body["replies"])
        same = first.key == second.key if first and second else None
        return {"same": same, "answers": [answer.text if answer else None for answer in (first, second)]}

    def _stream(self, model: str) -> Iterator[str]:
        yield from self.streams[model]
