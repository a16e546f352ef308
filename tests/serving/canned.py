"""The page on a server that sends what a test writes, as a broken or hostile server does."""

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from reasoner.serving.page import page_routes

MODELS = ["m", "m@vote8", "m@vote16"]


def chunk(content: str = "", *, finish: str | None = None, **more: Any) -> str:
    """One event of a stream; `more` are keys beside `choices`, such as `reasoner`."""
    delta = {"content": content} if content else {}
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}], **more})}\n\n"


class Canned:
    """The app. `streams` are the replies by model, `failure` one for all, and `asked` the models that were asked."""

    def __init__(self) -> None:
        self.streams: dict[str, Sequence[str]] = {}
        self.failure: Response | None = None
        self.asked: list[str] = []
        chat = Route("/v1/chat/completions", self._chat, methods=["POST"])
        self._app = Starlette(
            routes=[*page_routes(), Route("/v1/models", self._models), chat]
        )

    async def _models(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "data": [
                    {
                        "id": name,
                        "description": f"about {name}",
                        "group": "Votes" if "@" in name else "",
                    }
                    for name in MODELS
                ]
            }
        )

    async def _chat(self, request: Request) -> Response:
        model = (await request.json())["model"]
        self.asked.append(model)
        return self.failure or StreamingResponse(
            iter(self.streams[model]), media_type="text/event-stream"
        )

    @contextmanager
    def live(self) -> Iterator[str]:
        """The address of the app, served in a thread of its own until the block ends."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = uvicorn.Server(
                uvicorn.Config(self._app, log_config=None, timeout_graceful_shutdown=1)
            )
            thread = Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join()
